"""What must hold when everything is over: from the rows, the logs, the witnesses, the engine and the files."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.chaos.configs import TALKS, Config, Talk
from tests.chaos.world import World
from tests.engine_fixture import request_json

_PAUSES = re.compile(r"(\nAttempt \d of \d), in \d+ seconds?(?=\n)")  # a restart may come when it is over
_STRUCK = {"engine": "docker", "machine": "machine:"}  # executors
_SILENCES = re.compile(r"\n?machine \w+ (?:has not answered for [^\n]*|does not answer [^\n]*|answers again)\n")
_OURS = re.compile(r"(?:\A|\n)[^\n]+\n\Z")  # words of Rondo behind what a step told before it was stopped


@dataclass
class Report:
    """What was looked at, and what is wrong."""

    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def wrong(self, text: str) -> None:
        self.violations.append(text)


def check(world: World, report: Report) -> None:
    """Everything but what the end of the process leaves; the appliance may run."""
    report.violations += [f"the appliance ended by itself: ...{said}" for said in world.story.deaths]
    _check_pipelines(world, report)
    for revision, (project, config) in world.story.pushed.items():
        _check_workflows(world, report, revision, f"{project} {config.kind} {revision[:8]}", config)
    _check_steps(world, report)
    _check_witness(world, report)
    _check_letters(world, report)


def _check_pipelines(world: World, report: Report) -> None:
    """None lost, none doubled, none that nobody pushed."""
    found: dict[str, list[str]] = defaultdict(list)
    scheduled = 0
    for row in world.rows(
        "SELECT json_extract(event, '$.revision') AS revision, json_extract(event, '$.kind') AS kind, state FROM pipelines"
    ):
        if row["kind"] == "scheduled_pipeline":
            scheduled += 1
            if row["revision"] not in world.story.pushed or row["state"] not in ("created", "setup"):
                report.wrong(f"a schedule's pipeline of {row['revision'][:8]} is {row['state']}")
        else:
            found[row["revision"]].append(row["state"])
    report.counts["pipelines"] = sum(map(len, found.values()))
    report.counts["pipelines that schedules began"] = scheduled
    _check_schedules(world, report)
    for revision in world.story.pushed.keys() | found.keys():
        if revision not in world.story.pushed:
            report.wrong(f"a pipeline that nobody pushed: {revision}")
        elif found.get(revision, []) not in (["created"], ["setup"]):  # a setup job that was lost; its workflow tells
            report.wrong(f"push {revision[:8]} of {world.story.pushed[revision][0]}: pipelines {found.get(revision)}")


def _check_schedules(world: World, report: Report) -> None:
    """A slot begins one pipeline, however often the clock has passed it; and none is forgotten."""
    slots = Counter(
        row["slot"]
        for row in world.rows(
            "SELECT pipelines.project_id || json_extract(event, '$.semantic_key') AS slot FROM pipelines"
            " WHERE json_extract(event, '$.kind') = 'scheduled_pipeline'"
        )
    )
    report.violations += [f"a schedule fired {count} times: {slot}" for slot, count in slots.items() if count > 1]
    for row in world.rows("SELECT * FROM schedules"):
        if row["due_at_ms"] is None or row["due_at_ms"] < world.now_ms() - 30_000:
            report.wrong(f"a schedule is due since {row['due_at_ms']}, and it is {world.now_ms()}: {row['result']}")


def _check_workflows(world: World, report: Report, revision: str, name: str, config: Config) -> None:
    rows = world.rows(
        "SELECT workflows.* FROM workflows JOIN pipelines ON pipelines.id = pipeline_id"
        " WHERE json_extract(pipelines.event, '$.revision') = :revision",
        {"revision": revision},
    )
    report.counts["workflows"] += len(rows)
    is_touched = False
    for row in rows:
        jobs = world.rows("SELECT * FROM jobs WHERE workflow_id = :id", {"id": row["id"]})
        report.counts["jobs"] += len(jobs)
        statuses = {job["name"]: job["status"] for job in jobs}
        touched = {why for job in jobs for why in _excuses(world, job)}
        is_touched |= bool(touched)
        if row["stopped_at_ms"] is None or any(job["stopped_at_ms"] is None and job["number"] for job in jobs):
            report.wrong(f"{name}: workflow {row['name']} is not over: {row['status']}, {statuses}")
        elif row["canceled_by"] is not None:
            report.counts["workflows canceled"] += 1
            if row["status"] != "canceled":
                report.wrong(f"{name}: canceled, and yet {row['status']}: {statuses}")
        elif (row["status"], statuses) == (config.workflows.get(row["name"]), config.ends.get(row["name"])):
            report.counts["workflows that ended as their config says"] += 1
        elif touched:
            report.counts[f"workflows that lost a job to {' and '.join(sorted(touched))}"] += 1
        else:
            why = {job["name"]: job["message"] for job in jobs if job["message"]}
            report.wrong(f"{name}: workflow {row['name']} ended {row['status']}: {statuses} {why}")
        _check_artifacts(world, report, name, config, jobs)
    names = Counter(row["name"] for row in rows)
    started = {row["name"] for row in rows if row["status"] == "canceled"} or is_touched
    for wanted in config.ends:
        if names[wanted] < config.times and not started:
            report.wrong(f"{name}: workflow {wanted} ran {names[wanted]} times, not {config.times}")


def _excuses(world: World, job: Any) -> set[str]:
    """What fell on a job that ended badly while it fell; a disk without room or a dead engine may end a job."""
    if job["status"] not in ("infrastructure_fail", "failed"):
        return set()
    nodes = world.rows("SELECT * FROM nodes WHERE job_id = :id", {"id": job["id"]})
    found = set()
    for what, touched in world.story.touched.items():
        for node in nodes:
            fits = node["status"] == "infrastructure_fail" or what == "disk"
            on_it = node["executor"].startswith(_STRUCK.get(what, ""))
            if fits and on_it and (node["job_id"], node["idx"]) in touched:
                found.add(what)
    is_meant = any(TALKS[s["name"]].code for s in _steps(world, job["id"]) if s["name"] in TALKS and s["status"] == "failed")
    return set() if is_meant and job["status"] == "failed" else found


def _steps(world: World, job_id: str) -> list[Any]:
    return world.rows("SELECT * FROM steps WHERE job_id = :id", {"id": job_id})


def _check_artifacts(world: World, report: Report, name: str, config: Config, jobs: list[Any]) -> None:
    for job in jobs:
        if job["name"] in config.artifacts and job["status"] == "success" and job["number"] is not None:
            count = world.rows("SELECT count(*) AS n FROM artifacts WHERE job_id = :id", {"id": job["id"]})[0]["n"]
            copied = world.rows("SELECT 1 FROM nodes WHERE job_id = :id", {"id": job["id"]})
            if copied and count != config.artifacts[job["name"]]:
                report.wrong(f"{name}: {job['name']} kept {count} artifacts")


def _check_steps(world: World, report: Report) -> None:
    """Each log byte for byte; of a step that was stopped, what it told until then."""
    shows = {step: text for _, config in world.story.pushed.values() for step, text in config.shows.items()}
    for row in world.rows(
        "SELECT steps.*, jobs.number, logs_removed_at_ms, executor, lost_on FROM steps JOIN jobs ON jobs.id = job_id"
        " JOIN nodes USING (job_id, idx)"
    ):
        path = (
            world.place.data / "blobs/logs" / row["job_id"][:2] / row["job_id"] / str(row["idx"]) / f"{row['position']}.log"
        )
        text = path.read_text("utf-8") if path.exists() else ""
        where = f"job {row['number']}.{row['idx']} step {row['position']} {row['name']!r} ({row['status']})"
        report.counts["steps"] += 1
        if row["logs_removed_at_ms"] is not None:
            report.counts["steps whose logs were too many and are gone"] += 1
            if path.exists():
                report.wrong(f"{where}: its log was removed, and is there")
            continue
        report.counts["log bytes"] += len(text)
        text = (
            _SILENCES.sub("", _PAUSES.sub(r"\1", text))
            if row["executor"].startswith("machine:")
            else _PAUSES.sub(r"\1", text)
        )
        talk = TALKS.get(row["name"])
        if row["status"] in ("running", "waiting"):
            report.wrong(f"{where}: is not over")
        elif row["kind"] == "service":
            _check_service(report, where, text)
        elif talk is not None and row["status"] != "skipped":
            _check_told(report, where, text, talk.log(row["idx"]), row["status"], talk)
        elif row["name"] in shows and row["status"] == "success" and text != shows[row["name"]]:
            report.wrong(f"{where}: its log is not what was written: {_difference(text, shows[row['name']])}")
        elif row["name"] == "notes" and row["status"] == "success":
            _check_notes(world, report, row, where, text)


def _check_told(report: Report, where: str, text: str, wanted: str, status: str, talk: Talk) -> None:
    report.counts["log bytes compared"] += len(text)
    if text == wanted:
        return
    if status == "success" or (status == "failed" and talk.code):
        if not talk.is_background:
            report.wrong(f"{where}: {_difference(text, wanted)}")
        return
    bare = _OURS.sub("", text) if not wanted.startswith(text) else text
    if not any(wanted.startswith(one) for one in (text, bare, bare.removesuffix("correct-"), text.removesuffix("correct-"))):
        report.wrong(f"{where}: {_difference(bare, wanted)}")


def _difference(text: str, wanted: str) -> str:
    differ = (at for at, (one, other) in enumerate(zip(text, wanted, strict=False)) if one != other)
    at = next(differ, min(len(text), len(wanted)))
    return f"{len(text)} bytes for {len(wanted)}; from byte {at}: {text[at : at + 60]!r}, not {wanted[at : at + 60]!r}"


def _check_service(report: Report, where: str, text: str) -> None:
    lines = [line for line in text.split("\n")[:-1] if line.startswith("serving ")]
    report.counts["log bytes compared"] += len(text)
    if lines != [f"serving {number}" for number in range(1, len(lines) + 1)]:
        report.wrong(f"{where}: the service's lines are not one after the other")


def _check_notes(world: World, report: Report, row: Any, where: str, text: str) -> None:
    """In a container: each talk began as often as it should have."""
    steps = [step for step in _steps(world, row["job_id"]) if step["idx"] == row["idx"]]
    wanted = Counter(
        {
            step["name"]: TALKS[step["name"]].runs
            for step in steps
            if step["name"] in TALKS and step["status"] != "skipped" and not TALKS[step["name"]].is_background
        }
    )
    found = Counter(text.split())
    report.counts["step runs witnessed"] += sum(found.values())
    beside = {name for name in found if TALKS[name].is_background}
    if Counter({name: count for name, count in found.items() if name not in beside}) != wanted:
        report.wrong(f"{where}: its steps began {dict(found)} times, not {dict(wanted)}")
    if any(found[name] != 1 for name in beside):
        report.wrong(f"{where}: its background steps began {dict(found)} times")


def _check_witness(world: World, report: Report) -> None:
    """On this host: no step began more often than it should have."""
    notes = world.scratch / "witness" / "notes"
    found = Counter(notes.read_text().splitlines()) if notes.exists() else Counter()
    report.counts["step runs witnessed"] += sum(found.values())
    attempts = {f"{row['job_id']} {row['idx']}": row["attempt"] for row in world.rows("SELECT * FROM nodes")}
    report.counts["nodes that were lost and started again"] = sum(count > 1 for count in attempts.values())
    for line, count in found.items():
        node, _, name = line.rpartition(" ")
        if count > TALKS[name].runs * attempts.get(node, 1):
            report.wrong(f"a step ran {count} times, not {TALKS[name].runs}: {line}")
    for row in world.rows(
        "SELECT steps.*, nodes.executor FROM steps JOIN nodes ON nodes.job_id = steps.job_id AND nodes.idx = steps.idx"
        " WHERE nodes.executor != 'docker' AND nodes.attempt = 1 AND steps.status = 'success'"
    ):
        talk = TALKS.get(row["name"])
        if talk is not None and found[f"{row['job_id']} {row['idx']} {row['name']}"] != talk.runs:
            report.wrong(f"step {row['name']} of job {row['job_id']} succeeded and did not run {talk.runs} times")


def _check_letters(world: World, report: Report) -> None:
    """The forge's last word on each job is how it ended."""
    last: dict[tuple[str, str], str] = {}
    for status in world.forge.statuses:
        last[status["path"].rsplit("/", 1)[1], status["context"]] = status["state"]
    report.counts["commit statuses"] = len(world.forge.statuses)
    due = world.rows("SELECT count(*) AS n FROM outbox WHERE state = 'due'")[0]["n"]
    if due:
        report.wrong(f"{due} letters were never sent")
    for (revision, context), state in last.items():
        if state == "pending" and revision in world.story.pushed and not context.endswith("ask"):
            report.wrong(f"the forge was told last that {context} of {revision[:8]} is pending")


