"""The store in a SQL database: SQLite in the data folder by default, PostgreSQL by URL."""

import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypedDict
from uuid import uuid4

import sqlalchemy as sa

from waa.core.cloud import CloudJob, CloudVm
from waa.core.codec import decode, decode_entity, encode, kind_of
from waa.core.entity import Entity, Run, RunId, Task, Trouble, Vm
from waa.core.error import Invalid, Unavailable
from waa.core.event import GONE, PASSING, Change, Event, EventType, vm_of
from waa.core.incident import Incident
from waa.core.job import Job
from waa.core.meter import Meter
from waa.core.observation import LogCursor
from waa.core.pipeline import Pipeline, PipelineCheck
from waa.core.port import Pruned, Snapshot
from waa.core.state import MAX_TROUBLES
from waa.core.training import Epoch, PredictionBatch, Training
from waa.store import schema
from waa.store.engine import Claim, claim, insert_new, make_engine, migrate, translated, upsert, where, writing

_TYPES = frozenset(type_.value for type_ in EventType)
MAX_PARAMETERS = 500
"""Values in one statement; older SQLite takes 999."""
MAX_PASSING = 1_000
"""Of the newest event ids, those whose PASSING events are kept."""


class _EntityRow(TypedDict):
    kind: str
    key: str
    vm: str
    run_id: str | None
    position: int
    ended_at: float | None
    data: str


@dataclass(frozen=True, slots=True)
class _Doubt:
    """An append that failed, perhaps only after the database had taken it."""

    after: int
    changes: tuple[Change, ...]


