"""In-process fan-out of events with replay of the newest."""

import re
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from waa.core.event import PASSING, Event

Listener = Callable[[Sequence[Event]], None]
"""Takes the events of one commit, oldest first, at least one. Must not block and must not publish."""

_WIRE_ID = re.compile(r"([0-9A-Za-z]+)-(0|[1-9][0-9]{0,17})", re.ASCII)


class Hub:
    """Tells listeners what was stored, and keeps the newest ``capacity`` events for those who were away, but for the PASSING ones.

    For the loop's thread only. Read the history and register a listener with no ``await`` between, and no event is
    missed or told twice. ``first_event_id`` is the oldest event that memory or store can still give,
    ``last_event_id`` the newest published.
    """

    def __init__(self, *, store_id: str, first_event_id: int, last_event_id: int, capacity: int = 2000) -> None:
        self.store_id = store_id
        self.first_event_id = first_event_id
        self.last_event_id = last_event_id
        self.capacity = capacity
        self._events: deque[Event] = deque(maxlen=capacity)
        self._held_after = last_event_id
        self._listeners: dict[object, Listener] = {}

    def remember(self, events: Sequence[Event]) -> None:
        """Fill the history, before the first publish, with the newest events of the store, none left out."""
        if events:
            self._held_after = events[0].id - 1
            self._keep(events)

    def publish(self, events: Sequence[Event]) -> None:
        """Tell every listener, in the order in which they came. What one raises does not keep it from the others:
        it is raised when all have been told."""
        if not events:
            return
        self.last_event_id = events[-1].id
        self._keep(events)
        with ExitStack() as stack:
            for token in reversed(tuple(self._listeners)):
                stack.callback(self._tell, token, events)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with whatever is published from now on, until the returned function is called (any number of times)."""
        token = object()
        self._listeners[token] = listener

        def stop() -> None:
            self._listeners.pop(token, None)

        return stop

    def since(self, after: int) -> list[Event] | None:
        """The events with a greater id, oldest first; None where memory no longer holds them all (the store may)."""
        if after < self._held_after:
            return None
        missed: list[Event] = []
        for event in reversed(self._events):
            if event.id <= after:
                break
            missed.append(event)
        return missed[::-1]

    def forget_before(self, first: int) -> None:
        """The store dropped the events before ``first``; memory follows, so that both give the same answer."""
        self.first_event_id = max(self.first_event_id, first)
        while self._events and self._events[0].id < first:
            self._events.popleft()
        self._held_after = max(self._held_after, first - 1)

    def wire_id(self, number: int) -> str:
        """An event's id as clients see it: it names the store too, so that another database's ids are told apart."""
        return f"{self.store_id}-{number}"

    def parse_wire_id(self, text: str) -> int | None:
        """The number in ``wire_id``; None where it is malformed, another store's, or beyond the last event."""
        match = _WIRE_ID.fullmatch(text)
        if match is None or match[1] != self.store_id:
            return None
        number = int(match[2])
        return number if number <= self.last_event_id else None

    def _keep(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.type in PASSING:
                continue
            if len(self._events) == self.capacity:
                self._held_after = self._events[0].id if self._events else event.id
            self._events.append(event)

    def _tell(self, token: object, events: Sequence[Event]) -> None:
        listener = self._listeners.get(token)  # it may have been stopped by one before it
        if listener is not None:
            listener(events)
