"""What the settings choose, as the parts of the engine take it: sizes, limits, terms. Raises SettingsError on nonsense."""

from __future__ import annotations

from typing import Any

from appliance import where
from appliance.engine import cancels, fit, reruns
from appliance.engine.retention import Terms
from appliance.engine.scheduler import HERE
from appliance.engine.workshop import DockerRules
from appliance.errors import BadRequest, SettingsError
from appliance.settings import Settings
from appliance.steps.base import DataLimits
from appliance.store.machines import Definition, checked, read_address


def bounds(settings: Settings) -> fit.Bounds:
    return fit.Bounds(
        nodes_of_project=settings.integer("jobs.at_once_per_project"),
        patience_ms=int(settings.number("jobs.patience") * 1000),
    )


def patience(settings: Settings) -> cancels.Patience:
    return cancels.Patience(
        workflows_ms=int(settings.number("workflows.longest_days") * 86_400_000),
        holds_ms=int(settings.number("workflows.hold_days") * 86_400_000),
        locks_ms=int(settings.number("workflows.longest_lock_wait") * 1000),
    )


def data_limits(settings: Settings) -> DataLimits:
    return DataLimits(
        artifact_bytes=settings.integer("artifacts.largest"),
        artifacts=settings.integer("artifacts.files"),
        artifacts_bytes=settings.integer("artifacts.job"),
        layer_bytes=settings.integer("workspaces.layer"),
        workspace_bytes=settings.integer("workspaces.all"),
    )


def terms(settings: Settings) -> Terms:
    pipelines_ms = int(settings.number("retention.pipelines_days") * 86_400_000)
    if pipelines_ms and pipelines_ms < reruns.LONGEST_MS:
        raise SettingsError(
            ["retention.pipelines_days: a pipeline can be rerun for 90 days; give 90 or more, or 0 for ever"]
        )
    return Terms(
        pipelines_ms=pipelines_ms,
        logs_ms=int(settings.number("retention.logs_days") * 86_400_000),
        log_bytes=settings.integer("retention.logs_size"),
        letters_ms=int(settings.number("retention.letters_days") * 86_400_000),
    )


def docker_rules(settings: Settings) -> DockerRules:
    return DockerRules(
        is_on=settings.is_on("remote_docker.enabled"),
        for_forks=settings.is_on("remote_docker.forks"),
        for_machines=settings.is_on("remote_docker.machine"),
        shared_with=frozenset(name.lower() for name in settings.items("remote_docker.shared_with")),
        kept=settings.integer("remote_docker.layers_kept"),
    )


def machine(settings: Settings) -> fit.Machine:
    cpus, memory = where.room(settings)
    return fit.Machine(
        name=HERE,
        cpus=cpus,
        memory_bytes=memory,
        nodes=settings.integer("jobs.at_once"),
        bound="jobs.at_once allows",
    )


def machines(settings: Settings) -> list[Definition]:
    """Those of the settings."""
    found, problems = [], []
    for name, table in settings.tables("machines").items():
        try:
            found.append(_machine(name, dict(table)))
        except BadRequest as error:
            problems.append(f"machines: {error}")
    if problems:
        raise SettingsError(problems)
    return found


def _machine(name: str, table: dict[str, Any]) -> Definition:
    """Raises BadRequest."""
    if "memory" in table:
        table["memory_bytes"] = table.pop("memory")
    if "address" in table:
        table["user_name"], table["address"], table["port"] = read_address(table["address"])
    return checked(Definition(name=name, **table))


def priorities(settings: Settings) -> dict[str, int]:
    table = settings.table("priorities")
    wrong = [
        f"priorities: {pattern} = {value!r} is not a whole number"
        for pattern, value in table.items()
        if not _is_whole(value)
    ]
    if wrong:
        raise SettingsError(wrong)
    return {pattern: int(value) for pattern, value in table.items()}


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal()
