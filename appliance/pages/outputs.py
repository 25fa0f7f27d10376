"""What the page of a job shows of its outputs: how much of the source ran, and its artifacts as a tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from aiohttp import web

from appliance.api.artifacts import path_of
from appliance.api.auth import user_of
from appliance.api.jobs import numbered_job_for
from appliance.api.parts import parts_of
from appliance.api.routes import NUMBER, Policy, Route
from appliance.errors import NotFound
from appliance.model import JobId, Project
from appliance.pages.links import artifacts_path, job_path
from appliance.pages.render import page
from appliance.store import artifacts, coverage, projects
from appliance.store.artifacts import Artifact, Entry
from appliance.store.coverage import Coverage, File, Report
from appliance.store.database import Tx
from appliance.store.jobs import Job

_RUNS, _WORST, _REPORTS = 30, 15, 50
_MOST_IN_TREE, _MOST_IN_FOLDER = 500, 2000
_WIDTH, _HEIGHT = 160.0, 32.0


@dataclass(frozen=True, kw_only=True)
class Covered:
    """The coverage of a job and how it came to it."""

    total: Coverage
    reports: Sequence[Report]
    worst: Sequence[File]
    trend: Sequence[Coverage]  # of its branch, or of the default branch where that has none; this job's own is the last
    since: float | None  # in percent points, since the default branch
    base: str

    @property
    def points(self) -> str:
        """The trend as the points of an SVG polyline, `_WIDTH` by `_HEIGHT`; "" for less than two runs."""
        values = [run.percent for run in self.trend]
        if len(values) < 2:
            return ""
        low, high = min(values), max(values)
        room = max(high - low, 1.0)  # a tenth of a point is no cliff
        return " ".join(
            f"{at * _WIDTH / (len(values) - 1):.1f},{2 + (high - value) * (_HEIGHT - 4) / room:.1f}"
            for at, value in enumerate(values)
        )


def coverage_of(tx: Tx, job: Job, project: Project) -> Covered | None:
    """None when the job has stored no report."""
    total = coverage.of_job(tx, job.id)
    if total is None:
        return None
    before_ms, base = total.created_at_ms - 1, project.default_branch
    trend: list[Coverage] = []
    for branch in dict.fromkeys((total.branch, base)):
        if len(trend) < 1 and branch is not None:
            trend = coverage.trend(tx, project.id, job.name, branch, before_ms, _RUNS - 1)
    latest = coverage.newest(tx, project.id, base, job.name, before_ms)
    return Covered(
        total=total,
        reports=coverage.reports_of(tx, job.id, _REPORTS),
        worst=[file for file in coverage.worst_files(tx, job.id, _WORST) if file.lines_ran < file.lines],
        trend=[*trend, total],
        since=None if latest is None else total.percent - latest.percent,
        base=base,
    )


@dataclass
class Tree:
    """A folder of artifacts, whole or as far as it is shown."""

    folders: dict[str, Tree] = field(default_factory=dict)
    files: list[tuple[str, Artifact]] = field(default_factory=list)
    size_bytes: int = 0
    count: int = 0


def tree_of(tx: Tx, job_id: JobId) -> list[tuple[int, Tree]]:
    """The first artifacts of a job: for each node that has some, a tree."""
    trees: dict[int, Tree] = {}
    for artifact in artifacts.of_job(tx, job_id, _MOST_IN_TREE):
        *folders, name = artifact.path.split("/")
        tree = trees.setdefault(artifact.index, Tree())
        # What lies deeper is shown on its own page: a path of a thousand folders is no tree that anybody opens.
        for part in [*folders[:_DEEPEST], *(["/".join(folders[_DEEPEST:])] if len(folders) > _DEEPEST else [])]:
            _count(tree, artifact)
            tree = tree.folders.setdefault(part, Tree())
        _count(tree, artifact)
        tree.files.append((name, artifact))
    return list(trees.items())


_DEEPEST = 12


def _count(tree: Tree, artifact: Artifact) -> None:
    tree.size_bytes += artifact.size_bytes
    tree.count += 1


async def browse(request: web.Request) -> web.Response:
    """One folder of one node's artifacts, however many there are."""
    parts, user, number = parts_of(request), user_of(request), int(request.match_info["number"])
    folder, text = request.query.get("in", "").strip("/"), request.query.get("node", "0")
    if not (text.isascii() and text.isdecimal()) or len(text) > 6:
        raise NotFound("There is no such node.")

    def read(tx: Tx) -> tuple[Job, Project, list[Entry], list[int]]:
        job = numbered_job_for(tx, user, number)
        found = artifacts.entries(tx, job.id, int(text), folder, _MOST_IN_FOLDER + 1)
        return job, projects.by_id(tx, job.project_id), found, sorted(artifacts.counts(tx, job.id))

    job, project, found, nodes = await parts.db.read(read)
    if folder and not found:
        raise NotFound("There is no such folder.")
    return await page(request, "artifacts.html", _values(job, project, found, nodes, int(text), folder))


def _values(job: Job, project: Project, found: list[Entry], nodes: list[int], index: int, folder: str) -> dict[str, object]:
    number, prefix = job.number or 0, f"{folder}/" if folder else ""
    crumbs = [(name, "/".join(folder.split("/")[: at + 1])) for at, name in enumerate(folder.split("/"))] if folder else []

    def leads_to(entry: Entry) -> str:
        if entry.is_folder:
            return artifacts_path(number, index, prefix + entry.name)
        return path_of(job.id, index, prefix + entry.name)

    return {
        "job": job,
        "project": project,
        "entries": [(entry, leads_to(entry)) for entry in found[:_MOST_IN_FOLDER]],
        "has_more": len(found) > _MOST_IN_FOLDER,
        "nodes": [(node, artifacts_path(number, node)) for node in nodes],
        "index": index,
        "folder": folder,
        "crumbs": [(name, artifacts_path(number, index, path)) for name, path in crumbs],
        "job_path": job_path(number, index),
        "top_path": artifacts_path(number, index),
    }


ROUTES = (Route("GET", f"/jobs/{NUMBER}/artifacts", browse, Policy.USER),)
