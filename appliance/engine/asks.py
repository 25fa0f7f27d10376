"""What a job's own commands ask of the appliance while it runs, over the appliance's way into the sandbox."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from appliance import shim
from appliance.errors import SandboxError, SandboxLost
from appliance.executors.base import Sandbox

log = logging.getLogger(__name__)

Continue = Callable[[bytes, str], Awaitable[tuple[int, bytes]]]
"""Takes the body of a `POST /pipeline/continue` and the name of this very request; gives status and body of the answer."""

_AGAIN_S = 1.0
_MOST = 100  # of one job: to ask costs it nothing, to answer costs us
_MOST_ERRORS = 5


async def prepare(sandbox: Sandbox) -> None:
    """Before the first step: the `curl` that asks us instead of circleci.com. Raises SandboxError."""
    await sandbox.install("curl", shim.text("curl.sh"))


async def answer_all(sandbox: Sandbox, name: str, carry_on: Continue) -> None:
    """Answer what the job asks, one after the other, until cancelled or the sandbox has gone.

    `name` is the node's. An ask that was answered just before a crash is asked again, and is the same request.
    """
    count = errors = 0
    while errors < _MOST_ERRORS:
        try:
            async with aclosing(sandbox.asks()) as asks:
                async for ask in asks:
                    count += 1
                    if count > _MOST:
                        log.warning("a job asks too much and is not heard any more", extra={"node": name})
                        return
                    status, body = await carry_on(ask.body, f"{name}/{ask.id}")
                    await sandbox.put(ask.answer, b"%d\n%b" % (status, body))
        except SandboxLost:
            return  # the runner will hear of it too
        except SandboxError as error:
            errors += 1
            log.warning("cannot read what a job asks", extra={"node": name, "error": str(error)})
        await asyncio.sleep(_AGAIN_S)
