"""One job: how it stands, its steps with their logs, its parallel copies, and the way into it while it runs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from appliance.api.artifacts import artifact_path
from appliance.api.auth import user_of
from appliance.api.jobs import executor_kind, job_of_project, numbered_job_for
from appliance.api.parts import Parts, parts_of
from appliance.api.routes import NUMBER, Policy, Route
from appliance.engine import rules
from appliance.engine.classes import Classes
from appliance.errors import NotFound
from appliance.language import plan as plans
from appliance.model import NodeStatus, Project, StepStatus, User
from appliance.pages import curve
from appliance.pages.links import artifacts_path, job_path, pipeline_path, pipelines_path, project_path
from appliance.pages.outputs import Covered, Tree, coverage_of, tree_of
from appliance.pages.render import back_to, page
from appliance.pages.reruns import splits_tests
from appliance.store import artifacts, jobs, overview, pipelines, projects, results, usage, visits
from appliance.store.database import Tx
from appliance.store.jobs import Job, Node, Step
from appliance.store.overview import JobChip, Line
from appliance.store.pipelines import Workflow
from appliance.store.results import Result, Verdict
from appliance.store.usage import Series

_MOST_FAILED = 50  # the API gives all

_LONGEST_COMMAND = 20_000


@dataclass(frozen=True)
class Shown:
    """A step as the page has it."""

    step: Step
    command: str  # of a run step
    is_open: bool
    begins_attempt: int  # of the node, where it has had several; else 0


@dataclass(frozen=True, kw_only=True)
class Found:
    """All that the page needs, read in one transaction."""

    job: Job
    plan: plans.Job
    nodes: Sequence[Node]
    steps: Sequence[Step]
    visits: Sequence[visits.Visit]
    workflow: Workflow
    line: Line
    project: Project
    siblings: Sequence[JobChip]
    test_counts: Mapping[Verdict, int]
    failed_tests: Sequence[Result]
    artifacts: Sequence[tuple[int, Tree]]
    artifact_count: int
    coverage: Covered | None
    series: Series | None
    is_member: bool  # and not only somebody who sees an open project


async def show(request: web.Request) -> web.Response:
    parts, user, number = parts_of(request), user_of(request), int(request.match_info["number"])
    index = _index(request.query.get("node", "0"))
    found = await parts.db.read(lambda tx: _read(tx, user, number, index))
    return await page(request, "job.html", _values(parts, found, index))


def _index(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 6:
        raise NotFound("There is no such node.")
    return int(text)


def _read(tx: Tx, user: User, number: int, index: int) -> Found:
    job = numbered_job_for(tx, user, number)
    nodes = jobs.nodes_of(tx, job.id)
    if index >= max(len(nodes), 1):
        raise NotFound("There is no such node.")
    workflow = pipelines.workflow(tx, job.workflow_id)
    project = projects.by_id(tx, job.project_id)
    is_member = projects.is_member(tx, user, job.project_id)
    return Found(
        job=job,
        plan=jobs.plan_of(tx, job.id),
        nodes=nodes,
        steps=jobs.steps_of(tx, job.id, index),
        visits=visits.of_job(tx, job.id) if is_member else [],  # names and addresses are not everybody's business
        is_member=is_member,
        workflow=workflow,
        line=overview.line(tx, workflow.pipeline_id),
        project=project,
        siblings=overview.job_chips(tx, [workflow.id])[workflow.id],
        test_counts=results.counts(tx, job.id),
        failed_tests=results.failed(tx, job.id, _MOST_FAILED),
        artifacts=tree_of(tx, job.id),
        artifact_count=artifacts.count(tx, job.id),
        coverage=coverage_of(tx, job, project),
        series=usage.of_node(tx, job.id, index),
    )


def _values(parts: Parts, found: Found, index: int) -> Mapping[str, Any]:
    job, trigger, number = found.job, found.line.trigger, found.job.number or 0
    node = found.nodes[index] if found.nodes else None
    is_running = node is not None and node.status is NodeStatus.RUNNING
    return {
        "job": job,
        "found": found,
        "project": found.project,
        "trigger": trigger,
        "node": node,
        "index": index,
        "steps": _shown(found.steps, found.plan, node.first_position if node is not None else 0),
        "loss": rules.said_of_loss(node.executor, node.lost_why) if node is not None and node.lost_why else "",
        "executor": (node.executor if node is not None else "") or executor_kind(found.plan),
        "image": _image(found.plan),
        "resource_class": found.plan.resource_class or parts.settings.text("jobs.default_class"),
        "ssh": parts.addresses.ssh_command(number, index if len(found.nodes) > 1 else None)
        if is_running and found.is_member
        else "",
        "waits_for": _waits_for(found),
        "use": _use(parts, found, node),
        "tests": results.summary(found.test_counts) if found.test_counts else "",
        "failed_count": sum(found.test_counts.get(verdict, 0) for verdict in (Verdict.FAILURE, Verdict.ERROR)),
        "artifact_path": artifact_path,
        "artifacts_path": artifacts_path(number, index),
        "splits_tests": splits_tests(found.plan),
        "topics": f"job:{job.id}",
        "path": job_path(number, index),
        "node_path": lambda other: job_path(number, other),
        "project_path": project_path(found.project),
        "pipeline_path": pipeline_path(found.project, found.line.number),
        "branch_path": pipelines_path(found.project, trigger.branch) if trigger.branch is not None else None,
    }


def _use(parts: Parts, found: Found, node: Node | None) -> curve.Seen | None:
    """What the node took so far: of a running one as its runner has it, since the row is up to a minute old."""
    live = parts.commands.live.get(found.job.id, node.index) if node is not None else None
    series = (live.series() if live is not None else None) or found.series
    if node is None or series is None or not series.points:
        return None
    classes = Classes(parts.settings.table("resource_classes"))
    return curve.seen(series, node, found.plan, classes, parts.settings.text("jobs.default_class"))


def _image(plan: plans.Job) -> str:
    match plan.executor:
        case plans.Docker(images=images) if images:
            return images[0].image
        case plans.Machine(image=image):
            return image or "default machine"
        case _:
            return ""


def _waits_for(found: Found) -> str:
    """Why a job that has not begun has not begun, unless its own message knows that better."""
    if found.job.message:
        return ""
    match found.job.status:
        case "blocked":
            by_name = {job.name: job for job in found.siblings}
            open_ones = [
                require.job
                for require in found.plan.requires
                if require.job in by_name and not by_name[require.job].status.is_done
            ]
            return "Waits for " + ", ".join(open_ones) + "." if open_ones else "Waits for the jobs before it."
        case "not_running":
            return "Ready to start: waits for room on the executors."
        case "queued":
            return "Waits for its turn in a serial group."
        case _:
            return ""


def _shown(steps: Sequence[Step], plan: plans.Job, first: int) -> list[Shown]:
    """Steps with the command of their plan, where the rows and the plan agree on which is which.

    Those before position `first` are of attempts that were lost: nobody has to see them at once.
    """
    runs = [step for step in plan.steps if isinstance(step, plans.Run)]
    shown: list[Shown] = []
    # Services began with the environment and stand behind all steps in the rows only to keep the steps' positions.
    for attempt, group in itertools.groupby(sorted(steps, key=_order), lambda step: step.node_attempt):
        mine = list(group)
        rows = sorted(step.position for step in mine if step.kind == "run")
        commands = {at: run.command for at, run in zip(rows, runs, strict=True)} if len(rows) == len(runs) else {}
        begins = attempt if first else 0
        for step in mine:
            command = commands.get(step.position, "")[:_LONGEST_COMMAND]
            shown.append(Shown(step, command, step.position >= first and _is_open(step), begins))
            begins = 0
    return shown


def _order(step: Step) -> tuple[int, bool, bool, int]:
    return step.node_attempt, step.place > 0, step.kind != jobs.SERVICE and step.place != jobs.FIRST_SSH, step.place


def _is_open(step: Step) -> bool:
    """What somebody wants to see at once: what goes on, and what went wrong."""
    if step.is_background and step.status is StepStatus.RUNNING:
        return False
    return step.status not in (StepStatus.WAITING, StepStatus.SUCCESS, StepStatus.SKIPPED, StepStatus.CANCELED)


async def cancel(request: web.Request) -> web.Response:
    parts, user, number = parts_of(request), user_of(request), int(request.match_info["number"])
    job = await parts.db.read(lambda tx: numbered_job_for(tx, user, number))
    await parts.commands.cancel_job(job.id, user)
    return back_to(job_path(number))


async def by_project(request: web.Request) -> web.Response:
    """Where `CIRCLE_BUILD_URL` leads: to the page of the job."""
    user, slug, number = user_of(request), request.match_info["slug"], int(request.match_info["number"])

    def check(tx: Tx) -> None:
        job_of_project(tx, projects.find_for(tx, user, slug).id, number)

    await parts_of(request).db.read(check)
    return back_to(job_path(number))


_PROJECT = "{slug:(?:gh|github|bb|bitbucket|circleci)/[^/%]+/[^/%]+}"

ROUTES = (
    Route("GET", f"/{_PROJECT}/{NUMBER}", by_project, Policy.GUEST),
    Route("GET", f"/jobs/{NUMBER}", show, Policy.GUEST),
    Route("POST", f"/jobs/{NUMBER}/cancel", cancel, Policy.FORM),
)
