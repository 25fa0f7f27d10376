"""Starts the first job's container while the rest of the engine is still being loaded.

Most of a container's start is waiting for the Docker engine, and most of ours is loading libraries: the two go on beside
each other. What is made here is what the executor would make; it takes the container only when it would have asked the
engine for the very same one, and a guess that was wrong costs no more than a container that is removed again.

The first guess is what the same words led to last time (`guess`), before the language is loaded and git has looked at the
tree. If the config has changed since then, a first look at it (`first`) corrects that.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from appliance import shim, where
from appliance.errors import RondoError
from appliance.executors.base import SandboxSpec
from appliance.executors.docker_ask import ask
from appliance.executors.docker_plan import Image, Room, container_name, primary_config
from appliance.laptop.guess import Guess, bare, recall, remember
from appliance.laptop.later import Later
from appliance.settings import Settings

NETWORK = "bridge"
"""The engine's own: a run makes and removes no network. Its jobs can reach each other there."""

_LONGEST_S = 60.0
_TROUBLE = (OSError, ValueError, KeyError, TypeError, sqlite3.Error, RondoError)
"""Whatever it is, the executor meets it again, and tells it."""


@dataclass(frozen=True)
class _Made:
    """A container that runs: what it was made for, and what the engine was asked for."""

    id: str
    spec: SandboxSpec
    config: Mapping[str, Any]


