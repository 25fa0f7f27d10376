"""From an accepted trigger to a pipeline: read the config at its commit, compile it in a thread, write all down at once.

The oldest open trigger comes first, one at a time of each project: a repository that is slow to fetch holds up nobody
else's. One that can't be reached is tried again a few times; after that the pipeline is there, `errored`, and says so: a
push is never lost without a word.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from appliance.bell import Bell
from appliance.clock import Clock, rfc3339
from appliance.engine import moves
from appliance.engine.drafting import CONFIG_PATH, LOCK_PATH, Drafter, errored
from appliance.errors import DiskFull, StoreError, VcsError
from appliance.model import PipelineId, Project, ProjectId, Trigger, TriggerKind, Vcs
from appliance.store import pipelines, projects
from appliance.store.database import Database
from appliance.vcs.base import Provider

log = logging.getLogger(__name__)

_LOOK_S = 5.0
_PAUSES_S = (1.0, 5.0, 20.0, 60.0)  # between tries to reach a repository; the last one repeats
_DISK_S = 5.0  # until the next try on a full disk
_AT_ONCE = 8  # projects whose repositories are fetched at the same time


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a repository gave for a trigger."""

    source: str | None  # None: there is no config
    trigger: Trigger  # with the commit filled in where the door did not know it
    lock: str | None = None  # the orbs' lock file, where there is one and the config may need it


