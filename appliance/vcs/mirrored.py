"""The reading half that all providers with a mirror share."""

from __future__ import annotations

from collections.abc import AsyncIterator

from appliance.model import Commit, Project
from appliance.vcs.base import Resolved
from appliance.vcs.mirror import Mirrors


class Mirrored:
    """Everything of `Provider` but `receive` and `say`."""

    def __init__(self, mirrors: Mirrors) -> None:
        self._mirrors = mirrors

    async def fetch(self, project: Project, revision: str | None) -> None:
        await self._mirrors.fetch(project, revision)

    async def resolve(self, project: Project, *, branch: str | None, tag: str | None) -> Resolved:
        return await self._mirrors.resolve(project, branch=branch, tag=tag)

    async def read_file(self, project: Project, revision: str, path: str, limit_bytes: int) -> str | None:
        return await self._mirrors.read_file(project, revision, path, limit_bytes)

    async def commit(self, project: Project, revision: str) -> Commit:
        return await self._mirrors.commit(project, revision)

    def bundle(self, project: Project, revision: str, branch: str | None, tag: str | None) -> AsyncIterator[bytes]:
        return self._mirrors.bundle(project, revision, branch, tag)

    def archive(self, project: Project, revision: str) -> AsyncIterator[bytes]:
        return self._mirrors.archive(project, revision)
