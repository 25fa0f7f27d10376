"""Who may have what: pure decisions about secrets. Asked anew at every dispatch and every reading of a secret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from appliance.errors import BadRequest, NotFound, Refused
from appliance.language import expression
from appliance.language.plan import JobType
from appliance.language.values import KNOWN
from appliance.model import Project, ProjectFlags, User, UserId
from appliance.store.pipelines import Pipeline
from appliance.store.restrictions import ADMINS, ALL_MEMBERS, Restriction, Type

_LONGEST_EXPRESSION = 4_000
_SSH = "job.ssh.enabled"
# What a pusher or a caller of the API chooses freely: a restriction by it would restrict nobody. Whoever makes a commit
# writes any name into it, as author and as committer.
_CHOSEN = (
    *("pipeline.parameters.", "pipeline.trigger_parameters."),
    *("pipeline.git.commit.author_", "pipeline.git.commit.committer_"),
    "pipeline.schedule.name",
)


def may_have_secrets(pipeline: Pipeline, flags: ProjectFlags) -> bool:
    """Whether a pipeline's jobs get the project's variables, contexts, keys and identity tokens (spec 4.3).

    A fork's only when the project's settings allowed it when it began, and still do: who changes their mind stops it.
    """
    return pipeline.may_have_secrets and (pipeline.is_trusted or flags.forks_receive_secret_env_vars)


def check_sees_contexts(user: User) -> None:
    """Raises NotFound for who may enter only some projects: contexts are for all of them."""
    if not user.sees_everything:
        raise NotFound("Context not found.")


def check_changes_context(user: User, restrictions: Sequence[Restriction]) -> None:
    """Raises Refused: who could not have what a context holds must not change it either. That needs a run to tell."""
    if restrictions and not user.is_admin:
        raise Refused("Permission denied: only administrators change a restricted context.")


def check_changes_project(user: User, flags: ProjectFlags) -> None:
    """Raises Refused when a project's variables, keys and settings are for administrators to change."""
    if flags.write_settings_requires_admin and not user.is_admin:
        raise Refused("Permission denied: only administrators change this project's settings.")


def check_is_admin(user: User) -> None:
    if not user.is_admin:
        raise Refused("Permission denied: only administrators do that.")


@dataclass(frozen=True)
class Need:
    """What decides on for whom a job runs."""

    name: str
    type: str
    requires: tuple[str, ...]
    approved_by: str | None = None
    approved_by_id: UserId | None = None


def actors(job: str, workflow: Sequence[Need], *starters: UserId | None) -> frozenset[UserId | None]:
    """Whose rights a job has; where there are several, it may do only what all of them may. None: of nobody we know.

    Who approved the nearest approvals before it, else who started or reran the workflow (spec 1.10.2); those are several
    where others could have chosen its config. Of approvals behind one another the last counts; of those beside one
    another each, or a stranger's would lend itself the other's.
    """
    needs = {need.name: need for need in workflow}
    found: set[UserId | None] = set()
    seen, ahead = {job}, list(needs[job].requires)
    while ahead:
        need = needs.get(ahead.pop())
        if need is None or need.name in seen:
            continue
        seen.add(need.name)
        if need.type == JobType.APPROVAL and need.approved_by is not None:
            found.add(need.approved_by_id)
        else:
            ahead += need.requires
    return frozenset(found or starters)


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """Where, for whom and how a context would be used."""

    project: Project
    actors: Sequence[User | None]  # each of them must be let through; None is somebody we do not know
    values: Mapping[str, object]  # of the pipeline
    has_ssh: bool  # somebody was promised a shell, or asks for one


def why_denied(context: str, restrictions: Sequence[Restriction], given: Circumstances) -> str:
    """Why a context may not be used, as a sentence for whoever may see the job; "" when it may (spec 7.6).

    Of projects and groups one must fit, expressions must hold all [K], and what there is of each kind must pass.
    Administrators pass projects and groups. Whatever is not understood is denied.
    """
    of = {kind: [one for one in restrictions if one.type is kind] for kind in Type}
    if of[Type.PROJECT] and not all(_may_project(actor, of[Type.PROJECT], given.project) for actor in given.actors):
        return f"the context {context} is restricted to certain projects; {given.project.name} is none of them"
    if of[Type.GROUP]:
        for actor in given.actors:
            if not any(_is_in(actor, one.value) for one in of[Type.GROUP]):
                who = "nobody known here" if actor is None else actor.name
                groups = ", ".join(one.name or "somebody who is gone" for one in of[Type.GROUP])
                return f"the context {context} is restricted to {groups}; this runs for {who}"
    for one in of[Type.EXPRESSION]:
        problem = _why_not(one.value, given)
        if problem:
            return f"the context {context} is restricted by the expression {one.value}: {problem}"
    return ""


def _may_project(actor: User | None, restrictions: Sequence[Restriction], project: Project) -> bool:
    return (actor is not None and actor.is_admin) or any(one.value == project.id for one in restrictions)


def _is_in(actor: User | None, group: str) -> bool:
    if actor is None:
        return False
    return actor.is_admin or group == ALL_MEMBERS or (group != ADMINS and group == actor.id)


def _why_not(text: str, given: Circumstances) -> str:
    def lookup(name: str) -> expression.Value:
        if name == _SSH:
            return given.has_ssh
        if name.startswith(_CHOSEN) or not (name in given.values or name in KNOWN):
            raise KeyError(name)
        value = given.values.get(name)
        if isinstance(value, bool | int | str):
            return value
        return int(value) if isinstance(value, float) else expression.UNDEFINED

    try:
        value = expression.evaluate(expression.parse(text, _LONGEST_EXPRESSION), lookup)
    except expression.ExpressionError as error:
        return error.message
    return "" if expression.is_truthy(value) else "it does not hold here"


def check_expression(text: str) -> None:
    """Raises BadRequest when `text` is no expression, or speaks of what restricts nobody."""
    try:
        tree = expression.parse(text, _LONGEST_EXPRESSION)
    except expression.ExpressionError as error:
        raise BadRequest(f"This is not an expression: {error.message} (at character {error.position + 1})") from None
    for name in sorted(expression.names_in(tree)):
        if name.startswith(_CHOSEN):
            raise BadRequest(f"{name} restricts nobody: whoever starts a pipeline chooses it freely.")
        if name != _SSH and name not in KNOWN:
            raise BadRequest(f"There is no pipeline value {name}.")
