"""A repository at any URL that git can clone, with no forge around it that could call us or be told."""

from __future__ import annotations

from collections.abc import Mapping

from appliance.errors import Refused
from appliance.model import Project, Trigger
from appliance.vcs.base import CommitStatus, Ignored
from appliance.vcs.mirrored import Mirrored


class PlainGit(Mirrored):
    """The provider `git`."""

    def receive(self, project: Project, secret: str | None, headers: Mapping[str, str], body: bytes) -> Trigger | Ignored:
        raise Refused(f"{project.name} takes no webhooks: start its pipelines over the API")

    async def say(self, project: Project, revision: str, status: CommitStatus) -> None:
        """There is no forge to tell."""
