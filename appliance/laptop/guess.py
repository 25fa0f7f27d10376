"""What the container of a run's first job is made of, before that is known: as it was when the same was asked for last.

A guess is a hint and nothing else: what is made of it is used only if the job wants the very same container. What could do
harm is not kept from run to run: mounts come from the settings of today, and a container that would run an entrypoint or
have a Docker engine is not remembered at all.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance import where
from appliance.executors.base import Container, SandboxSpec
from appliance.executors.docker_plan import Room
from appliance.settings import Settings

_FILE = "first-container.json"


@dataclass(frozen=True, kw_only=True)
class Guess:
    """`spec` is that of the job that gets its number after `before` others of the run; its node is not said there."""

    spec: SandboxSpec
    before: int
    room: Room | None = None  # None: the engine has to be asked
    seen: str = ""  # a digest of what it was concluded from


def recall(state: Path, asked: str, settings: Settings) -> Guess | None:
    """What was remembered, if the same was asked for. Raises SettingsError."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads((state / _FILE).read_text("utf-8"))
        if found["asked"] == asked:
            return _guess(found, settings)
    return None


def remember(state: Path, asked: str, guess: Guess | None) -> None:
    """For the next run. None: it had better not guess."""
    with contextlib.suppress(OSError):
        if guess is None:
            (state / _FILE).unlink(missing_ok=True)
        else:
            (state / _FILE).write_text(json.dumps({"asked": asked, **_kept(guess)}), "utf-8")


def bare(spec: SandboxSpec) -> SandboxSpec:
    """With no more in it than is remembered."""
    primary, *services = spec.containers
    return SandboxSpec(
        node=spec.node,
        containers=_containers(primary.image, primary.user, primary.environment, (each.name for each in services)),
        cpus=spec.cpus,
        memory_bytes=spec.memory_bytes,
        labels=spec.labels,
        mounts=spec.mounts,
    )


def _containers(
    image: str, user: str | None, environment: Mapping[str, str], services: Iterable[str | None]
) -> tuple[Container, ...]:
    """Of services the primary container knows the names, and nothing else."""
    primary = Container(image=image, user=user, environment=environment)
    return (primary, *(Container(image="", name=name) for name in services))


def _kept(guess: Guess) -> dict[str, Any]:
    spec, room = guess.spec, guess.room
    assert room is not None
    return {
        "seen": guess.seen,
        "before": guess.before,
        "image": spec.containers[0].image,
        "user": spec.containers[0].user,
        "environment": dict(spec.containers[0].environment),
        "services": [container.name for container in spec.containers[1:]],
        "cpus": spec.cpus,
        "memory_bytes": spec.memory_bytes,
        "labels": dict(spec.labels),
        "room": {"cpus": room.cpus, "memory_bytes": room.memory_bytes},
    }


def _guess(kept: Any, settings: Settings) -> Guess:
    spec = SandboxSpec(
        node="",
        containers=_containers(kept["image"], kept["user"], kept["environment"], kept["services"]),
        cpus=kept["cpus"],
        memory_bytes=kept["memory_bytes"],
        labels=kept["labels"],
        mounts=where.mounts(settings),
    )
    return Guess(spec=spec, before=kept["before"], room=Room(**kept["room"]), seen=kept["seen"])
