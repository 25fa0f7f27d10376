"""Requests to the engine that leave something behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def to_the_end(request: Coroutine[Any, Any, T]) -> T:
    """Be cancelled only after the engine has answered: a container made after our clean-up would stay."""
    answer = asyncio.gather(request)
    try:
        (result,) = await asyncio.shield(answer)
    except asyncio.CancelledError:
        await asyncio.wait({answer})
        raise
    return result
