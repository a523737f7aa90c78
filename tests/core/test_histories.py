"""What holds after any history."""

from collections import Counter

from hypothesis import given, settings

from tests.core.histories import HISTORIES
from waa.core.codec import decode_entity, encode, kind_of
from waa.core.entity import Task
from waa.core.event import Change, EventType
from waa.core.observation import AnyObservation, LogRead
from waa.core.state import Progress, State
from waa.core.status import RunStatus, TaskStatus
from waa.core.transition import Rules, decide

RULES = Rules(runner_grace_s=60, launcher_grace_s=600)
SETTINGS = settings(max_examples=40)


def play(history: list[AnyObservation]) -> tuple[State, list[Change]]:
    state, told = State(), list[Change]()
    for observation in history:
        for change in decide(state, observation, RULES):
            state.evolve(change)
            told.append(change)
        if isinstance(observation, LogRead) and observation.vm in state.vms:
            state.put_cursor(observation.cursor)
    return state, told


@SETTINGS
@given(history=HISTORIES)
def test_deciding_touches_nothing_and_replay_gives_the_same_state(history: list[AnyObservation]) -> None:
    state, told = play(history)
    before = state.copy()
    for observation in history:
        decide(state, observation, RULES)
    assert state == before
    replayed = State(cursors=dict(state.cursors))
    for change in told:
        entity = decode_entity(kind_of(change.type), encode(change.entity))
        assert entity == change.entity
        replayed.evolve(Change(type=change.type, at=change.at, entity=entity))
    replayed.cursors = dict(state.cursors)
    assert replayed == state


@SETTINGS
@given(history=HISTORIES)
def test_every_attempt_starts_once_and_completes_once(history: list[AnyObservation]) -> None:
    _, told = play(history)
    attempts: dict[str, TaskStatus] = {}
    for change in told:
        if not isinstance(change.entity, Task):
            continue
        known = attempts.get(change.topic)
        match change.type:
            case EventType.TASK_STARTED:
                assert known is None
            case EventType.TASK_COMPLETED:
                assert known is TaskStatus.RUNNING
                assert change.entity.is_over
            case EventType.TASK_SETTLED:
                assert known not in (None, TaskStatus.RUNNING, TaskStatus.ERROR)
                assert not change.entity.provisional
            case _:
                assert known is change.entity.status is TaskStatus.RUNNING
        attempts[change.topic] = change.entity.status


@SETTINGS
@given(history=HISTORIES)
def test_the_state_is_sound(history: list[AnyObservation]) -> None:
    state, _ = play(history)
    assert set(state.tasks) == set(state.progress) == set(state.runs)
    for run_id, tasks in state.tasks.items():
        newest = {(task.domain, task.task_id): task for task in tasks.values()}
        counts = Counter(task.status for task in newest.values())
        completed = sum(counts.values()) - counts[TaskStatus.RUNNING]
        assert state.progress[run_id] == Progress(completed=completed, **{status.value: counts[status] for status in TaskStatus})
        run = state.runs[run_id]
        assert run.vm in state.vms or run.status is not RunStatus.RUNNING
        if run.status is not RunStatus.RUNNING:
            assert run.ended_at is not None
            assert not list(state.open_tasks(run_id))
        for task in tasks.values():
            assert (task.success is None) == (task.score is None or task.status is TaskStatus.RUNNING)
            assert task.status is not TaskStatus.PASSED or (task.score or 0) >= run.threshold
    for vm in state.vms.values():
        assert vm.run_id is None or vm.run_id in state.runs
