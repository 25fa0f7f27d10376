"""The front page: pipelines of every project one may see, or of one project, or of a branch of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from appliance.api.auth import user_of
from appliance.api.parts import parts_of
from appliance.api.projects import wanted_project
from appliance.api.routes import SLUG, Policy, Route
from appliance.api.wire import page_mark, page_token
from appliance.model import PipelineId, Project
from appliance.pages.links import pipeline_path, pipelines_path
from appliance.pages.render import page
from appliance.store import overview, projects
from appliance.store.database import Tx
from appliance.store.overview import Chip, Line, Mark

_ROWS = 30


@dataclass(frozen=True)
class Row:
    """A line of the list."""

    line: Line
    project: Project
    workflows: Sequence[Chip]

    @property
    def path(self) -> str:
        return pipeline_path(self.project, self.line.number)

    @property
    def branch_path(self) -> str | None:
        branch = self.line.trigger.branch
        return None if branch is None else pipelines_path(self.project, branch)

    @property
    def status(self) -> str:
        return overall_status(self.line.state, self.workflows)

    @property
    def stopped_at_ms(self) -> int | None:
        """When the last workflow ended; None while one goes on, or when there is none."""
        ends = [chip.stopped_at_ms for chip in self.workflows]
        return None if not ends or None in ends else max(end for end in ends if end is not None)


def overall_status(state: str, workflows: Sequence[Chip]) -> str:
    """One word for a pipeline: of the newest run of each workflow, the one a person should hear first.

    Of one whose setup workflow ended without continuing it, that workflow's.
    """
    has_stopped_in_setup = state == "setup" and all(chip.status.is_done for chip in workflows)
    if state != "created" and not has_stopped_in_setup:
        return state
    newest = {chip.name: chip.status for chip in workflows}
    order = ("running", "failing", "on_hold", "queued", "error", "failed", "unauthorized", "canceled", "success")
    return next((word for word in order if word in newest.values()), "not_run")


async def everything(request: web.Request) -> web.Response:
    parts, user, after = parts_of(request), user_of(request), page_mark(request, "after")

    def read(tx: Tx) -> tuple[list[Row], list[Project]]:
        lines, seen = overview.lines_for(tx, user, after=after, limit=_ROWS + 1)
        chips = overview.chips(tx, [line.id for line in lines])
        return [Row(line, seen[line.project_id], chips[line.id]) for line in lines], projects.all_of(tx, user, limit=1)

    rows, some = await parts.db.read(read)
    return await _list(request, rows, project=None, branch=None, topics="mine", projects=some)


async def of_project(request: web.Request) -> web.Response:
    parts, project, after = parts_of(request), await wanted_project(request), page_mark(request, "after")
    branch = request.query.get("branch") or None

    def read(tx: Tx) -> tuple[list[Row], list[str]]:
        lines = overview.lines(tx, [project.id], branch=branch, after=after, limit=_ROWS + 1)
        chips = overview.chips(tx, [line.id for line in lines])
        return [Row(line, project, chips[PipelineId(line.id)]) for line in lines], overview.branches(tx, project.id)

    rows, branches = await parts.db.read(read)
    topics = f"project:{project.id}"
    return await _list(request, rows, project=project, branch=branch, topics=topics, projects=[project], branches=branches)


async def _list(
    request: web.Request,
    rows: list[Row],
    *,
    project: Project | None,
    branch: str | None,
    topics: str,
    projects: list[Project],
    branches: Sequence[str] = (),
) -> web.Response:
    more: Mark | None = rows[_ROWS - 1].line.mark if len(rows) > _ROWS else None
    addresses = parts_of(request).addresses
    return await page(
        request,
        "pipelines.html",
        {
            "rows": rows[:_ROWS],
            "project": project,
            "branch": branch,
            "branches": branches,
            "topics": topics,
            "projects": projects,
            "next_page": page_token(more),
            "git_url": addresses.git_url(projects[0].org, projects[0].repo) if projects else "",
        },
    )


ROUTES = (
    Route("GET", "/", everything, Policy.USER),
    Route("GET", f"/pipelines/{SLUG}", of_project, Policy.GUEST),
)
