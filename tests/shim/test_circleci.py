"""The in-job `circleci` under every shell and awk that jobs have: dash, bash and busybox; mawk, gawk, awk, busybox's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance import shim

# A shell, and what `awk` is in its world; with busybox every program is busybox's.
WORLDS = [("dash", "mawk"), ("bash", "gawk"), ("dash", "original-awk"), ("busybox", "busybox")]
TOOLS = ("cat", "cp", "find", "sort", "stat", "tr", "wc", "xargs", "test", "sleep", "printf", "rm", "mkdir", "date")


@dataclass
class Answer:
    out: str
    err: str
    code: int


class Job:
    """A state folder with the tool in it, and a folder to work in."""

    def __init__(self, root: Path, shell: str, awk: str) -> None:
        self.state, self.work, programs = root / "state", root / "work", root / "programs"
        for folder in (self.state / "bin", self.state / "task", self.work, programs):
            folder.mkdir(parents=True)
        if shell == "busybox":
            for applet in (*TOOLS, "awk", "sh", "ash"):
                (programs / applet).symlink_to(str(shutil.which("busybox")))
            interpreter = f"{programs}/sh"
        else:
            for tool in TOOLS:
                (programs / tool).symlink_to(str(shutil.which(tool)))
            (programs / "awk").symlink_to(str(shutil.which(awk)))
            (programs / "sh").symlink_to(str(shutil.which("dash")))
            interpreter = str(shutil.which(shell))
        self.tool = self.state / "bin" / "circleci"
        self.tool.write_text(f"#!{interpreter}\n{shim.text('circleci.sh')}")
        self.tool.chmod(0o755)
        self.path = f"{self.state / 'bin'}:{programs}"

    def run(self, *words: str, stdin: str | bytes = b"", env: Mapping[str, str] | None = None) -> Answer:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        variables = {"PATH": self.path, "LC_ALL": "C.UTF-8", **(env or {})}
        done = subprocess.run(
            [self.tool, *words], cwd=self.work, env=variables, input=data, capture_output=True, timeout=60, check=False
        )
        return Answer(done.stdout.decode(), done.stderr.decode(), done.returncode)

    def put(self, *names: str, text: str = "") -> None:
        for name in names:
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def learn(self, tests: Sequence[Mapping[str, object]]) -> None:
        """The results of an earlier run, as the appliance delivers them."""
        folder = self.state / "task/circle-test-results"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").write_text(json.dumps({"tests": tests}, separators=(",", ":")))

    def shares(self, total: int, *words: str, stdin: str) -> list[list[str]]:
        """What each of `total` nodes gets."""
        found = []
        for index in range(total):
            env = {"CIRCLE_NODE_INDEX": str(index), "CIRCLE_NODE_TOTAL": str(total)}
            answer = self.run("tests", "split", *words, stdin=stdin, env=env)
            assert answer.code == 0, answer.err
            found.append(answer.out.splitlines())
        return found


@pytest.fixture(params=WORLDS, ids=["-".join(world) for world in WORLDS])
def job(request: pytest.FixtureRequest, tmp_path: Path) -> Job:
    shell, awk = request.param
    for program in (shell, awk):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    return Job(tmp_path, shell, awk)


# --- halt, version, what it does not know


@pytest.mark.parametrize("words", [("step", "halt"), ("task", "halt")])
def test_halt_leaves_a_mark(job: Job, words: tuple[str, str]) -> None:
    answer = job.run(*words)
    assert (answer.code, answer.out, answer.err) == (0, "", "")
    assert (job.state / "halt").exists()


def test_halt_that_cannot_be_marked_says_so(job: Job) -> None:
    (job.state / "halt").mkdir()
    answer = job.run("step", "halt")
    assert answer.code == 1
    assert "cannot write" in answer.err


@pytest.mark.parametrize("words", [("version",), ("--version",)])
def test_version(job: Job, words: tuple[str]) -> None:
    assert "version 1." in job.run(*words).out
    assert job.run(*words, "--short").out.strip().replace(".", "").isdigit()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "oidc", "get", "--claims", "{}"), "cannot ask by"),
        (("run", "oidc", "put"), "one word: get"),
        (("run", "oidc", "get", "--ttl=1 h"), '"1 h" is no duration'),
        (("run", "oidc", "get", "--ttl"), "--ttl needs a value"),
        (("run", "oidc", "get", "--sub", "me"), "unknown flag --sub"),
        (("run", "release", "plan"), "deploy markers"),
        (("testsuite", "run"), "testsuite"),
        (("orb", "publish"), 'unknown command "orb publish"'),
        (("tests", "dance"), "unknown command"),
        (("tests", "split", "--sideways"), "unknown flag --sideways"),
        (("tests", "split", "--split-by=age"), "--split-by takes one of: name filesize timings"),
        (("tests", "split", "--total=0"), "no node 0 of 0"),
        (("tests", "split", "--index=3", "--total=3"), "no node 3 of 3"),
        (("tests", "split", "--index=x"), '"x" is not a number'),
        (("tests", "split", "no/such/file"), "cannot read no/such/file"),
        (("tests", "split", "--index"), "--index needs a value"),
        (("tests", "run"), "needs --command"),
    ],
)
def test_what_it_cannot_do_is_said_and_fails(job: Job, words: tuple[str, ...], said: str) -> None:
    answer = job.run(*words)
    assert answer.code == 1
    assert said in answer.err
    assert answer.out == ""


def test_commands_of_the_tool_of_an_image_go_to_it(job: Job, tmp_path: Path) -> None:
    other = tmp_path / "other bin"
    other.mkdir()
    (other / "circleci").write_text('#!/bin/sh\nprintf "[%s]" "$@"\n')
    (other / "circleci").chmod(0o755)
    answer = job.run("orb", "publish", "a b", "*", env={"PATH": f"{job.path}:{other}"})
    assert (answer.code, answer.out) == (0, "[orb][publish][a b][*]")
    assert job.run("step", "halt", env={"PATH": f"{job.path}:{other}"}).out == ""


# --- glob

FILES = (
    "a.js",
    "b.ts",
    ".hidden.js",
    "src/one.test.js",
    "src/deep/er/two.test.js",
    "src/deep/three.spec.ts",
    "src/with space/four.test.js",
    "src/[id].test.js",
    "src/q'uote\".test.js",
    "src/$(id).test.js",
    "src/-n.test.js",
    "src/a+b(c).test.js",
    "src/{x}.js",
    "lib/x1.py",
    "lib/x2.py",
    "lib/xa.py",
    "lib/ü.py",
)


@pytest.mark.parametrize(
    ("patterns", "wanted"),
    [
        (["*.js"], [".hidden.js", "a.js"]),
        (["./*.ts"], ["./b.ts"]),
        (["nothing/*.js"], []),
        (["no-such-file"], []),
        (["a.js"], ["a.js"]),
        (["src/*.test.js"], [n for n in FILES if n.startswith("src/") and n.count("/") == 1 and n.endswith(".test.js")]),
        (["src/**/*.test.js"], [n for n in FILES if n.endswith(".test.js")]),
        (["**/*.test.js"], [n for n in FILES if n.endswith(".test.js")]),
        (["**"], list(FILES)),
        (["src/deep/**"], ["src/deep/er/two.test.js", "src/deep/three.spec.ts"]),
        (["src/deep/*"], ["src/deep/three.spec.ts"]),
        (["lib/x?.py"], ["lib/x1.py", "lib/x2.py", "lib/xa.py"]),
        (["lib/x[0-9].py"], ["lib/x1.py", "lib/x2.py"]),
        (["lib/x[!0-9].py", "lib/x[^0-9].py"], ["lib/xa.py"]),
        (["lib[!x]xa.py"], []),
        (["lib/{x1,xa}.py"], ["lib/x1.py", "lib/xa.py"]),
        (["{src/deep/*.{spec,test}.{ts,js},lib/x1.py}"], ["lib/x1.py", "src/deep/three.spec.ts"]),
        (["src/\\[id\\]*"], ["src/[id].test.js"]),
        (["src/[[]id*"], ["src/[id].test.js"]),
        (["src/[id].test.js"], ["src/[id].test.js"]),
        (["src/a+b(c)*", "src/$(id)*", "src/-n*"], ["src/$(id).test.js", "src/-n.test.js", "src/a+b(c).test.js"]),
        (["src/with space/*", "src/q'*"], ["src/q'uote\".test.js", "src/with space/four.test.js"]),
        (["src/\\{x\\}.*"], ["src/{x}.js"]),
        (["lib/*.py", "lib/x1.py"], ["lib/x1.py", "lib/x2.py", "lib/xa.py", "lib/ü.py"]),
        (["src/linked/*"], ["src/linked/x1.py", "src/linked/x2.py", "src/linked/xa.py", "src/linked/ü.py"]),
        (["l/*"], ["l/file.js"]),
        (["src/../lib/x1.p*"], ["src/../lib/x1.py"]),
        (["-x*", "a{b", "[z"], []),
    ],
)
def test_glob(job: Job, patterns: list[str], wanted: list[str]) -> None:
    job.put(*FILES)
    (job.work / "src/linked").symlink_to("../lib")
    (job.work / "l").mkdir()
    (job.work / "l/file.js").symlink_to("../a.js")
    (job.work / "l/folder.js").symlink_to("../src")
    extra = ["l/file.js"] if patterns == ["**"] else []
    answer = job.run("tests", "glob", *patterns)
    assert answer.out.splitlines() == sorted([*wanted, *extra], key=str.encode)
    assert (answer.code, answer.err) == (0, "")


def test_glob_below_an_absolute_folder(job: Job) -> None:
    job.put("deep/er/x.js")
    assert job.run("tests", "glob", f"{job.work}/**/*.js").out == f"{job.work}/deep/er/x.js\n"


def test_a_bomb_of_braces_ends(job: Job) -> None:
    answer = job.run("tests", "glob", "{a,b}" * 40)
    assert "4096" in answer.err


# --- split

NAMES = [f"test_{number:03}.py" for number in range(100)]


def union(shares: list[list[str]]) -> list[str]:
    return sorted(name for share in shares for name in share)


def test_by_name_goes_round_and_order_does_not_matter(job: Job) -> None:
    shares = job.shares(3, stdin="\n".join(NAMES))
    assert shares == [NAMES[index::3] for index in range(3)]
    assert job.shares(3, stdin=" ".join(reversed(NAMES))) == shares
    assert job.shares(3, stdin="\r\n".join(NAMES) + "\r\n") == shares


@pytest.mark.parametrize("by", ["name", "filesize", "timings"])
@pytest.mark.parametrize("total", [1, 7, 150])
def test_every_name_comes_to_exactly_one_node(job: Job, by: str, total: int) -> None:
    names = NAMES[:40]
    job.learn([{"file": name, "run_time": number % 9} for number, name in enumerate(names[::2])])
    indices = range(total) if total < 10 else (0, 1, 39, 40, 149)
    shares = []
    for index in indices:
        words = ("--split-by", by, "--index", str(index), f"--total={total}")
        shares.append(job.run("tests", "split", *words, stdin="\n".join(names)).out.splitlines())
    if total < 10:
        assert union(shares) == names
    else:
        assert [len(share) for share in shares] == [1, 1, 1, 0, 0]


def test_names_from_a_file_and_doubles_and_blanks(job: Job) -> None:
    job.put("with space/a.js", "x.js")
    job.put("list", text="with space/a.js\n\n  x.js   y.js\nx.js\n")
    assert union(job.shares(2, "list", stdin="")) == ["with space/a.js", "x.js", "x.js", "y.js"]


def test_nothing_in_nothing_out(job: Job) -> None:
    answer = job.run("tests", "split", "--show-counts")
    assert (answer.out, answer.code) == ("", 0)
    assert "Read 0 tests" in answer.err


def test_hostile_names_are_only_text(job: Job) -> None:
    names = ["$(touch hurt)", "`touch hurt`", "-n", "--help", "a'b", 'a"b', "a\\b", "*", "%s", "ü"]
    lines = [name.replace(" ", "_") for name in names]
    for by in ("name", "filesize", "timings"):
        assert union(job.shares(2, f"--split-by={by}", stdin="\n".join(lines))) == sorted(lines)
    assert not (job.work / "hurt").exists()


def test_by_filesize(job: Job) -> None:
    for name, size in (("big", 900), ("b", 500), ("c", 400), ("d e", 10)):
        job.put(name, text="x" * size)
    shares = job.shares(2, "--split-by=filesize", stdin="big\nb\nc\nd e\ngone\n")
    assert shares == [["big", "d e"], ["b", "c", "gone"]]


def test_by_timings_of_files(job: Job) -> None:
    job.learn(
        [
            {"name": "x", "classname": "C", "file": "./slow.js", "run_time": 6, "result": "success"},
            {"name": "y", "classname": "C", "file": "slow.js", "run_time": 4.5},
            {"name": "z", "classname": "D", "file": f"{job.work}/mid.js", "run_time": 7},
            {"name": "z", "classname": "D", "file": "fast.js", "run_time": 3},
        ]
    )
    shares = job.shares(2, "--split-by=timings", stdin="fast.js\n./mid.js\nslow.js\n")
    assert shares == [["slow.js"], ["./mid.js", "fast.js"]]


@pytest.mark.parametrize("kind", ["autodetect", "classname"])
def test_by_timings_of_classes(job: Job, kind: str) -> None:
    job.learn([{"classname": f"C{n}", "file": "same.py", "name": "t", "run_time": n} for n in (1, 2, 3)])
    shares = job.shares(2, "--split-by=timings", f"--timings-type={kind}", stdin="C1\nC2\nC3")
    assert shares == [["C3"], ["C2", "C1"]]


@pytest.mark.parametrize("kind", ["testname", "name"])
def test_by_timings_of_test_names(job: Job, kind: str) -> None:
    job.learn([{"classname": "C", "name": f"t{n}", "run_time": n} for n in (1, 2, 3)])
    assert job.shares(2, "--split-by=timings", f"--timings-type={kind}", stdin="t1 t2 t3") == [["t3"], ["t2", "t1"]]


def test_results_full_of_tricks(job: Job) -> None:
    job.put("t.json", text="")
    tests = [
        {"name": 'says "file": "fast.js" }, {', "classname": "back\\", "file": 'we"ird}\\.js', "run_time": 9},
        {"file": None, "name": "file", "run_time": "no", "tags": {"a": [1, "}"]}},
        {"classname": "ünï{}", "file": "fast.js", "run_time": 1e0},
        {"file": "neg.js", "run_time": -5},
    ]
    for text in (json.dumps(tests), json.dumps({"tests": tests}, indent=2), json.dumps(tests, ensure_ascii=False)):
        job.put("t.json", text=text)
        words = ("--split-by=timings", "--timings-file=t.json")
        assert job.shares(2, *words, stdin='we"ird}\\.js\nfast.js\nneg.js') == [['we"ird}\\.js'], ["fast.js", "neg.js"]]
        assert "No timing" not in job.run("tests", "split", *words, "--timings-type=classname", stdin="ünï{}\nback\\").err


@pytest.mark.parametrize("text", [None, "", "{}", "[]", "nonsense", '{"file": "x', "\0\1\2"])
def test_without_timings_it_falls_back_to_names(job: Job, text: str | None) -> None:
    if text is not None:
        job.put("t.json", text=text)
    answer = job.run("tests", "split", "--split-by=timings", "--timings-file=t.json", "--total=2", stdin="c\na\nb")
    assert answer.out.splitlines() == ["a", "c"]
    assert "Error auto-detecting timing type, falling back to weighting by name." in answer.err
    assert answer.code == 0


@pytest.mark.parametrize(
    ("default", "wanted"),
    [("0s", [["slow"], ["mid", "new"]]), ("1m", [["new"], ["slow", "mid"]]), ("9500ms", [["slow"], ["new", "mid"]])],
)
def test_unknown_tests_weigh_the_default(job: Job, default: str, wanted: list[list[str]]) -> None:
    job.learn([{"file": "slow", "run_time": 10}, {"file": "mid", "run_time": 5}])
    words = ("--split-by=timings", f"--time-default={default}")
    assert job.shares(2, *words, stdin="slow mid new") == wanted
    assert 'No timing found for "new"' in job.run("tests", "split", *words, stdin="slow mid new").err


def test_counts(job: Job) -> None:
    answer = job.run("tests", "split", "--show-counts", "--index=1", "--total=3", stdin="a b c d")
    assert answer.out == "b\n"
    assert answer.err == "Read 4 tests, 1 of them for node 1 of 3\n"


@pytest.mark.parametrize("by", ["name", "filesize", "timings"])
def test_ten_thousand_files_are_shared_out(job: Job, by: str) -> None:
    names = [f"src/some/package_{number % 100}/test_module_{number}.py" for number in range(10_000)]
    if by == "filesize":
        job.put(*names)
    job.learn(
        [
            {"name": f"t{n}", "classname": f"a.b.C{n}", "file": name, "result": "success", "run_time": n % 77}
            for n, name in enumerate(names)
        ]
    )
    answer = job.run("tests", "split", f"--split-by={by}", "--total=16", "--index=5", stdin="\n".join(names))
    assert len(answer.out.splitlines()) in range(500, 750), answer.err
    assert answer.err == ""


# --- run


def test_run_hands_the_tests_over_on_one_line(job: Job) -> None:
    env = {"CIRCLE_NODE_INDEX": "1", "CIRCLE_NODE_TOTAL": "2"}
    answer = job.run("tests", "run", "--command=cat; echo \"$0 '*'\"; exit 7", stdin="a b c\nd", env=env)
    assert answer.out.splitlines()[0] == "b d"
    assert "'*'" in answer.out
    assert answer.code == 7


def test_run_is_verbose_when_asked(job: Job) -> None:
    answer = job.run("tests", "run", "--command", "xargs printf '<%s>'", "-v", "--split-by=name", stdin="a b c")
    assert answer.out == "<a><b><c>"
    assert "3 tests for node 0 of 1: a b c" in answer.err


def test_run_without_tests_runs_nothing(job: Job) -> None:
    answer = job.run("tests", "run", "--command=echo ran", "--index=1", "--total=2", stdin="only")
    assert (answer.out, answer.code) == ("", 0)
    assert "No tests" in answer.err


# --- env subst


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a $X ${X} $Y ${Y}b", "a one * $(id) one * $(id)  b"),
        ("$ $$X ${X $1 ${1} \\$X $X_", "$ $one * $(id) ${X $1 ${1} \\one * $(id) "),
        ("no newline", "no newline"),
        ("two\nlines $X\n", "two\nlines one * $(id)\n"),
        ("", ""),
        ("\n", "\n"),
        ("$LC_ALL", "C.UTF-8"),
        ("ü$Z", "ü{'q': \"\\n\"}"),
    ],
)
def test_env_subst(job: Job, text: str, wanted: str) -> None:
    env = {"X": "one * $(id)", "Z": "{'q': \"\\n\"}"}
    assert job.run("env", "subst", stdin=text, env=env).out == wanted
    if text:
        assert job.run("env", "subst", text, env=env).out == wanted + "\n"


def test_a_rerun_of_failed_tests_keeps_their_files_and_classes_and_then_splits(job: Job) -> None:
    folder = job.state / "task/circle-test-results"
    folder.mkdir(parents=True)
    (folder / "failed").write_text(f"b.py\n./e.py\n{job.work}/sub/c d.py\nTests.Third\nnot here\n")
    job.put("sub/c d.py")
    names = "a.py\n./b.py\nsub/c d.py\ne.py\nTests.Third\nTests.Fourth\n"
    found = []
    for index in range(2):
        env = {"CIRCLE_NODE_INDEX": str(index), "CIRCLE_NODE_TOTAL": "2"}
        answer = job.run("tests", "run", "--command=cat", stdin=names, env=env)
        assert answer.code == 0 and "Rerun of failed tests: 4 of 6" in answer.err
        found.append(answer.out)
    assert found == ["./b.py e.py\n", "Tests.Third sub/c d.py\n"]
    assert job.run("tests", "split", stdin=names).out.count("\n") == 6, "only tests run knows of reruns"


def test_a_rerun_of_failed_tests_of_which_nothing_is_known_runs_all(job: Job) -> None:
    folder = job.state / "task/circle-test-results"
    folder.mkdir(parents=True)
    (folder / "failed").write_text("elsewhere.py\n")
    answer = job.run("tests", "run", "--command=cat", stdin="a b")
    assert (answer.out, answer.code) == ("a b\n", 0)
    assert "all are run" in answer.err


# --- run oidc


class Appliance(threading.Thread):
    """Who reads the questions: answers the `heed`th and all later ones."""

    def __init__(self, job: Job, answer: str, heed: int = 1) -> None:
        super().__init__(daemon=True)
        self.asked: list[str] = []
        self._state, self._answer, self._heed = job.state, answer, heed
        os.mkfifo(job.state / "questions")
        self._asks = os.open(job.state / "questions", os.O_RDWR)
        (job.state / "task/answers").mkdir()

    def run(self) -> None:
        with os.fdopen(self._asks) as asks:
            for line in asks:
                name, _, text = line.rstrip("\n").partition(" ")
                self.asked.append(text)
                if len(self.asked) >= self._heed:
                    written = self._state / "task/answers" / f"{name}.new"
                    written.write_text(f"{self._answer}\n")
                    written.rename(written.with_suffix(""))


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ((), "oidc 0 - {}"),
        (("--claims", '{"aud": "x y"}'), 'oidc 0 - {"aud": "x y"}'),
        (('--claims={"aud":\n"\u00e9\\n"}', "--ttl=30m", "--root-issuer"), 'oidc 1 30m {"aud": "\u00e9\\n"}'),
        (("--ttl", "1h30m", "--root-issuer=false"), "oidc 0 1h30m {}"),
    ],
)
def test_a_token_is_asked_for_and_printed(job: Job, words: tuple[str, ...], asked: str) -> None:
    appliance = Appliance(job, "ok head.body.sign")
    appliance.start()
    answer = job.run("run", "oidc", "get", *words)
    assert (answer.code, answer.out, answer.err) == (0, "head.body.sign\n", "")
    assert appliance.asked == [asked]
    assert list((job.state / "task/answers").iterdir()) == []


def test_a_question_is_asked_again_until_somebody_answers(job: Job) -> None:
    appliance = Appliance(job, "ok token", heed=2)
    appliance.start()
    assert job.run("run", "oidc", "get").out == "token\n"
    assert appliance.asked == ["oidc 0 - {}"] * 2


def test_a_refusal_is_told(job: Job) -> None:
    Appliance(job, "no it is a fork's").start()
    answer = job.run("run", "oidc", "get")
    assert (answer.code, answer.out, answer.err) == (1, "", "circleci: it is a fork's\n")


def test_a_question_too_long_to_be_written_at_once_is_refused(job: Job) -> None:
    appliance = Appliance(job, "ok token")
    appliance.start()
    answer = job.run("run", "oidc", "get", "--claims", json.dumps({"aud": "\u00e9" * 1000}, ensure_ascii=False))
    assert answer.code == 1 and "more than 2000 bytes" in answer.err and appliance.asked == []
