"""The provider of working trees: what was photographed of one is the repository that jobs check out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from appliance.errors import Refused
from appliance.model import Project, Trigger
from appliance.vcs.base import CommitStatus, Ignored, Resolved
from appliance.vcs.client import Git
from appliance.vcs.repository import Reading, Repository


class Photographed(Reading):
    """The provider of snapshots. `store` is what `working_tree.take` filled, `scratch` a folder for what lives a moment."""

    def __init__(self, git: Git, store: Path, scratch: Path) -> None:
        self._git = git
        self._store = store
        self._scratch = scratch

    def receive(self, project: Project, secret: str | None, headers: Mapping[str, str], body: bytes) -> Trigger | Ignored:
        raise Refused("a working tree takes no webhooks")

    async def fetch(self, project: Project, revision: str | None) -> None:
        """What there is lies here."""

    async def resolve(self, project: Project, *, branch: str | None, tag: str | None) -> Resolved:
        return await self._resolve_here(project, branch, tag)

    async def say(self, project: Project, revision: str, status: CommitStatus) -> None:
        """There is nobody to tell."""

    def _repository(self, project: Project) -> Repository:
        return Repository(self._git, self._store, self._scratch, project.name)
