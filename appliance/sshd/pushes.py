"""What a push to a hosted repository means: a trigger for each branch and tag that it moved, now or after a crash.

git moves the refs; a moment later we write the triggers. Killed in between, the refs have moved and nothing would run.
So a push is noted before it moves any, and settled when all are written down. At boot `reconcile` looks, in the projects
of pushes that are not settled, for refs that are not where the database last saw them. What was half done by then gives
the same triggers again: their key names the ref, its value and the push's own id, which git has written into the
ref's log. Pushing the same commit once more after going back has another id, and is a new event.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from appliance.engine.commands import Commands
from appliance.errors import NotFound, RondoError
from appliance.model import Project, ProjectId, Trigger, TriggerKind, Vcs
from appliance.store import people, projects, schedules
from appliance.store.database import Database, Tx
from appliance.vcs.base import HostedRepositories, PushMark, RefUpdate

log = logging.getLogger(__name__)

_BRANCHES = "refs/heads/"
_TAGS = "refs/tags/"
_MOST_TAGS = 3
_AGAIN_S = 5.0
_MOST_BRANCHES = 20
T = TypeVar("T")

_TOO_MANY = "too many at once; push it again by itself, or start it over the API"


@dataclass(frozen=True)
class Outcome:
    """What became of one updated ref: the id of its trigger, or the reason why it starts nothing."""

    name: str  # "main"; "tag v1"
    trigger_id: int | None
    reason: str = ""


@dataclass(frozen=True)
class _Left:
    """Pushes that git has taken, and that could not be written down yet."""

    project: Project
    push_ids: set[str] = field(default_factory=set)


class Pushes:
    def __init__(self, db: Database, commands: Commands, repositories: HostedRepositories) -> None:
        self._db = db
        self._commands = commands
        self._repositories = repositories
        self._left: dict[ProjectId, _Left] = {}
        self._has_left = asyncio.Event()

    async def run(self) -> None:
        """Write down what was left as soon as there is room. Ends only by being cancelled."""
        while True:
            await self._has_left.wait()
            for left in list(self._left.values()):
                with contextlib.suppress(RondoError):  # said when it was left, and to whoever pushes meanwhile
                    await self.catch_up(left.project)
            if not self._left:
                self._has_left.clear()
            else:
                await asyncio.sleep(_AGAIN_S)

    async def catch_up(self, project: Project) -> None:
        """Write down what a push left, before another one moves the same refs on. Raises DiskFull and other RondoErrors."""
        left = self._left.get(project.id)
        if left is None:
            return
        push_ids = set(left.push_ids)  # not of one that is left while we look
        await self.reconcile(project)
        await self._repositories.settle(push_ids)
        left.push_ids.difference_update(push_ids)
        if not left.push_ids:
            self._left.pop(project.id, None)

    async def accept(self, project: Project, mark: PushMark, updates: tuple[RefUpdate, ...]) -> list[Outcome]:
        """Write down what a push has changed. When this returns, it survives a power cut; where it fails, `run` goes on."""
        return await self._settled(project, mark, self._accept(project, mark, updates))

    async def look_after(self, project: Project, mark: PushMark) -> None:
        """A push has ended of which the hook never spoke: refs may have moved all the same."""
        await self._settled(project, mark, self.reconcile(project))

    async def _settled(self, project: Project, mark: PushMark, work: Awaitable[T]) -> T:
        try:
            found = await work
        except RondoError:
            self._leave(project, [mark.id])
            raise
        await self._repositories.settle([mark.id])
        return found

    def _leave(self, project: Project, push_ids: Iterable[str]) -> None:
        self._left.setdefault(project.id, _Left(project)).push_ids.update(push_ids)
        self._has_left.set()

    async def _accept(self, project: Project, mark: PushMark, updates: tuple[RefUpdate, ...]) -> list[Outcome]:
        wanted, skipped = sift(project, updates)
        outcomes = [await self._accept_one(project, mark, update) for update in wanted]
        for update in skipped:
            await self._remember(project, update)
        found = [outcome for outcome in outcomes if outcome is not None]
        return [*found, *(Outcome(_name_of(update.ref), None, _TOO_MANY) for update in skipped)]

    async def reconcile_all(self) -> int:
        """At boot, before the door opens: accept the pushes that a killed appliance left. The number of triggers.

        A repository that cannot be read holds up no start: it is tried again while we run.
        """
        unsettled = await self._repositories.unsettled()
        found, settled = 0, set(unsettled or ())  # those of projects that were removed, too
        for project in await self._db.read(lambda tx: _to_look_at(tx, unsettled)):
            try:
                found += await self.reconcile(project)
            except RondoError as error:
                log.error("cannot look for pushes", extra={"project": project.name, "error": str(error)})
                push_ids = {push_id for push_id, name in (unsettled or {}).items() if name == project.name}
                self._leave(project, push_ids)
                settled -= push_ids
        await self._repositories.settle(settled)
        return found

    async def reconcile(self, project: Project) -> int:
        """Accept what moved in a project's repository without a trigger. May be repeated at any time."""
        refs = await self._repositories.refs(project)
        known = await self._db.read(lambda tx: projects.hosted_refs(tx, project.id))
        for ref in known.keys() - refs.keys():
            await self._remember(project, RefUpdate(ref, known[ref], None))
        moved = [RefUpdate(ref, known.get(ref), value) for ref, value in refs.items() if known.get(ref) != value]
        wanted, skipped = sift(project, moved)
        for update in skipped:
            await self._remember(project, update)
        return sum([await self._accept_moved(project, update) for update in wanted])

    async def _accept_moved(self, project: Project, update: RefUpdate) -> bool:
        mark = await self._repositories.last_push(project, update.ref)
        if mark is None:
            # Somebody worked on the repository's folder itself, or put an old one there: nobody pushed that.
            await self._remember(project, update)
            return False
        outcome = await self._accept_one(project, mark, update)
        has_started = outcome is not None and outcome.trigger_id is not None
        if has_started:
            log.warning("accepted a push found after the fact", extra={"project": project.name, "ref": update.ref})
        return has_started

    async def _accept_one(self, project: Project, mark: PushMark, update: RefUpdate) -> Outcome | None:
        if not update.ref.startswith((_BRANCHES, _TAGS)):
            return None
        if update.new is None:
            await self._remember(project, update)
            return None
        revision = await self._repositories.peeled(project, update.new)
        if revision is None:
            await self._remember(project, update)
            return Outcome(_name_of(update.ref), None, "it does not lead to a commit")
        trigger = await self._trigger(project, mark, update, revision)
        accepted = await self._commands.accept(trigger)
        # After the trigger, never before it: between the two a crash must find the ref unknown.
        await self._remember(project, update)
        return Outcome(_name_of(update.ref), accepted.trigger_id, accepted.reason)

    async def _trigger(self, project: Project, mark: PushMark, update: RefUpdate, revision: str) -> Trigger:
        is_branch = update.ref.startswith(_BRANCHES)
        return Trigger(
            project_id=project.id,
            kind=TriggerKind.WEBHOOK,
            semantic_key=f"push {update.ref} {update.new} {mark.id}",
            branch=update.ref.removeprefix(_BRANCHES) if is_branch else None,
            tag=None if is_branch else update.ref.removeprefix(_TAGS),
            revision=revision,
            base_revision=update.old,
            actor=mark.actor,
            actor_id=await self._db.read(lambda tx: people.id_of(tx, mark.actor)),
            commit=await self._repositories.commit(project, revision),
        )

    async def _remember(self, project: Project, update: RefUpdate) -> None:
        def write(tx: Tx) -> None:
            projects.set_hosted_ref(tx, project.id, update.ref, update.new)
            if update.new is None and update.ref.startswith(_BRANCHES):
                schedules.remove_branch(tx, project.id, update.ref.removeprefix(_BRANCHES))

        await self._db.write(write)


