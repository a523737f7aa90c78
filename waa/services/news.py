"""Waiting for news, but no longer than some time."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

PAUSE_S = 0.5
"""Between two looks that news causes: a fast log costs two looks a second."""


async def wait_for_event(event: asyncio.Event, timeout_s: float | None) -> None:
    """Return when it is set, or after some seconds (None: only when it is set)."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()


async def look_at_news(look: Callable[[], Awaitable[None]], news: asyncio.Event, every_s: float) -> None:
    """Look now, then whenever there is news, every so many seconds at the least, until it is cancelled."""
    while True:
        await look()
        await asyncio.sleep(PAUSE_S)
        await wait_for_event(news, every_s)
        news.clear()
