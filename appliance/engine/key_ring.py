"""Which SSH keys a node gets: as few as its steps use, and none where secrets are withheld (spec 4.3, 7.7)."""

from __future__ import annotations

import asyncio

from appliance import ssh_keys
from appliance.clock import Clock
from appliance.crypto import SecretBox
from appliance.language import plan as plans
from appliance.model import Project, Vcs
from appliance.steps.base import Keys
from appliance.store import keys
from appliance.store.database import Database, Tx


def keys_of(tx: Tx, box: SecretBox, project: Project, plan: plans.Job, *, may_have_secrets: bool) -> Keys:
    """The keys for a job of this plan, without `known_hosts`."""
    if not may_have_secrets:
        return Keys(are_withheld=True)
    adds = any(isinstance(step, plans.AddSshKeys) for step in plan.steps)
    return Keys(
        checkout=keys.preferred_checkout_key(tx, box, project.id) if _checks_out(plan) else None,
        additional=tuple(keys.additional_keys(tx, project.id, box)) if adds else (),
    )


def private_halves(found: Keys) -> list[str]:
    """What must show in no log."""
    held = (*found.additional, *((found.checkout,) if found.checkout else ()))
    return [key.private for key in held]


def lacks_checkout_key(project: Project, plan: plans.Job, found: Keys) -> bool:
    """A repository that is hosted here needs nobody to put its deploy key anywhere, so it gets one by itself."""
    return project.vcs is Vcs.HOSTED and _checks_out(plan) and found.checkout is None and not found.are_withheld


async def add_checkout_key(db: Database, box: SecretBox, clock: Clock, project: Project) -> None:
    """Make the first checkout key of a project; does nothing when another node was first."""
    pair = await asyncio.to_thread(ssh_keys.generate, f"rondo {project.name}")
    now_ms = clock.now_ms()

    def add(tx: Tx) -> None:
        if not keys.checkout_keys(tx, project.id):
            keys.add_checkout_key(tx, box, project.id, pair, now_ms)

    await db.write(add)


def _checks_out(plan: plans.Job) -> bool:
    return any(isinstance(step, plans.Checkout) for step in plan.steps)
