"""One thing that Azure is asked for: when it was answered last, why it is not answered now, and when it may be asked again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from waa.core.azure_pace import CloudError, Fault, Pace, stretched_s, wait_s
from waa.core.error import Failure
from waa.services.news import wait_for_event

log = logging.getLogger(__name__)
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSeen:
    """How one part stands, for people. ``name``: what it is. ``refreshed_at`` None: not answered since the start. ``failure``: why
    what is shown of it is old since ``failed_at``, and when it is asked again."""

    name: str
    refreshed_at: float | None = field(default=None, compare=False)
    failure: Failure | None = None
    failed_at: float | None = None
    retry_at: float | None = None


class Lane:
    """What shares an allowance: nothing of it is asked before a moment, and why."""

    def __init__(self) -> None:
        self.not_before = 0.0
        self.failure: Failure | None = None
        self.failed_at: float | None = None


class Part:
    """Asks, and remembers how it went. For the loop's thread; ``clock`` is the wall's."""

    def __init__(self, name: str, *, lane: Lane, pace: Pace, clock: Callable[[], float], spread: Callable[[], float]) -> None:
        self.name = name
        self.due_at = 0.0
        self.refreshed_at: float | None = None
        self.fault: Fault | None = None
        self._failure: Failure | None = None
        self._failed_at: float | None = None
        self._failures = 0
        self._lane = lane
        self._pace = pace
        self._clock = clock
        self._spread = spread

    @property
    def seen(self) -> PartSeen:
        """For people."""
        failure, failed_at = self._failure, self._failed_at
        now = self._clock()
        if failure is None and self.due_at < now < self._lane.not_before:  # others of its kind have used up what there is
            failure, failed_at = self._lane.failure, self._lane.failed_at
        return PartSeen(
            name=self.name,
            refreshed_at=self.refreshed_at,
            failure=failure,
            failed_at=failed_at,
            retry_at=self.opens_at if failure is not None else None,
        )

    @property
    def opens_at(self) -> float:
        """When it is to be asked next."""
        return max(self.due_at, self._lane.not_before)

    @property
    def is_due(self) -> bool:
        """Whether that is now."""
        return self._clock() >= self.opens_at

    async def ask(self, call: Callable[[], Awaitable[Value]], *, every_s: float, remaining: Callable[[], int | None]) -> Value | None:
        """The answer, None where it may not be asked now or fails. Asked again after ``every_s``, later where few reads remain."""
        if not self.is_due:
            return None
        try:
            value = await call()
        except CloudError as error:
            self._note_failure(error)
            return None
        now = self._clock()
        if self._failure is not None:
            log.info("azure answers again part=%s", self.name)
        self.refreshed_at, self.fault, self._failure, self._failed_at, self._failures = now, None, None, None, 0
        self.due_at = now + stretched_s(every_s, remaining())
        return value

    def _note_failure(self, error: CloudError) -> None:
        now = self._clock()
        self._failures += 1
        if self._failure != error.failure:
            level = logging.DEBUG if error.fault is Fault.LOGIN else logging.WARNING  # the login tells of itself, once
            log.log(level, "azure does not answer part=%s fault=%s reason=%s", self.name, error.fault, error)
            self._failure = error.failure
        self._failed_at = self._failed_at if self._failed_at is not None else now
        self.fault = error.fault
        self.due_at = now + wait_s(error, self._failures, spread=self._spread(), pace=self._pace)
        if error.fault is Fault.THROTTLED:
            self._lane.not_before, self._lane.failure, self._lane.failed_at = self.due_at, self._failure, now


class Interest:
    """Whether somebody looks: until ``linger_s`` after the last look, or always."""

    def __init__(self, *, linger_s: float, is_constant: bool, clock: Callable[[], float]) -> None:
        self._linger_s = linger_s
        self._is_constant = is_constant
        self._clock = clock
        self._until_at = 0.0
        self._woken = asyncio.Event()

    @property
    def is_there(self) -> bool:
        """Whether somebody looks now."""
        return self._is_constant or self._clock() < self._until_at

    def touch(self) -> None:
        """Somebody looks."""
        self._until_at = self._clock() + self._linger_s
        self._woken.set()

    def wake(self) -> None:
        """There is something to do before the next look is due."""
        self._woken.set()

    async def wait(self) -> None:
        """Return when somebody looks."""
        while not self.is_there:
            self._woken.clear()
            await self._woken.wait()

    async def pause(self, seconds: float) -> None:
        """Wait, until the next look at the longest: the loop's clock stands still while a machine sleeps, so what is due is judged by
        the wall's."""
        self._woken.clear()
        await wait_for_event(self._woken, seconds)