class Intake:
    def __init__(
        self,
        *,
        db: Database,
        bell: Bell,
        clock: Clock,
        providers: Mapping[Vcs, Provider],
        drafter: Drafter,
        git_url: Callable[[Project], str],
        largest_config: int,
        patience_s: float,
    ) -> None:
        self._db = db
        self._bell = bell
        self._clock = clock
        self._providers = providers
        self._drafter = drafter
        self._git_url = git_url
        self._largest_config = largest_config
        self._patience_s = patience_s
        self._numbers: dict[int, int] = {}  # trigger -> pipeline number taken for it, while it is being tried
        self._tries: dict[int, tuple[int, float]] = {}  # how often, since when
        self._not_before: dict[int, float] = {}
        self._busy: set[ProjectId] = set()

    async def run(self) -> None:
        """Ends only by being cancelled."""
        with self._bell.listen("triggers") as listener:
            async with asyncio.TaskGroup() as takers:
                while True:
                    wait_s = await self._begin_all(takers)
                    await listener.wait(wait_s)

    async def _begin_all(self, takers: asyncio.TaskGroup) -> float:
        """Begin every open trigger whose time has come and whose project is not busy; the seconds until the next look."""
        after, wait_s = 0, _LOOK_S
        while len(self._busy) < _AT_ONCE:
            but_of = tuple(self._busy)
            found = await self._db.read(lambda tx: pipelines.oldest_open_trigger(tx, after, but_of))  # noqa: B023
            if found is None:
                break
            after = found.id
            left_s = self._not_before.get(found.id, 0) - self._clock.monotonic_s()
            if left_s > 0:
                wait_s = min(wait_s, left_s)
                continue
            self._busy.add(found.trigger.project_id)
            takers.create_task(self._take_in_turn(found))
        return wait_s

    async def _take_in_turn(self, open_trigger: pipelines.OpenTrigger) -> None:
        try:
            pause_s = await self._take(open_trigger)
            if pause_s > 0:
                self._not_before[open_trigger.id] = self._clock.monotonic_s() + pause_s
        finally:
            self._busy.discard(open_trigger.trigger.project_id)
            self._bell.ring("triggers")

    async def _take(self, open_trigger: pipelines.OpenTrigger) -> float:
        """Make the pipeline of one trigger; the seconds until it should be tried again, 0 when it is done."""
        project = await self._db.read(lambda tx: projects.by_id(tx, open_trigger.trigger.project_id))
        try:
            unreachable = await self._reach(project, open_trigger)
            if isinstance(unreachable, float):
                return unreachable
            trigger, draft = await self._work_out(project, open_trigger, unreachable)
            await self._create(open_trigger.id, trigger, draft)
        except DiskFull as error:
            log.error("a full disk holds up a pipeline", extra={"error": str(error)})
            return _DISK_S
        return 0

    async def _reach(self, project: Project, open_trigger: pipelines.OpenTrigger) -> str | float:
        """Have the commit here: "" when it is, seconds until the next try, or at last why it can't be had."""
        try:
            await self._providers[project.vcs].fetch(project, open_trigger.trigger.revision)
        except VcsError as error:
            now_s = self._clock.monotonic_s()
            tries, since_s = self._tries.get(open_trigger.id, (0, now_s))
            if now_s - since_s >= self._patience_s:
                return str(error)
            pause_s = _PAUSES_S[min(tries, len(_PAUSES_S) - 1)]
            self._tries[open_trigger.id] = (tries + 1, since_s)
            return pause_s
        return ""

    async def _work_out(
        self, project: Project, open_trigger: pipelines.OpenTrigger, unreachable: str
    ) -> tuple[Trigger, moves.Draft]:
        """The pipeline to be. Whatever goes wrong with one config is that pipeline's error, and the loop goes on."""
        trigger = open_trigger.trigger
        try:
            if unreachable:
                raise VcsError(unreachable)
            reading = await self._read(project, trigger)
            return reading.trigger, await self._draft(project, open_trigger.id, reading)
        except VcsError as error:
            return trigger, await self._broken(project, open_trigger, "config-fetch", str(error))
        except (DiskFull, StoreError):
            raise
        except Exception:  # the top of one trigger: a config that breaks the compiler must not stop the others
            log.exception("a config broke the compiler", extra={"trigger": open_trigger.id})
            message = "Rondo itself broke on this config; its log says how. Please report it."
            return trigger, await self._broken(project, open_trigger, "other", message)

    async def _create(self, trigger_id: int, trigger: Trigger, draft: moves.Draft) -> None:
        now_ms = self._clock.now_ms()
        changed = await self._db.write(lambda tx: moves.create_pipeline(tx, trigger_id, trigger, draft, now_ms))
        for notes in (self._numbers, self._tries, self._not_before):
            notes.pop(trigger_id, None)
        if changed is not None:
            self._bell.ring("pipelines", "schedules", "work", "outbox", *changed.topics())
        log.info("pipeline created", extra={"number": draft.number, "errored": draft.plan is None})

    async def _read(self, project: Project, trigger: Trigger) -> Reading:
        provider = self._providers[project.vcs]
        source = await provider.read_file(project, trigger.revision, CONFIG_PATH, self._largest_config)
        lock = None
        if source is not None and "orbs" in source:
            lock = await provider.read_file(project, trigger.revision, LOCK_PATH, self._largest_config)
        if not trigger.commit.subject:
            commit = await provider.commit(project, trigger.revision)
            trigger = pipelines.with_commit(trigger, commit)
        return Reading(source=source, trigger=trigger, lock=lock)

    async def _number(self, trigger_id: int, project: Project) -> int:
        """A pipeline's number is one of its values, so it is taken before the config is compiled."""
        if trigger_id not in self._numbers:
            self._numbers[trigger_id] = await self._db.write(lambda tx: pipelines.next_number(tx, project.id))
        return self._numbers[trigger_id]

    async def _draft(self, project: Project, trigger_id: int, reading: Reading) -> moves.Draft:
        number = await self._number(trigger_id, project)
        pipeline_id = PipelineId(str(uuid.uuid4()))
        values = pipeline_values(project, reading.trigger, pipeline_id, number, self._git_url(project), self._clock.now_ms())
        if reading.source is None:
            return errored(pipeline_id, number, values, "config-fetch", _no_config(project, reading.trigger))
        return await self._drafter.draft(
            project,
            pipeline_id,
            number,
            reading.source,
            values=values,
            parameters=dict(reading.trigger.parameters),
            lock=reading.lock,
            occasion=reading.trigger.occasion,
        )

    async def _broken(self, project: Project, open_trigger: pipelines.OpenTrigger, kind: str, message: str) -> moves.Draft:
        number = await self._number(open_trigger.id, project)
        return errored(PipelineId(str(uuid.uuid4())), number, {}, kind, message)


