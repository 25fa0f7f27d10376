"""`/project/{slug}/{number}/tests`: the test results that a job stored (spec 6.2)."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from appliance.api.jobs import job_of_project
from appliance.api.parts import parts_of
from appliance.api.projects import wanted_project
from appliance.api.routes import NUMBER, SLUG, Policy, Route
from appliance.api.wire import listing, page_mark, page_token
from appliance.store import results
from appliance.store.database import Tx
from appliance.store.overview import Mark

PAGE_SIZE = 1000  # clients ask for all of them, page after page


def _wire(result: results.Result) -> dict[str, Any]:
    return {
        "name": result.name,
        "classname": result.classname,
        "file": result.file,
        "source": result.source,
        "result": result.verdict,
        "run_time": result.run_time_s,
        "message": result.message,
    }


async def show(request: web.Request) -> web.Response:
    parts, project, number = parts_of(request), await wanted_project(request), int(request.match_info["number"])
    mark = page_mark(request)

    def read(tx: Tx) -> tuple[list[results.Result], int | None]:
        job = job_of_project(tx, project.id, number)
        return results.page(tx, job.id, mark.row if mark is not None else 0, PAGE_SIZE)

    found, last = await parts.db.read(read)
    return listing(map(_wire, found), page_token(None if last is None else Mark(0, last)))


ROUTES = (Route("GET", f"/api/v2/project/{SLUG}/{NUMBER}/tests", show, Policy.GUEST_TOKEN),)
