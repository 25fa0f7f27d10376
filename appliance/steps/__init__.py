"""One file a step kind."""

from __future__ import annotations

from appliance.errors import ConnectionBroke
from appliance.language import plan as plans
from appliance.steps import artifacts, cache, checkout, keys, remote_docker, results, run, unsupported, workspace
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
            return await run.perform(step, node)
        case plans.Checkout():
            return await checkout.perform(step, node)
        case plans.SaveCache():
            return await cache.save(step, node)
        case plans.RestoreCache():
            return await cache.restore(step, node)
        case plans.PersistToWorkspace():
            return await workspace.persist(step, node)
        case plans.AttachWorkspace():
            return await workspace.attach(step, node)
        case plans.StoreArtifacts():
            return await artifacts.store(step, node)
        case plans.StoreTestResults():
            return await results.store(step, node)
        case plans.SetupRemoteDocker():
            return await remote_docker.perform(step, node)
        case plans.AddSshKeys():
            return await keys.add(step, node)
        case _:
            return await unsupported.perform(step, node)