def _no_config(project: Project, trigger: Trigger) -> str:
    where = f"on branch {trigger.branch}" if trigger.branch else f"at tag {trigger.tag}"
    return f"config file {CONFIG_PATH} could not be located {where} in repository {project.name}"


# pipeline.trigger_source, .trigger.type and .event.name (spec 3.2)
_SOURCES = {
    TriggerKind.WEBHOOK: ("webhook", "webhook", "push"),
    TriggerKind.API: ("api", "api", "api"),
    TriggerKind.EXPLICIT: ("api", "api", "api"),
    TriggerKind.SCHEDULE: ("schedule", "schedule", "schedule"),
    TriggerKind.SCHEDULED_PIPELINE: ("scheduled_pipeline", "schedule", "schedule"),
}
_INTEGRATION = {Vcs.GITHUB: "github", Vcs.HOSTED: "", Vcs.GIT: ""}


def pipeline_values(
    project: Project, trigger: Trigger, pipeline_id: PipelineId, number: int, git_url: str, now_ms: int
) -> dict[str, object]:
    """The pipeline values of spec 3.2 that a push or an API call knows; the compiler has the others as null."""
    source, kind, event = _SOURCES[trigger.kind]
    action = event
    if trigger.pull_request is not None:
        event, action = "pull_request", trigger.pull_request.action
    is_default = trigger.branch == project.default_branch
    return {
        "pipeline.id": pipeline_id,
        "pipeline.number": number,
        "pipeline.integration_source": _INTEGRATION[project.vcs] or None,
        "pipeline.project.slug": project.slug,
        "pipeline.project.type": "github" if project.vcs is Vcs.GITHUB else "circleci",
        "pipeline.project.git_url": git_url,
        "pipeline.git.branch": trigger.branch or "",
        "pipeline.git.tag": trigger.tag or "",
        "pipeline.git.branch.is_default": is_default,
        "pipeline.git.revision": trigger.revision,
        "pipeline.git.base_revision": trigger.base_revision,
        "pipeline.git.repo_url": git_url,
        "pipeline.git.repo_owner": project.org,
        "pipeline.git.repo_name": project.repo,
        "pipeline.git.commit.url": trigger.commit.url or None,
        "pipeline.git.commit.subject": trigger.commit.subject,
        "pipeline.git.commit.body": trigger.commit.body,
        "pipeline.git.commit.author_login": trigger.commit.author_login or None,
        "pipeline.git.commit.author_name": trigger.commit.author_name,
        "pipeline.git.commit.author_email": trigger.commit.author_email,
        "pipeline.git.commit.author_date": trigger.commit.authored_at,
        "pipeline.trigger.type": kind,
        "pipeline.trigger.received_at": rfc3339(now_ms),
        "pipeline.trigger_source": source,
        "pipeline.event.name": event,
        "pipeline.event.action": action,
        "pipeline.event.provider_login": trigger.actor,
        "pipeline.config.file_path": CONFIG_PATH,
        "pipeline.config.sha": trigger.revision,
        **_of_pull_request(trigger),
        **_of_schedule(trigger),
    }


def _of_schedule(trigger: Trigger) -> dict[str, object]:
    """Those of the API have an id that people know, and a name that they chose; those of a config have neither."""
    if trigger.occasion is None or trigger.kind is not TriggerKind.SCHEDULED_PIPELINE:
        return {}
    return {"pipeline.schedule.id": trigger.occasion.id, "pipeline.schedule.name": trigger.occasion.name}


def _of_pull_request(trigger: Trigger) -> dict[str, object]:
    pull = trigger.pull_request
    if pull is None:
        return {}
    return {
        "pipeline.event.github.pull_request.number": pull.number,
        "pipeline.event.github.pull_request.title": pull.title,
        "pipeline.event.github.pull_request.url": pull.url or None,
        "pipeline.event.github.pull_request.draft": pull.is_draft,
        "pipeline.event.github.pull_request.base.ref": pull.base_ref,
        "pipeline.event.github.pull_request.base.sha": pull.base_revision or None,
        "pipeline.event.github.pull_request.head.ref": pull.head_ref,
        "pipeline.event.github.pull_request.head.sha": trigger.revision,
        "pipeline.event.context.github.pr_url": pull.url or None,
    }
