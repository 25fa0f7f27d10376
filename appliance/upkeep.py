"""The loops of an appliance that stays up: pipelines begin by themselves, old things go. A laptop run never loads them."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from appliance import choices
from appliance.core import Core, Reach, of_this_host
from appliance.engine import custom
from appliance.engine.courier import Courier
from appliance.engine.drafting import Drafter
from appliance.engine.intake import Intake
from appliance.engine.janitor import Janitor
from appliance.engine.retention import Retention
from appliance.engine.schedules import Schedules
from appliance.executors.docker import DockerExecutor


def upkeep(core: Core, reach: Reach, drafter: Drafter) -> list[Coroutine[Any, Any, None]]:
    """Beside the trade's (`core.trade`)."""
    return [
        _intake(core, drafter, reach).run(),
        Courier(db=core.db, bell=core.bell, clock=core.clock, providers=core.providers, web_url=core.web_url).run(),
        *(_keep_warm(core, executor) for executor in _warm_ones(core)),
        _janitor(core).run(),
        _schedules(core).run(),
    ]


def _warm_ones(core: Core) -> list[DockerExecutor]:
    """The executors that make containers ahead, if any."""
    if not core.settings.integer("docker.warm"):
        return []
    return [executor for executor in core.executors.values() if isinstance(executor, DockerExecutor)]


async def _keep_warm(core: Core, executor: DockerExecutor) -> None:
    rules, now_ms = choices.docker_rules(core.settings), core.clock.now_ms()
    await executor.keep_warm(await core.db.read(lambda tx: custom.of_docker(tx, core.places, rules, now_ms)))


def _intake(core: Core, drafter: Drafter, reach: Reach) -> Intake:
    return Intake(
        db=core.db,
        bell=core.bell,
        clock=core.clock,
        providers=core.providers,
        drafter=drafter,
        git_url=reach.git_url,
        largest_config=core.settings.integer("git.largest_config"),
        patience_s=core.settings.number("git.patience"),
    )


def _janitor(core: Core) -> Janitor:
    return Janitor(
        db=core.db,
        clock=core.clock,
        blobs=core.blobs,
        executors=of_this_host(core),
        cache_quota=core.settings.integer("caches.quota"),
        artifact_quota=core.settings.integer("artifacts.quota"),
        disk_floor=core.settings.integer("disk.floor"),
        docker_layers_days=core.settings.number("remote_docker.layers_days"),
        every_s=core.settings.number("retention.every"),
        retention=Retention(db=core.db, blobs=core.blobs, terms=choices.terms(core.settings)),
    )


def _schedules(core: Core) -> Schedules:
    return Schedules(
        db=core.db,
        bell=core.bell,
        clock=core.clock,
        providers=core.providers,
        patience_s=core.settings.number("git.patience"),
    )
