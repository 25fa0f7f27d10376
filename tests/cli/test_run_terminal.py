"""`rondo run` at a terminal: the board, approvals, Ctrl-C, the shell after a failure."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.terminal import terminal
from tests.cli.tree import Tree, tree_in

pytestmark = pytest.mark.slow

HELD = """
version: 2.1
jobs:
  build: {machine: true, steps: [run: echo built]}
  deploy: {machine: true, steps: [run: echo deployed]}
  other: {machine: true, steps: [run: echo other]}
workflows:
  main:
    jobs:
      - build
      - hold: {type: approval, requires: [build]}
      - deploy: {requires: [hold]}
      - check: {type: approval}
      - other: {requires: [check]}
"""
LONG = """
version: 2.1
jobs:
  build:
    machine: true
    steps:
      - run:
          name: lasts
          command: |
            trap 'echo goodbye; exit 5' TERM
            echo $$ > "$PIDS"/pid
            echo begun
            while :; do sleep 0.1; done
"""
FAILS = """
version: 2.1
jobs:
  build:
    machine: true
    steps:
      - run: {command: "mkdir -p sub; export FOUND=here; echo \\"export FOUND=$FOUND\\" >> $BASH_ENV"}
      - run: {command: "echo broken; exit 4", working_directory: sub, environment: {OF_STEP: inside}}
      - run: {command: "cat sub/note", when: always}
"""


def test_approvals_are_asked_for_and_what_is_refused_does_not_run(tmp_path: Path) -> None:
    tree = tree_in(tmp_path, HELD)
    with terminal(tree.argv("--executor", "local"), tree.root, tree.environment) as screen:
        screen.until("approve check? [y/n]")
        screen.type("n")
        screen.until("check is not approved")
        screen.until("approve hold? [y/n]")
        screen.type("xy")
        screen.until("hold is approved")
        assert screen.ended() == 1, "a workflow with a canceled approval is no success"
        assert "deploy" in screen.shown and screen.is_in_line_mode
        assert "\x1b[?25h" in screen.shown, "the cursor is back"
    assert (tree.root / ".rondo/logs/deploy").is_dir() and not (tree.root / ".rondo/logs/other").exists()


def test_off_a_terminal_approvals_stay_on_hold_unless_given(tmp_path: Path) -> None:
    tree = tree_in(tmp_path, HELD)
    held = tree.run_here("--approve", "hold")
    assert held.code == 3 and "deploy | deployed" in held.out and "other | other" not in held.out
    assert "--approve check" in held.out
    assert tree.run_here("--approve", "*").code == 0
    wrong = tree.run_here("--approve", "deploy")
    assert wrong.code == 2 and "no approval deploy runs here; there is check, hold" in wrong.err
    assert tree.run_here("--job", "other", "--approve", "*").code == 0


def is_alive(pid: int) -> bool:
    """A zombie is dead: who should have waited for it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def begun(tree: Tree, tmp_path: Path) -> dict[str, str]:
    return {**tree.environment, "RONDO_JOBS_ENVIRONMENT": f'{{"PIDS": "{tmp_path}"}}', "RONDO_JOBS_GRACE": "20"}


def test_ctrl_c_gives_the_step_time_and_leaves_nothing(tmp_path: Path) -> None:
    tree = tree_in(tmp_path, LONG)
    with terminal(tree.argv("--executor", "local"), tree.root, begun(tree, tmp_path)) as screen:
        screen.until("begun")
        screen.type("\x03")
        screen.until("canceling")
        assert screen.ended() == 130
        assert "canceled" in screen.shown and screen.is_in_line_mode
    logs = "".join(path.read_text() for path in (tree.root / ".rondo/logs/build").iterdir())
    assert "goodbye" in logs
    assert not list((tree.root / ".rondo/state/sandboxes").iterdir())


def test_a_second_ctrl_c_leaves_at_once_and_the_next_run_sweeps(tmp_path: Path) -> None:
    tree = tree_in(tmp_path, LONG.replace("echo goodbye; exit 5", ""))
    with terminal(tree.argv("--executor", "local"), tree.root, begun(tree, tmp_path)) as screen:
        screen.until("begun")
        screen.type("\x03")
        screen.until("canceling")
        while screen.process.poll() is None:
            screen.process.send_signal(signal.SIGINT)  # a key that is pressed too often takes what was printed along
            screen._read()
        assert screen.process.returncode == 130 and screen.is_in_line_mode
        screen.until("jobs may go on: the next run with --executor local here ends them")
    pid = int((tmp_path / "pid").read_text())
    assert is_alive(pid)
    assert tree.run_here("--list").code == 0 and is_alive(pid), "it ends nothing, and so does not count as the next run"
    tree.write({".circleci/config.yml": "version: 2.1\njobs: {build: {machine: true, steps: [run: echo fine]}}\n"})
    ended = tree.run_here()
    assert ended.code == 0 and "build | fine" in ended.out, ended.out + ended.err
    assert not is_alive(pid)
    assert not list((tree.root / ".rondo/state/sandboxes").iterdir())


def test_a_second_run_in_one_tree_is_refused_or_waits(tmp_path: Path) -> None:
    tree = tree_in(tmp_path, LONG)
    first = subprocess.Popen(
        tree.argv("--executor", "local"), cwd=tree.root, env=begun(tree, tmp_path), stdout=-1, text=True
    )
    assert first.stdout is not None
    while "begun" not in first.stdout.readline():
        assert first.poll() is None
    refused = tree.run_here()
    assert refused.code == 2 and f"process {first.pid}" in refused.err and "--wait" in refused.err
    waits = subprocess.Popen(
        tree.argv("--executor", "local", "--list", "--wait"),
        cwd=tree.root,
        env=tree.environment,
        stdout=-1,
        stderr=-1,
        text=True,
    )
    assert waits.stderr is not None and "waits for another run" in waits.stderr.readline()
    first.send_signal(signal.SIGTERM)
    assert first.communicate(timeout=60) and first.returncode == 130
    assert "build" in waits.communicate(timeout=60)[0] and waits.returncode == 0


def test_a_shell_opens_where_a_step_failed_and_the_job_goes_on(tmp_path: Path) -> None:
    tree = tree_in(tmp_path, FAILS)
    with terminal(tree.argv("--executor", "local", "--shell-on-failure"), tree.root, tree.environment) as screen:
        screen.until("a shell in the job, in ~/project/sub")
        screen.until("$ ") if os.geteuid() else screen.until("# ")
        screen.type("echo $OF_STEP $FOUND in ${PWD##*/}; stty size; echo kept > note\r")
        screen.until("inside here in sub")
        screen.until("40 100")
        screen.resize(90, 30)
        screen.type("until [ \"$(stty size)\" = '30 90' ]; do sleep 0.1; done; echo re''sized\r")
        screen.until("resized")
        screen.type("exit 7\r")
        screen.until("the shell has ended with 7, build goes on")
        assert screen.ended() == 1
        assert screen.is_in_line_mode
    assert "kept" in (tree.root / ".rondo/logs/build/03-cat-sub-note.log").read_text()
    assert tree.run_here("--shell-on-failure").code == 2
