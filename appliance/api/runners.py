"""The runner API (spec 8.1): machines by resource class, and how many tasks wait for or run on each class.

The classes of machines that name none are not told here: such a machine takes whatever fits, and is listed without one.
"""

from __future__ import annotations

from aiohttp import web

from appliance import __version__
from appliance.api.parts import parts_of
from appliance.api.routes import Policy, Route
from appliance.api.wire import answer, time_of
from appliance.errors import BadRequest
from appliance.store import machine_work, machines
from appliance.store.database import Tx


async def runners(request: web.Request) -> web.Response:
    """The machines of a class or of a namespace: one item for each machine and class."""
    wanted, namespace = request.query.get("resource-class", ""), request.query.get("namespace", "")
    if bool(wanted) == bool(namespace):
        raise BadRequest("Give resource-class or namespace.")

    def fits(name: str) -> bool:
        return name == wanted if wanted else name.startswith(f"{namespace}/")

    found = await parts_of(request).db.read(machines.everything)
    items = [_wire(machine, name) for machine in found for name in machine.classes if fits(name)]
    return answer({"items": items})


def _wire(machine: machines.Machine, resource_class: str) -> dict[str, object]:
    seen = None if machine.seen_at_ms is None else time_of(machine.seen_at_ms)
    return {
        "resource_class": resource_class,
        "hostname": machine.name,  # its address is for administrators
        "name": machine.name,
        "first_connected": time_of(machine.added_at_ms),
        "last_connected": seen,
        "last_used": seen,
        "version": __version__,
    }


async def unclaimed(request: web.Request) -> web.Response:
    wanted = _class(request)
    count = await parts_of(request).db.read(lambda tx: machine_work.unclaimed(tx, wanted))
    return answer({"unclaimed_task_count": count})


async def running(request: web.Request) -> web.Response:
    wanted = _class(request)

    def count(tx: Tx) -> int:
        return sum(work.resource_class == wanted for work in machine_work.everything(tx))

    return answer({"running_runner_tasks": await parts_of(request).db.read(count)})


def _class(request: web.Request) -> str:
    wanted = request.query.get("resource-class", "")
    if not wanted:
        raise BadRequest("Give resource-class.")
    return wanted


ROUTES = (
    Route("GET", "/api/v3/runner", runners, Policy.TOKEN),
    Route("GET", "/api/v3/runner/tasks", unclaimed, Policy.TOKEN),
    Route("GET", "/api/v3/runner/tasks/running", running, Policy.TOKEN),
)
