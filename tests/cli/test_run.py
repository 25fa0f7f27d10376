"""`rondo run`, the real command on real working trees, with jobs as processes of this host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.tree import Tree, tree_in

pytestmark = pytest.mark.slow

CHAIN = """
version: 2.1
parameters:
  greeting: {type: string, default: hello}
jobs:
  build:
    machine: true
    steps:
      - checkout
      - restore_cache: {key: "v1-{{ checksum \\"key\\" }}"}
      - run: cat kept 2>/dev/null || echo no cache; echo kept from before > kept
      - save_cache: {key: "v1-{{ checksum \\"key\\" }}", paths: [kept]}
      - run: echo << pipeline.parameters.greeting >> $CIRCLE_BRANCH $PLAIN $SECRET; cat new; git status --porcelain
      - run: mkdir out; echo shared > out/file
      - persist_to_workspace: {root: ., paths: [out]}
      - store_artifacts: {path: out, destination: result}
  test:
    machine: true
    parallelism: 2
    parameters: {version: {type: string}}
    steps:
      - attach_workspace: {at: .}
      - run: cat out/file; echo version << parameters.version >> node $CIRCLE_NODE_INDEX of $CIRCLE_NODE_TOTAL
  broken:
    machine: true
    steps:
      - run: |
          mkdir results
          echo '<testsuite><testcase name="adds" classname="sums"/><testcase name="halves" classname="sums">\\
          <failure message="2 is not 3"/></testcase></testsuite>' > results/junit.xml
          echo last words; exit 3
      - store_test_results: {path: results}
  only-release: {machine: true, steps: [run: echo released]}
workflows:
  main:
    jobs:
      - build: {context: [deploy, more]}
      - test:
          requires: [build]
          matrix: {parameters: {version: ["1", "2"]}}
  bad:
    jobs:
      - broken
      - only-release: {requires: [broken]}
  release:
    when: {equal: [v9, << pipeline.git.tag >>]}
    jobs: [only-release: {filters: {tags: {only: v9}}}]
