"""Fires schedules when their time has come, by the wall clock: the branch as it is now becomes a trigger.

The rows say what is due, so a time that passed while nobody looked is fired at the next look: once, late, and its
pipeline says so. A repository that cannot be reached is tried again for a while; a time that starts nothing says why on
the schedule.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from appliance.bell import Bell
from appliance.clock import Clock
from appliance.engine import moves_schedules, timetables
from appliance.errors import DiskFull, VcsError
from appliance.model import SYSTEM_ACTOR, Commit, Occasion, Project, Trigger, TriggerKind, Vcs
from appliance.store import people, projects, schedules
from appliance.store.database import Database, Tx
from appliance.store.schedules import Schedule
from appliance.vcs.base import Provider, RefNotFound, Resolved

log = logging.getLogger(__name__)

TOPIC = "schedules"
_LOOK_S = 5.0  # also how soon a clock that was put right is seen
_PAUSES_S = (5.0, 20.0, 60.0)  # between tries to reach a repository; the last one repeats
_DISK_S = 5.0
_AT_ONCE = 8
_MANY = 100
_DOWN = "Rondo was not running then, or its clock was wrong"
_UNREACHABLE = "the repository could not be reached earlier"


class Schedules:
    def __init__(
        self, *, db: Database, bell: Bell, clock: Clock, providers: Mapping[Vcs, Provider], patience_s: float
    ) -> None:
        self._db = db
        self._bell = bell
        self._clock = clock
        self._providers = providers
        self._patience_s = patience_s
        self._busy: set[str] = set()
        self._tries: dict[str, tuple[int, float]] = {}  # how often, since when
        self._not_before: dict[str, float] = {}

    async def run(self) -> None:
        """Ends only by being cancelled."""
        with self._bell.listen(TOPIC) as listener:
            async with asyncio.TaskGroup() as firing:
                while True:
                    wait_s = await self._begin_due(firing)
                    await listener.wait(wait_s)

    async def _begin_due(self, firing: asyncio.TaskGroup) -> float:
        """Begin to fire what is due; the seconds until the next look."""
        try:
            await self._put_right()
        except DiskFull as error:
            log.error("a full disk holds up schedules", extra={"error": str(error)})
            return _DISK_S
        now_ms, now_s = self._clock.now_ms(), self._clock.monotonic_s()
        resting = [one for one, until_s in self._not_before.items() if until_s > now_s]
        but = [*self._busy, *resting]
        free = _AT_ONCE - len(self._busy)
        due = await self._db.read(lambda tx: schedules.due(tx, now_ms, but, free)) if free > 0 else []
        for schedule in due:
            self._busy.add(schedule.id)
            firing.create_task(self._fire_in_turn(schedule))
        next_ms = await self._db.read(lambda tx: schedules.next_due_at_ms(tx, now_ms))
        return _LOOK_S if next_ms is None else min(_LOOK_S, (next_ms - now_ms) / 1000)

    async def _put_right(self) -> None:
        """After a clock that was ahead: the times that it made may be years away."""
        now_ms = self._clock.now_ms()
        while await self._db.read(lambda tx: schedules.ahead(tx, now_ms, 1)):
            count = await self._db.write(lambda tx: moves_schedules.recount(tx, now_ms, _MANY))
            log.warning("the clock went back: schedules were counted anew", extra={"count": count})

    async def _fire_in_turn(self, schedule: Schedule) -> None:
        try:
            pause_s = await self._fire(schedule)
        except DiskFull as error:
            log.error("a full disk holds up a schedule", extra={"error": str(error)})
            pause_s = _DISK_S
        finally:
            self._busy.discard(schedule.id)
        if pause_s > 0:
            self._not_before[schedule.id] = self._clock.monotonic_s() + pause_s
        else:
            self._not_before.pop(schedule.id, None)
            self._tries.pop(schedule.id, None)
        self._bell.ring(TOPIC)

    async def _fire(self, schedule: Schedule) -> float:
        """Fire one slot, or let it pass; the seconds until it is to be tried again, 0 when it is done."""
        project, who = await self._db.read(lambda tx: _facts(tx, schedule))
        provider = self._providers[project.vcs]
        try:
            resolved = await provider.resolve(project, branch=schedule.branch, tag=schedule.tag)
            commit = await provider.commit(project, resolved.revision)
        except RefNotFound as error:
            await self._end_without(schedule, project, str(error))
            return 0
        except VcsError as error:
            return await self._pause(schedule, project, str(error))
        now_ms = self._clock.now_ms()
        late = timetables.lateness(schedule, now_ms, _UNREACHABLE if schedule.id in self._tries else _DOWN)
        trigger = _trigger(schedule, resolved, commit, who, late)
        fired = await self._db.write(lambda tx: moves_schedules.fire(tx, schedule, trigger, now_ms))
        if fired is None:
            return 0
        facts = {"schedule": schedule.name, "project": project.name, "branch": schedule.branch, "tag": schedule.tag}
        if fired.trigger_id is None:
            log.warning("a schedule starts nothing", extra={**facts, "reason": fired.reason})
            return 0
        if late:
            log.warning("a schedule fires late", extra={**facts, "how": late})
        log.info("a schedule fires", extra=facts)
        self._bell.ring("triggers")
        return 0

    async def _end_without(self, schedule: Schedule, project: Project, reason: str) -> None:
        """Let the slot pass. What a config scheduled on a branch that is gone goes with it (spec 1.9)."""
        now_ms, is_of_config = self._clock.now_ms(), schedule.workflow is not None

        def write(tx: Tx) -> None:
            if is_of_config:
                schedules.remove(tx, schedule.id)
            else:
                moves_schedules.let_pass(tx, schedule, reason, now_ms)

        await self._db.write(write)
        facts = {"schedule": schedule.name, "project": project.name, "reason": reason, "forgotten": is_of_config}
        log.warning("a schedule starts nothing", extra=facts)

    async def _pause(self, schedule: Schedule, project: Project, reason: str) -> float:
        """Until the next try; 0 when there have been enough and the slot has passed."""
        now_s, now_ms = self._clock.monotonic_s(), self._clock.now_ms()
        tries, since_s = self._tries.get(schedule.id, (0, now_s))
        if now_s - since_s >= self._patience_s:
            await self._db.write(lambda tx: moves_schedules.let_pass(tx, schedule, reason, now_ms))
            log.warning(
                "a schedule starts nothing", extra={"schedule": schedule.name, "project": project.name, "reason": reason}
            )
            return 0
        self._tries[schedule.id] = (tries + 1, since_s)
        return _PAUSES_S[min(tries, len(_PAUSES_S) - 1)]


def _facts(tx: Tx, schedule: Schedule) -> tuple[Project, str]:
    """The project, and the login in whose name the pipeline starts."""
    project = projects.by_id(tx, schedule.project_id)
    if schedule.is_system or schedule.actor_id is None:
        return project, SYSTEM_ACTOR
    return project, people.by_id(tx, schedule.actor_id).name


def _trigger(schedule: Schedule, resolved: Resolved, commit: Commit, who: str, late: str) -> Trigger:
    is_of_config = schedule.workflow is not None
    # A config's is known by its branch and workflow: its row may go and come again.
    known_by = f"{schedule.branch} {schedule.workflow}" if is_of_config else schedule.id
    return Trigger(
        project_id=schedule.project_id,
        kind=TriggerKind.SCHEDULE if is_of_config else TriggerKind.SCHEDULED_PIPELINE,
        semantic_key=f"schedule {schedule.slot_ms} {known_by}",
        branch=resolved.branch,
        tag=resolved.tag,
        revision=resolved.revision,
        actor=who,
        actor_id=schedule.actor_id,
        commit=commit,
        parameters=schedule.parameters,
        occasion=Occasion(id=schedule.id, name=schedule.name, workflow=schedule.workflow, lateness=late),
    )
