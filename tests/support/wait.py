"""Waiting for a condition in a coroutine: no sleep that a test's truth depends on, only a bound on its patience."""

import asyncio
from collections.abc import Callable


async def until(holds: Callable[[], object], *, within_s: float = 15.0) -> None:
    """Return as soon as ``holds()`` is true. Raises TimeoutError after ``within_s`` seconds."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - the condition is plain state without an event of its own
            await asyncio.sleep(0.005)
