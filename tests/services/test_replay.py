"""A replay: its clock, its jumps, what its hub tells; and where its time line comes from."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.core.builders import T0, a_log_read, a_run, a_spec, a_task, a_vm, task_facts
from tests.services.reader import PlayedFolders
from tests.services.stores import WatchedStore
from tests.services.test_picture import Kept
from tests.services.test_task_record import a_line
from waa.core.entity import Run, Task
from waa.core.error import Invalid
from waa.core.event import Change, Event, EventType
from waa.core.logs import fact as f
from waa.core.observation import VmNamed
from waa.core.spec import Origin
from waa.core.status import RunStatus, TaskStatus
from waa.core.timeline import Source, Timeline, rebuilt
from waa.core.transition import Rules
from waa.services import replay as replay_module
from waa.services.picture import Pictures
from waa.services.recorder import Recorder
from waa.services.replay import IDLE_S, LEAD_S, Order, Replay, load_steps, load_timeline, rebuild
from waa.services.task_record import TaskRecords
from waa.store.memory import MemoryStore
from waa.store.thumbnail import shrink

RUN = a_run().run_id
LONG_S = 1000.0
"""A pause between the two tasks of the line."""


def a_line_of_tasks() -> Timeline:
    """Two tasks, 60 s each, with a pause between; it ends 30 s after the second."""
    first = a_task("task-1", status=TaskStatus.PASSED, score=1.0, started_at=T0 + 10, ended_at=T0 + 70, changed_at=T0 + 70)
    begun = T0 + 70 + LONG_S
    second = a_task("task-2", index=2, status=TaskStatus.FAILED, score=0.0, started_at=begun, ended_at=begun + 60, changed_at=begun + 60)
    run = a_run(status=RunStatus.FINISHED, ended_at=begun + 90, total=2)
    return rebuilt(run, [first, second], a_vm(), now=T0 + 9000)


class Desk:
    """A replay with a clock that the test moves, and what it told."""

    def __init__(self, **order: object) -> None:
        self.now = 500.0
        self.line = a_line_of_tasks()
        self.replay = Replay(self.line, clock=lambda: self.now, order=Order(**order))  # type: ignore[arg-type]  # those of Order
        self.told: list[Event] = []
        self.replay.hub.listen(self._hear)

    def pass_s(self, seconds: float) -> bool:
        self.now += seconds
        return self.replay.advance()

    @property
    def at_s(self) -> float:
        return self.replay.at_s

    @property
    def passed(self) -> int:
        return self.replay.state.progress[RUN].passed

    def _hear(self, events: Sequence[Event]) -> None:
        self.told += events


def test_time_passes_at_its_speed_and_changes_come_when_due() -> None:
    desk = Desk(speed=10)
    assert (desk.at_s, desk.replay.rate, desk.passed) == (0, 10, 0)
    assert desk.pass_s(2) is False
    assert desk.at_s == 20
    assert [event.type for event in desk.told] == [EventType.TASK_STARTED]
    desk.pass_s(5)
    assert (desk.at_s, desk.passed) == (70, 1)
    assert [(event.type, event.at) for event in desk.told] == [(EventType.TASK_STARTED, T0 + 10), (EventType.TASK_COMPLETED, T0 + 70)]
    assert [event.id for event in desk.told] == sorted({event.id for event in desk.told})
    assert desk.replay.state.last_event_id == desk.told[-1].id


def test_paused_time_stands() -> None:
    desk = Desk(speed=10)
    desk.pass_s(1)
    desk.replay.take(Order(playing=False))
    desk.pass_s(100)
    assert (desk.at_s, desk.replay.rate) == (10, 0)
    desk.replay.take(Order(playing=True))
    desk.pass_s(1)
    assert desk.at_s == 20


def test_an_order_counts_from_when_it_is_given() -> None:
    desk = Desk(speed=10)
    desk.now += 2
    desk.replay.take(Order(speed=1))
    assert desk.at_s == 20
    desk.pass_s(2)
    assert desk.at_s == 22


@pytest.mark.parametrize("to", [0.0, 9.0, 10.0, 69.9, 70.0, 500.0, 1150.0, 1e9])
def test_a_jump_leads_to_the_state_that_was_then(to: float) -> None:
    there = Desk(at=to, playing=False)
    for start in (0.0, 80.0, 1e9):
        desk = Desk(at=start, playing=False)
        before = desk.replay.state
        desk.told.clear()
        desk.replay.take(Order(at=to))
        assert desk.replay.moment == min(T0 + to, desk.line.ended_at)
        assert (desk.replay.state.runs, desk.replay.state.tasks) == (there.replay.state.runs, there.replay.state.tasks)
        assert desk.replay.state.progress == there.replay.state.progress
        assert desk.replay.state is not before
        kinds = {type(event.entity) for event in desk.told}
        assert {Run} <= kinds
        assert (Task in kinds) is bool(there.replay.state.tasks[RUN])
        assert EventType.TASK_COMPLETED not in {event.type for event in desk.told}


def test_long_pauses_are_passed_over_but_for_their_ends() -> None:
    desk = Desk(speed=10)
    desk.pass_s(7)
    assert desk.pass_s(2) is False
    assert desk.at_s == 70 + LEAD_S
    assert desk.pass_s(0.1) is True
    assert desk.at_s == 70 + LONG_S - LEAD_S
    assert desk.pass_s(2) is False
    assert desk.replay.state.progress[RUN].running == 1


def test_pauses_are_played_where_the_reader_wants_them() -> None:
    desk = Desk(speed=10, skip_idle=False)
    assert desk.pass_s(50) is False
    assert desk.at_s == 500
    assert LONG_S > IDLE_S


def test_it_stops_at_the_end_and_begins_anew_when_played_again() -> None:
    desk = Desk(speed=1000, skip_idle=False)
    assert desk.pass_s(1000) is True
    assert (desk.replay.moment, desk.replay.is_playing, desk.replay.rate) == (desk.line.ended_at, False, 0)
    assert desk.replay.state.runs[RUN].status is RunStatus.FINISHED
    desk.replay.take(Order(playing=True))
    assert (desk.at_s, desk.replay.is_playing) == (0, True)


def test_opened_at_the_end_it_stands() -> None:
    desk = Desk(at=float("inf"))
    assert (desk.replay.moment, desk.replay.is_playing) == (desk.line.ended_at, False)


def test_nobody_watching_costs_no_time() -> None:
    desk = Desk(speed=10)
    desk.pass_s(1)
    desk.now += 100
    desk.replay.rest()
    desk.pass_s(1)
    assert desk.at_s == 20


def test_a_better_line_goes_on_from_the_same_moment() -> None:
    desk = Desk(at=40, playing=False)
    tasks = [change.entity for change in desk.line.changes if change.type is EventType.TASK_COMPLETED]
    renamed = [replace(task, instruction="Now known.") for task in tasks if isinstance(task, Task)]
    desk.replay.improve(rebuilt(desk.line.run, renamed, a_vm(), now=T0 + 9000))
    assert desk.at_s == 40
    assert desk.replay.state.tasks[RUN]["notepad/task-1#1"].instruction == "Now known."


@pytest.mark.parametrize(
    ("order", "field"),
    [
        ({"speed": 0.5}, "speed"),
        ({"speed": 1001}, "speed"),
        ({"speed": float("nan")}, "speed"),
        ({"at": -1}, "at"),
        ({"at": float("nan")}, "at"),
    ],
)
def test_orders_that_make_no_sense_are_refused(order: dict[str, float], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        Order(**order)  # type: ignore[arg-type]  # those of Order
    assert caught.value.field == field


# --- where the line comes from ---


async def recorded_run(recorder: Recorder) -> Run:
    """A run of one task, told as it went."""
    await recorder.record(VmNamed(vm="vm-1", at=T0 - 9, spec=a_spec(origin=Origin.API)))
    told: list[f.AnyFact] = [f.RunStarted(at=T0, dialect=f.Dialect.WAA), *task_facts("task-1", at=T0 + 1), f.RunFinished(at=T0 + 60)]
    for fact in told:
        await recorder.record(a_log_read(fact, at=fact.at or T0), wait=True)
    (run,) = recorder.state.runs.values()
    return run


async def test_a_stored_run_is_loaded_as_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_module, "PAGE", 2)
    recorder = Recorder(store=WatchedStore(MemoryStore()), rules=Rules(), clock=lambda: T0)
    await recorder.open()
    run = await recorded_run(recorder)
    line = await load_timeline(recorder, run, now=T0 + 100)
    assert line.source is Source.RECORDED
    assert [change.type for change in line.changes if change.type is EventType.TASK_STEPPED] == [EventType.TASK_STEPPED] * 2
    assert line.changes[-1].entity == run
    await recorder.close()


async def test_a_run_whose_events_are_gone_or_too_many_is_rebuilt(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(store=MemoryStore(), rules=Rules(), clock=lambda: T0)
    await recorder.open()
    run = await recorded_run(recorder)
    monkeypatch.setattr(replay_module, "MAX_EVENTS", 3)
    monkeypatch.setattr(replay_module, "PAGE", 2)
    assert (await load_timeline(recorder, run, now=T0 + 100)).source is Source.REBUILT
    monkeypatch.undo()
    await recorder.prune(max_events=1, runs_before=0)
    line = await load_timeline(recorder, run, now=T0 + 100)
    assert (line.source, line.stepless) == (Source.REBUILT, 1)
    assert line.changes[-1] == Change(type=EventType.RUN_FINISHED, at=T0 + 60, entity=run)
    await recorder.close()


async def test_a_rebuilt_run_gets_the_steps_of_its_folders() -> None:
    recorder = Recorder(store=MemoryStore(), rules=Rules(), clock=lambda: T0)
    state = await recorder.open()
    run = await recorded_run(recorder)
    folders = PlayedFolders()
    folders.put("notepad", "task-1", a_line(1), a_line(2, "20260204@121245"))
    records = TaskRecords(reader=folders, state=state, pictures=Pictures(store=Kept(), shrink=shrink), clock=lambda: T0 + 100)
    steps = await load_steps(state.tasks[RUN].values(), records)
    line = rebuild(recorder, run, now=T0 + 100, steps=steps)
    assert line.stepless == 0
    assert [(change.at, change.type) for change in line.changes[2:4]] == [
        (T0 + 9, EventType.TASK_STEPPED),
        (T0 + 14, EventType.TASK_STEPPED),
    ]
    await records.close()
    await recorder.close()
