"""At boot, before the doors open: what runs is gone on with, what nobody knows is removed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from appliance.blobs import Blobs
from appliance.errors import RondoError
from appliance.executors.base import Executor
from appliance.store import docker_layers, jobs
from appliance.store.database import Database

log = logging.getLogger(__name__)

_NEWEST_JOBS = 500


async def recover(db: Database, executors: Mapping[str, Executor]) -> list[jobs.Node]:
    """The nodes that were running, for the scheduler to go on with; sandboxes that none of them owns are removed.

    A node that died while its sandbox was being opened has no ref in its row: whatever was made for it goes, and it
    opens a new one. An engine that does not answer now is swept later by the janitor. A node whose executor has been
    switched off is ended by its runner.
    """
    running = await db.read(jobs.running_nodes)
    owned = {node.sandbox for node in running if node.sandbox}
    for executor in executors.values():
        await sweep(executor, owned)
    await db.write(docker_layers.release_ended)
    return running


async def forget_secrets(db: Database, blobs: Blobs) -> None:
    """Remove what was kept to mask the logs of nodes that ended just before a crash. It is sealed, and of no use now.

    Only where the newest jobs are: a start must not look through the logs of years.
    """
    ended = await db.read(lambda tx: jobs.lately_ended(tx, _NEWEST_JOBS))

    def drop() -> None:
        for job_id, index in ended:
            for name in ("secrets", "secrets.new"):
                (blobs.node_logs(job_id, index) / name).unlink(missing_ok=True)

    await asyncio.to_thread(drop)


async def sweep(executor: Executor, owned: set[str]) -> None:
    """Remove the sandboxes of ours that are not `owned`."""
    try:
        for ref in await executor.list():
            if ref not in owned:
                log.info("removing a sandbox that no job owns", extra={"sandbox": ref})
                await executor.remove(ref)
    except RondoError as error:
        log.warning("could not look for left-over sandboxes", extra={"executor": executor.name, "error": str(error)})
