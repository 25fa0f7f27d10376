"""Step kinds that Rondo reads but cannot do yet. What is safe to leave out is left out with a word; the rest fails."""

from __future__ import annotations

from appliance.language import plan as plans
from appliance.model import StepStatus
from appliance.steps.base import SUCCESS, NodeView, Outcome

_HARMLESS = (plans.StoreTestResults,)


async def perform(step: plans.Step, node: NodeView) -> Outcome:
    """Leaving out an upload changes no result of a job; a missing workspace or key would."""
    kind = plans.kind_of(step)
    if isinstance(step, _HARMLESS):
        await node.say(f"Rondo does not do {kind} yet: this step was left out\n")
        return SUCCESS
    await node.say(f"Rondo does not do {kind} yet, and the job may not be right without it\n")
    return Outcome(StepStatus.FAILED, message=f"{kind} is not supported yet")
