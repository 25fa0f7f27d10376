"""What is pushed under chaos: configs whose every step tells a stream that is known beforehand, byte for byte.

A step that talks prints numbered lines and notes beside its job that it began: on this host in a file that all jobs
share, in a container in one of its own, which the job's last step prints. So a step that ran twice, and a byte that is
lost or doubled, show in the end, whoever was killed on the way.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

SECRET = "correct-horse-battery"
NOTES = "/tmp/notes"  # of a container


@dataclass(frozen=True, kw_only=True)
class Talk:
    """A `run` step: `lines` lines, a pause after every `every`, then its exit code."""

    name: str
    lines: int = 0
    every: int = 1 << 30
    pause_s: float = 0.0
    has_secret: bool = False
    code: int = 0
    fails_first: int = 0  # so many attempts fail with 1 before the last one
    is_background: bool = False
    when: str = "on_success"

    def step(self, notes: str) -> dict[str, Any]:
        script = f'echo "$CIRCLE_WORKFLOW_JOB_ID $CIRCLE_NODE_INDEX {self.name}" >> {notes}\n'
        if self.lines and self.every > self.lines:
            script += f'seq 1 {self.lines} | sed "s/^/{self.name} $CIRCLE_NODE_INDEX /"\n'
        elif self.lines:
            script += f'i=0\nwhile [ $i -lt {self.lines} ]; do i=$((i + 1)); echo "{self.name} $CIRCLE_NODE_INDEX $i"\n'
            script += f"[ $((i % {self.every})) != 0 ] || sleep {self.pause_s}\ndone\n"
        elif self.pause_s:
            script += f"sleep {self.pause_s}\n"
        if self.has_secret:
            script += f"printf '{SECRET[:8]}'; sleep 0.1; echo '{SECRET[8:]}'\n"
        if self.fails_first:
            script += f'echo x >> tries; [ "$(wc -l < tries)" -gt {self.fails_first} ] || exit 1\n'
        if self.is_background:
            script += "while true; do sleep 0.5; done\n"
        script += f"exit {self.code}\n" if self.code else ""
        again = {"max_auto_reruns": self.fails_first, "auto_rerun_delay": "1s"} if self.fails_first else {}
        background = {"background": True} if self.is_background else {}
        return {"run": {"name": self.name, "command": script, "when": self.when, **again, **background}}

    def told(self, index: int) -> str:
        """What one attempt prints on node `index`, as it stands in the log."""
        text = "".join(f"{self.name} {index} {number}\n" for number in range(1, self.lines + 1))
        return text + ("****\n" if self.has_secret else "")

    def log(self, index: int) -> str:
        """The whole log of the step, once it has ended by itself."""
        text = ""
        for attempt in range(2, self.fails_first + 2):
            text += f"{self.told(index)}\nexited with code 1\nAttempt {attempt} of {self.fails_first + 1}\n"
        text += self.told(index)
        return text + (f"\nexited with code {self.code}\n" if self.code else "")

    @property
    def runs(self) -> int:
        return self.fails_first + 1


TALKS = {
    talk.name: talk
    for talk in (
        Talk(name="beside", is_background=True),
        Talk(name="count", lines=60, every=12, pause_s=0.15, has_secret=True),
        Talk(name="silent", pause_s=0.7),
        Talk(name="flood", lines=30_000),
        Talk(name="drops", lines=40, every=2, pause_s=0.1),
        Talk(name="fails", lines=3, every=1, pause_s=0.1, code=7),
        Talk(name="short", lines=1),
        Talk(name="quick", lines=5),
        Talk(name="flaky", lines=4, every=2, pause_s=0.1, fails_first=2),
    )
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """One push: its text, and the end that it comes to when nobody steps in."""

    kind: str
    text: str
    ends: Mapping[str, Mapping[str, str]]  # of each workflow: the statuses of its jobs
    workflows: Mapping[str, str]
    times: int = 1  # how often each workflow runs, by automatic reruns
    may_cancel: bool = True
    shows: Mapping[str, str] = field(default_factory=dict)  # steps that do not talk: their logs
    artifacts: Mapping[str, int] = field(default_factory=dict)  # of each job: how many there must be


@dataclass(frozen=True)
class Maker:
    """Makes configs by chance. `witness` is a folder of this host that local jobs write to."""

    witness: Path
    image: str
    helper: str  # the image of services
    pool_class: str = ""  # of machines that are reached over SSH, where there are some

    def make(self, chance: random.Random, kinds: Sequence[str] = ()) -> Config:
        kind = chance.choice(kinds or ALL_KINDS)
        is_docker = kind == "services" or (kind not in ("serial",) and bool(self.image) and chance.random() < 0.5)
        is_on_pool = bool(self.pool_class) and chance.random() < 0.5  # where it is not in containers
        maker = self if is_on_pool else replace(self, pool_class="")
        made: Config = getattr(maker, f"_{kind}")(is_docker)
        return made

    def job(self, is_docker: bool, *steps: str | dict[str, Any], **keys: Any) -> dict[str, Any]:
        """A job of talks by name and other steps; one in a container shows its notes in the end."""
        notes = NOTES if is_docker else str(self.witness / "notes")
        plain = [TALKS[step].step(notes) if isinstance(step, str) else step for step in steps]
        if not is_docker:
            where = {"resource_class": self.pool_class} if self.pool_class else {}
            return {"machine": True, "steps": plain, **where, **keys}
        plain.append({"run": {"name": "notes", "when": "always", "command": f"cut -d' ' -f3 {NOTES}"}})
        return {"docker": [{"image": self.image}], "resource_class": "small", "steps": plain, **keys}

    def _talk(self, is_docker: bool) -> Config:
        talk = self.job(is_docker, "beside", "count", "silent", "flood", "fails", parallelism=2)
        after = self.job(is_docker, "short")
        return config(
            "talk",
            {"talk": talk, "after": after, "never": after},
            {"talk": ["talk", {"after": {"requires": [{"talk": "failed"}]}}, {"never": {"requires": ["talk"]}}]},
            {"talk": {"talk": "failed", "after": "success", "never": "not_run"}},
            {"talk": "failed"},
        )

    def _data(self, is_docker: bool) -> Config:
        fill = "mkdir -p out && seq 1 2000 > out/made-$CIRCLE_NODE_INDEX && seq 1 9 > out/b"
        save = {"run": {"name": "fill", "command": fill}}
        make = self.job(
            is_docker,
            "quick",
            save,
            {"persist_to_workspace": {"root": "out", "paths": ["made-*"]}},
            {"save_cache": {"key": "c-{{ .Revision }}", "paths": ["out"]}},
            {"store_artifacts": {"path": "out"}},
            parallelism=2,
        )
        read = {"run": {"name": "read", "command": "cat in/made-0 in/made-1"}}
        use = self.job(is_docker, {"attach_workspace": {"at": "in"}}, read, "short")
        return config(
            "data",
            {"make": make, "use": use},
            {"data": ["make", {"use": {"requires": ["make"]}}]},
            {"data": {"make": "success", "use": "success"}},
            {"data": "success"},
            shows={"read": "".join(f"{n}\n" for n in range(1, 2001)) * 2},
            artifacts={"make": 4},
        )

    def _hold(self, is_docker: bool) -> Config:
        jobs = {"first": self.job(is_docker, "quick"), "last": self.job(is_docker, "drops")}
        graph = ["first", {"ask": {"type": "approval", "requires": ["first"]}}, {"last": {"requires": ["ask"]}}]
        ends = {"first": "success", "ask": "success", "last": "success"}
        return config("hold", jobs, {"hold": graph}, {"hold": ends}, {"hold": "success"})

    def _fan(self, is_docker: bool) -> Config:
        jobs = {
            "root": self.job(is_docker, "short"),
            "leaf": self.job(is_docker, "quick"),
            "join": self.job(is_docker, "short"),
        }
        leaves = [{"leaf": {"name": f"leaf-{n}", "requires": ["root"]}} for n in range(4)]
        names = [f"leaf-{n}" for n in range(4)]
        graph = ["root", *leaves, {"join": {"requires": names}}]
        ends = dict.fromkeys(("root", *names, "join"), "success")
        return config("fan", jobs, {"fan": graph}, {"fan": ends}, {"fan": "success"})

    def _retry(self, is_docker: bool) -> Config:
        jobs = {"flaky": self.job(is_docker, "flaky", "short")}
        return config("retry", jobs, {"retry": ["flaky"]}, {"retry": {"flaky": "success"}}, {"retry": "success"})

    def _again(self, is_docker: bool) -> Config:
        jobs = {"works": self.job(is_docker, "short"), "broken": self.job(is_docker, "fails")}
        document = {"max_auto_reruns": 1, "jobs": ["works", {"broken": {"requires": ["works"]}}]}
        ends = {"works": "success", "broken": "failed"}
        return config("again", jobs, {"again": document}, {"again": ends}, {"again": "failed"}, times=2, may_cancel=False)

    def _serial(self, is_docker: bool) -> Config:
        """`mkdir` fails where another one is inside; a cancel would leave the folder, so there is none."""
        busy = self.witness / "busy"
        alone = {"run": {"name": "alone", "command": f"mkdir {busy}; sleep 0.4; rmdir {busy}"}}
        jobs = {"deploy": self.job(is_docker, "short", alone)}
        graphs = {name: [{"deploy": {"serial-group": "chaos/deploy"}}] for name in ("east", "west")}
        done = {"deploy": "success", "deploy/lock": "success", "deploy/unlock": "success"}
        ends = {"east": done, "west": done}
        return config("serial", jobs, graphs, ends, dict.fromkeys(graphs, "success"), may_cancel=False, shows={"alone": ""})

    def _services(self, is_docker: bool) -> Config:
        command = "i=0; while true; do i=$((i + 1)); echo serving $i; sleep 0.1; done"
        job = self.job(True, "drops", "silent")
        job["docker"] += [{"image": self.helper, "entrypoint": ["sh", "-c"], "command": [command]}]
        return config("services", {"use": job}, {"use": ["use"]}, {"use": {"use": "success"}}, {"use": "success"})

    def _setup(self, is_docker: bool) -> Config:
        second = config("second", {"greet": self.job(is_docker, "quick")}, {"second": ["greet"]}, {}, {})
        body = json.dumps({"continuation-key": "KEY", "configuration": second.text})
        ask = (
            f"cat > body <<'END'\n{body}\nEND\n"
            'sed -i "s/KEY/$CIRCLE_CONTINUATION_KEY/" body\n'
            "[ \"$(curl -s --retry 5 -o /dev/null -w '%{http_code}' -d @body"
            ' https://circleci.com/api/v2/pipeline/continue)" = 200 ]\n'
        ).replace("<<", "\\<<")
        jobs = {"generate": self.job(is_docker, "short", {"run": {"name": "ask", "command": ask}})}
        return config(
            "setup",
            jobs,
            {"setup": ["generate"]},
            {"setup": {"generate": "success"}, "second": {"greet": "success"}},
            {"setup": "success", "second": "success"},
            may_cancel=False,
            is_setup=True,
        )


ALL_KINDS = ("talk", "talk", "data", "data", "hold", "fan", "retry", "again", "serial", "services", "setup")
ON_THIS_HOST_ALONE = tuple(kind for kind in ALL_KINDS if kind != "services")


def config(
    kind: str,
    jobs: Mapping[str, Any],
    graphs: Mapping[str, Any],
    ends: Mapping[str, Mapping[str, str]],
    workflows: Mapping[str, str],
    *,
    is_setup: bool = False,
    **more: Any,
) -> Config:
    """JSON is YAML. `graphs`: of each workflow its jobs, or the whole of it."""
    whole = {name: graph if isinstance(graph, dict) else {"jobs": graph} for name, graph in graphs.items()}
    setup = {"setup": True} if is_setup else {}
    text = json.dumps({"version": 2.1, **setup, "jobs": jobs, "workflows": whole}, indent=1)
    return Config(kind=kind, text=text, ends=ends, workflows=workflows, **more)
