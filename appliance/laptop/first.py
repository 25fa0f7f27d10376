"""A first look at the config, without orbs and a database: which container is going to be asked for first, most likely."""

from __future__ import annotations

import hashlib

from appliance import language, where
from appliance.engine import placement
from appliance.errors import BadRequest, SettingsError
from appliance.language import plan as plans
from appliance.laptop.guess import Guess
from appliance.laptop.wishes import Wishes, chosen
from appliance.settings import Settings
from appliance.vcs.working_tree import Snapshot

_REVISION = "pipeline.git.revision"


def first_guess(source: str, snapshot: Snapshot, wishes: Wishes, settings: Settings) -> Guess | None:
    """None when more has to be known, or there is nothing to run: the real compilation says what."""
    plan = _plan(source, snapshot, wishes)
    found = None if plan is None else _first(plan)
    if found is None:
        return None
    job, before = found
    try:
        places = where.places(settings)
    except SettingsError:
        return None
    placed = placement.place(job, places, is_trusted=True)
    if not isinstance(placed, placement.Placement) or placed.executor != "docker":
        return None
    cpus, memory_bytes = where.room(settings)
    placed = placement.Placement(
        executor="docker", cpus=min(placed.cpus, cpus), memory_bytes=min(placed.memory_bytes, memory_bytes)
    )
    return Guess(spec=placement.spec("", job, placed, places, {}), before=before)


def view(source: str, snapshot: Snapshot, wishes: Wishes) -> str:
    """A digest of all that the guess depends on beside the settings. The revision is new after each change of a file."""
    values = _values(snapshot, wishes)
    if _REVISION not in source:
        del values[_REVISION]
    return hashlib.sha256(repr((source, values, wishes.choice)).encode()).hexdigest()


def _values(snapshot: Snapshot, wishes: Wishes) -> dict[str, str]:
    return {
        "pipeline.git.branch": "" if wishes.tag is not None else wishes.branch or snapshot.branch or snapshot.default_branch,
        "pipeline.git.tag": wishes.tag or "",
        _REVISION: snapshot.revision,
    }


def _plan(source: str, snapshot: Snapshot, wishes: Wishes) -> plans.Plan | None:
    if "orbs:" in source:
        return None
    values = _values(snapshot, wishes)
    parameters = {name: language.Untyped(value) for name, value in wishes.parameters.items()}
    plan = language.compile(source, values=values, parameters=parameters).plan
    if plan is None or plan.is_setup:
        return plan
    try:
        return chosen(plan, wishes)
    except BadRequest:
        return None


def _first(plan: plans.Plan) -> tuple[plans.Job, int] | None:
    """The job that begins first, and how many get a number before it; None when its container depends on more."""
    before = 0
    for job in (job for workflow in plan.workflows for job in workflow.jobs):
        if job.type is not plans.JobType.BUILD:
            continue
        if job.requires:
            before += 1
            continue
        needs_engine = any(isinstance(step, plans.SetupRemoteDocker) for step in job.steps)
        if not isinstance(job.executor, plans.Docker) or needs_engine:
            return None
        if any(image.auth or image.aws_auth or image.gcp_auth for image in job.executor.images):
            return None
        return job, before
    return None
