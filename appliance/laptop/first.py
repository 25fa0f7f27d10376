"""A first look at the config, without orbs and a database: what is going to run, most likely."""

from __future__ import annotations

from appliance import language
from appliance.errors import BadRequest
from appliance.language import plan as plans
from appliance.laptop.wishes import Wishes, chosen
from appliance.vcs.working_tree import Snapshot


def first_plan(source: str, snapshot: Snapshot, wishes: Wishes) -> plans.Plan | None:
    """None when more has to be known, or there is nothing to run: the real compilation says what."""
    if "orbs:" in source:
        return None
    values = {
        "pipeline.git.branch": "" if wishes.tag is not None else wishes.branch or snapshot.branch or snapshot.default_branch,
        "pipeline.git.tag": wishes.tag or "",
        "pipeline.git.revision": snapshot.revision,
    }
    parameters = {name: language.Untyped(value) for name, value in wishes.parameters.items()}
    plan = language.compile(source, values=values, parameters=parameters).plan
    if plan is None or plan.is_setup:
        return plan
    try:
        return chosen(plan, wishes)
    except BadRequest:
        return None
