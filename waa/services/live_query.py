"""What is read from the database for those who look at it, and read again when something changed: panels wait for no disk."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from waa.core.error import Unavailable

log = logging.getLogger(__name__)
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

MAX_KEPT = 64
"""Answers kept for who asks next, of some 100 KB each at the most."""
AGAIN_S = 2.0
"""After a reading that failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen(Generic[Value]):
    """An answer, None: there is none yet. ``error`` says why it could not be read anew, "": it could."""

    value: Value | None = None
    error: str = ""


@dataclass(slots=True)
class _Entry(Generic[Value]):
    seen: Seen[Value]
    moment: object
    read_at: float


class LiveQueries(Generic[Key, Value]):
    """Answers by key. ``moment(key)`` is another one when the answer may be. ``on_change`` is told of each that was read anew.

    For the loop's thread only. A look (``peek``) at an answer that may be outdated begins a reading.
    """

    def __init__(self, *, read: Callable[[Key], Awaitable[Value]], moment: Callable[[Key], object], clock: Callable[[], float]) -> None:
        self.on_change: Callable[[Key], None] | None = None
        self._read_one = read
        self._moment = moment
        self._clock = clock
        self._entries: dict[Key, _Entry[Value]] = {}
        self._readings: dict[Key, asyncio.Task[None]] = {}

    def peek(self, key: Key) -> Seen[Value]:
        """What is known now."""
        if self._is_due(key):
            self._begin(key)
        entry = self._entries.get(key)
        return entry.seen if entry is not None else Seen()

    def refresh(self, key: Key) -> bool:
        """Begin a reading where the answer may be outdated. Gives whether one is under way: its end is told."""
        if self._is_due(key):
            self._begin(key)
        return key in self._readings

    async def load(self, key: Key, *, patience_s: float | None = None) -> Seen[Value]:
        """What is known when a reading that is due has ended, or after ``patience_s``: the reading then goes on."""
        if self._is_due(key) or key in self._readings:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await asyncio.shield(self._begin(key))
        return self.peek(key)

    async def close(self) -> None:
        """End what is being read. May be called twice."""
        self.on_change = None
        readings = list(self._readings.values())
        for reading in readings:
            reading.cancel()
        await asyncio.gather(*readings, return_exceptions=True)

    def _is_due(self, key: Key) -> bool:
        entry = self._entries.get(key)
        if key in self._readings:
            return False
        if entry is None or entry.moment != self._moment(key):
            return True
        return bool(entry.seen.error) and self._clock() - entry.read_at >= AGAIN_S

    def _begin(self, key: Key) -> asyncio.Task[None]:
        reading = self._readings.get(key)
        if reading is None:
            reading = self._readings[key] = asyncio.create_task(self._read(key))
            reading.add_done_callback(lambda done: self._end(key, done))
        return reading

    def _end(self, key: Key, done: asyncio.Task[None]) -> None:
        self._readings.pop(key, None)
        if not done.cancelled() and done.exception() is not None:
            log.error("not read key=%s", key, exc_info=done.exception())
        if self.on_change is not None:
            self.on_change(key)

    async def _read(self, key: Key) -> None:
        moment, before = self._moment(key), self._entries.get(key)
        seen: Seen[Value] = Seen(error="It could not be read")
        try:
            seen = Seen(value=await self._read_one(key))
        except Unavailable as error:
            seen = Seen(value=before.seen.value if before is not None else None, error=str(error))
        finally:
            self._entries.pop(key, None)  # the youngest stands last
            self._entries[key] = _Entry(seen, moment, self._clock())
            if len(self._entries) > MAX_KEPT:
                del self._entries[next(iter(self._entries))]
