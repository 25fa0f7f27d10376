"""Reading one bare repository: files, commits, bundles and archives. Shared by mirrors and hosted repositories."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

from appliance.errors import VcsError, needing_room
from appliance.model import Commit, Project
from appliance.vcs.base import RefNotFound, Resolved
from appliance.vcs.client import Git
from appliance.vcs.names import checked_revision, is_ref_name, ref_of

CHECKOUT_REF = "refs/rondo/checkout"
_TEXT_LIMIT = 20_000
_REFS_LIMIT_BYTES = 64 << 20


class Repository:
    """A bare repository in `folder`, said `name` in messages. `scratch` is a folder for what lives a moment."""

    def __init__(self, git: Git, folder: Path, scratch: Path, name: str) -> None:
        self._git = git
        self.folder = folder
        self._scratch = scratch
        self._name = name

    async def has(self, revision: str) -> bool:
        """Whether the commit is here. (An id alone always "verifies"; to peel it, git has to have it.)"""
        return await self.peeled(checked_revision(revision)) is not None

    async def refs(self) -> dict[str, str]:
        """Branches and tags with the ids they hold (an annotated tag's own id, not its commit's)."""
        out = await self._git.run(
            self.folder,
            *("for-each-ref", "--format=%(objectname) %(refname)", "refs/heads/", "refs/tags/"),
            limit_bytes=_REFS_LIMIT_BYTES,
        )
        pairs = (line.partition(" ") for line in out.decode("utf-8", "replace").splitlines())
        return {ref: value for value, _, ref in pairs}

    async def peeled(self, name: str) -> str | None:
        """The commit that a ref or an object id leads to; None when it leads to none."""
        if not is_ref_name(name):
            checked_revision(name)
        spec = f"{name}^{{commit}}"
        done = await self._git.call(self.folder, "rev-parse", "--quiet", "--verify", "--end-of-options", spec)
        return done.out.decode().strip() if done.code == 0 else None

    async def resolve(self, *, branch: str | None, tag: str | None) -> str:
        """The commit of a branch or tag. Raises RefNotFound."""
        revision = await self.peeled(ref_of(branch=branch, tag=tag))
        if revision is None:
            kind, name = ("branch", branch) if branch is not None else ("tag", tag)
            raise RefNotFound(f"there is no {kind} {name} in {self._name}")
        return revision

    async def read_file(self, revision: str, path: str, limit_bytes: int) -> str | None:
        """A text file, following links inside the tree; None when there is none. Raises VcsError."""
        found = await self._blob(checked_revision(revision), path)
        if found is None:
            return None
        blob, size_bytes = found
        where = f"{path} at {revision[:12]} in {self._name}"
        if size_bytes > limit_bytes:
            raise VcsError(f"{where} has {size_bytes} bytes; the most that is read is {limit_bytes}")
        content = await self._git.run(self.folder, "cat-file", "blob", blob, limit_bytes=limit_bytes)
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise VcsError(f"{where} is not UTF-8 text (byte {error.start})") from None

    async def _blob(self, revision: str, path: str) -> tuple[str, int] | None:
        if "\n" in path or "\0" in path or {"", ".", ".."} & set(path.split("/")):
            return None
        asked = f"{revision}:{path}\n".encode()
        out = await self._git.run(self.folder, "cat-file", "--batch-check", "--follow-symlinks", stdin=asked)
        answer = out.decode("utf-8", "replace").splitlines()[0].split(" ")
        # Anything but "ID blob SIZE": missing, a folder, a dangling link, one that leads out of the tree.
        if len(answer) != 3 or answer[1] != "blob":
            return None
        return answer[0], int(answer[2])

    async def commit(self, revision: str) -> Commit:
        """What the commit says of itself."""
        form = "--format=%s%x00%b%x00%an%x00%ae%x00%aI"
        arguments = ("log", "-1", "--no-show-signature", "--encoding=UTF-8", form)
        out = await self._git.run(self.folder, *arguments, "--end-of-options", checked_revision(revision), "--")
        fields = [field[:_TEXT_LIMIT] for field in out.decode("utf-8", "replace").rstrip("\n").split("\0")]
        if len(fields) != 5:
            raise VcsError(f"git log said something strange about {revision} in {self._name}")
        subject, body, name, email, at = fields
        return Commit(subject=subject, body=body.strip("\n"), author_name=name, author_email=email, authored_at=at)

    async def bundle(self, revision: str, branch: str | None, tag: str | None) -> AsyncGenerator[bytes, None]:
        """See `Provider.bundle`. An annotated tag comes as the tag object, when it is still at this commit.

        Every other branch and tag comes along: `git describe` and `git diff origin/main` are what jobs do.
        """
        refs = {**await self.refs(), CHECKOUT_REF: checked_revision(revision)}
        if branch is not None or tag is not None:
            ref = ref_of(branch=branch, tag=tag)
            refs[ref] = await self._tag_object(ref, revision) if tag is not None else revision
        with self._view(refs) as view:
            # `--all`, not by name: there may be more refs than fit into an argv. (`--branches` and `--tags` drop a
            # branch and a tag of one name.)
            async with aclosing(self._git.stream(view, "bundle", "create", "--quiet", "-", "--all")) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def _tag_object(self, ref: str, revision: str) -> str:
        if await self.peeled(ref) != revision:
            return revision
        out = await self._git.run(self.folder, "rev-parse", "--verify", "--end-of-options", ref)
        return out.decode().strip()

    async def archive(self, revision: str) -> AsyncGenerator[bytes, None]:
        """See `Provider.archive`. The whole tree, as a checkout would give it."""
        with self._view({CHECKOUT_REF: checked_revision(revision)}) as view:
            # `export-ignore` and `export-subst` are for releases: a job wants the files that were pushed.
            (view / "info").mkdir()
            (view / "info" / "attributes").write_text("* -export-ignore -export-subst\n")
            arguments = ("archive", "--format=tar", CHECKOUT_REF)
            async with aclosing(self._git.stream(view, *arguments, config={"tar.umask": "0022"})) as chunks:
                async for chunk in chunks:
                    yield chunk

    @contextlib.contextmanager
    def _view(self, refs: dict[str, str]) -> Iterator[Path]:
        """A repository of our own for a moment, with other refs over the same objects.

        `git bundle` writes refs, not revisions. Making refs in the shared repository would race with fetches,
        pushes and other bundles; this touches nothing that anybody else sees.
        """
        with needing_room(f"a list of refs in {self._scratch}"), contextlib.ExitStack() as stack:
            self._scratch.mkdir(parents=True, exist_ok=True)
            view = Path(tempfile.mkdtemp(prefix="view-", dir=self._scratch))
            stack.callback(shutil.rmtree, view, ignore_errors=True)
            self._furnish(view, refs)
            yield view

    def _furnish(self, view: Path, refs: dict[str, str]) -> None:
        (view / "objects" / "info").mkdir(parents=True)
        (view / "refs").mkdir()
        (view / "HEAD").write_text("ref: refs/rondo/none\n")  # so that `--all` has no HEAD
        (view / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tbare = true\n")
        (view / "objects" / "info" / "alternates").write_text(f"{(self.folder / 'objects').absolute()}\n")
        lines = [f"{value} {ref}\n" for ref, value in sorted(refs.items())]
        (view / "packed-refs").write_text("# pack-refs with: sorted \n" + "".join(lines), "utf-8")


class Reading(ABC):
    """The half of a provider that reads what lies here already, the same for every kind of repository."""

    @abstractmethod
    def _repository(self, project: Project) -> Repository:
        """Where the project's objects are."""

    async def read_file(self, project: Project, revision: str, path: str, limit_bytes: int) -> str | None:
        return await self._repository(project).read_file(revision, path, limit_bytes)

    async def commit(self, project: Project, revision: str) -> Commit:
        return await self._repository(project).commit(revision)

    def bundle(self, project: Project, revision: str, branch: str | None, tag: str | None) -> AsyncIterator[bytes]:
        return self._repository(project).bundle(revision, branch, tag)

    def archive(self, project: Project, revision: str) -> AsyncIterator[bytes]:
        return self._repository(project).archive(revision)

    async def _resolve_here(self, project: Project, branch: str | None, tag: str | None) -> Resolved:
        """A branch or tag as it is in the local repository; neither means the default branch."""
        if branch is None and tag is None:
            branch = project.default_branch
        return Resolved(await self._repository(project).resolve(branch=branch, tag=tag), branch, tag)
