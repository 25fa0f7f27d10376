"""The protocol of a version control provider: where repositories live and how a forge talks.

A provider never writes to the store: it verifies and translates what comes in, reads files and commits, and says
things back. Implementations: `github` (GitHub and Enterprise), `git` (any URL), `hosted` (repositories pushed to us).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from appliance.model import Commit, Project, Trigger


@dataclass(frozen=True)
class Ignored:
    """A delivery that was genuine but starts nothing; `reason` is answered to the forge."""

    reason: str


@dataclass(frozen=True)
class CommitStatus:
    """One line beside a commit on the forge (spec 7.2)."""

    context: str  # "ci/circleci: build"
    state: str  # pending | success | failure | error
    description: str
    target_url: str


@dataclass(frozen=True)
class Resolved:
    """A branch or tag as it is now."""

    revision: str
    branch: str | None
    tag: str | None


class Provider(Protocol):
    """One kind of repository host. All methods may run at once. Raises VcsError with a sentence on what went wrong."""

    def receive(
        self, project: Project, secret: str | None, headers: Mapping[str, str], body: bytes
    ) -> Trigger | Ignored:
        """Verify a webhook on its raw bytes and say what it means. No I/O.

        Raises Refused when the signature is missing or wrong or speaks for another repository, BadRequest when the
        body is not what the signature's owner should send.
        """

    async def fetch(self, project: Project, revision: str | None) -> None:
        """Make sure that `revision` (None: every branch and tag) can be read locally. Cheap when it is there."""

    async def resolve(self, project: Project, *, branch: str | None, tag: str | None) -> Resolved:
        """The revision of a branch or tag (neither: the default branch)."""

    async def read_file(self, project: Project, revision: str, path: str, limit_bytes: int) -> str | None:
        """A text file at a revision; None when there is none. After `fetch`. Raises VcsError past `limit_bytes`."""

    async def commit(self, project: Project, revision: str) -> Commit:
        """What git knows of a commit. After `fetch`."""

    def bundle(self, project: Project, revision: str, branch: str | None, tag: str | None) -> AsyncIterator[bytes]:
        """A git bundle with the history of `revision` under the ref of its branch or tag, for a checkout.

        The bundle's head ref is `refs/rondo/checkout`. After `fetch`.
        """

    def archive(self, project: Project, revision: str) -> AsyncIterator[bytes]:
        """A tar of the tree at `revision`, for images without git. After `fetch`."""

    async def say(self, project: Project, revision: str, status: CommitStatus) -> None:
        """Put a status on a commit; does nothing where there is no forge to tell."""
