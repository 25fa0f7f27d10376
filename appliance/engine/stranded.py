"""Which waiting jobs have nowhere to go when a machine is taken away."""

from __future__ import annotations

from appliance.engine import placement, spots
from appliance.engine.placement import Placement, Places
from appliance.errors import NotFound
from appliance.store import machines, queue
from appliance.store.database import Tx

_MOST_NODES = 100_000


def jobs_only_for(tx: Tx, name: str, places: Places) -> dict[str, list[int]]:
    """The numbers of waiting jobs that no other machine or executor can run, by the resource class that they need."""
    all_of_them = [spots.spot_of(machine) for machine in machines.everything(tx)]
    others = [spot for spot in all_of_them if spot.name != name]
    found: dict[str, list[int]] = {}
    for job_id in dict.fromkeys(node.job_id for node in queue.waiting(tx, _MOST_NODES, _MOST_NODES)):
        try:
            job = queue.candidate(tx, job_id)
        except NotFound:  # its project was removed
            continue
        had = placement.place(job.plan, places, all_of_them, is_trusted=job.is_trusted)
        has = placement.place(job.plan, places, others, is_trusted=job.is_trusted)
        if isinstance(had, Placement) and isinstance(has, str):
            wanted = spots.ask(job.plan, places.classes, places.default_class)
            assert wanted is not None, "what needs a machine asks for one"
            found.setdefault(wanted.class_name, []).append(job.number)
    return found
