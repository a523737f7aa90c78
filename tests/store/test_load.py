"""What a store gives back after a restart is what was known before."""

from contextlib import closing

import pytest
from hypothesis import given, settings

from tests.core.histories import HISTORIES
from waa.core.event import Event
from waa.core.observation import AnyObservation, LogRead
from waa.core.port import Store
from waa.core.state import State
from waa.core.transition import Rules, decide
from waa.store.memory import MemoryStore
from waa.store.sql import SqlStore


def record(store: Store, history: list[AnyObservation]) -> tuple[State, list[Event]]:
    state, told = State(), list[Event]()
    for observation in history:
        changes = decide(state, observation, Rules())
        is_kept = isinstance(observation, LogRead) and observation.vm in state.vms
        events = store.append(changes, [observation.cursor] if is_kept and isinstance(observation, LogRead) else [])
        for event in events:
            state.evolve(event)
            state.last_event_id = event.id
        if is_kept and isinstance(observation, LogRead):
            state.put_cursor(observation.cursor)
        told += events
    return state, told


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@settings(max_examples=15)
@given(history=HISTORIES)
def test_state_after_load_is_the_state_before(kind: str, history: list[AnyObservation]) -> None:
    with closing(MemoryStore() if kind == "memory" else SqlStore("sqlite://")) as store:
        state, told = record(store, history)
        snapshot = store.load()
        loaded = State(last_event_id=snapshot.last_event_id)
        for entity in snapshot.entities:
            loaded.put(entity)
        for cursor in snapshot.cursors:
            loaded.put_cursor(cursor)
        assert loaded == state
        assert [list(tasks) for tasks in loaded.tasks.values()] == [list(tasks) for tasks in state.tasks.values()]
        assert list(loaded.runs) == list(state.runs)
        assert store.events_since(0, limit=100_000) == told
