"""One file a step kind, loaded when a job has a step of that kind: most have few, and a run on a laptop is short."""

from __future__ import annotations

from appliance.errors import ConnectionBroke
from appliance.language import plan as plans
from appliance.steps.base import NodeView, Outcome

_TIMES = 4


async def perform(step: plans.Step, node: NodeView) -> Outcome:
    """Do a step; from its beginning again when the connection breaks amid it, which every step has to bear (see base).

    Raises SandboxLost and SandboxError from the sandbox, VcsError from the source.
    """
    for _ in range(_TIMES - 1):
        try:
            return await _perform(step, node)
        except ConnectionBroke as error:
            await node.say(f"{error}; beginning this step anew\n")
    return await _perform(step, node)


async def _perform(step: plans.Step, node: NodeView) -> Outcome:
    match step:
        case plans.Run():
            from appliance.steps import run

            return await run.perform(step, node)
        case plans.Checkout():
            from appliance.steps import checkout

            return await checkout.perform(step, node)
        case plans.SaveCache():
            from appliance.steps import cache

            return await cache.save(step, node)
        case plans.RestoreCache():
            from appliance.steps import cache

            return await cache.restore(step, node)
        case plans.PersistToWorkspace():
            from appliance.steps import workspace

            return await workspace.persist(step, node)
        case plans.AttachWorkspace():
            from appliance.steps import workspace

            return await workspace.attach(step, node)
        case plans.StoreArtifacts():
            from appliance.steps import artifacts

            return await artifacts.store(step, node)
        case plans.StoreTestResults():
            from appliance.steps import results

            return await results.store(step, node)
        case plans.SetupRemoteDocker():
            from appliance.steps import remote_docker

            return await remote_docker.perform(step, node)
        case plans.AddSshKeys():
            from appliance.steps import keys

            return await keys.add(step, node)
        case _:
            from appliance.steps import unsupported

            return await unsupported.perform(step, node)
