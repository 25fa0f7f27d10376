"""A project's settings: changing them, in one place for API, pages and command line; and which events they let in."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields, replace

from appliance.errors import BadRequest
from appliance.language.patterns import PatternError, compile_linear
from appliance.model import Project, ProjectFlags, ProjectId, Trigger, TriggerKind, Vcs
from appliance.store import projects
from appliance.store.database import Tx

log = logging.getLogger(__name__)

SWITCHES = tuple(field.name for field in fields(ProjectFlags) if field.type == "bool")
OVERRIDES = "pr_only_branch_overrides"
_MOST_OVERRIDES = 50
_LONGEST_OVERRIDE = 256


def change(tx: Tx, project_id: ProjectId, wanted: Mapping[str, object], who: str) -> ProjectFlags:
    """Change the settings that `wanted` names and leave the others; what they are then.

    Raises BadRequest for a setting that nobody knows, or a value that it cannot have.
    """
    flags = projects.flags(tx, project_id)
    for name, value in wanted.items():
        if name == OVERRIDES:
            flags = replace(flags, pr_only_branch_overrides=_patterns(value))
        elif name not in SWITCHES:
            raise BadRequest(f"There is no setting {name[:100]}; there are {', '.join((*SWITCHES, OVERRIDES))}.")
        elif not isinstance(value, bool):
            raise BadRequest(f"{name} is true or false.")
        else:
            flags = replace(flags, **{name: value})  # type: ignore[arg-type]
    projects.set_flags(tx, project_id, flags)
    log.info("project settings changed", extra={"project": project_id, "changed": dict(wanted), "user": who})
    return flags


def why_not_built(trigger: Trigger, project: Project, flags: ProjectFlags) -> str:
    """Why an event starts nothing in a project, as part of a sentence; "" when it may (spec 4.3)."""
    if flags.why_no_new_work:
        return flags.why_no_new_work
    if trigger.is_fork:
        return "" if flags.build_fork_prs else "pull requests of forks are not built in this project (build_fork_prs)"
    are_pushes_enough = not flags.build_prs_only or _is_always_built(trigger, project, flags)
    if trigger.pull_request is not None:
        return "the pushes to its branch are built" if are_pushes_enough else ""
    # Only GitHub tells of pull requests, and who asks by the API means it.
    if are_pushes_enough or trigger.kind is not TriggerKind.WEBHOOK or project.vcs is not Vcs.GITHUB:
        return ""
    return "only pull requests are built in this project (build_prs_only)"


def _is_always_built(trigger: Trigger, project: Project, flags: ProjectFlags) -> bool:
    if trigger.branch is None or trigger.branch == project.default_branch:
        return True
    return any(compile_linear(pattern).fullmatch(trigger.branch) for pattern in flags.pr_only_branch_overrides)


def _patterns(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise BadRequest(f"{OVERRIDES} is a list of texts.")
    if len(value) > _MOST_OVERRIDES or any(not 0 < len(one) <= _LONGEST_OVERRIDE for one in value):
        raise BadRequest(f"{OVERRIDES} has at most {_MOST_OVERRIDES} branches of up to {_LONGEST_OVERRIDE} characters.")
    for one in value:
        try:
            compile_linear(one)
        except PatternError as error:
            raise BadRequest(f"{one} is not a regular expression: {error}") from None
    return tuple(value)
