"""What the doors of the web are given. The app makes these things; nothing here is made twice or found by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web

from appliance.bell import Bell
from appliance.blobs import Blobs
from appliance.clock import Clock
from appliance.crypto import SecretBox
from appliance.engine.commands import Commands
from appliance.engine.fit import Machine
from appliance.model import Vcs
from appliance.settings import Settings
from appliance.store.database import Database
from appliance.vcs.base import Provider


@dataclass(frozen=True)
class Addresses:
    """How people reach us; known once the sockets are bound."""

    web: str  # "https://ci.example.org", without a slash at the end
    ssh_host: str
    ssh_port: int

    @property
    def is_tls(self) -> bool:
        return urlsplit(self.web).scheme == "https"

    @property
    def origin(self) -> str:
        """What a browser sends as `Origin` from our own pages."""
        parts = urlsplit(self.web)
        return f"{parts.scheme}://{parts.netloc}"

    def ssh_command(self, job_number: int, index: int | None = None) -> str:
        """The command that opens a shell in a running job."""
        who = f"{job_number}" if index is None else f"{job_number}.{index}"
        return f"ssh -p {self.ssh_port} {who}@{self.ssh_host}"

    @property
    def known_host(self) -> str:
        """How our SSH door is named in a known_hosts file."""
        return self.ssh_host if self.ssh_port == 22 else f"[{self.ssh_host}]:{self.ssh_port}"

    def git_url(self, org: str, repo: str) -> str:
        """Where a hosted repository is pushed to."""
        return f"ssh://git@{self.ssh_host}:{self.ssh_port}/{org}/{repo}.git"


@dataclass(frozen=True, kw_only=True)
class Parts:
    db: Database
    bell: Bell
    clock: Clock
    blobs: Blobs
    commands: Commands
    box: SecretBox
    providers: Mapping[Vcs, Provider]
    settings: Settings
    addresses: Addresses
    here: Machine  # what jobs may take of this host
    ready: asyncio.Event  # set once recovery is done; until then only /health answers


PARTS = web.AppKey("parts", Parts)


def parts_of(request: web.Request) -> Parts:
    return request.app[PARTS]
