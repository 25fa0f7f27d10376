"""The protocol of a version control provider: where repositories live and how a forge talks.

A provider never writes to the store: it verifies and translates what comes in, reads files and commits, and says
things back. Implementations: `github` (GitHub and Enterprise), `git` (any URL), `hosted` (repositories pushed to us).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from appliance.errors import NotFound, VcsError
from appliance.model import Commit, Project, Trigger


class RefNotFound(VcsError, NotFound):
    """The repository has no such branch or tag: the asker's to mend, not the network's."""


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

    def receive(self, project: Project, secret: str | None, headers: Mapping[str, str], body: bytes) -> Trigger | Ignored:
        """Verify a webhook on its raw bytes and say what it means. No I/O.

        Raises Refused when the signature is missing or wrong or speaks for another repository, BadRequest when the
        body is not what the signature's owner should send.
        """

    async def fetch(self, project: Project, revision: str | None) -> None:
        """Make sure that `revision` (None: every branch and tag) can be read locally. Cheap when it is there."""

    async def resolve(self, project: Project, *, branch: str | None, tag: str | None) -> Resolved:
        """The revision of a branch or tag (neither: the default branch), as it is now; it can be read afterwards.

        Raises RefNotFound when there is none of that name.
        """

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


@dataclass(frozen=True)
class PushMark:
    """Who pushed, and which push it was. It is written into the repository with the very update of a ref."""

    id: str
    actor: str


@dataclass(frozen=True)
class RefUpdate:
    """One ref of a push; None stands for "was not there" and "is deleted"."""

    ref: str
    old: str | None
    new: str | None


@dataclass(frozen=True)
class Pushed:
    """What a push has changed, and the options it came with (`git push -o wait`)."""

    updates: tuple[RefUpdate, ...]
    options: tuple[str, ...]


class GitService(Protocol):
    """A git process that talks to a git client. One reader, one writer."""

    async def read(self) -> bytes:
        """The next bytes for the client; b"" at the end."""

    async def write(self, data: bytes) -> None:
        """Bytes from the client; returns when they are taken. Does nothing after the end."""

    def write_eof(self) -> None: ...

    async def wait(self) -> int:
        """The exit code. Its output has to be read meanwhile."""

    async def error(self) -> bytes:
        """What it had to say beside the protocol; after its end."""


class PushService(GitService, Protocol):
    """Receives a push, and holds the pusher's git until it has been told what became of it."""

    async def pushed(self) -> Pushed:
        """Waits until the refs have been updated; for ever when nothing is updated. Once."""

    async def tell(self, line: str) -> None:
        """A line for the pusher, shown as `remote: ...`. Does nothing when nobody listens any more."""

    def let_go(self) -> None:
        """Nothing more to tell: the pusher's git may end. May be repeated."""


class HostedRepositories(Protocol):
    """The repositories that are pushed straight to us, as the SSH door sees them. All methods may run at once."""

    async def create(self, project: Project) -> None:
        """Make the project's repository unless it is there."""

    async def refs(self, project: Project) -> Mapping[str, str]:
        """Branches and tags, by full name, with the object ids they hold."""

    async def last_push(self, project: Project, ref: str) -> PushMark | None:
        """Which push has last updated `ref`; None when it was not updated by a push to us."""

    async def peeled(self, project: Project, object_id: str) -> str | None:
        """The commit behind an object (a tag's); None when there is none."""

    async def commit(self, project: Project, revision: str) -> Commit: ...

    async def unsettled(self) -> Mapping[str, str] | None:
        """Pushes that began and of which nobody has said that they are settled: their ids, and the projects' names.

        None when that is not known: whoever served the repositories last wrote nothing down.
        """

    async def settle(self, push_ids: Iterable[str]) -> None:
        """All that these pushes have moved is known; from the first call on, pushes are written down. May be repeated."""

    def upload(self, project: Project, protocol: str | None) -> AbstractAsyncContextManager[GitService]:
        """Serve a fetch or clone; `protocol` is the client's GIT_PROTOCOL. Leaving the block ends it."""

    def receive_push(
        self, project: Project, mark: PushMark, protocol: str | None
    ) -> AbstractAsyncContextManager[PushService]:
        """Take a push. Leaving the block ends it; refs that are updated by then stay updated.

        Before git can move the first one, it is written down as unsettled, to survive a power cut.
        """
