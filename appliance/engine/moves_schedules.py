"""The transactions of schedules: made, changed and removed by the API, fired by the clock.

A firing is one transaction: the trigger is accepted, what became of it is noted and the next time is set, or none of it. Its
key names the schedule and the slot, so a clock that passes the slot once more starts nothing.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace

from appliance.engine import moves, timetables
from appliance.engine.registrations import at_slot, recounted
from appliance.errors import BadRequest, NotFound, Refused
from appliance.model import ProjectId, Trigger, User
from appliance.store import people, projects, schedules
from appliance.store.database import Tx
from appliance.store.schedules import Schedule

_MOST = 200  # of the API, for each project


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a caller of the API wants a schedule to be; None leaves it as it is."""

    name: str | None = None
    description: str | None = None
    timetable: Mapping[str, object] | None = None  # checked
    branch: str | None = None  # one of `branch` and `tag`, with `parameters`
    tag: str | None = None
    parameters: Mapping[str, str | int | bool] | None = None
    is_system: bool | None = None


def create(tx: Tx, project_id: ProjectId, wish: Wish, user: User, now_ms: int) -> Schedule:
    """A new schedule of the API; of `wish` only the description may be left out. Raises BadRequest past their number."""
    if schedules.count(tx, project_id) >= _MOST:
        raise BadRequest(f"This project has {_MOST} schedules, and there may not be more.")
    assert wish.name is not None and wish.timetable is not None and wish.parameters is not None
    made = Schedule(
        id=str(uuid.uuid4()),
        project_id=project_id,
        name=wish.name,
        description=wish.description,
        branch=wish.branch,
        tag=wish.tag,
        timing=wish.timetable,
        parameters=wish.parameters,
        is_system=bool(wish.is_system),
        actor_id=None if wish.is_system else user.id,
        offset_ms=_offset_ms(wish.timetable),
        counted_at_ms=now_ms,
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
    )
    schedules.add(tx, recounted(made, now_ms))
    return schedules.of_api(tx, made.id)


def change(tx: Tx, schedule_id: str, wish: Wish, user: User, now_ms: int) -> Schedule:
    """Change what `wish` names. Raises NotFound, and Refused where it would act in another person's name."""
    found = schedules.of_api(tx, schedule_id)
    if wish.is_system is None and not found.is_system and found.actor_id != user.id:
        # Or its pipelines would do with that person's rights what this one wants.
        raise Refused("This schedule acts in another user's name: give attribution-actor to change it.")
    changed = replace(found, updated_at_ms=now_ms)
    if wish.name is not None:
        changed = replace(changed, name=wish.name)
    if wish.description is not None:
        changed = replace(changed, description=wish.description)
    if wish.parameters is not None:
        changed = replace(changed, branch=wish.branch, tag=wish.tag, parameters=wish.parameters)
    if wish.is_system is not None:
        changed = replace(changed, is_system=wish.is_system, actor_id=None if wish.is_system else user.id)
    if wish.timetable is not None and wish.timetable != found.timing:
        offset_ms = min(found.offset_ms, timetables.longest_offset_s(wish.timetable) * 1000 - 1000)
        changed = recounted(replace(changed, timing=wish.timetable, offset_ms=offset_ms), now_ms)
    schedules.write(tx, changed)
    return changed


def _offset_ms(timetable: Mapping[str, object]) -> int:
    return random.randrange(timetables.longest_offset_s(timetable)) * 1000


@dataclass(frozen=True)
class Fired:
    """What became of a slot: the id of its trigger, or the reason why it starts nothing."""

    trigger_id: int | None
    reason: str = ""


def fire(tx: Tx, due: Schedule, trigger: Trigger, now_ms: int) -> Fired | None:
    """Accept the trigger of a slot, or say why not, and set the next one; None when the schedule has moved on meanwhile."""
    found = schedules.find(tx, due.id)
    if found is None or found.slot_ms != due.slot_ms:
        return None
    if not found.is_system:
        reason = _why_no_actor(tx, found)
        if reason:
            return _ended(tx, found, Fired(None, reason), now_ms)
    accepted = moves.receive(tx, trigger, now_ms, honour_skip_ci=False)
    if accepted is None:  # this slot was fired before the clock went back
        schedules.write(tx, _advanced(found, now_ms))
        return Fired(None, "this time was fired before: the clock went back")
    if isinstance(accepted, moves.NotBuilt):
        return _ended(tx, found, Fired(None, accepted.reason), now_ms)
    return _ended(tx, found, Fired(accepted.trigger_id), now_ms)


def let_pass(tx: Tx, due: Schedule, reason: str, now_ms: int) -> None:
    """The slot starts nothing, because …; what a config scheduled on a branch that is gone is forgotten by its door."""
    found = schedules.find(tx, due.id)
    if found is not None and found.slot_ms == due.slot_ms:
        _ended(tx, found, Fired(None, reason), now_ms)


def recount(tx: Tx, now_ms: int, limit: int) -> int:
    """Work out anew the next times that a wrong clock has made; how many there were."""
    found = schedules.ahead(tx, now_ms, limit)
    for schedule in found:
        schedules.write(tx, recounted(schedule, now_ms))
    return len(found)


def _why_no_actor(tx: Tx, schedule: Schedule) -> str:
    if schedule.actor_id is None:
        return "the user in whose name it acts is gone"
    try:
        user = people.by_id(tx, schedule.actor_id)
    except NotFound:
        return "the user in whose name it acts is gone"
    is_member = projects.is_member(tx, user, schedule.project_id)
    return "" if is_member else f"{user.name}, in whose name it acts, may not enter the project any more"


def _ended(tx: Tx, schedule: Schedule, fired: Fired, now_ms: int) -> Fired:
    noted = replace(schedule, fired_at_ms=now_ms, result=fired.reason, trigger_id=fired.trigger_id)
    schedules.write(tx, _advanced(noted, now_ms))
    return fired


def _advanced(schedule: Schedule, now_ms: int) -> Schedule:
    """At the first slot that is neither past nor this one: of those that were missed, this one stands for all."""
    assert schedule.slot_ms is not None
    after_ms = max(schedule.slot_ms, now_ms - schedule.offset_ms)
    return at_slot(schedule, timetables.next_slot(schedule.timing, after_ms), now_ms)
