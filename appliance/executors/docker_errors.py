"""What the engine's client raises, as errors of ours."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

import aiodocker
import aiohttp

from appliance.errors import SandboxError


def why_unreached(problem: BaseException) -> str:
    """What the system says, without the words that the engine's client and its libraries put around it."""
    inner: BaseException | None = problem
    while inner is not None:
        if isinstance(inner, TimeoutError):
            return "it took too long"
        if isinstance(inner, OSError) and inner.errno is not None:
            return os.strerror(inner.errno) if inner.errno > 0 else inner.strerror or str(inner)  # negative: a resolver's
        inner = inner.__cause__ or inner.__context__
    return str(problem)


@contextlib.asynccontextmanager
async def speaking_plainly(what: str) -> AsyncIterator[None]:
    """Turn what the engine's client raises into our errors; `what` was tried."""
    try:
        yield
    except aiodocker.DockerError as problem:
        raise SandboxError(f"the Docker engine cannot {what}: {problem.message}") from problem
    except TimeoutError as problem:
        raise SandboxError(f"the Docker engine took too long to {what}") from problem
    except (aiohttp.ClientError, OSError) as problem:
        raise SandboxError(f"the Docker engine cannot {what}: {problem}") from problem