def leftovers(world: World, instance: str, *, with_blobs: bool) -> Iterator[str]:
    """What is still there of jobs that are all over."""
    for path in (world.scratch / "sandboxes").iterdir():
        yield f"sandbox folder {path.name}"
    for path in world.far.folders() if world.far is not None else ():
        yield f"folder of a machine {path}"
    if world.engine is not None:
        filters = quote(json.dumps({"label": [f"rondo.instance={instance}"]}))
        for one in request_json(world.engine.socket, "GET", f"/containers/json?all=1&filters={filters}"):
            yield f"container {one['Names']} ({one['State']})"
        for one in request_json(world.engine.socket, "GET", "/volumes")["Volumes"] or ():
            yield f"volume {one['Name']}"
    for path in world.place.data.glob("blobs/logs/*/*/*/secrets"):
        yield f"sealed secrets of a node that has ended: {path.relative_to(world.place.data)}"
    yield from (f"process {pid}: {command[:80]!r}" for pid, command in processes(instance))
    if with_blobs:
        yield from _strangers(world)


def left_by_the_process(world: World, instance: str, *, with_blobs: bool) -> Iterator[str]:
    """What is still there after SIGTERM. Half a blob of a killed writer is the janitor's, who has to look twice."""
    if world.engine is not None:
        filters = quote(json.dumps({"label": [f"rondo.instance={instance}"]}))
        for one in request_json(world.engine.socket, "GET", f"/networks?filters={filters}"):
            yield f"network {one['Name']}"
    for path in (world.scratch / "tmp").iterdir():
        yield f"temporary file {path.name}"
    for pattern in ("**/*.new", "**/.new-*", "**/view-*", "**/push-*", "**/tmp_objdir-*", "**/incoming-*"):
        for path in world.place.data.glob(pattern):
            if not with_blobs and "blobs" in path.parts:
                continue
            yield f"temporary file {path.relative_to(world.place.data)}"


def _strangers(world: World) -> Iterator[str]:
    for kind, query in (
        ("artifacts", "SELECT id FROM artifacts"),
        ("caches", "SELECT id FROM caches"),
        ("layers", "SELECT id FROM layers"),
    ):
        known = {row["id"] for row in world.rows(query)}
        for path in (world.place.data / "blobs" / kind).glob("??/*"):
            if path.name not in known:
                yield f"blob without a row: {kind}/{path.name}"


def processes(instance: str) -> Iterator[tuple[int, bytes]]:
    """Of jobs, on this host and on machines: what is still there, with its command."""
    mark = f"RONDO_SANDBOX={instance}".encode()
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark in (folder / "environ").read_bytes():
                yield int(folder.name), (folder / "cmdline").read_bytes()
        except OSError:
            continue
