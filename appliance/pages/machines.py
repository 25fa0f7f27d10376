"""The machines: what each is, what runs there, and why one is out; administrators drain them here."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from appliance.api.auth import user_of
from appliance.api.parts import parts_of
from appliance.api.routes import Policy, Route
from appliance.engine import rights
from appliance.engine.scheduler import HERE
from appliance.model import Project, ProjectId, User
from appliance.pages.links import job_path
from appliance.pages.render import back_to, page
from appliance.store import machine_work, machines, projects
from appliance.store.database import Tx
from appliance.store.machine_work import Work

log = logging.getLogger(__name__)

PATH = "/machines"


@dataclass(frozen=True, kw_only=True)
class Card:
    """One machine as the page shows it. `row` is None for the one that the appliance itself is on."""

    name: str
    row: machines.Machine | None
    slots: int
    cpus: float  # 0: not known yet
    memory_bytes: int
    work: Sequence[Work]

    @property
    def state(self) -> tuple[str, str]:
        """A word and its tone."""
        row = self.row
        if row is None:
            return "ready", "good"
        if row.broken_since_ms is not None:
            return "out", "bad"
        if row.drained_at_ms is not None:
            return ("draining" if self.work else "drained"), "hold"
        return ("ready", "good") if row.seen_at_ms else ("not seen yet", "quiet")

    @property
    def labels(self) -> tuple[str, ...]:
        """What a job has to ask for to come here."""
        row = self.row
        return () if row is None else (row.os, row.arch, *(row.classes or ("every class that fits",)))

    @property
    def address(self) -> str:
        row = self.row
        if row is None:
            return ""
        return "dials in" if row.dials_in else f"{row.user_name}@{row.address}" + (f":{row.port}" if row.port != 22 else "")

    @property
    def cpus_held(self) -> float:
        return sum(one.cpus for one in self.work)

    @property
    def memory_held(self) -> int:
        return sum(one.memory_bytes for one in self.work)

    @property
    def facts(self) -> tuple[str, ...]:
        """What it said of itself when it was looked at last."""
        row = self.row
        if row is None:
            return ()
        said = row.measured
        tools = [f"{name} {said[name]}" for name in ("bash", "git", "docker") if said.get(name)]
        lacks = [str(lack["tool"]) for lack in said.get("lacks") or ()]
        load = [f"load {said['load']:g}"] if said.get("load") else []
        return (
            *([str(said["system"])] if said.get("system") else []),
            *load,
            *tools,
            *([f"lacks {', '.join(lacks)}"] if lacks else []),
        )


async def index(request: web.Request) -> web.Response:
    parts, user = parts_of(request), user_of(request)
    here = parts.here

    def read(tx: Tx) -> tuple[list[Card], dict[ProjectId, Project]]:
        rows, work = machines.everything(tx), machine_work.everything(tx)
        cards = [
            Card(
                name=row.name,
                row=row,
                slots=row.slots,
                cpus=row.cpus,
                memory_bytes=row.memory_bytes,
                work=[one for one in work if one.executor == row.executor],
            )
            for row in rows
        ]
        own = [one for one in work if machines.name_of(one.executor) is None]
        first = Card(name=HERE, row=None, slots=here.nodes, cpus=here.cpus, memory_bytes=here.memory_bytes, work=own)
        return [first, *cards], _seen(tx, user, work)

    cards, seen = await parts.db.read(read)
    return await page(request, "machines.html", {"cards": cards, "seen": seen, "job_path": job_path, "path": PATH})


def _seen(tx: Tx, user: User, work: Sequence[Work]) -> dict[ProjectId, Project]:
    """The projects of what runs, those that the user may see."""
    wanted = dict.fromkeys(one.project_id for one in work)
    return {each: projects.by_id(tx, each) for each in wanted if projects.may_enter(tx, user, each)}


async def drain(request: web.Request) -> web.Response:
    return await _change(request, is_drained=True)


async def undrain(request: web.Request) -> web.Response:
    return await _change(request, is_drained=False)


async def _change(request: web.Request, *, is_drained: bool) -> web.Response:
    parts, user, name = parts_of(request), user_of(request), request.match_info["machine"]
    rights.check_is_admin(user)
    now_ms = parts.clock.now_ms()
    await parts.db.write(lambda tx: machines.drain(tx, name, now_ms) if is_drained else machines.undrain(tx, name))
    log.info("machine drained" if is_drained else "machine gets jobs again", extra={"machine": name, "user": user.name})
    parts.bell.ring("work", "pool", "machines")
    return back_to(PATH)


ROUTES = (
    Route("GET", PATH, index, Policy.USER),
    Route("POST", PATH + "/{machine}/drain", drain, Policy.FORM),
    Route("POST", PATH + "/{machine}/undrain", undrain, Policy.FORM),
)
