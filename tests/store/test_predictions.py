"""Predictions in the store and read back: in memory and in SQL, told alike."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.builders import T0
from tests.core.test_training import a_prediction, a_training
from tests.store.database import KINDS, database
from tests.store.test_sql import commit_and_break
from waa.core.error import Unavailable
from waa.core.event import Change, EventType
from waa.core.port import PredictionReader, Store
from waa.core.training import PredictionBatch, PredictionFilter, Side, Training, Turn, extend, turn_of
from waa.store.memory import MemoryPredictions, MemoryStore
from waa.store.prediction import SqlPredictions
from waa.store.sql import SqlStore

Both = tuple[Store, PredictionReader]


@pytest.fixture(params=KINDS)
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Both]:
    """A store and the reader of its predictions."""
    yield from opened(database(request, tmp_path))


def opened(url: str) -> Iterator[Both]:
    """Of the database, "": in memory."""
    memory = MemoryStore()
    store: Store = SqlStore(url) if url else memory
    store.load()
    reader: PredictionReader = SqlPredictions(url) if url else MemoryPredictions(memory)
    yield store, reader
    reader.close()
    store.close()


class Pusher:
    """Pushes to a store as the recorder does."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.trainings: dict[str, Training] = {}

    def create(self, job_id: str = "digits") -> None:
        self.trainings[job_id] = a_training(job_id)
        self.store.append([Change(type=EventType.TRAINING_CREATED, at=T0, entity=self.trainings[job_id])])

    def change(self, *predictions: tuple[int, int, bool | None], job_id: str = "digits") -> Change:
        """A push of predictions, each (number, epoch, whether it matches)."""
        items = [
            a_prediction(number, epoch, job_id=job_id, exact_match=match, client_id=f"{self.trainings[job_id].total + place}")
            for place, (number, epoch, match) in enumerate(predictions)
        ]
        batch = extend(self.trainings[job_id], {}, items, T0)
        self.trainings[job_id] = batch.training
        return Change(type=EventType.PREDICTIONS_ADDED, at=T0, entity=batch)

    def push(self, *predictions: tuple[int, int, bool | None], job_id: str = "digits") -> None:
        self.store.append([self.change(*predictions, job_id=job_id)])


def pusher(store: Store, *job_ids: str) -> Pusher:
    made = Pusher(store)
    for job_id in job_ids or ("digits",):
        made.create(job_id)
    return made


def test_e1_what_was_pushed_is_read_back_whole(both: Both) -> None:
    store, reader = both
    pusher(store).push((1, 0, True), (2, 0, False))
    (first, second) = reader.page("digits")
    assert first == replace(a_prediction(1), seq=1, client_id="0")
    assert (second.seq, second.exact_match) == (2, False)
    assert reader.page("other") == []


def test_e1_ids_that_are_used_are_known(both: Both) -> None:
    store, reader = both
    pusher(store, "digits", "other").push((1, 0, True))
    assert reader.known("digits", ["0", "new", "0"]) == {"0": 1}
    assert reader.known("other", ["0"]) == {}
    assert reader.known("digits", [str(number) for number in range(1200)]) == {"0": 1}


def test_e4_pages_by_seq_neither_lose_nor_repeat_a_row(both: Both) -> None:
    store, reader = both
    made = pusher(store)
    made.push(*((number, number % 3, number % 2 == 0) for number in range(1, 31)))
    wanted = PredictionFilter(epoch=1, match=True)
    found, before = [], None
    while page := reader.page("digits", wanted, before=before, limit=2, newest_first=True):
        made.push((99, 1, True))  # it comes while somebody pages
        found += [item.seq for item in page]
        before = page[-1].seq
    assert found == [seq for seq in range(30, 0, -1) if seq % 3 == 1 and seq % 2 == 0]
    assert [item.seq for item in reader.page("digits", after=28)][:3] == [29, 30, 31]


