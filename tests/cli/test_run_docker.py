"""`rondo run` with containers: services, what is left behind, a shell on a terminal, setup workflows, no engine."""

from __future__ import annotations

import base64
import contextlib
import json
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.cli.terminal import terminal
from tests.cli.tree import Tree, tree_in
from tests.engine_fixture import BUSYBOX, DEBIAN, Engine

pytestmark = [pytest.mark.slow, pytest.mark.docker]

CONFIG = f"""
version: 2.1
jobs:
  build:
    docker:
      - image: {DEBIAN}
      - {{image: {BUSYBOX}, command: [sh, -c, "echo served > /tmp/page; httpd -f -p 8000 -h /tmp"]}}
    resource_class: 2xlarge+
    steps:
      - checkout
      - run: git log -1 --format=%s; cat new
      - run: until exec 3<>/dev/tcp/localhost/8000; do sleep 0.1; done; printf 'GET /page HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3
  broken:
    docker: [{{image: {BUSYBOX}}}]
    steps: [run: echo deep in it; exit 3]
workflows:
  main: {{jobs: [build]}}
  bad: {{jobs: [broken]}}
"""
SETUP = f"""
version: 2.1
setup: true
jobs:
  decide:
    docker: [{{image: {BUSYBOX}}}]
    steps:
      - run: |
          echo %s | base64 -d > body
          sed "s/KEY/$CIRCLE_CONTINUATION_KEY/" body > filled
          curl -X POST -H 'Content-Type: application/json' --data @filled https://circleci.com/api/v2/pipeline/continue
workflows: {{setup: {{jobs: [decide]}}}}
"""
CHANGING = f"""
version: 2.1
jobs:
  build:
    docker: [{{image: {BUSYBOX}, environment: {{WHO: Ada}}}}]
    steps:
      - run:
          name: says who and where
          command: echo "$WHO, << pipeline.number >>, $(test -e /etc/debian_version && echo debian || echo busybox)"
workflows: {{main: {{jobs: [build]}}}}
"""
CONTINUED = f"""
version: 2.1
parameters: {{what: {{type: integer, default: 1}}}}
jobs:
  one: {{docker: [{{image: {BUSYBOX}}}], steps: [run: echo continued with << pipeline.parameters.what >>]}}
  two: {{docker: [{{image: {BUSYBOX}}}], steps: [run: echo not chosen]}}
workflows: {{first: {{jobs: [one]}}, second: {{jobs: [two]}}}}
"""


def containers_of(engine: Engine, tree: Tree) -> list[str]:
    """Of this tree's instance."""
    name = f"name=rondo-{instance_of(tree)}-"
    words = ["docker", "-H", engine.url, "ps", "-aq", "--filter", name]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()


def instance_of(tree: Tree) -> str:
    with contextlib.closing(sqlite3.connect(tree.root / ".rondo/state/rondo.db")) as tx:
        return str(tx.execute("SELECT value FROM facts WHERE name = 'instance'").fetchone()[0])


def test_a_job_with_a_service_and_a_class_larger_than_the_machine(docker_engine: Engine, tmp_path: Path) -> None:
    tree = tree_in(tmp_path, CONFIG)
    tree.write({"new": "not committed\n"})
    for _ in range(2):  # the second one finds a database, and so begins its container ahead
        ended = tree.run("main", more={"DOCKER_HOST": docker_engine.url})
        assert ended.code == 0, ended.out + ended.err
        said = ended.lines_of("build")
        assert "Change things" in said and "not committed" in said and "served" in said
        assert not containers_of(docker_engine, tree)


def test_a_shell_in_the_container_of_a_failed_step(docker_engine: Engine, tmp_path: Path) -> None:
    tree = tree_in(tmp_path, CONFIG)
    environment = {**tree.environment, "DOCKER_HOST": docker_engine.url}
    with terminal(tree.argv("bad", "--shell-on-failure"), tree.root, environment) as screen:
        screen.until("a shell in the job, in ~/project;")
        screen.until("# ")
        screen.type("echo in $CIRCLE_JOB of $(pwd)\r")
        screen.until("in broken of /root/project")
        screen.type("exit\r")
        screen.until("the shell has ended with 0")
        assert screen.ended() == 1 and "deep in it" in screen.shown
    assert not containers_of(docker_engine, tree)