class Ahead:
    """At most one container. `begin` and `correct` do not wait for the engine, all others may; see `docker_plan.Begun`."""

    def __init__(self, settings: Settings, state: Path, asked: str) -> None:
        """`asked`: what the person asked for. The next run that is asked for the same begins with what this one needed."""
        self._settings = settings
        self._state = state
        self._asked = asked
        self._url = where.docker_url(settings)
        self._instance = ""  # until `begin`: and nothing is made
        self._next_job = 0  # the number of this run's first one
        self._guess: Guess | None = None
        self._seen = ""
        self._facts: Later[tuple[Room, Image]] | None = None
        self._making: Later[_Made | None] | None = None
        self._opened: SandboxSpec | None = None  # what was asked for first
        self._is_taken = False
        self._version: str | None = None
        self._answered = threading.Event()
        self._answered.set()

    @property
    def network(self) -> str:
        return NETWORK

    def begin(self) -> None:
        """As the last run did, if it was asked for the same. Without a call of it nothing is begun later either."""
        with contextlib.suppress(*_TROUBLE):
            if not self._url.startswith("unix://"):
                return
            database = f"{(self._state / 'rondo.db').as_uri()}?mode=ro"
            with contextlib.closing(sqlite3.connect(database, uri=True)) as tx:
                facts = dict(tx.execute("SELECT name, value FROM facts").fetchall())
            self._instance, self._next_job = facts["instance"], int(facts["last_job_number"]) + 1
            self._start(recall(self._state, self._asked, self._settings))

    def correct(self, seen: str, guess: Callable[[], Guess | None]) -> None:
        """`seen` is a digest of all that `guess` depends on: if it is not that of last time, `guess` says what is wanted."""
        self._seen = seen
        if self._guess is not None and self._guess.seen == self._seen:
            return
        with contextlib.suppress(*_TROUBLE):
            if self._instance:
                self._start(guess())

    def version(self) -> str | None:
        self._answered.wait()
        return self._version

    def take(self, spec: SandboxSpec) -> str | None:
        self._opened = self._opened or spec
        made = None if self._making is None else self._making.result()
        if made is None or made.spec.node != spec.node:
            return None
        self._making = None
        with contextlib.suppress(*_TROUBLE):
            if _size(spec) == _size(made.spec) and self._config(spec) == made.config:
                self._is_taken = True
                return made.id
        self.remove(made.id)
        return None

    def remove(self, container_id: str) -> bool:
        with contextlib.suppress(*_TROUBLE):
            self._ask("DELETE", f"/containers/{container_id}?force=1&v=1")
            return True
        return False

    def close(self) -> None:
        """Remove the container if nobody took it, and remember what was wanted. May be repeated.

        After a guess that was wrong nothing is remembered: what changes from run to run (a variable with the pipeline's
        number) would make the next one wrong as well.
        """
        making, self._making = self._making, None
        if making is not None and (made := making.result()) is not None:
            self.remove(made.id)
        if self._opened is not None and self._instance:
            has_learnt = self._is_taken or self._guess is None
            remember(self._state, self._asked, self._lesson(self._opened) if has_learnt else None)

    def _lesson(self, spec: SandboxSpec) -> Guess | None:
        """What leads to the container of `spec` again; None if what is remembered of it would lead to another."""
        with contextlib.suppress(*_TROUBLE):
            self._facts = self._facts or self._look(spec, None)
            room, _ = self._facts.result()
            number, _, index = spec.node.partition(".")
            if index == "0" and self._config(spec) == self._config(bare(spec), room):
                return Guess(spec=spec, before=int(number) - self._next_job, room=room, seen=self._seen)
        return None

    def _start(self, guess: Guess | None) -> None:
        if guess is None:
            return
        self._guess = guess
        self._answered.clear()
        spec = replace(guess.spec, node=f"{self._next_job + guess.before}.0")
        former = self._making
        self._making = Later(lambda: self._make(spec, guess.room, former))

    def _look(self, spec: SandboxSpec, room: Room | None) -> Later[tuple[Room, Image]]:
        """What the engine's host has, and the image.

        The `room` of last time is enough for what it does not cut short: if there is less now, the engine refuses the
        CPUs. It starts several processes to say what there is, and has a container to start just then.
        """

        def look() -> tuple[Room, Image]:
            image = Image.of(self._ask("GET", f"/images/{quote(spec.containers[0].image)}/json"))
            if room is not None and spec.cpus <= room.cpus and spec.memory_bytes <= room.memory_bytes:
                return room, image
            info = self._ask("GET", "/info")
            return Room(cpus=int(info["NCPU"]), memory_bytes=int(info["MemTotal"])), image

        return Later(look)

    def _config(self, spec: SandboxSpec, room: Room | None = None) -> dict[str, Any]:
        """What the engine is asked for. With a `room` nobody waits for it to answer, and its image has no entrypoint."""
        image = Image()
        if room is None:
            assert self._facts is not None
            room, image = self._facts.result()
        options = where.docker_options(self._settings, NETWORK)
        return primary_config(self._instance, spec, image, room, NETWORK, options, shim.supervisor())

    def _make(self, spec: SandboxSpec, room: Room | None, former: Later[_Made | None] | None) -> _Made | None:
        """In the place of the `former`, unless that is the same.

        Where the `room` is known, what the engine says is only needed by who takes the container, and asked meanwhile.
        """
        made = None if former is None else former.result()
        container_id = ""
        try:
            if room is None:
                self._facts = self._look(spec, None)
            config = self._config(spec, room)
            if made is not None and made.config == config and _size(made.spec) == _size(spec):
                return made
            if made is not None:
                self.remove(made.id)
            name = urlencode({"name": container_name(self._instance, spec.node, 0)})
            container_id = self._ask("POST", f"/containers/create?{name}", config)["Id"]
            if room is not None:
                self._facts = self._look(spec, room)
            self._ask("POST", f"/containers/{container_id}/start")
            return _Made(container_id, spec, config)
        except _TROUBLE:
            for left in (container_id, "" if made is None else made.id):
                if left:
                    self.remove(left)
            return None
        finally:
            self._answered.set()

    def _ask(self, method: str, target: str, body: Mapping[str, Any] | None = None) -> Any:
        answer = ask(self._url.removeprefix("unix://"), method, target, body, timeout_s=_LONGEST_S)
        self._version = answer.version
        self._answered.set()
        return answer.value


def _size(spec: SandboxSpec) -> tuple[float, int]:
    """What is wanted, before it is cut to what there is."""
    return spec.cpus, spec.memory_bytes