"""


def test_a_tree_as_it_is_runs_through_a_workflow_and_caches_stay(tmp_path: Path) -> None:
    tree = tree_in(tmp_path, CHAIN, {"key": "k", "committed": "c"})
    tree.write(
        {
            "new": "not committed\n",
            "secrets": 'export SECRET="under cover"\n',
            "deploy": "OF_CONTEXT=x\n",
            "plain": "PLAIN=hidden\n",
        }
    )
    words = ("main", "--param", "greeting=hi", "--env", "PLAIN=shown", "--env-file", "plain", "--secret-file", "secrets")
    first = tree.run_here(*words, "--context", "deploy=deploy")
    assert first.code == 0, first.out + first.err
    build = first.lines_of("build")
    assert "hi main shown ****" in build and "not committed" in build and "no cache" in build
    assert "under cover" not in first.out
    for version in "12":
        for index in "01":
            said = first.lines_of(f"test-{version}.{index}")
            assert "shared" in said and f"version {version} node {index} of 2" in said
    assert (tree.root / ".rondo/artifacts/build/result/file").read_text() == "shared\n"
    assert "not committed" in "".join(path.read_text() for path in (tree.root / ".rondo/logs/build").iterdir())
    assert tree.git("status", "--porcelain").split() == ["??", "deploy", "??", "new", "??", "plain", "??", "secrets"]
    assert "kept from before" in tree.run_here(*words, "--job", "build").lines_of("build")
    assert "no cache" in tree.run_here(*words, "--job", "build", "--no-cache").lines_of("build")
    assert b"under cover" not in b"".join(
        path.read_bytes() for path in tree.root.rglob("*") if path.is_file() and ".rondo" in path.parts
    )


def test_a_failure_says_where_and_which_tests(tmp_path: Path) -> None:
    tree = tree_in(tmp_path, CHAIN)
    ended = tree.run_here("bad")
    assert ended.code == 1
    assert "only-release | - not run" in ended.out
    summary = ended.out[ended.out.index("only-release | - not run") :]
    assert "last words" in summary and "exited with code 3" in summary
    assert "2 tests, 1 failure" in summary and "sums halves: 2 is not 3" in summary
    assert ".rondo/logs/broken/" in summary


def test_programs_read_what_happens(tmp_path: Path) -> None:
    tree = tree_in(tmp_path, CHAIN, {"key": "1", "new": "here"})
    ended = tree.run_here("--json", "bad")
    assert (ended.code, ended.err) == (1, "")
    events = [json.loads(line) for line in ended.out.splitlines()]
    told = [(event["event"], event.get("step") or event.get("job") or event["workflow"]) for event in events]
    assert told[0] == ("job_started", "broken") and told[1] == ("step_ended", "Spin up environment")
    assert told[-3:] == [("job_ended", "broken"), ("job_ended", "only-release"), ("workflow_ended", "bad")]
    (failed,) = (event for event in events if event["event"] == "step_ended" and event["status"] == "failed")
    assert failed["exit_code"] == 3 and failed["job"] == "broken" and failed["node"] == 0 and failed["seconds"] >= 0
    assert events[-3]["status"] == "failed" and events[-2]["status"] == "not_run" and events[-1]["status"] == "failed"

    ended = tree.run_here("--json", "--job", "build")
    events = [json.loads(line) for line in ended.out.splitlines()]
    (artifact,) = (event for event in events if event["event"] == "artifact")
    assert Path(artifact["path"]).read_text() == "shared\n" and events[-1]["status"] == "success" and ended.code == 0
    assert tree.run_here("--json", "--quiet").code == 2

    tree.write({".circleci/config.yml": "version: 2.1\nworkflows: {main: {jobs: [hold: {type: approval}]}}\n"})
    ended = tree.run_here("--json")
    events = [json.loads(line) for line in ended.out.splitlines()]
    (held,) = (event for event in events if event["event"] == "job_on_hold")
    assert ended.code == 3 and (held["job"], held["status"]) == ("hold", "on_hold")

    tree.write({".circleci/config.yml": "version: 2.1\njobs: 1\n"})
    ended = tree.run_here("--json")
    event = json.loads(ended.out)
    assert (ended.code, event["event"], event["exit_code"]) == (2, "problem", 2) and event["text"] in ended.err


def test_filters_are_played_and_wrong_words_name_what_there_is(tmp_path: Path) -> None:
    tree = tree_in(tmp_path, CHAIN)
    assert tree.run_here("--list", "--tag", "v9").out.split() == ["release", "only-release"]
    listed = tree.run_here("--list").out
    assert "test-1" in listed and "requires build" in listed and "release" not in listed.split("\n")
    wrong = tree.run_here("nightly")
    assert wrong.code == 2 and "there is bad, main" in wrong.err
    assert "there is" in tree.run_here("--job", "tests").err
    assert "there is" in tree.run_here("--job", "build", "--job", "tests").err
    two = tree.run_here("--list", "--job", "only-*", "--job", "test-2", "--job", "build").out
    assert two.split("\n") == ["main", "  build", "  test-2  (2 nodes; requires build)", "bad", "  only-release", ""]
    for words, said in (
        (("--param", "no"), "--param wants NAME=VALUE, not no"),
        (("--context", "deploy"), "--context wants NAME=FILE, not deploy"),
        (("--env", "NOT_SET"), "NOT_SET is not set here"),
        (("--settings", "none.toml"), "there is no settings file none.toml"),
    ):
        ended = tree.run_here(*words)
        assert ended.code == 2 and said in ended.err
    unknown = tree.run_here("--param", "unknown=1")
    assert unknown.code == 2 and "expected: greeting\n" in unknown.err


def test_where_nothing_runs_it_says_so_and_is_no_success(tmp_path: Path) -> None:
    tree = tree_in(tmp_path, CHAIN)
    for words in ((), ("--list",)):
        ended = tree.run_here(*words, "--tag", "v1")
        assert (ended.code, ended.out) == (2, "") and "rondo: nothing runs here: filters" in ended.err
    wrong = tree.run_here("main", "--tag", "v1")
    assert wrong.code == 2 and "under `tags`" in wrong.err and "--branch" not in wrong.err


def test_a_broken_config_is_shown_with_its_line(tmp_path: Path) -> None:
    tree = tree_in(tmp_path, "version: 2.1\njobs:\n  build:\n    machine: true\n    steps:\n      - rum: make\n")
    ended = tree.run_here()
    assert ended.code == 2 and ".circleci/config.yml:6:9" in ended.err and "        ^" in ended.err


def test_from_a_folder_below_with_another_file_and_without_git(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    (plain / "below").mkdir(parents=True)
    (plain / ".circleci").mkdir()
    (plain / ".circleci/config.yml").write_text("version: 2.1\njobs: {}\n")
    (plain / "other.yml").write_text("version: 2.1\njobs: {build: {machine: true, steps: [checkout, run: ls -a]}}\n")
    ended = Tree(plain).run("--executor", "local", "--config", "../other.yml", folder=plain / "below")
    assert ended.code == 0 and "no git repository" in ended.out, ended.out + ended.err
    assert "other.yml" in ended.lines_of("build") and ".rondo" not in ended.lines_of("build")
    assert (plain / ".rondo").is_dir() and not (plain / "below/.rondo").exists()
    missing = Tree(plain).run_here("--config", "none.yml")
    assert missing.code == 2 and "there is no none.yml here" in missing.err
    (plain / "other.yml").write_text("version: 2.1\njobs: 1\n")
    broken = Tree(plain).run("--executor", "local", "--config", "../other.yml", folder=plain / "below")
    assert broken.code == 2 and broken.err.startswith("../other.yml:2:"), broken.err
