"""The service containers of a node: a step of its own for each, with its log, when it listens, and how it ended.

Nobody waits for a service (spec 1.6), and none fails a job: what is seen here is only said. A service's row is a step
behind all others (`jobs.FIRST_SERVICE`), so that steps keep their positions; pages show it after the start of the job.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from appliance.engine import placement
from appliance.engine.record import Record
from appliance.engine.service_log import ServiceLog
from appliance.engine.workshop import Facts, Workshop
from appliance.errors import RondoError, SandboxError, SandboxLost
from appliance.executors.base import Exit, Sandbox, Service
from appliance.model import StepStatus
from appliance.steps.base import Outcome
from appliance.store import jobs

_AGAIN_S = 1.0  # after the engine could not
_LISTENS_WITHIN_S = 300.0  # a service that listens later is not told of
_LAST_WORDS_S = 2.0  # for what a service said at last to be read


class Services:
    """`run` beside the steps; `end` after them, before the node's end is written."""

    def __init__(self, shop: Workshop, facts: Facts, sandbox: Sandbox, record: Record) -> None:
        self._shop = shop
        self._record = record
        self._job_id = facts.job.id
        self._index = facts.node.index
        self._facts = facts
        self._watches = [
            _Watch(self, sandbox.service(row.place - jobs.FIRST_SERVICE + 1), row)
            for row in facts.steps
            if row.kind == jobs.SERVICE and not row.status.is_done
        ]

    async def run(self) -> None:
        """Follow all of them until cancelled."""
        async with asyncio.TaskGroup() as group:
            for watch in self._watches:
                group.create_task(watch.run())

    async def end(self) -> None:
        """Read their last words; their steps end with the node's."""
        await asyncio.gather(*(watch.end() for watch in self._watches))

    def out_of_memory(self) -> str:
        return placement.out_of_memory(self._facts.plan, self._shop.places, self._facts.node.memory_bytes)


class _Watch:
    """One service."""

    def __init__(self, services: Services, service: Service, row: jobs.Step) -> None:
        self._services = services
        self._service = service
        self._position = row.position
        self._said = row.message  # of an earlier runner of ours
        self._is_over = False

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            following = group.create_task(self._insist(lambda: self._copy(is_followed=True)))
            looking = group.create_task(self._insist(self._look))
            ended: list[Exit] = []

            async def wait() -> None:
                ended.append(await self._service.exit())

            await self._insist(wait)
            looking.cancel()
            await asyncio.wait({following}, timeout=_LAST_WORDS_S)
            following.cancel()
        if ended:
            await self._ended(ended[0])

    async def _insist(self, what: Callable[[], Awaitable[None]]) -> None:
        """Again when the engine is away; not when the service is."""
        while True:
            try:
                return await what()
            except SandboxLost:
                return None
            except SandboxError:
                await asyncio.sleep(_AGAIN_S)

    async def _copy(self, *, is_followed: bool) -> None:
        """Output into the log, until it ends or is enough."""
        shop, services = self._services._shop, self._services
        path = shop.blobs.log(services._job_id, services._index, self._position)
        with (
            services._record.log(self._position) as step_log,
            ServiceLog(step_log, path, shop.limits.service_log_bytes) as service_log,
        ):
            if service_log.is_full:
                return
            async with contextlib.aclosing(self._service.output(service_log.mark, is_followed=is_followed)) as output:
                async for chunk, mark in output:
                    await service_log.take(chunk, mark)
                    if service_log.is_full:
                        break
            await service_log.end()

    async def _look(self) -> None:
        """When it listens first, and what it listens on more a little later."""
        clock = self._services._shop.clock
        began_s = clock.monotonic_s()
        seen: frozenset[int] = frozenset()
        was_healthy = bool(self._said)
        while not self._said or seen:
            now = await self._service.readiness()
            passed_s = clock.monotonic_s() - began_s
            ports = now.ports - seen
            seen |= ports
            words = [f"listens on {', '.join(map(str, sorted(ports)))} after {passed_s:.1f} s"] if ports else []
            if now.is_healthy and not was_healthy:
                was_healthy = True
                words.append(f"healthy after {passed_s:.1f} s")
            if words:
                await self._say("; ".join([*([self._said] if self._said else []), *words]))
            if passed_s > _LISTENS_WITHIN_S:
                return
            # Seldom enough that whoever never listens costs nothing, often enough to tell tenths of the first seconds.
            await asyncio.sleep(max(0.1, passed_s / 5))

    async def _say(self, message: str) -> None:
        self._said = message
        await self._services._record.say_of_step(self._position, message)

    async def _ended(self, how: Exit) -> None:
        """It ended before the job did. A service that is done is fine; one that broke is worth a red mark."""
        self._is_over = True
        words = self._services.out_of_memory() if how.out_of_memory else f"ended by itself with exit code {how.code}"
        status = StepStatus.FAILED if how.code or how.out_of_memory else StepStatus.SUCCESS
        outcome = Outcome(status, how.code, "; ".join([*([self._said] if self._said else []), words]))
        await self._services._record.end_step_now(self._position, outcome)

    async def end(self) -> None:
        if self._is_over:
            return
        with contextlib.suppress(RondoError, TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_S):
                await self._copy(is_followed=False)
        self._services._record.end_step(self._position, Outcome(StepStatus.SUCCESS, message=self._said))
