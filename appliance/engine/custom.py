"""What sandboxes are usually asked for here, by what began lately: a restart forgets it, the rows do not."""

from __future__ import annotations

from appliance.engine import placement, remote_docker
from appliance.engine.workshop import DockerRules
from appliance.executors.base import SandboxSpec
from appliance.language import plan as plans
from appliance.store import lately
from appliance.store.database import Tx

_LATELY_MS = 2 * 3600 * 1000
_JOBS = 300


def of_docker(tx: Tx, places: placement.Places, rules: DockerRules, now_ms: int) -> list[tuple[SandboxSpec, float]]:
    """What was asked of the Docker engine, and how many seconds ago: without names, limits and logins."""
    return [
        (_spec(one, places, rules), max(0, now_ms - one.started_at_ms) / 1000)
        for one in lately.begun(tx, "docker", now_ms - _LATELY_MS, _JOBS)
        if isinstance(one.plan.executor, plans.Docker) or places.machine_image
    ]


def _spec(one: lately.Begun, places: placement.Places, rules: DockerRules) -> SandboxSpec:
    docker = remote_docker.access(one.plan, "docker", one.project, rules, is_trusted=one.is_trusted)
    placed = placement.Placement(executor="docker", cpus=0, memory_bytes=0)
    return placement.spec("", one.plan, placed, places, {}, docker.kind)
