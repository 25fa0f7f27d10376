"""One pipeline: its workflows drawn as columns of jobs, what is wrong with its config, and the config itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from appliance.api.auth import user_of
from appliance.api.parts import parts_of
from appliance.api.projects import wanted_project
from appliance.api.routes import NUMBER, SLUG, Policy, Route
from appliance.api.workflows import workflow_for
from appliance.errors import Conflict, NotFound
from appliance.model import JobId, JobStatus, Project, WorkflowId
from appliance.pages.graph import Drawing, draw
from appliance.pages.links import pipeline_path, pipelines_path, project_path
from appliance.pages.pipelines import overall_status
from appliance.pages.render import back_to, page
from appliance.store import continuations, coverage, jobs, locks, overview, pipelines, projects
from appliance.store.database import Tx
from appliance.store.overview import Chip, JobChip, Line
from appliance.store.pipelines import Pipeline

_LONGEST_SHOWN = 200_000
_TITLES = {"source": "Config as pushed", "compiled": "Config as compiled"}
_TITLES_OF_TWO = {
    "setup": "Setup config as pushed",
    "compiled-setup": "Setup config as compiled",
    "source": "Config it was continued with",
    "compiled": "That config as compiled",
}


@dataclass(frozen=True)
class Drawn:
    """A workflow with its picture."""

    chip: Chip
    drawing: Drawing
    waiting: Sequence[JobChip]  # its approvals that somebody may give now
    holding: frozenset[JobId]  # its locks that keep others of their serial group waiting


async def show(request: web.Request) -> web.Response:
    parts, project, number = parts_of(request), await wanted_project(request), int(request.match_info["number"])
    now_ms = parts.clock.now_ms()

    def read(tx: Tx) -> tuple[Line, Mapping[str, str], list[Drawn], Mapping[str, Any]]:
        line = overview.line_by_number(tx, project.id, number)
        chips = overview.chips(tx, [line.id])[line.id]
        found = overview.job_chips(tx, [chip.id for chip in chips])
        covered = coverage.of_jobs(tx, [job.id for chip in chips for job in found[chip.id]])
        drawn = [_drawn(tx, chip, found[chip.id]) for chip in chips]
        more = {"covered": covered, "may_be_canceled": _may_be_canceled(tx, line, chips, now_ms)}
        return line, _texts(tx, pipelines.pipeline(tx, line.id)), drawn, more

    line, texts, workflows, more = await parts.db.read(read)
    return await page(request, "pipeline.html", {**_values(project, line, texts, workflows), **more})


def _drawn(tx: Tx, chip: Chip, members: Sequence[JobChip]) -> Drawn:
    waiting = [job for job in members if job.type == "approval" and job.status is JobStatus.ON_HOLD]
    return Drawn(chip, draw(members), waiting, _holding(tx, members))


def _holding(tx: Tx, chips: Sequence[JobChip]) -> frozenset[JobId]:
    """The lock jobs among `chips` that have their lock still: a job's success says only that it was given."""
    given = [chip.id for chip in chips if chip.type == "lock" and chip.status is JobStatus.SUCCESS]
    found = [locks.of_job(tx, job_id) for job_id in given]
    return frozenset(lock.job_id for lock in found if lock is not None and lock.is_held)


def _texts(tx: Tx, pipeline: Pipeline) -> dict[str, str]:
    """The configs of a pipeline: as read and as compiled, and before them those of its setup phase, if it has one."""
    setup = continuations.of_pipeline(tx, pipeline.id)
    first = {} if setup is None else {"setup": setup.setup_source, "compiled-setup": setup.setup_compiled}
    return {**first, "source": pipeline.source, "compiled": pipeline.compiled}


