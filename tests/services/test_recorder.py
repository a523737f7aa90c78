"""The one writer: persist before you show, group commits, exactly once, failing stores, pruning."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.core.builders import FILE, INNER, T0, a_cursor, a_log_read, a_spec, task_facts
from tests.services.stores import WatchedStore
from tests.support.wait import until
from waa.core.error import Failure, Unavailable
from waa.core.event import Event, EventType
from waa.core.logs import fact as f
from waa.core.observation import (
    AnyObservation,
    LinkFailed,
    LinkOpened,
    LogRead,
    Reading,
    Runner,
    StatusSeen,
    TimePassed,
    VmForgotten,
    VmNamed,
)
from waa.core.port import Store
from waa.core.spec import Origin
from waa.core.status import Reason
from waa.core.transition import Rules
from waa.services import recorder as module
from waa.services.recorder import Recorder
from waa.store.memory import MemoryStore
from waa.store.sql import SqlStore

NAMED = VmNamed(vm="vm-1", at=T0, spec=a_spec())
STARTED = f.RunStarted(at=T0, dialect=f.Dialect.WAA)


@asynccontextmanager
async def recording(store: Store, *, capacity: int = 2000, cursor_delay_s: float = 3600) -> AsyncIterator[Recorder]:
    recorder = Recorder(
        store=store,
        rules=Rules(),
        clock=lambda: T0,
        capacity=capacity,
        cursor_delay_s=cursor_delay_s,
        min_retry_s=0.001,
        max_retry_s=0.004,
    )
    try:
        await recorder.open()
        yield recorder
    finally:
        await recorder.close()


def a_status(number: int) -> StatusSeen:
    return StatusSeen(vm="vm-1", at=T0 + number, runner=Runner(pid=number))


def a_burst(tasks: int = 10) -> list[AnyObservation]:
    facts: list[f.AnyFact] = [STARTED]
    for number in range(tasks):
        facts += task_facts(f"task-{number}", at=T0 + 100 * number)
    reads = [a_log_read(fact, offset=100 * (number + 1)) for number, fact in enumerate(facts)]
    return [NAMED, LinkOpened(vm="vm-1", at=T0), *reads]


async def record_all(recorder: Recorder, observations: list[AnyObservation]) -> None:
    for observation in observations:
        await recorder.record(observation)
    await recorder.flush()


def types(events: list[Event]) -> list[EventType]:
    return [event.type for event in events]


async def test_what_is_recorded_is_stored_then_shown() -> None:
    store = WatchedStore(MemoryStore())
    async with recording(store) as recorder:
        told: list[tuple[Event, bool, int]] = []

        def hear(events: object) -> None:
            stored = store.inner.events_since(0)
            assert isinstance(events, list)
            told.extend((event, event in stored, recorder.state.last_event_id) for event in events)

        recorder.hub.listen(hear)
        await recorder.record(NAMED, wait=True)
        assert [(event.type, is_stored, last) for event, is_stored, last in told] == [(EventType.VM_ADDED, True, 1)]
        assert recorder.state.vms["vm-1"].spec == a_spec()
        assert recorder.hub.since(0) == [event for event, _, _ in told]
        assert {name.rpartition("_")[0] for name in store.threads} == {"recorder"}


async def test_nothing_is_shown_before_the_store_has_it() -> None:
    store = WatchedStore(MemoryStore())
    async with recording(store) as recorder:
        store.gate.clear()
        waiting = asyncio.create_task(recorder.record(NAMED, wait=True))
        await until(lambda: any(name.startswith("recorder") for name in store.threads) and recorder.pending == 0, "the append")
        assert (recorder.state.vms, recorder.hub.last_event_id, waiting.done()) == ({}, 0, False)
        store.gate.set()
        await waiting
        assert list(recorder.state.vms) == ["vm-1"]


async def test_a_burst_is_committed_in_groups() -> None:
    store = WatchedStore(MemoryStore())
    async with recording(store) as recorder:
        store.gate.clear()
        await recorder.record(NAMED)
        await until(lambda: recorder.pending == 0, "the first commit to begin")
        for number in range(1, 301):
            await recorder.record(a_status(number))
        store.gate.set()
        await recorder.flush()
        assert len(store.appends) == 1 + -(-300 // module.MAX_BATCH)
        assert sum(len(changes) for changes, _ in store.appends) == 1 + 300
        assert recorder.state.vms["vm-1"].runner == Reading(value=Runner(pid=300), since_at=T0 + 300)


async def test_a_commit_has_a_bound_in_changes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BATCH_CHANGES", 10)
    store = WatchedStore(MemoryStore())
    async with recording(store) as recorder:
        store.gate.clear()
        await recorder.record(NAMED)
        await until(lambda: recorder.pending == 0, "the first commit to begin")
        for number in range(1, 26):
            await recorder.record(a_status(number))
        store.gate.set()
        await recorder.flush()
        assert [len(changes) for changes, _ in store.appends] == [1, 10, 10, 5]


async def test_record_waits_where_too_much_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PENDING", 5)
    store = WatchedStore(MemoryStore())
    async with recording(store) as recorder:
        store.gate.clear()
        await recorder.record(NAMED)
        await until(lambda: recorder.pending == 0, "the first commit to begin")
        for number in range(1, 6):
            await recorder.record(a_status(number))
        late = [asyncio.create_task(recorder.record(a_status(number))) for number in range(6, 20)]
        await asyncio.sleep(0)
        assert (recorder.pending, any(task.done() for task in late)) == (5, False)
        store.gate.set()
        await asyncio.gather(*late)
        await recorder.flush()
        assert recorder.state.vms["vm-1"].runner.value == Runner(pid=19)


async def test_observations_of_one_caller_keep_their_order() -> None:
    store = WatchedStore(MemoryStore())
    async with recording(store) as recorder:
        await record_all(recorder, a_burst())
    completed = store.inner.events_since(0, types=[EventType.TASK_COMPLETED])
    assert [getattr(event.entity, "task_id", "") for event in completed] == [f"task-{number}" for number in range(10)]


async def test_state_after_a_restart_is_the_state_before(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/waa.db"
    async with recording(SqlStore(url)) as recorder:
        await record_all(recorder, a_burst())
        before, wire_id = recorder.state, recorder.hub.wire_id(recorder.hub.last_event_id)
        history = recorder.hub.since(0)
    async with recording(SqlStore(url)) as recorder:
        assert recorder.state == before
        assert list(recorder.state.tasks) == list(before.tasks)
        assert recorder.hub.wire_id(recorder.hub.last_event_id) == wire_id
        assert recorder.hub.since(0) == history
        assert recorder.hub.first_event_id == 1


async def test_after_a_restart_memory_holds_the_newest_events() -> None:
    store = MemoryStore()
    async with recording(store) as recorder:
        await record_all(recorder, a_burst())
        last = recorder.hub.last_event_id
    async with recording(store, capacity=7) as recorder:
        assert recorder.hub.since(last - 7) == store.events_since(last - 7)
        assert recorder.hub.since(last - 8) is None
        assert await recorder.events_since(last - 9, limit=3) == store.events_since(last - 9, limit=3)


async def test_a_cursor_goes_with_the_events_of_its_log() -> None:
    store = WatchedStore(MemoryStore())
    async with recording(store) as recorder:
        await recorder.record(NAMED)
        await recorder.record(a_log_read(STARTED, offset=10), wait=True)
        assert store.appends[-1][1] == [a_cursor(offset=10)]
        assert recorder.state.cursors["vm-1", FILE.key] == a_cursor(offset=10)


async def test_a_cursor_without_events_is_written_with_the_next_ones() -> None:
    store = WatchedStore(MemoryStore())
    async with recording(store) as recorder:
        await recorder.record(NAMED, wait=True)
        await recorder.record(a_log_read(offset=10))
        await recorder.record(a_log_read(source=INNER, offset=20))
        await recorder.record(a_log_read(offset=30), wait=True)
        assert len(store.appends) == 1
        assert recorder.state.cursors["vm-1", FILE.key] == a_cursor(offset=30)
        await recorder.record(LinkOpened(vm="vm-1", at=T0), wait=True)
        assert store.appends[1][1] == [a_cursor(offset=30), a_cursor(source=INNER, offset=20)]
        await recorder.record(a_log_read(offset=40))
        await recorder.flush()
        assert store.appends[2] == ([], [a_cursor(offset=40)])
        await recorder.flush()
        assert len(store.appends) == 3


async def test_a_cursor_without_events_is_written_when_it_is_due_and_on_close() -> None:
    store = WatchedStore(MemoryStore())
    async with recording(store, cursor_delay_s=0.001) as recorder:
        await recorder.record(NAMED, wait=True)
        await recorder.record(a_log_read(offset=10))
        await until(lambda: store.appends[-1] == ([], [a_cursor(offset=10)]), "the cursor")
    async with recording(store) as recorder:
        await recorder.record(a_log_read(offset=20))
    assert store.inner.load().cursors == [a_cursor(offset=20)]


@pytest.mark.parametrize(("origin", "kept"), [(Origin.API, 10), (Origin.DEMO, None)])
async def test_a_log_is_read_on_where_its_vm_went_but_not_the_demos(origin: Origin, kept: int | None) -> None:
    named = VmNamed(vm="vm-1", at=T0, spec=a_spec(origin=origin))
    cursors = [a_cursor(offset=kept)] if kept is not None else []
    store = WatchedStore(MemoryStore())
    async with recording(store) as recorder:
        await recorder.record(named, wait=True)
        store.gate.clear()
        await recorder.record(LinkOpened(vm="vm-1", at=T0))
        await until(lambda: recorder.pending == 0, "a commit to begin")
        await recorder.record(a_log_read(STARTED, offset=10))
        await recorder.record(VmForgotten(vm="vm-1", at=T0))
        await recorder.record(a_log_read(STARTED, offset=20))
        await recorder.record(named)
        store.gate.set()
        await recorder.flush()
        assert (list(recorder.state.cursors.values()), len(recorder.state.runs)) == (cursors, len(cursors))
        assert list(recorder.state.vms) == ["vm-1"]
        assert list(store.inner.load().cursors) == cursors


async def test_a_store_that_fails_for_a_while_loses_and_doubles_nothing(caplog: pytest.LogCaptureFixture) -> None:
    expected = MemoryStore()
    async with recording(expected) as recorder:
        await record_all(recorder, a_burst())
        state = recorder.state
    store = WatchedStore(MemoryStore(), fail=0)
    async with recording(store) as recorder:
        burst = a_burst()
        for number, observation in enumerate(burst):
            if number % 7 == 0:
                await until(lambda: store.fail == 0, "the last failure")
                store.fail = 3
            await recorder.record(observation)
        await until(lambda: store.fail == 0 and recorder.pending == 0 and recorder.healthy, "the store to recover")
        await recorder.flush()
        assert recorder.state == state
    assert store.inner.events_since(0) == expected.events_since(0)
    assert store.inner.load().cursors == expected.load().cursors
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert errors
    assert all(record.message == "the store refuses records, trying on error=The disk is full." for record in errors)


async def test_while_the_store_fails_callers_are_told_and_the_observation_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    store = WatchedStore(MemoryStore(), fail=1_000_000)
    async with recording(store) as recorder:
        assert recorder.healthy
        with pytest.raises(Unavailable, match="disk is full"):
            await recorder.record(NAMED, wait=True)
        with pytest.raises(Unavailable, match="disk is full"):
            await recorder.flush()
        assert (recorder.healthy, recorder.state.vms) == (False, {})
        store.fail = 0
        await until(lambda: recorder.healthy, "the store to recover")
        await recorder.flush()
        assert list(recorder.state.vms) == ["vm-1"]
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == [
        "the store refuses records, trying on error=The disk is full."
    ]


async def test_an_unexpected_error_of_the_store_is_retried_too(caplog: pytest.LogCaptureFixture) -> None:
    store = WatchedStore(MemoryStore(), fail=2, error=LookupError("odd"))
    async with recording(store) as recorder:
        await recorder.record(NAMED)
        await until(lambda: bool(recorder.state.vms), "the retry")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "LookupError: odd" in caplog.text


async def test_what_the_store_refuses_until_the_end_is_given_up_and_said(caplog: pytest.LogCaptureFixture) -> None:
    store = WatchedStore(MemoryStore(), fail=1_000_000)
    async with recording(store) as recorder:
        await recorder.record(NAMED)
        waiting = asyncio.create_task(recorder.record(a_status(1), wait=True))
        await until(lambda: not recorder.healthy, "the failure")
    with pytest.raises(Unavailable):
        await waiting
    assert "given up on close changes=1" in caplog.text
    assert store.closed == 1


async def test_an_observation_that_cannot_be_understood_is_told_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    broken = LogRead(vm="vm-1", at=T0, source=FILE, facts=(None,), cursor=a_cursor(offset=5))  # type: ignore[arg-type]
    async with recording(MemoryStore()) as recorder:
        await recorder.record(NAMED)
        await recorder.record(broken)
        await recorder.record(LinkOpened(vm="vm-1", at=T0), wait=True)
        assert [trouble.failure.reason for trouble in recorder.state.troubles] == [Reason.PARSE]
        assert recorder.state.vms["vm-1"].connection.connected
        assert recorder.state.cursors["vm-1", FILE.key].offset == 5
    assert "failed name=decide" in caplog.text


async def test_a_listener_that_raises_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with recording(MemoryStore()) as recorder:
        recorder.hub.listen(lambda events: [].pop())
        await recorder.record(NAMED, wait=True)
        await recorder.record(LinkOpened(vm="vm-1", at=T0), wait=True)
        assert recorder.hub.last_event_id == recorder.state.last_event_id == 2
    assert "IndexError" in caplog.text


async def test_what_changes_nothing_is_no_transaction() -> None:
    store = WatchedStore(MemoryStore())
    async with recording(store) as recorder:
        failure = Failure(reason=Reason.TIMEOUT, message="no answer")
        for number in range(5):
            await recorder.record(NAMED)
            await recorder.record(LinkFailed(vm="vm-1", at=T0 + number, failure=failure))
            await recorder.record(TimePassed(vm="vm-1", at=T0 + number))
            await recorder.record(TimePassed(vm="who", at=T0 + number))
        await recorder.flush()
        assert types(store.inner.events_since(0)) == [EventType.VM_ADDED, EventType.VM_DISCONNECTED]


async def test_prune_drops_from_store_state_and_memory() -> None:
    store = WatchedStore(MemoryStore())
    async with recording(store) as recorder:
        old = a_log_read(f.RunStarted(at=T0 - 900, dialect=f.Dialect.WAA), f.RunFinished(at=T0 - 800), offset=1)
        await record_all(recorder, [NAMED, LinkOpened(vm="vm-1", at=T0), old, *a_burst()[2:]])
        assert len(recorder.state.runs) == 2
        last = recorder.hub.last_event_id
        await recorder.prune(max_events=5, runs_before=T0 - 700)
        assert len(recorder.state.runs) == 1
        assert recorder.hub.first_event_id == last - 4
        assert recorder.hub.since(last - 6) is None
        assert recorder.hub.since(last - 5) == store.inner.events_since(0)
        await recorder.record(a_log_read(*task_facts("late", at=T0 + 2000), offset=9), wait=True)
        state = recorder.state
    async with recording(store) as recorder:
        assert recorder.state == state


async def test_a_prune_that_fails_says_so() -> None:
    store = WatchedStore(MemoryStore(), refuses_prune=True)
    async with recording(store) as recorder:
        with pytest.raises(Unavailable):
            await recorder.prune(max_events=1, runs_before=0)
        await recorder.record(NAMED, wait=True)


async def test_a_closed_recorder_takes_nothing_and_closes_twice() -> None:
    store = WatchedStore(MemoryStore())
    async with recording(store) as recorder:
        await recorder.record(NAMED)
        await recorder.close()
        for call in (recorder.record(NAMED), recorder.flush(), recorder.events_since(0), recorder.prune(max_events=1, runs_before=0)):
            with pytest.raises(Unavailable):
                await call
        assert not recorder.healthy
    assert types(store.inner.events_since(0)) == [EventType.VM_ADDED]
    assert store.closed == 1


async def test_a_recorder_whose_store_does_not_open_can_be_closed(tmp_path: Path) -> None:
    (tmp_path / "waa.db").write_text("no database, but long enough to be looked at as one" * 100)
    recorder = Recorder(store=SqlStore(f"sqlite:///{tmp_path}/waa.db"), rules=Rules(), clock=lambda: T0)
    with pytest.raises(Unavailable, match="is no SQLite database"):
        await recorder.open()
    with pytest.raises(Unavailable):
        await recorder.record(NAMED)
    await recorder.close()
