"""Step kinds that Rondo reads but cannot do yet: they fail, since the job may not be right without them."""

from __future__ import annotations

from appliance.language import plan as plans
from appliance.model import StepStatus
from appliance.steps.base import NodeView, Outcome


async def perform(step: plans.Step, node: NodeView) -> Outcome:
    kind = plans.kind_of(step)
    await node.say(f"Rondo does not do {kind} yet, and the job may not be right without it\n")
    return Outcome(StepStatus.FAILED, message=f"{kind} is not supported yet")