@given(
    sides=st.tuples(
        *(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.sampled_from([True, False, None])), max_size=12) for _ in range(2))
    ),
    epochs=st.tuples(st.sampled_from([None, 0, 1]), st.sampled_from([None, 0, 1])),
    after=st.integers(0, 5),
)
def check_comparison(
    stores: Sequence[Both],
    names: Iterator[int],
    sides: tuple[list[tuple[int, int, bool | None]], ...],
    epochs: tuple[int | None, int | None],
    after: int,
) -> None:
    jobs = [f"{letter}-{next(names)}" for letter in "ab"]
    first, second = (Side(job_id=job_id, epoch=epoch) for job_id, epoch in zip(jobs, epochs, strict=True))
    told = []
    for store, reader in stores:
        made = pusher(store, *jobs)
        store.append([made.change(*items, job_id=job_id) for job_id, items in zip(jobs, sides, strict=True)])
        told.append(
            ({turn: reader.pairs(first, second, turn=turn, after=after) for turn in (None, *Turn)}, reader.pair_counts(first, second))
        )
        everything = reader.pairs(first, second, limit=1000)
        counts = told[-1][1]
        assert counts.turns == {turn: sum(turn_of(a.exact_match, b.exact_match) is turn for a, b in everything) for turn in Turn}
        assert all(a.prompt == b.prompt and a.target == b.target for a, b in everything)
    assert told[0] == told[1]


def test_e4_memory_and_sql_compare_alike(tmp_path: Path) -> None:
    with contextmanager(opened)("") as memory, contextmanager(opened)(f"sqlite:///{tmp_path}/waa.db") as sql:
        names = itertools.count()
        settings(max_examples=60)(check_comparison)((memory, sql), names)


def test_a_training_goes_with_all_that_is_its(both: Both) -> None:
    store, reader = both
    made = pusher(store, "digits", "other")
    made.push((1, 0, True), (1, 1, True))
    made.push((1, 0, True), job_id="other")
    store.append([Change(type=EventType.TRAINING_REMOVED, at=T0, entity=made.trainings["digits"])])
    assert reader.page("digits") == []
    assert len(reader.page("other")) == 1
    assert {getattr(entity, "job_id", "") for entity in store.load().entities} == {"other"}


def test_a_training_that_is_made_and_removed_in_one_commit_leaves_nothing(both: Both) -> None:
    store, reader = both
    made = pusher(store)
    store.append([made.change((1, 0, True)), Change(type=EventType.TRAINING_REMOVED, at=T0, entity=made.trainings["digits"])])
    assert reader.page("digits") == []
    assert store.load().entities == []


def test_trainings_that_are_silent_for_long_are_pruned_with_their_predictions(both: Both) -> None:
    store, reader = both
    made = pusher(store, "digits", "other")
    made.push((1, 0, True))
    store.append([Change(type=EventType.TRAINING_CHANGED, at=T0, entity=replace(made.trainings["other"], changed_at=T0 + 100))])
    assert store.prune(max_events=100, runs_before=T0 + 50).trainings == ["digits"]
    assert reader.page("digits") == []
    assert [getattr(entity, "job_id", "") for entity in store.load().entities] == ["other"]


def test_events_of_pushes_are_references_and_go_before_the_others(tmp_path: Path) -> None:
    for store, _reader in opened(f"sqlite:///{tmp_path}/waa.db"):
        made = pusher(store)
        store.append([made.change((number, 0, True)) for number in range(1005)])
        (last,) = store.events_since(1005)
        assert isinstance(last.entity, PredictionBatch)
        assert (last.entity.first_seq, last.entity.predictions, last.entity.epochs) == (1005, (), ())
        assert store.prune(max_events=5000, runs_before=0).first_event_id == 1
        kept = store.events_since(0, limit=5000)
        assert [event.type for event in kept].count(EventType.PREDICTIONS_ADDED) == 1000
        assert kept[0].type is EventType.TRAINING_CREATED


def test_a_commit_that_is_tried_again_in_doubt_adds_nothing_twice(tmp_path: Path) -> None:
    for store, reader in opened(f"sqlite:///{tmp_path}/waa.db"):
        made = pusher(store)
        changes = [made.change((1, 0, True), (2, 0, True)), Change(type=EventType.TRAINING_ENDED, at=T0, entity=made.trainings["digits"])]
        with commit_and_break(), pytest.raises(Unavailable, match="connection lost"):
            store.append(changes)
        events = store.append(changes)
        assert [event.entity for event in events] == [change.entity for change in changes]
        assert [item.seq for item in reader.page("digits")] == [1, 2]
        assert len(store.events_since(0)) == 3
