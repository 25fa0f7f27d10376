"""Starts the first job's container while the rest of the engine is still being loaded.

Most of a container's start is waiting for the Docker engine, and most of ours is loading libraries: the two go on beside
each other. What is made here is exactly what the executor would make; it takes the container only when every setting
agrees, and a guess that was wrong costs no more than a container that is removed again.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from appliance import shim, where
from appliance.engine import placement
from appliance.errors import RondoError
from appliance.executors.base import SandboxSpec
from appliance.executors.docker_plan import Image, Room, container_name, primary_config
from appliance.language import plan as plans
from appliance.settings import Settings

NETWORK = "bridge"
"""The engine's own: a run makes and removes no network. Its jobs can reach each other there."""

_LONGEST_S = 60.0


class Ahead:
    """One container, begun in a thread. `take` and `discard` belong to whoever made it."""

    def __init__(self, settings: Settings, state: Path, plan: plans.Plan | None) -> None:
        self._settings = settings
        self._url = where.docker_url(settings)
        self._id: str | None = None
        self._spec: SandboxSpec | None = None  # of one that runs
        self._version: str | None = None
        self._answered = threading.Event()
        self._found = None if plan is None else _first(plan)
        self._state = state
        self._thread = threading.Thread(target=self._begin, daemon=True)
        if self._found is not None and self._url.startswith("unix://"):
            self._thread.start()
        else:
            self._answered.set()

    @property
    def network(self) -> str:
        return NETWORK

    def version(self) -> str | None:
        self._answered.wait()
        return self._version

    def take(self, spec: SandboxSpec) -> str | None:
        self._wait()
        if self._id is None or spec != self._spec:
            return None
        found, self._id = self._id, None
        return found

    def discard(self) -> None:
        """Remove the container if nobody took it. May be repeated."""
        self._wait()
        if self._id is not None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._ask("DELETE", f"/containers/{self._id}?force=1&v=1")
            self._id = None

    def _wait(self) -> None:
        if self._thread.ident is not None:
            self._thread.join()

    def _begin(self) -> None:
        """Any trouble is met again, and told, by the executor."""
        try:
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError, KeyError, sqlite3.Error, RondoError):
                self._create()
        finally:
            self._answered.set()

    def _create(self) -> None:
        assert self._found is not None
        job, before = self._found
        with contextlib.closing(sqlite3.connect(f"{(self._state / 'rondo.db').as_uri()}?mode=ro", uri=True)) as tx:
            facts = dict(tx.execute("SELECT name, value FROM facts").fetchall())
        places = where.places(self._settings)
        placed = placement.place(job, places, is_trusted=True)
        if not isinstance(placed, placement.Placement) or placed.executor != "docker":
            return
        cpus, memory_bytes = where.room(self._settings)
        placed = placement.Placement(
            executor="docker", cpus=min(placed.cpus, cpus), memory_bytes=min(placed.memory_bytes, memory_bytes)
        )
        node = f"{int(facts['last_job_number']) + 1 + before}.0"
        spec = placement.spec(node, job, placed, places, {})
        info = self._ask("GET", "/info")
        self._answered.set()
        image = Image.of(self._ask("GET", f"/images/{quote(spec.containers[0].image)}/json"))
        room = Room(cpus=int(info["NCPU"]), memory_bytes=int(info["MemTotal"]))
        options = where.docker_options(self._settings, NETWORK)
        config = primary_config(facts["instance"], spec, image, room, NETWORK, options, shim.supervisor())
        name = container_name(facts["instance"], node, 0)
        made = self._ask("POST", f"/containers/create?{urlencode({'name': name})}", config)
        self._id = str(made["Id"])
        self._ask("POST", f"/containers/{self._id}/start")
        self._spec = spec

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        connection = _Unix(self._url.removeprefix("unix://"))
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            said = answer.read()
            version = answer.headers.get("Api-Version")
            self._version = f"v{version}" if version else None
            if answer.status >= 400:
                raise http.client.HTTPException(said.decode("utf-8", "replace"))
            return json.loads(said) if said else None
        finally:
            connection.close()


def _first(plan: plans.Plan) -> tuple[plans.Job, int] | None:
    """The job that begins first, and how many get a number before it; None when its container depends on more."""
    before = 0
    for job in (job for workflow in plan.workflows for job in workflow.jobs):
        if job.type is not plans.JobType.BUILD:
            continue
        if job.requires:
            before += 1
            continue
        needs_engine = any(isinstance(step, plans.SetupRemoteDocker) for step in job.steps)
        if not isinstance(job.executor, plans.Docker) or needs_engine:
            return None
        if any(image.auth or image.aws_auth or image.gcp_auth for image in job.executor.images):
            return None
        return job, before
    return None


class _Unix(http.client.HTTPConnection):
    """HTTP over the engine's socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_LONGEST_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_LONGEST_S)
        self.sock.connect(self._path)
