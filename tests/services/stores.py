"""Stores that can be watched, held and made to fail."""

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from tests.support.wait import PATIENCE_S
from waa.core.error import Unavailable
from waa.core.event import Change, Event, EventType
from waa.core.observation import LogCursor
from waa.core.port import Pruned, Snapshot, Store


@dataclass
class WatchedStore:
    """Hands everything on to ``inner``; notes the transactions.

    While ``gate`` is clear, appends wait. ``fail`` of them raise ``error``; it counts down.
    """

    inner: Store
    error: Exception = field(default_factory=lambda: Unavailable("The disk is full."))
    fail: int = 0
    appends: list[tuple[list[Change], list[LogCursor]]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    threads: set[str] = field(default_factory=set)
    closed: int = 0
    refuses_prune: bool = False

    def __post_init__(self) -> None:
        self.gate.set()

    def load(self) -> Snapshot:
        self.threads.add(threading.current_thread().name)
        return self.inner.load()

    def append(self, changes: Sequence[Change], cursors: Sequence[LogCursor] = ()) -> list[Event]:
        self.threads.add(threading.current_thread().name)
        if not self.gate.wait(PATIENCE_S):
            raise TimeoutError("nobody opened the gate")
        if self.fail:
            self.fail -= 1
            raise self.error
        events = self.inner.append(changes, cursors)
        self.appends.append((list(changes), list(cursors)))
        return events

    def events_since(self, after: int, *, types: Collection[EventType] | None = None, limit: int = 1000) -> list[Event]:
        self.threads.add(threading.current_thread().name)
        return self.inner.events_since(after, types=types, limit=limit)

    def events_of(self, topics: Collection[str], *, after: int = 0, limit: int = 1000) -> list[Event]:
        return self.inner.events_of(topics, after=after, limit=limit)

    def prune(self, *, max_events: int, runs_before: float) -> Pruned:
        if self.refuses_prune:
            raise Unavailable("The disk is full.")
        return self.inner.prune(max_events=max_events, runs_before=runs_before)

    def check(self) -> None:
        self.inner.check()

    def close(self) -> None:
        self.closed += 1
        self.inner.close()