def test_a_second_ctrl_c_leaves_containers_to_the_next_run(docker_engine: Engine, tmp_path: Path) -> None:
    slow = "{name: lasts, command: trap '' TERM; echo deep in it; sleep 1000}"
    tree = tree_in(tmp_path, CONFIG.replace("echo deep in it; exit 3", slow))
    environment = {**tree.environment, "DOCKER_HOST": docker_engine.url, "RONDO_JOBS_GRACE": "60"}
    with terminal(tree.argv("bad"), tree.root, environment) as screen:
        screen.until("deep in it")
        screen.type("\x03")
        screen.until("canceling")
        while screen.process.poll() is None:
            screen.type("\x03")
            screen._read()
    assert containers_of(docker_engine, tree)
    assert tree.run("main", more={"DOCKER_HOST": docker_engine.url}).code in (0, 1)
    assert not containers_of(docker_engine, tree)


def test_a_run_begins_with_the_container_of_the_last_one_and_keeps_it_only_if_it_fits(
    docker_engine: Engine, tmp_path: Path
) -> None:
    tree = tree_in(tmp_path, CHANGING)
    said = []
    for config in (CHANGING, CHANGING, CHANGING, CHANGING.replace(BUSYBOX, DEBIAN), CHANGING.replace("Ada", "Bob")):
        tree.write({".circleci/config.yml": config})
        ended = tree.run(more={"DOCKER_HOST": docker_engine.url})
        assert ended.code == 0, ended.out + ended.err
        said += [line for line in ended.lines_of("build") if line.count(", ") == 2]
        assert not containers_of(docker_engine, tree)
    assert said == ["Ada, 1, busybox", "Ada, 2, busybox", "Ada, 3, busybox", "Ada, 4, debian", "Bob, 5, busybox"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_while_it_begins_leaves_nothing(
    docker_engine: Engine, tmp_path: Path, how: signal.Signals
) -> None:
    tree = tree_in(tmp_path, CHANGING)
    engine = {"DOCKER_HOST": docker_engine.url}
    for _ in range(2):  # the second one finds a database, and what it does is remembered
        assert tree.run(more=engine).code == 0
    process = subprocess.Popen(tree.argv(), cwd=tree.root, env={**tree.environment, **engine}, stderr=subprocess.DEVNULL)
    while process.poll() is None and not containers_of(docker_engine, tree):
        pass
    process.send_signal(how)
    process.wait()
    if how is signal.SIGINT:
        assert not containers_of(docker_engine, tree)
    assert tree.run(more=engine).code == 0
    assert not containers_of(docker_engine, tree)


def test_a_setup_workflow_continues_and_the_choice_is_among_what_follows(docker_engine: Engine, tmp_path: Path) -> None:
    body = json.dumps({"continuation-key": "KEY", "configuration": CONTINUED, "parameters": {}})
    tree = tree_in(tmp_path, SETUP % base64.b64encode(body.encode()).decode())
    ended = tree.run("first", more={"DOCKER_HOST": docker_engine.url})
    assert ended.code == 0, ended.out + ended.err
    assert "continued with 1" in ended.lines_of("one") and not ended.lines_of("two")
    wrong = tree.run("third", more={"DOCKER_HOST": docker_engine.url})
    assert wrong.code == 2 and "there is first, second" in wrong.out


def test_an_image_that_cannot_be_pulled_is_asked_for_once(docker_engine: Engine, tmp_path: Path) -> None:
    absent = "127.0.0.1:9/nothing/listens:1"
    tree = tree_in(tmp_path, CONFIG.replace(BUSYBOX, absent))
    ended = tree.run("bad", more={"DOCKER_HOST": docker_engine.url})
    assert ended.code == 1 and "[images]" in ended.out, ended.out + ended.err
    assert ended.lines_of("broken").count(f"Pulling image {absent}") == 1


def test_logs_of_a_node_that_was_begun_anew_stand_beside_the_first_ones(docker_engine: Engine, tmp_path: Path) -> None:
    tree = tree_in(tmp_path, CONFIG.replace(BUSYBOX, "127.0.0.1:9/nothing/listens:1"))
    ended = tree.run("bad", more={"DOCKER_HOST": docker_engine.url, "RONDO_JOBS_RESTARTS": "1"})
    assert ended.code == 1
    names = {path.name for path in (tree.root / ".rondo/logs/broken").iterdir()}
    assert names == {"00-spin-up-environment.log", "attempt-2-00-spin-up-environment.log"}


def test_without_an_engine_it_says_what_to_do(tmp_path: Path) -> None:
    tree = tree_in(tmp_path, CONFIG)
    ended = tree.run(more={"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    said = "none.sock: No such file or directory; is it running, and may we use it? --executor local"
    assert ended.code == 2 and said in ended.err and ended.err.count("\n") == 1