def _values(project: Project, line: Line, texts: Mapping[str, str], workflows: list[Drawn]) -> Mapping[str, Any]:
    return {
        "project": project,
        "line": line,
        "trigger": line.trigger,
        "status": overall_status(line.state, [workflow.chip for workflow in workflows]),
        "workflows": workflows,
        "errors": [problem for problem in line.problems if problem.kind == "error"],
        "warnings": [problem for problem in line.problems if problem.kind != "error"],
        "topics": f"pipeline:{line.id}",
        "path": pipeline_path(project, line.number),
        "project_path": project_path(project),
        "pipelines_path": pipelines_path(project),
        "branch_path": pipelines_path(project, line.trigger.branch) if line.trigger.branch is not None else None,
        "texts": {name: text[:_LONGEST_SHOWN] for name, text in texts.items() if text},
        "titles": _TITLES_OF_TWO if "setup" in texts else _TITLES,
    }


def _may_be_canceled(tx: Tx, line: Line, chips: Sequence[Chip], now_ms: int) -> bool:
    """As a whole: one workflow has a button of its own. The key of a setup phase may be used when that has ended."""
    count = sum(chip.stopped_at_ms is None for chip in chips)
    return count > 1 or (not count and continuations.may_bring_more(tx, line.id, now_ms))


async def text(request: web.Request) -> web.Response:
    """The whole config as plain text, as read or as compiled, of the setup phase or of what came after."""
    parts, project, number = parts_of(request), await wanted_project(request), int(request.match_info["number"])
    texts = await parts.db.read(lambda tx: _texts(tx, pipelines.pipeline_by_number(tx, project.id, number)))
    return web.Response(text=texts.get(request.match_info["which"], ""), content_type="text/plain")


async def cancel(request: web.Request) -> web.Response:
    parts, user, wanted = parts_of(request), user_of(request), WorkflowId(request.match_info["id"])

    def read(tx: Tx) -> str:
        return _path_of(tx, workflow_for(tx, user, wanted).id)

    path = await parts.db.read(read)
    await parts.commands.cancel_workflow(wanted, user)
    return back_to(path)


async def cancel_all(request: web.Request) -> web.Response:
    parts, project, number = parts_of(request), await wanted_project(request), int(request.match_info["number"])
    line = await parts.db.read(lambda tx: overview.line_by_number(tx, project.id, number))
    await parts.commands.cancel_pipeline(line.id, user_of(request))
    return back_to(pipeline_path(project, number))


async def approve(request: web.Request) -> web.Response:
    parts, user, wanted = parts_of(request), user_of(request), JobId(request.match_info["id"])
    path = await _path_of_job(request, wanted)
    with suppress(Conflict):  # somebody else was faster, or it was canceled: the page shows it
        await parts.commands.approve(wanted, user)
    return back_to(path)


async def release(request: web.Request) -> web.Response:
    """Let the next one of a serial group begin."""
    parts, wanted = parts_of(request), JobId(request.match_info["id"])
    path = await _path_of_job(request, wanted)
    with suppress(Conflict):  # it has let go meanwhile
        await parts.commands.release_lock(wanted)
    return back_to(path)


async def _path_of_job(request: web.Request, job_id: JobId) -> str:
    """The page of the pipeline that a job belongs to. Raises NotFound when it is none for this user."""
    user = user_of(request)

    def read(tx: Tx) -> str:
        job = jobs.by_id(tx, job_id)
        if not projects.may_enter(tx, user, job.project_id):
            raise NotFound("Job not found")
        return _path_of(tx, job.workflow_id)

    return await parts_of(request).db.read(read)


def _path_of(tx: Tx, workflow_id: WorkflowId) -> str:
    line = overview.line(tx, pipelines.workflow(tx, workflow_id).pipeline_id)
    return pipeline_path(projects.by_id(tx, line.project_id), line.number)


ROUTES = (
    Route("GET", f"/pipelines/{SLUG}/{NUMBER}", show, Policy.GUEST),
    Route("GET", f"/pipelines/{SLUG}/{NUMBER}/config/{{which:source|compiled|setup|compiled-setup}}", text, Policy.GUEST),
    Route("POST", f"/pipelines/{SLUG}/{NUMBER}/cancel", cancel_all, Policy.FORM),
    Route("POST", "/workflows/{id}/cancel", cancel, Policy.FORM),
    Route("POST", "/approvals/{id}", approve, Policy.FORM),
    Route("POST", "/locks/{id}/release", release, Policy.FORM),
)
