"""A store that forgets with its process: for tests, and as the plainest reading of the port."""

from collections.abc import Callable, Collection, Sequence
from uuid import uuid4

from waa.core.entity import Entity, Run, RunId, Task, Trouble, Vm
from waa.core.event import Change, Event, EventType
from waa.core.incident import Incident
from waa.core.job import Job
from waa.core.observation import LogCursor
from waa.core.port import Snapshot
from waa.core.state import MAX_TROUBLES


class MemoryStore:
    """A Store in plain dictionaries. Outlives ``close``, so that a test can open it again."""

    def __init__(self) -> None:
        self._store_id = uuid4().hex[:12]
        self._events: list[Event] = []
        self._entities: dict[str, Entity] = {}
        self._cursors: dict[tuple[str, str], LogCursor] = {}
        self._last_id = 0

    def load(self) -> Snapshot:
        """Everything kept."""
        troubles = [event.entity for event in self._events if event.type is EventType.TROUBLE_MET]
        return Snapshot(
            store_id=self._store_id,
            entities=[*self._entities.values(), *troubles[-MAX_TROUBLES:]],
            cursors=list(self._cursors.values()),
            first_event_id=self._first_id,
            last_event_id=self._last_id,
        )

    def append(self, changes: Sequence[Change], cursors: Sequence[LogCursor] = ()) -> list[Event]:
        """All of it."""
        events = []
        for change in changes:
            self._last_id += 1
            event = Event(id=self._last_id, type=change.type, at=change.at, entity=change.entity, previous=change.previous)
            events.append(event)
            self._keep(event)
        self._events.extend(events)
        for cursor in cursors:
            self._cursors[cursor.vm, cursor.source.key] = cursor
        return events

    def events_since(self, after: int, *, types: Collection[EventType] | None = None, limit: int = 1000) -> list[Event]:
        """The events with a greater id, oldest first."""
        return [event for event in self._events if event.id > after and (types is None or event.type in types)][:limit]

    def events_of(self, topics: Collection[str], *, after: int = 0, limit: int = 1000) -> list[Event]:
        """The same, of these topics only."""
        return [event for event in self._events if event.id > after and event.topic in topics][:limit]

    def prune(self, *, max_events: int, runs_before: float) -> tuple[int, list[RunId]]:
        """Drop what is too old."""
        self._events = self._events[-max(max_events, 1) :]
        runs = [entity for entity in self._entities.values() if isinstance(entity, Run)]
        gone = [run.run_id for run in runs if run.kept_since_at is not None and run.kept_since_at < runs_before]
        self._drop(lambda entity: isinstance(entity, Run | Task | Incident) and entity.run_id in gone)
        self._drop(lambda entity: isinstance(entity, Job | Incident) and entity.ended_at is not None and entity.ended_at < runs_before)
        return self._first_id, gone

    def check(self) -> None:
        """Always well."""

    def close(self) -> None:
        """Nothing to give back."""

    @property
    def _first_id(self) -> int:
        return self._events[0].id if self._events else self._last_id + 1

    def _keep(self, event: Event) -> None:
        match event.entity:
            case Trouble():
                return
            case Vm() if event.type is EventType.VM_REMOVED:
                name, is_played = event.entity.name, event.entity.is_played
                self._drop(lambda entity: entity.name == name if isinstance(entity, Vm) else is_played and entity.vm == name)
                if is_played:
                    self._cursors = {key: cursor for key, cursor in self._cursors.items() if key[0] != name}
            case _:
                self._entities[event.topic] = event.entity

    def _drop(self, is_gone: Callable[[Entity], bool]) -> None:
        self._entities = {topic: entity for topic, entity in self._entities.items() if not is_gone(entity)}
