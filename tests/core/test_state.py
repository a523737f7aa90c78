"""The state takes entities over, counts, and forgets."""

from dataclasses import replace

from tests.core.builders import FILE, INNER, T0, a_cursor, a_run, a_spec, a_task, a_vm
from waa.core.entity import Entity, RunId, Trouble
from waa.core.error import Failure
from waa.core.event import Change, EventType
from waa.core.spec import Origin
from waa.core.state import MAX_TROUBLES, Progress, State, current_run
from waa.core.status import Reason, RunStatus, TaskStatus

RUN_ID = a_run().run_id


def a_state(*entities: Entity) -> State:
    state = State()
    for entity in entities:
        state.put(entity)
    return state


def test_an_entity_replaces_its_older_version() -> None:
    state = a_state(a_vm(), a_run(), a_task(), a_vm(seen_at=T0), a_run(total=3), a_task(step=4))
    assert (state.vms["vm-1"].seen_at, state.runs[RUN_ID].total) == (T0, 3)
    assert [task.step for task in state.tasks[RUN_ID].values()] == [4]
    assert state.progress[RUN_ID] == Progress(running=1)


def test_a_task_counts_where_it_stands_now() -> None:
    state = a_state(a_run(), a_task())
    for status, expected in {
        TaskStatus.PASSED: Progress(completed=1, passed=1),
        TaskStatus.FAILED: Progress(completed=1, failed=1),
        TaskStatus.ERROR: Progress(completed=1, error=1),
        TaskStatus.UNKNOWN: Progress(completed=1, unknown=1),
    }.items():
        state.put(a_task(status=status))
        assert state.progress[RUN_ID] == expected
    assert Progress(passed=2, failed=3, error=1).scored == 5


def test_a_task_tried_again_counts_with_its_newest_attempt() -> None:
    over = a_task(status=TaskStatus.FAILED)
    state = a_state(a_run(), over, a_task(attempt=2))
    assert state.progress[RUN_ID] == Progress(running=1)
    state.put(replace(over, provisional=False, status=TaskStatus.PASSED))
    assert state.progress[RUN_ID] == Progress(running=1)
    state.put(a_task(attempt=2, status=TaskStatus.ERROR))
    state.put(a_task(attempt=3, status=TaskStatus.PASSED))
    assert state.progress[RUN_ID] == Progress(completed=1, passed=1)


def test_open_tasks_come_in_the_order_of_their_start() -> None:
    state = a_state(a_run(), a_task("b"), a_task("a"), a_task("over", status=TaskStatus.PASSED))
    assert [task.task_id for task in state.open_tasks(RUN_ID)] == ["b", "a"]
    assert list(state.open_tasks(RunId("who"))) == []


def test_runs_come_newest_first() -> None:
    state = a_state(a_run("b", started_at=T0 + 2), a_run("a", started_at=T0 + 1), a_run("c", started_at=T0 + 2), a_run("x", vm="vm-2"))
    assert [run.run_id for run in state.runs_of("vm-1")] == ["c", "b", "a"]
    assert state.runs_of("who") == []


def test_the_run_of_a_log_is_the_one_that_runs_else_the_newest() -> None:
    old = a_run("old", started_at=T0, status=RunStatus.FINISHED)
    new = a_run("new", started_at=T0 + 9, status=RunStatus.INTERRUPTED)
    state = a_state(old, new, a_run("other", log=INNER, started_at=T0 + 99))
    assert state.run_of_log("vm-1", FILE.key) == new
    assert state.run_of_log("vm-1", "file:/else") is None
    assert state.run_of_log("vm-2", FILE.key) is None
    state.put(replace(old, status=RunStatus.RUNNING))
    assert state.run_of_log("vm-1", FILE.key) == replace(old, status=RunStatus.RUNNING)


def test_the_run_of_a_log_that_repeats_another_is_the_other_ones() -> None:
    run = a_run(echoes=(INNER.key,))
    assert a_state(run).run_of_log("vm-1", INNER.key) == run


def test_the_current_run_is_the_one_that_runs_else_the_newest() -> None:
    running, ended = a_run("a"), a_run("b", started_at=T0 + 9, status=RunStatus.FINISHED)
    assert current_run(a_state(running, ended), a_vm(run_id=RunId("a"))) == running
    assert current_run(a_state(running, ended), a_vm(run_id=RunId("gone"))) == ended
    assert current_run(State(), a_vm()) is None


def test_a_removed_vm_leaves_its_history() -> None:
    state = a_state(a_vm(), a_run(), a_task())
    state.put_cursor(a_cursor())
    state.evolve(Change(type=EventType.VM_REMOVED, at=T0, entity=a_vm()))
    history = a_state(a_run(), a_task())
    history.put_cursor(a_cursor())
    assert state == history


def test_the_removed_demo_takes_everything_along() -> None:
    demo = a_vm(spec=a_spec(origin=Origin.DEMO))
    state = a_state(demo, a_run(), a_task())
    state.put_cursor(a_cursor())
    other = a_state(a_vm("vm-2"), a_run("r2", vm="vm-2"), a_task(run_id=RunId("r2")))
    other.put_cursor(a_cursor("vm-2"))
    for entity in (a_vm("vm-2"), a_run("r2", vm="vm-2"), a_task(run_id=RunId("r2"))):
        state.put(entity)
    state.put_cursor(a_cursor("vm-2"))
    state.evolve(Change(type=EventType.VM_REMOVED, at=T0, entity=demo))
    assert state == other


def test_dropped_runs_leave_nothing_behind() -> None:
    state = a_state(a_vm(), a_run(), a_task())
    state.drop_runs([RUN_ID, RunId("who")])
    assert state == a_state(a_vm())


def test_a_copy_goes_its_own_way() -> None:
    state = a_state(a_vm(), a_run(), a_task())
    state.put_cursor(a_cursor())
    copy = state.copy()
    assert copy == state
    for entity in (a_vm("vm-2"), a_run("r2"), a_task("t2")):
        copy.put(entity)
    copy.put_cursor(a_cursor(offset=9))
    copy.drop_runs([RunId("r2")])
    expected = a_state(a_vm(), a_run(), a_task())
    expected.put_cursor(a_cursor())
    assert state == expected


def test_of_troubles_the_newest_stay() -> None:
    failure = Failure(reason=Reason.PARSE, message="no")
    troubles = [Trouble(vm="vm-1", at=T0 + number, failure=failure) for number in range(MAX_TROUBLES + 3)]
    assert a_state(*troubles).troubles == troubles[3:]