def _to_look_at(tx: Tx, unsettled: Mapping[str, str] | None) -> list[Project]:
    """The projects of these pushes; without knowledge of any, every one that is hosted here."""
    if unsettled is None:
        return projects.of_vcs(tx, Vcs.HOSTED)
    found = []
    for name in sorted(set(unsettled.values())):
        with contextlib.suppress(NotFound):  # it was removed
            found.append(projects.find(tx, name))
    return [project for project in found if project.vcs is Vcs.HOSTED]


def sift(project: Project, updates: Sequence[RefUpdate]) -> tuple[list[RefUpdate], list[RefUpdate]]:
    """The updates that may start something, and those that are too many: an imported repository is not built whole.

    Like GitHub, which sends no events for more than three tags of one push; of very many branches only the default one.
    """
    tags = [update for update in updates if update.ref.startswith(_TAGS) and update.new is not None]
    branches = [update for update in updates if update.ref.startswith(_BRANCHES) and update.new is not None]
    skipped = tags if len(tags) > _MOST_TAGS else []
    if len(branches) > _MOST_BRANCHES:
        skipped += [update for update in branches if update.ref != _BRANCHES + project.default_branch]
    return [update for update in updates if update not in skipped], skipped


def _name_of(ref: str) -> str:
    return ref.removeprefix(_BRANCHES) if ref.startswith(_BRANCHES) else f"tag {ref.removeprefix(_TAGS)}"
