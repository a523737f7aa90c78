"""A run on its time line: as recorded, or rebuilt from its tasks; either way it ends as the run is."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from tests.core.builders import T0, a_log_read, a_run, a_spec, a_task, a_vm, task_facts
from waa.core.entity import Connection, Entity, Imported, Run, RunId, Task
from waa.core.event import Change, Event, EventType
from waa.core.incident import Concern, Incident, Severity
from waa.core.job import ImportKind
from waa.core.logs import fact as f
from waa.core.observation import AnyObservation, VmNamed
from waa.core.outside import ThresholdSet
from waa.core.spec import Origin
from waa.core.state import State
from waa.core.status import RunStatus, TaskStatus
from waa.core.timeline import AFTER_S, Source, StepMark, Timeline, marks_of, rebuilt, recorded
from waa.core.transition import Rules, decide

RUN = a_run().run_id
E = EventType


def events_of(*observations: AnyObservation | ThresholdSet) -> tuple[State, list[Event]]:
    """What the observations cause, as a store numbers it, and the state after it."""
    state = State()
    events: list[Event] = []
    for observation in (VmNamed(vm="vm-1", at=T0 - 9, spec=a_spec(origin=Origin.API)), *observations):
        for change in decide(state, observation, Rules()):
            state.evolve(change)
            events.append(an_event(len(events) + 1, change.type, change.entity, change.at, change.previous))
    return state, events


def an_event(id_: int, type_: EventType, entity: Entity, at: float, previous: str | None = None) -> Event:
    return Event(id=id_, type=type_, at=at, entity=entity, previous=previous)


def a_whole_run(*, last: float = 0.0) -> list[f.AnyFact]:
    """Two tasks, from T0 to T0 + 101; ``last`` is the score of the second."""
    told: list[f.AnyFact] = [f.RunStarted(at=T0, dialect=f.Dialect.WAA), f.RunPlanned(at=T0, total=2)]
    told += task_facts("task-1", at=T0 + 1, score=1.0, steps=3)
    told += task_facts("task-2", at=T0 + 51, score=last, steps=4)
    return [*told, f.RunFinished(at=T0 + 101, average_score=0.5)]


def live() -> tuple[State, list[Event]]:
    """The run, each line read as it is written."""
    return events_of(*(a_log_read(fact, at=fact.at or T0) for fact in a_whole_run()))


def late() -> tuple[State, list[Event]]:
    """The same, its log read at once, an hour later."""
    return events_of(a_log_read(*a_whole_run(), at=T0 + 3600))


def played(timeline: Timeline, until: float = float("inf")) -> State:
    state = State()
    state.put(timeline.vm)
    for change in timeline.changes:
        if change.at <= until:
            state.evolve(change)
    return state


def need(timeline: Timeline | None) -> Timeline:
    assert timeline is not None
    return timeline


def check(timeline: Timeline, state: State) -> None:
    """What holds of every line."""
    moments = [change.at for change in timeline.changes]
    assert moments == sorted(moments)
    assert timeline.began_at == moments[0]
    assert timeline.ended_at >= moments[-1]
    assert isinstance(timeline.changes[0].entity, Run)
    end = played(timeline)
    assert end.runs[RUN] == state.runs[RUN]
    assert list(end.tasks[RUN]) == list(state.tasks[RUN])
    assert end.tasks[RUN] == state.tasks[RUN]
    assert end.progress[RUN] == state.progress[RUN]


def line_of(state: State, events: Iterable[Event], now: float = T0 + 9000) -> Timeline:
    return need(recorded(state.runs[RUN], events, state.vms.get("vm-1"), now=now))


def test_a_run_that_was_watched_plays_as_it_was() -> None:
    state, events = live()
    line = line_of(state, events)
    check(line, state)
    assert (line.source, line.began_at, line.ended_at, line.duration_s) == (Source.RECORDED, T0, T0 + 101, 101)
    at_step = played(line, T0 + 22).tasks[RUN]["notepad/task-1#1"]
    assert (at_step.step, at_step.action, at_step.status) == (2, "click(2)", TaskStatus.RUNNING)
    assert played(line, T0 + 60).progress[RUN].passed == 1
    assert played(line, T0 + 100).runs[RUN].status is RunStatus.RUNNING


def test_a_log_that_was_read_late_plays_at_its_own_times() -> None:
    state, events = late()
    line = line_of(state, events)
    check(line, state)
    assert (line.began_at, line.ended_at) == (T0, T0 + 101)
    (first, last) = [change.at for change in line.changes if change.type is E.TASK_COMPLETED]
    assert (first, last) == (T0 + 37, T0 + 97)
    assert played(line, T0 + 60).progress[RUN].running == 1


def test_other_runs_and_what_removes_the_vm_do_not_count() -> None:
    state, events = live()
    demo = replace(a_vm(), spec=a_spec(origin=Origin.DEMO))
    strange = [
        an_event(900, E.RUN_STARTED, a_run("other"), T0 + 5),
        an_event(901, E.TASK_STARTED, a_task(run_id=RunId("other")), T0 + 5),
        an_event(902, E.VM_REMOVED, demo, T0 + 50),
        an_event(903, E.VM_DISCONNECTED, a_vm("vm-2"), T0 + 50),
        an_event(904, E.VM_DISCONNECTED, replace(a_vm(), connection=Connection(connected=False)), T0 + 5000),
    ]
    assert line_of(state, [*events, *strange]) == line_of(state, events)


def test_the_vm_is_in_view_until_it_is_lost() -> None:
    state, events = live()
    lost = an_event(900, E.VM_DISCONNECTED, replace(a_vm(), connection=Connection(connected=False)), T0 + 50)
    line = line_of(state, [*events, lost])
    assert played(line, T0 + 49).vms["vm-1"].connection.connected is None
    assert played(line, T0 + 51).vms["vm-1"].connection.connected is False


def test_a_line_without_its_beginning_is_none() -> None:
    state, events = live()
    begun = next(place for place, event in enumerate(events) if event.type is E.RUN_STARTED)
    assert recorded(state.runs[RUN], events[begun + 1 :], None, now=T0 + 9000) is None
    assert recorded(state.runs[RUN], [], None, now=T0 + 9000) is None


def test_scores_that_are_settled_later_count_when_they_came_or_with_their_task() -> None:
    state, events = live()
    task = state.tasks[RUN]["notepad/task-2#1"]
    soon = an_event(900, E.TASK_SETTLED, replace(task, score=0.75, provisional=False), T0 + 102)
    line = line_of(state, [*events, soon])
    assert line.ended_at == T0 + 102
    assert played(line, T0 + 101).tasks[RUN][task.key].score == 0.0
    assert played(line).tasks[RUN][task.key].score == 0.75
    late_one = replace(soon, at=T0 + 101 + AFTER_S + 1)
    line = line_of(state, [*events, late_one])
    assert line.ended_at == T0 + 101
    assert played(line, T0 + 98).tasks[RUN][task.key].score == 0.75


def test_another_threshold_judges_the_whole_line() -> None:
    told = [a_log_read(fact, at=fact.at or T0) for fact in a_whole_run(last=0.5)]
    state, events = events_of(*told, ThresholdSet(vm="", at=T0 + 9000, run_id=RUN, threshold=0.4))
    line = line_of(state, events)
    check(line, state)
    assert played(line, T0 + 98).progress[RUN].passed == 2


def test_a_run_that_goes_on_ends_now() -> None:
    state, events = events_of(*(a_log_read(fact, at=fact.at or T0) for fact in a_whole_run()[:8]))
    line = line_of(state, events, now=T0 + 40)
    check(line, state)
    assert line.ended_at == T0 + 40


def an_incident(**fields: object) -> Incident:
    known = Incident(
        incident_id="i-1",
        vm="vm-1",
        concern=Concern.STALLED,
        severity=Severity.WARNING,
        title="Stalled",
        began_at=T0 + 20,
        ended_at=T0 + 30,
        run_id=RUN,
        tasks=("notepad/task-1#1",),
    )
    return replace(known, **fields)  # type: ignore[arg-type]  # those of Incident


def test_incidents_come_and_go() -> None:
    state, events = live()
    opened = an_event(900, E.INCIDENT_OPENED, an_incident(ended_at=None), T0 + 25)
    resolved = an_event(901, E.INCIDENT_RESOLVED, an_incident(), T0 + 31)
    foreign = an_event(902, E.INCIDENT_OPENED, an_incident(incident_id="i-2", run_id="other"), T0 + 25)
    after = an_event(903, E.INCIDENT_OPENED, an_incident(incident_id="i-3"), T0 + 9000)
    line = line_of(state, [*events, opened, resolved, foreign, after])
    assert [incident.incident_id for incident in played(line, T0 + 26).open_incidents("vm-1")] == ["i-1"]
    assert played(line).incidents == {"i-1": an_incident()}
    assert [(mark.at, mark.status, mark.words) for mark in marks_of(line)] == [
        (T0 + 25, None, "Stalled"),
        (T0 + 37, TaskStatus.PASSED, "notepad task-1"),
        (T0 + 97, TaskStatus.FAILED, "notepad task-2"),
    ]


def test_marks_tell_the_outcome_that_counts_now() -> None:
    state, events = live()
    task = state.tasks[RUN]["notepad/task-2#1"]
    turned = an_event(900, E.TASK_SETTLED, replace(task, status=TaskStatus.PASSED), T0 + 99)
    assert [mark.status for mark in marks_of(line_of(state, [*events, turned]))] == [TaskStatus.PASSED, TaskStatus.PASSED]


def tasks_of(state: State) -> list[Task]:
    return list(state.tasks[RUN].values())


def test_a_line_can_be_rebuilt_from_the_tasks_alone() -> None:
    state, _ = live()
    line = rebuilt(state.runs[RUN], tasks_of(state), state.vms["vm-1"], now=T0 + 9000, incidents=[an_incident()])
    check(line, state)
    assert (line.source, line.stepless, line.ended_at) == (Source.REBUILT, 2, T0 + 101)
    middle = played(line, T0 + 22)
    assert middle.tasks[RUN]["notepad/task-1#1"].status is TaskStatus.RUNNING
    assert middle.tasks[RUN]["notepad/task-1#1"].score is None
    assert [incident.ended_at for incident in middle.incidents.values()] == [None]
    assert played(line).incidents == {"i-1": an_incident()}
    assert played(line, T0 + 100).runs[RUN].status is RunStatus.RUNNING


def test_known_steps_are_taken_at_their_times() -> None:
    state, _ = live()
    steps = {"notepad/task-1#1": [StepMark(number=number, action=f"act({number})", at=T0 + 10 * number) for number in (1, 2, 30)]}
    line = rebuilt(state.runs[RUN], tasks_of(state), None, now=T0 + 9000, steps=steps)
    check(line, state)
    assert line.stepless == 1
    task = played(line, T0 + 21).tasks[RUN]["notepad/task-1#1"]
    assert (task.step, task.action, task.previous_action) == (2, "act(2)", "act(1)")
    assert [change.at for change in line.changes if change.type is E.TASK_STEPPED] == [T0 + 10, T0 + 20, T0 + 37]


def test_an_imported_run_has_a_vm_to_be_seen_on() -> None:
    imported = Imported(kind=ImportKind.FOLDER, source="/results", at=T0 + 9000)
    run = a_run(vm="", imported=imported, status=RunStatus.FINISHED, ended_at=T0 + 60)
    task = a_task(vm="", status=TaskStatus.PASSED, score=1.0, provisional=False, started_at=T0 - 5, ended_at=T0 + 50, changed_at=T0 + 50)
    line = rebuilt(run, [task], None, now=T0 + 9999)
    assert (line.began_at, line.ended_at) == (T0 - 5, T0 + 60)
    assert played(line, T0).vms[""].connection.connected is not False
    assert played(line).runs[RUN] == run


@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.INTERRUPTED])
def test_a_run_without_tasks_or_end_is_a_line_too(status: RunStatus) -> None:
    line = rebuilt(a_run(status=status), [], None, now=T0 + 10)
    assert (line.began_at, line.ended_at, line.stepless) == (T0, T0 + 10, 0)
    assert played(line).runs[RUN].status is status


def test_a_task_that_runs_stands_where_it_is() -> None:
    task = a_task(step=7, action="click(7)", changed_at=T0 + 30)
    line = rebuilt(a_run(), [task], None, now=T0 + 60)
    assert played(line).tasks[RUN][task.key] == task
    assert played(line, T0 + 29).tasks[RUN][task.key].step == 0
    assert Change(type=E.TASK_CHANGED, at=T0 + 30, entity=task) in line.changes
