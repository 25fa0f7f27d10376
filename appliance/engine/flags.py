"""Changing a project's settings: one place for the API, the pages and the command line."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields, replace

from appliance.errors import BadRequest
from appliance.language.patterns import PatternError, compile_linear
from appliance.model import ProjectFlags, ProjectId
from appliance.store import projects
from appliance.store.database import Tx

log = logging.getLogger(__name__)

SWITCHES = tuple(field.name for field in fields(ProjectFlags) if field.type == "bool")
OVERRIDES = "pr_only_branch_overrides"
_MOST_OVERRIDES = 50
_LONGEST_OVERRIDE = 256


def change(tx: Tx, project_id: ProjectId, wanted: Mapping[str, object]) -> ProjectFlags:
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
    log.info("project settings changed", extra={"project": project_id, "changed": ", ".join(wanted)})
    return flags


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
