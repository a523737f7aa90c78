"""Keeps long-lived work alive: the one place where an unexpected exception is caught."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

log = logging.getLogger(__name__)

Work = Callable[[], Awaitable[None]]
Result = TypeVar("Result")


def attempt(name: str, call: Callable[[], Result]) -> Result | Exception:
    """What ``call`` returns, or what it raised, logged with its traceback: for work on one item among many that
    others must not suffer from."""
    try:
        return call()
    except Exception as error:
        log.exception("failed name=%s", name)
        return error


def backoff_s(failures: int, *, min_s: float, max_s: float, spread: float) -> float:
    """The wait after that many failures in a row (at least 1): doubling from ``min_s`` to ``max_s``; ``spread`` 0..1
    takes up to half of it away, so that what failed together does not come back together."""
    return min(max_s, min_s * 2.0 ** min(failures - 1, 30)) * (1 - spread / 2)


class Supervisor:
    """Runs named coroutines until they return or are stopped, and again after an unexpected exception.

    The first failure in a row is logged as an error with its traceback, the others, until it has worked for
    ``max_delay_s``, as warnings; ``on_failure`` is told of each. For the loop's thread only.
    """

    def __init__(
        self,
        *,
        on_failure: Callable[[str, Exception], None] | None = None,
        min_delay_s: float = 1.0,
        max_delay_s: float = 60.0,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._on_failure = on_failure
        self._min_delay_s = min_delay_s
        self._max_delay_s = max_delay_s
        self._spread = spread
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._is_closed = False

    @property
    def names(self) -> list[str]:
        """What runs (or waits to be started again)."""
        return [name for name, task in self._tasks.items() if not task.done()]

    def start(self, name: str, work: Work) -> None:
        """Run ``work()`` from now on. A name that runs already, or a closed supervisor, is a mistake: RuntimeError."""
        if self._is_closed or name in self.names:
            raise RuntimeError(f"{name!r} cannot be started: {'closed' if self._is_closed else 'it runs'}")
        task = asyncio.get_running_loop().create_task(self._keep(name, work), name=name)
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._forget(name, done))

    async def stop(self, name: str) -> None:
        """Cancel what runs under a name and wait for its end; nothing runs: nothing happens."""
        task = self._tasks.get(name)
        if task is not None:
            await _end([task])

    async def close(self) -> None:
        """Cancel everything and wait for the end. May be called twice."""
        self._is_closed = True
        await _end(list(self._tasks.values()))

    def _forget(self, name: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name]

    async def _keep(self, name: str, work: Work) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            began_s = loop.time()
            error = await _outcome(work)
            if error is None:
                return
            failures = 1 if loop.time() - began_s >= self._max_delay_s else failures + 1
            delay_s = backoff_s(failures, min_s=self._min_delay_s, max_s=self._max_delay_s, spread=self._spread())
            self._tell(name, error, failures, delay_s)
            await asyncio.sleep(delay_s)

    def _tell(self, name: str, error: Exception, failures: int, delay_s: float) -> None:
        if failures == 1:
            log.error("failed name=%s retry_in_s=%.1f", name, delay_s, exc_info=error)
        else:
            log.warning("failed again name=%s failures=%d retry_in_s=%.1f error=%r", name, failures, delay_s, error)
        on_failure = self._on_failure
        if on_failure is not None:
            attempt(f"report of {name}", lambda: on_failure(name, error))


async def _outcome(work: Work) -> Exception | None:
    """None where it returned. Raises CancelledError only where this task is the one that is cancelled."""
    try:
        await work()
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return RuntimeError(f"cancelled from within: {error}")
    except Exception as error:  # noqa: BLE001 - handed to the caller, who logs it
        return error
    return None


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
