"""The schedules that the config of a branch asks for, registered with each pipeline that reads it (spec 1.9).

The newest config of a branch that compiles decides on all schedules of that branch; one with errors leaves them as they
were. What strangers wrote registers nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace

from appliance.engine import timetables
from appliance.language import Limits
from appliance.language import plan as plans
from appliance.language.graph import schedule_runs_on
from appliance.model import Trigger
from appliance.store import schedules
from appliance.store.database import Tx


def register(tx: Tx, trigger: Trigger, scheduled: Sequence[plans.Workflow], now_ms: int) -> None:
    """Make the schedules of the trigger's branch those of the workflows `scheduled`; what stays keeps its next time."""
    branch = trigger.branch
    if branch is None or trigger.is_fork or branch.startswith("pull/"):
        return
    wanted = {workflow.name: lines for workflow in scheduled if (lines := _lines(workflow, branch))}
    there = schedules.of_branch(tx, trigger.project_id, branch)
    for name in there.keys() - wanted.keys():
        schedules.remove(tx, there[name].id)
    for name, lines in wanted.items():
        found = there.get(name)
        if found is None:
            schedules.add(tx, _made(trigger, branch, name, lines, now_ms))
        elif list(found.timing) != lines:
            schedules.write(tx, recounted(replace(found, timing=lines, updated_at_ms=now_ms), now_ms))


def recounted(schedule: schedules.Schedule, now_ms: int) -> schedules.Schedule:
    """The schedule with its next time after now, whatever it was before."""
    slot_ms = timetables.next_slot(schedule.timing, now_ms - schedule.offset_ms)
    return at_slot(schedule, slot_ms, now_ms)


def at_slot(schedule: schedules.Schedule, slot_ms: int | None, now_ms: int) -> schedules.Schedule:
    due_at_ms = None if slot_ms is None else slot_ms + schedule.offset_ms
    return replace(schedule, slot_ms=slot_ms, due_at_ms=due_at_ms, counted_at_ms=now_ms)


def _lines(workflow: plans.Workflow, branch: str) -> list[str]:
    limits = Limits()
    return sorted({schedule.cron for schedule in workflow.schedules if schedule_runs_on(schedule, branch, limits)})


def _made(trigger: Trigger, branch: str, workflow: str, lines: list[str], now_ms: int) -> schedules.Schedule:
    made = schedules.Schedule(
        id=str(uuid.uuid4()),
        project_id=trigger.project_id,
        workflow=workflow,
        name=workflow,
        branch=branch,
        timing=lines,
        parameters={},
        counted_at_ms=now_ms,
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
    )
    return recounted(made, now_ms)
