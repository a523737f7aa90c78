"""Waiting for a condition: no sleep that a test's truth depends on, only a bound on its patience."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")
PATIENCE_S = 60.0
"""Only bounds what has gone wrong: a machine that others share may stand still for many seconds."""


def wait_for(
    look: Callable[[], Value | None], *, within_s: float = PATIENCE_S, what: str = "", hint: Callable[[], object] | None = None
) -> Value:
    """The first result that is true, or not empty. Raises AssertionError after a time that only bounds the test; ``hint``
    then tells what there was instead."""
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while True:
        value = look()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"did not happen within {within_s} s: {what or look}" + (f"; {hint()}" if hint is not None else ""))
        pause.wait(0.02)


async def until(holds: Callable[[], object], what: str = "") -> None:
    """The same in a coroutine, for a condition. Raises AssertionError that names ``what`` was waited for."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"did not happen within {PATIENCE_S} s: {what or holds}")
        await asyncio.sleep(0.005)
