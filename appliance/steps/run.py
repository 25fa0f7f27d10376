"""`run`: a user's script in a new shell (spec 1.8.1)."""

from __future__ import annotations

from appliance.executors.base import Command
from appliance.language import plan as plans
from appliance.model import StepStatus
from appliance.steps.base import SUCCESS, NodeView, Outcome


async def perform(step: plans.Run, node: NodeView) -> Outcome:
    if step.only_on_first_node and node.index != 0:
        await node.say("deploy runs on the first node only\n")
        return SUCCESS
    if step.only_on_first_node and node.job.parallelism > 1:
        trouble = await node.after_others()
        if trouble is not None:
            await node.say(f"{trouble}\n")
            return Outcome(StepStatus.FAILED, message=trouble)
    if wants_timings(step):
        from appliance.steps import results

        await results.deliver_timings(node)
        await results.deliver_failed_tests(node)
    command = Command(
        id=node.command_id,
        script=step.command,
        shell=step.shell or node.job.shell,
        environment={**node.environment, **step.environment},
        working_directory=step.working_directory or ".",
        base_directory=node.job.working_directory,
        background=step.background,
    )
    return await node.execute(command, step.no_output_timeout_s)


def wants_timings(step: plans.Run) -> bool:
    """Whether a step looks as if it splits by timings. Others are not held up by the search for some."""
    return "timings" in step.command or "tests run" in step.command
