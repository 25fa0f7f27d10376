"""What the command line asks of a run, and which workflows and jobs of a config that means."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.errors import BadRequest

if TYPE_CHECKING:
    from appliance.language import plan as plans


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """`jobs` may be patterns ("test-*"): jobs alone, or with all that they require."""

    workflow: str | None = None
    jobs: Sequence[str] = ()
    with_requires: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    contexts: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    environment: Mapping[str, str] = field(default_factory=dict)
    branch: str | None = None
    tag: str | None = None
    approved: Sequence[str] = ()  # names of approvals that are given without asking
    executor: str = "docker"
    keeps_caches: bool = True
    shell_on_failure: bool = False
    artifacts: Path | None = None

    @property
    def choice(self) -> str:
        """All that decides which jobs run."""
        parameters = sorted(self.parameters.items())
        return repr((self.workflow, list(self.jobs), self.with_requires, parameters, self.branch, self.tag))


def chosen(plan: plans.Plan, wishes: Wishes) -> plans.Plan:
    """The part of a plan that is asked for. Raises BadRequest with what there is instead."""
    workflows = plan.workflows
    if wishes.workflow is not None:
        workflows = tuple(one for one in (*workflows, *plan.scheduled) if one.name == wishes.workflow)
        if not workflows:
            names = sorted({one.name for one in (*plan.workflows, *plan.scheduled)})
            raise BadRequest(f"no workflow {wishes.workflow} runs here; there is {_listed(names, wishes)}")
    if wishes.jobs:
        workflows = _with_jobs(workflows, wishes)
    _check_approvals(workflows, wishes.approved)
    return replace(plan, workflows=workflows, scheduled=())


def check_any(plan: plans.Plan) -> None:
    """Raises BadRequest for a plan without a workflow."""
    if not plan.workflows:
        raise BadRequest("nothing runs here: filters, conditions and schedules leave out every workflow")


def _check_approvals(workflows: Sequence[plans.Workflow], given: Sequence[str]) -> None:
    """A pattern ("*") may mean none; a name that is none is a slip. Raises BadRequest."""
    there = sorted({job.name for workflow in workflows for job in workflow.jobs if job.type == "approval"})
    for name in given:
        if not any(each in name for each in "*?[") and name not in there:
            raise BadRequest(f"no approval {name} runs here; there is {', '.join(there) or 'none'}")


def _with_jobs(workflows: Sequence[plans.Workflow], wishes: Wishes) -> tuple[plans.Workflow, ...]:
    """Each pattern means the first workflow that has such a job."""
    wanted: dict[str, set[str]] = {}
    for pattern in wishes.jobs:
        for workflow in workflows:
            names = {job.name for job in workflow.jobs if fnmatch.fnmatchcase(job.name, pattern)}
            if names:
                wanted.setdefault(workflow.name, set()).update(names)
                break
        else:
            there = sorted({job.name for workflow in workflows for job in workflow.jobs})
            raise BadRequest(f"no job {pattern} runs here; there is {_listed(there, wishes)}")
    return tuple(
        _part(workflow, _needed(workflow, wanted[workflow.name]) if wishes.with_requires else wanted[workflow.name])
        for workflow in workflows
        if workflow.name in wanted
    )


def _needed(workflow: plans.Workflow, wanted: set[str]) -> set[str]:
    of = {job.name: job for job in workflow.jobs}
    found, ahead = set(wanted), list(wanted)
    while ahead:
        more = {require.job for require in of[ahead.pop()].requires} & of.keys() - found
        found |= more
        ahead += more
    return found


def _part(workflow: plans.Workflow, names: set[str]) -> plans.Workflow:
    """Some jobs of a workflow, which wait only for one another."""
    return replace(
        workflow,
        jobs=tuple(
            replace(job, requires=tuple(require for require in job.requires if require.job in names))
            for job in workflow.jobs
            if job.name in names
        ),
    )


def listed(plan: plans.Plan) -> Iterator[str]:
    """What a plan would run, a line each."""
    from appliance.language.plan import JobType

    for workflow in plan.workflows:
        yield workflow.name
        for job in workflow.jobs:
            facts = [] if job.type is JobType.BUILD else [str(job.type)]
            facts += [f"{job.parallelism} nodes"] if job.parallelism > 1 else []
            facts += [f"requires {', '.join(require.job for require in job.requires)}"] if job.requires else []
            yield f"  {job.name}" + (f"  ({'; '.join(facts)})" if facts else "")


def _listed(names: Sequence[str], wishes: Wishes) -> str:
    if names:
        return ", ".join(names)
    if wishes.tag is not None:
        return "none (for a tag only those jobs run whose filters name it under `tags`)"
    return "none (its filters may leave out this branch: --branch plays another)"
