"""`setup_remote_docker`: a Docker engine for this job alone (spec 1.8.4). The docker client is the image's own.

`version` and `prefer_same_region` say which virtual machine CircleCI takes; the engine here is the version that the
appliance's machine has.
"""

from __future__ import annotations

from appliance.errors import Unavailable
from appliance.executors.base import DOCKER_SOCKET
from appliance.language import plan as plans
from appliance.model import StepStatus
from appliance.steps.base import SUCCESS, NodeView, Outcome


async def perform(step: plans.SetupRemoteDocker, node: NodeView) -> Outcome:
    if isinstance(node.job.executor, plans.Machine):
        await node.say("A machine job has its Docker engine from the start; nothing to set up\n")
        return SUCCESS
    try:
        said = await node.start_docker(step.docker_layer_caching)
    except Unavailable as error:
        await node.say(f"{error}\n")
        return Outcome(StepStatus.FAILED, message=str(error))
    await node.say(f"{said}Docker answers at DOCKER_HOST=unix://{DOCKER_SOCKET}\n")
    return SUCCESS
