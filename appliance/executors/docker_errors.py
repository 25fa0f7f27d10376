"""What the engine's client raises, as errors of ours."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import aiodocker
import aiohttp

from appliance.errors import SandboxError


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