class SqlStore:
    """A Store (see there) on SQLAlchemy. Opens at the first use: makes the folder and the file, runs the migrations.

    Methods block and may be called from any thread, one writer at a time. Besides Unavailable, the first use raises
    Conflict where the database comes from a newer version. The constructor raises Invalid for a URL it cannot use.

    An append that failed in doubt (the connection broke during the commit) and is tried again with the same changes
    is not stored twice.
    """

    def __init__(self, url: str) -> None:
        self._engine = make_engine(url)
        self._opening = threading.Lock()
        self._claim: Claim | None = None
        self._is_open = False
        self._is_closed = False
        self._store_id = ""
        self._last_id = 0
        self._doubt: _Doubt | None = None

    def load(self) -> Snapshot:
        """Everything needed to continue after a restart."""
        with self._reading() as connection:
            entities = sa.select(schema.entity.c.kind, schema.entity.c.data).order_by(schema.entity.c.position)
            cursors = connection.scalars(sa.select(schema.cursor.c.data))
            first, last = _range(connection)
            self._last_id = last
            return Snapshot(
                store_id=self._store_id,
                entities=[*(decode_entity(kind, data) for kind, data in connection.execute(entities)), *_troubles(connection)],
                cursors=[decode(LogCursor, data, name="cursor") for data in cursors],
                first_event_id=first,
                last_event_id=last,
            )

    def append(self, changes: Sequence[Change], cursors: Sequence[LogCursor] = ()) -> list[Event]:
        """All of it in one transaction, on the disk when it returns."""
        with self._usable():
            doubt, self._doubt = self._doubt, _Doubt(self._last_id, tuple(changes))
            with writing(self._engine) as connection:
                events = _taken(connection, doubt, changes) or _append(connection, changes)
                _put_cursors(connection, cursors)
        self._doubt = None
        self._last_id = events[-1].id if events else self._last_id
        return events

    def events_since(self, after: int, *, types: Collection[EventType] | None = None, limit: int = 1000) -> list[Event]:
        """The events with a greater id, oldest first."""
        with self._reading() as connection:
            return _events(connection, after, types=types, limit=limit)

    def events_of(self, topics: Collection[str], *, after: int = 0, limit: int = 1000) -> list[Event]:
        """The same, of these topics only."""
        named = [_text(topic) for topic in dict.fromkeys(topics)]
        query = sa.select(schema.event).where(schema.event.c.id > after).order_by(schema.event.c.id).limit(limit)
        rows: list[sa.Row[tuple[object, ...]]] = []
        with self._reading() as connection:
            for start in range(0, len(named), MAX_PARAMETERS):
                rows += connection.execute(query.where(schema.event.c.topic.in_(named[start : start + MAX_PARAMETERS])))
        return [_event(row) for row in sorted(rows, key=lambda row: row.id)[:limit]]

    def prune(self, *, max_events: int, runs_before: float) -> Pruned:
        """Drop what is too old. The newest event stays, so that the ids go on from it."""
        with self._usable(), writing(self._engine) as connection:
            newest = _range(connection)[1]
            passing = (schema.event.c.type.in_([type_.value for type_ in PASSING]), schema.event.c.id <= newest - MAX_PASSING)
            connection.execute(sa.delete(schema.event).where(*passing))
            ids = sa.select(schema.event.c.id).order_by(schema.event.c.id.desc())
            oldest = connection.scalar(ids.offset(max(max_events, 1) - 1).limit(1))
            if oldest is not None:
                connection.execute(sa.delete(schema.event).where(schema.event.c.id < oldest))
            old = sa.select(schema.entity.c.key).where(schema.entity.c.kind == "run", schema.entity.c.ended_at < runs_before)
            gone = [RunId(key) for key in connection.scalars(old.order_by(schema.entity.c.position))]
            for start in range(0, len(gone), MAX_PARAMETERS):
                part = gone[start : start + MAX_PARAMETERS]
                connection.execute(sa.delete(schema.entity).where(schema.entity.c.run_id.in_(part)))
            over = (schema.entity.c.kind.in_(("job", "incident", "meter", "cloud_job")), schema.entity.c.ended_at < runs_before)
            connection.execute(sa.delete(schema.entity).where(*over))
            silent = sa.select(schema.entity.c.key).where(schema.entity.c.kind == "training", schema.entity.c.ended_at < runs_before)
            trainings = list(connection.scalars(silent))
            for job_id in trainings:
                _remove_training(connection, job_id)
            return Pruned(_range(connection)[0], gone, trainings)

    def check(self) -> None:
        """Ask the database for a sign of life."""
        with self._reading() as connection:
            connection.execute(sa.select(sa.literal(1)))

    def close(self) -> None:
        """Give everything back. May be called twice; afterwards all else raises Unavailable."""
        with self._opening:
            self._is_closed = True
            self._engine.dispose()
            claimed, self._claim = self._claim, None
            if claimed is not None:
                claimed.close()

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with self._usable(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def _usable(self) -> Iterator[None]:
        with translated(self._engine):
            with self._opening:
                if self._is_closed:
                    raise Unavailable(f"The database {where(self._engine)} was closed.")
                if not self._is_open:
                    self._open()
            yield

    def _open(self) -> None:
        self._claim = self._claim or claim(self._engine)
        with writing(self._engine) as connection:
            migrate(connection)
            self._store_id = _store_id(connection)
            self._last_id = _range(connection)[1]
        self._is_open = True


def _store_id(connection: sa.Connection) -> str:
    known = connection.scalar(sa.select(schema.meta.c.value).where(schema.meta.c.name == "store_id"))
    if known is not None:
        return str(known)
    store_id = uuid4().hex[:12]
    connection.execute(sa.insert(schema.meta).values(name="store_id", value=store_id))
    return store_id


def _range(connection: sa.Connection) -> tuple[int, int]:
    """The first and last event id held; where there are none, (1, 0): the newest is never pruned."""
    first, last = connection.execute(sa.select(sa.func.min(schema.event.c.id), sa.func.max(schema.event.c.id))).one()
    return (int(first), int(last)) if last is not None else (1, 0)


def _events(connection: sa.Connection, after: int, *, types: Collection[EventType] | None = None, limit: int | None = None) -> list[Event]:
    query = sa.select(schema.event).where(schema.event.c.id > after).order_by(schema.event.c.id).limit(limit)
    if types is not None:
        query = query.where(schema.event.c.type.in_([type_.value for type_ in types]))
    return [_event(row) for row in connection.execute(query)]


def _event(row: sa.Row[tuple[object, ...]]) -> Event:
    if row.type not in _TYPES:
        raise Invalid("type", f"{row.type!r} is unknown to this version")
    entity = decode_entity(row.kind, row.data)
    return Event(id=row.id, type=EventType(row.type), at=row.at, entity=entity, previous=row.previous)


def _troubles(connection: sa.Connection) -> list[Entity]:
    """Troubles are told by their events alone."""
    query = sa.select(schema.event.c.data).where(schema.event.c.type == EventType.TROUBLE_MET.value)
    newest = connection.scalars(query.order_by(schema.event.c.id.desc()).limit(MAX_TROUBLES)).all()
    return [decode_entity("trouble", data) for data in reversed(newest)]


def _taken(connection: sa.Connection, doubt: _Doubt | None, changes: Sequence[Change]) -> list[Event] | None:
    """The events of these changes where the append before, which seemed to fail, had stored them."""
    if doubt is None or not changes or doubt.changes != tuple(changes):
        return None
    stored = [_stored(change) for change in changes]
    events = [event for event in _events(connection, doubt.after) if _change(event) in stored]
    return _events_of(events, changes) if [_change(event) for event in events] == stored else None


def _stored(change: Change) -> Change:
    """What the event log holds of a change."""
    return replace(change, entity=change.entity.reference) if isinstance(change.entity, PredictionBatch) else change


def _events_of(numbered: Iterable[Event], changes: Iterable[Change]) -> list[Event]:
    return [replace(event, entity=change.entity) for event, change in zip(numbered, changes, strict=True)]


def _change(event: Event) -> Change:
    return Change(type=event.type, at=event.at, entity=event.entity, previous=event.previous)


def _append(connection: sa.Connection, changes: Sequence[Change]) -> list[Event]:
    if not changes:
        return []
    rows = [
        {
            "type": change.type.value,
            "topic": _text(change.topic),
            "at": change.at,
            "previous": change.previous,
            "kind": kind_of(change.type),
            "data": encode(_stored(change).entity).decode(),
        }
        for change in changes
    ]
    insert = sa.insert(schema.event).returning(schema.event.c.id, sort_by_parameter_order=True)
    ids = connection.scalars(insert, rows).all()
    events = [
        Event(id=id_, type=change.type, at=change.at, entity=change.entity, previous=change.previous)
        for id_, change in zip(ids, changes, strict=True)
    ]
    _put_entities(connection, events, [str(row["data"]) for row in rows])
    return events


def _put_entities(connection: sa.Connection, events: Iterable[Event], encoded: Sequence[str]) -> None:
    """Only the last version of each entity is written, however often it changed."""
    newest: dict[tuple[str, str], _EntityRow] = {}
    for event, data in zip(events, encoded, strict=True):
        if event.type is EventType.VM_REMOVED and isinstance(event.entity, Vm):
            name = _text(event.entity.name)
            if event.entity.is_played:
                newest = {key: row for key, row in newest.items() if row["vm"] != name}
                for table in (schema.entity, schema.cursor):
                    connection.execute(sa.delete(table).where(table.c.vm == name))
            else:
                newest.pop(("vm", name), None)
                connection.execute(sa.delete(schema.entity).where(schema.entity.c.kind == "vm", schema.entity.c.key == name))
        elif event.type is EventType.TRAINING_REMOVED and isinstance(event.entity, Training):
            about = training_key(event.entity.job_id)
            newest = {key: row for key, row in newest.items() if row["run_id"] != about}
            _remove_training(connection, event.entity.job_id)
        elif isinstance(event.entity, PredictionBatch):
            for part in event.entity.parts:
                _note(newest, _row(part, event.id, encode(part).decode()))
            _put_predictions(connection, event.entity)
        elif event.type is EventType.PIPELINE_REMOVED and isinstance(event.entity, Pipeline):
            key = event.entity.pipeline_id
            newest.pop(("pipeline", key), None)
            connection.execute(sa.delete(schema.entity).where(schema.entity.c.kind == "pipeline", schema.entity.c.key == key))
        elif event.type in GONE and isinstance(event.entity, CloudVm | CloudJob):
            place = (kind_of(event.type), _text(event.entity.key))
            newest.pop(place, None)
            connection.execute(sa.delete(schema.entity).where(schema.entity.c.kind == place[0], schema.entity.c.key == place[1]))
        elif not isinstance(event.entity, Trouble):
            _note(newest, _row(event.entity, event.id, data))
    if newest:
        keep = ("kind", "key", "position")
        upsert(connection, schema.entity, list(newest.values()), keys=("kind", "key"), keep=keep)


def _note(newest: dict[tuple[str, str], _EntityRow], row: _EntityRow) -> None:
    before = newest.get((row["kind"], row["key"]))
    row["position"] = before["position"] if before is not None else row["position"]
    newest[row["kind"], row["key"]] = row


def _put_predictions(connection: sa.Connection, batch: PredictionBatch) -> None:
    """A commit that is made twice adds nothing."""
    rows = [
        {
            "job_id": batch.job_id,
            "seq": prediction.seq,
            "client_id": prediction.client_id,
            "epoch": prediction.epoch,
            "matched": prediction.exact_match,
            "pair": prediction.pair,
            "data": encode(prediction).decode(),
        }
        for prediction in batch.predictions
    ]
    if rows:
        insert_new(connection, schema.prediction, rows)


def _remove_training(connection: sa.Connection, job_id: str) -> None:
    connection.execute(sa.delete(schema.entity).where(schema.entity.c.run_id == training_key(job_id)))
    connection.execute(sa.delete(schema.prediction).where(schema.prediction.c.job_id == job_id))


def training_key(job_id: str) -> str:
    """What the rows of a training have in common; no id of a run looks like it."""
    return f"training:{job_id}"


def _row(
    entity: Vm | Run | Task | Job | Incident | Training | Epoch | Meter | Pipeline | PipelineCheck | CloudVm | CloudJob,
    position: int,
    data: str,
) -> _EntityRow:
    about: str | None = None
    ended_at: float | None = None
    match entity:
        case Pipeline() | PipelineCheck():
            kind, key = ("pipeline", entity.pipeline_id) if isinstance(entity, Pipeline) else ("pipelines", "")
        case Vm():
            kind, key = "vm", entity.name
        case Run():
            kind, key, about, ended_at = "run", _text(entity.run_id), _text(entity.run_id), entity.kept_since_at
        case Task():
            kind, about = "task", _text(entity.run_id)
            key = f"{about}/{_text(entity.key)}"
        case Job():
            kind, key, ended_at = "job", entity.job_id, entity.ended_at
        case Incident():
            kind, key, about, ended_at = "incident", _text(entity.incident_id), entity.run_id, entity.ended_at
        case Training():  # its age counts from its last word: nobody need say that it ended
            kind, key, about, ended_at = "training", entity.job_id, training_key(entity.job_id), entity.changed_at
        case Epoch():
            kind, key, about = "epoch", f"{entity.job_id}/{entity.epoch}", training_key(entity.job_id)
        case Meter():
            kind, key, ended_at = "meter", entity.vm, entity.ended_at
        case CloudVm():
            kind, key = "cloud_vm", _text(entity.key)
        case CloudJob():
            kind, key = "cloud_job", _text(entity.key)
            ended_at = (entity.ended_at or entity.created_at) if entity.is_over else None
    return _EntityRow(kind=kind, key=key, vm=vm_of(entity), run_id=about, position=position, ended_at=ended_at, data=data)


def _put_cursors(connection: sa.Connection, cursors: Sequence[LogCursor]) -> None:
    newest = {(cursor.vm, cursor.source.key): cursor for cursor in cursors}
    rows = [{"vm": vm, "log_key": _text(key), "data": encode(cursor).decode()} for (vm, key), cursor in newest.items()]
    if rows:
        upsert(connection, schema.cursor, rows, keys=("vm", "log_key"), keep=("vm", "log_key"))


def _text(value: str) -> str:
    """Fit for a text column of any database: half surrogate pairs and NUL come from logs that are no UTF-8."""
    return value.encode("utf-8", "replace").decode().replace("\0", "?")
