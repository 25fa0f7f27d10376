"""At boot, before the doors open: what runs is gone on with, what nobody knows is removed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from appliance.blobs import Blobs
from appliance.errors import RondoError
from appliance.executors.base import Executor
from appliance.store import docker_layers, jobs
from appliance.store.database import Database

log = logging.getLogger(__name__)

_ANSWER_S = 10.0
_REMOVE_S = 60.0


async def recover(db: Database, executors: Mapping[str, Executor]) -> list[jobs.Node]:
    """The nodes that were running, for the scheduler to go on with; sandboxes that none of them owns are removed.

    A node that died while its sandbox was being opened has no ref in its row: whatever was made for it goes, and it
    opens a new one. An engine that does not answer now is swept later by the janitor. A node whose executor has been
    switched off is ended by its runner. `executors` are those of this host: a machine that is away must not hold up a
    start, so each of them is swept by the pool when it answers.
    """
    running = await db.read(jobs.running_nodes)
    for key, executor in executors.items():
        await sweep(executor, {node.sandbox for node in running if node.sandbox and node.executor == key})
    await db.write(docker_layers.release_ended)
    return running


async def adopt_secrets(db: Database, blobs: Blobs, resumed: Sequence[jobs.Node]) -> None:
    """What masks the logs of nodes that an older Rondo began lies in files beside those."""
    for node in resumed:
        path = blobs.node_logs(node.job_id, node.index) / "secrets"
        if path.is_file():
            sealed = path.read_bytes()
            await db.write(lambda tx: jobs.keep_secrets(tx, node.job_id, node.index, sealed or None))  # noqa: B023
            path.unlink()


async def sweep(executor: Executor, owned: set[str]) -> bool:
    """Remove the sandboxes of ours that are not `owned`; whether that was done.

    A start waits for it, so an engine that hangs is the janitor's.
    """
    try:
        async with asyncio.timeout(_ANSWER_S):
            refs = await executor.list()
        for ref in refs:
            if ref not in owned:
                async with asyncio.timeout(_REMOVE_S):
                    await _remove(executor, ref)
    except (RondoError, TimeoutError) as error:
        why = str(error) or "it does not answer"
        log.warning("could not look for left-over sandboxes", extra={"executor": executor.name, "error": why})
        return False
    return True


async def remove_unowned(db: Database, key: str, executor: Executor) -> None:
    """While jobs run: remove the sandboxes that no running node owns. `key` is what rows call this executor: two machines
    may have sandboxes of one name. Raises SandboxError, Unavailable.

    Listed first, owners read second: a sandbox opened between the two looks has a running row by then.
    """
    refs = await executor.list()
    running = [node for node in await db.read(jobs.running_nodes) if node.executor == key]
    if any(node.sandbox is None for node in running):
        return  # one is being opened: its sandbox may be among the refs
    owned = {node.sandbox for node in running}
    for ref in refs:
        if ref not in owned:  # also one that its runner is closing right now: both may remove it
            await _remove(executor, ref)


async def _remove(executor: Executor, ref: str) -> None:
    log.info("removing a sandbox that no job owns", extra={"executor": executor.name, "sandbox": ref})
    await executor.remove(ref)
