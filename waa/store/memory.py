"""A store that forgets with its process: for tests, and as the plainest reading of the port."""

from collections.abc import Callable, Collection, Sequence
from uuid import uuid4

from waa.core.cloud import CloudJob
from waa.core.entity import Entity, Run, Task, Trouble, Vm
from waa.core.event import GONE, PASSING, Change, Event, EventType, topic_of, vm_of
from waa.core.incident import Incident
from waa.core.job import Job
from waa.core.meter import Meter
from waa.core.observation import LogCursor
from waa.core.port import Pruned, Snapshot
from waa.core.state import MAX_TROUBLES
from waa.core.training import (
    EVERYTHING,
    Epoch,
    PairCounts,
    Prediction,
    PredictionBatch,
    PredictionFilter,
    Side,
    Training,
    Turn,
    turn_of,
)


class MemoryStore:
    """A Store in plain dictionaries. Outlives ``close``, so that a test can open it again."""

    def __init__(self) -> None:
        self._store_id = uuid4().hex[:12]
        self._events: list[Event] = []
        self._entities: dict[str, Entity] = {}
        self._cursors: dict[tuple[str, str], LogCursor] = {}
        self._last_id = 0
        self.predictions: dict[str, list[Prediction]] = {}
        """By training, in the order of their ``seq``."""

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

    def prune(self, *, max_events: int, runs_before: float) -> Pruned:
        """Drop what is too old."""
        self._events = [event for event in self._events if event.type not in PASSING or event.id == self._last_id][-max(max_events, 1) :]
        runs = [entity for entity in self._entities.values() if isinstance(entity, Run)]
        gone = [run.run_id for run in runs if run.kept_since_at is not None and run.kept_since_at < runs_before]
        self._drop(lambda entity: isinstance(entity, Run | Task | Incident) and entity.run_id in gone)
        self._drop(
            lambda entity: isinstance(entity, Job | Incident | Meter) and entity.ended_at is not None and entity.ended_at < runs_before
        )
        self._drop(
            lambda entity: isinstance(entity, CloudJob) and entity.is_over and (entity.ended_at or entity.created_at or 0.0) < runs_before
        )
        trainings = [entity for entity in self._entities.values() if isinstance(entity, Training)]
        silent = [training.job_id for training in trainings if training.changed_at < runs_before]
        self._drop(lambda entity: isinstance(entity, Training | Epoch) and entity.job_id in silent)
        for job_id in silent:
            self.predictions.pop(job_id, None)
        return Pruned(self._first_id, gone, silent)

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
                self._drop(lambda entity: vm_of(entity) == name and (is_played or isinstance(entity, Vm)))
                if is_played:
                    self._cursors = {key: cursor for key, cursor in self._cursors.items() if key[0] != name}
            case Training() if event.type is EventType.TRAINING_REMOVED:
                job_id = event.entity.job_id
                self._drop(lambda entity: isinstance(entity, Training | Epoch) and entity.job_id == job_id)
                self.predictions.pop(job_id, None)
            case PredictionBatch():
                for part in event.entity.parts:
                    self._entities[topic_of(part)] = part
                self.predictions.setdefault(event.entity.job_id, []).extend(event.entity.predictions)
            case _ if event.type in (*GONE, EventType.PIPELINE_REMOVED):
                self._entities.pop(event.topic, None)
            case _:
                self._entities[event.topic] = event.entity

    def _drop(self, is_gone: Callable[[Entity], bool]) -> None:
        self._entities = {topic: entity for topic, entity in self._entities.items() if not is_gone(entity)}


class MemoryPredictions:
    """A PredictionReader on a MemoryStore."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def known(self, job_id: str, client_ids: Collection[str]) -> dict[str, int]:
        """Ids that are used already."""
        return {item.client_id: item.seq for item in self._of(job_id) if item.client_id in client_ids}

    def page(
        self,
        job_id: str,
        wanted: PredictionFilter = EVERYTHING,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[Prediction]:
        """Predictions of a training."""
        found = [item for item in self._of(job_id) if item.seq > after and (before is None or item.seq < before) and wanted.keeps(item)]
        return (found[::-1] if newest_first else found)[:limit]

    def pairs(
        self, first: Side, second: Side, *, turn: Turn | None = None, after: int = 0, limit: int = 50
    ) -> list[tuple[Prediction, Prediction]]:
        """Predictions of two sides about the same."""
        one, other = self._newest(first), self._newest(second)
        both = sorted(((one[pair], other[pair]) for pair in one.keys() & other.keys()), key=lambda pair: pair[0].seq)
        kept = [pair for pair in both if pair[0].seq > after and turn in (None, turn_of(pair[0].exact_match, pair[1].exact_match))]
        return kept[:limit]

    def pair_counts(self, first: Side, second: Side) -> PairCounts:
        """How two sides compare."""
        one, other = self._newest(first), self._newest(second)
        turns = dict.fromkeys(Turn, 0)
        for pair in one.keys() & other.keys():
            turns[turn_of(one[pair].exact_match, other[pair].exact_match)] += 1
        return PairCounts(turns=turns, only_first=len(one.keys() - other.keys()), only_second=len(other.keys() - one.keys()))

    def close(self) -> None:
        """Nothing to give back."""

    def _of(self, job_id: str) -> list[Prediction]:
        return self._store.predictions.get(job_id, [])

    def _newest(self, side: Side) -> dict[str, Prediction]:
        return {item.pair: item for item in self._of(side.job_id) if side.epoch in (None, item.epoch)}
