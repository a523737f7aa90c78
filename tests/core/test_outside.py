"""Imported runs, another threshold, and jobs: what no probe saw."""

from dataclasses import replace

from tests.core.builders import T0, a_run, a_task, a_vm
from waa.core.entity import Imported, Run, RunId, Task
from waa.core.event import Change, EventType
from waa.core.incident import Concern, Incident, Severity
from waa.core.job import ImportKind, ImportRequest, Job, JobStatus
from waa.core.observation import IncidentsSeen, VmForgotten
from waa.core.outside import JobSeen, RunImported, ThresholdSet
from waa.core.state import MAX_JOBS, State
from waa.core.status import RunStatus, TaskStatus
from waa.core.transition import Rules, decide

RULES = Rules()
IMPORTED = Imported(kind=ImportKind.FOLDER, source="/results", at=T0 + 9000)


def imported_run(**fields: object) -> Run:
    values = {
        "run_id": RunId("gpt-4o-1"),
        "vm": "",
        "status": RunStatus.FINISHED,
        "ended_at": T0 + 900,
        "imported": IMPORTED,
        "files": "/results",
    }
    return replace(a_run(), **{**values, **fields})  # type: ignore[arg-type]


def imported_task(number: int = 1, score: float | None = 1.0, *, run_id: str = "gpt-4o-1", started_at: float = T0) -> Task:
    status = TaskStatus.UNKNOWN if score is None else TaskStatus.PASSED if score >= 1 else TaskStatus.FAILED
    return a_task(
        run_id=RunId(run_id), vm="", task_id=f"t{number}", index=number, score=score, status=status, provisional=False,
        started_at=started_at, ended_at=started_at + 60, changed_at=started_at + 60,
    )  # fmt: skip


def took(state: State, *observations: object) -> list[Change]:
    """The changes of the last observation; all of them are taken over."""
    changes: list[Change] = []
    for observation in observations:
        changes = decide(state, observation, RULES)  # type: ignore[arg-type]
        for change in changes:
            state.evolve(change)
    return changes


def test_an_import_makes_a_run_with_its_tasks_and_again_changes_nothing() -> None:
    state = State()
    seen = RunImported(vm="", at=T0, run=imported_run(), tasks=(imported_task(1), imported_task(2, 0.5)))
    assert [change.type for change in took(state, seen)] == [EventType.RUN_IMPORTED, EventType.TASK_IMPORTED, EventType.TASK_IMPORTED]
    assert (state.progress[RunId("gpt-4o-1")].passed, state.progress[RunId("gpt-4o-1")].failed) == (1, 1)
    later = replace(seen, at=T0 + 50, run=imported_run(imported=replace(IMPORTED, at=T0 + 50)))
    assert took(state, later) == []


def test_a_tree_that_grew_adds_only_what_is_new() -> None:
    state = State()
    took(state, RunImported(vm="", at=T0, run=imported_run(), tasks=(imported_task(1), imported_task(2, None))))
    changes = took(state, RunImported(vm="", at=T0, run=imported_run(), tasks=(imported_task(1), imported_task(2, 1.0), imported_task(3))))
    assert [change.topic for change in changes] == [f"runs/gpt-4o-1/tasks/{imported_task(number).key}" for number in (2, 3)]


def test_an_import_keeps_the_threshold_that_was_set_here() -> None:
    state = State()
    seen = RunImported(vm="", at=T0, run=imported_run(), tasks=(imported_task(1), imported_task(2, 0.5)))
    took(state, seen, ThresholdSet(vm="", at=T0, run_id=RunId("gpt-4o-1"), threshold=0.5))
    assert state.progress[RunId("gpt-4o-1")].passed == 2
    assert took(state, seen) == []


def test_a_threshold_judges_scores_anew_and_leaves_errors() -> None:
    state = State()
    error = replace(imported_task(3, None), status=TaskStatus.ERROR, score=0.9)
    running = replace(imported_task(4, None), status=TaskStatus.RUNNING, ended_at=None)
    took(state, RunImported(vm="", at=T0, run=imported_run(), tasks=(imported_task(1), imported_task(2, 0.5), error, running)))
    changes = took(state, ThresholdSet(vm="", at=T0, run_id=RunId("gpt-4o-1"), threshold=0.25))
    assert [(change.type, change.previous) for change in changes] == [(EventType.RUN_CHANGED, None), (EventType.TASK_SETTLED, "failed")]
    assert took(state, ThresholdSet(vm="", at=T0, run_id=RunId("gpt-4o-1"), threshold=0.25)) == []
    assert took(state, ThresholdSet(vm="", at=T0, run_id=RunId("elsewhere"), threshold=0.25)) == []


def test_results_of_a_run_that_was_watched_settle_it_and_make_no_second_one() -> None:
    state = State()
    state.put(a_run(run_id=RunId("vm-1-x"), threshold=0.5))
    state.put(replace(imported_task(1, 0.67, run_id="vm-1-x"), vm="vm-1", provisional=True))
    state.put(replace(imported_task(2, None, run_id="vm-1-x", started_at=T0 + 400), vm="vm-1", provisional=True))
    found = (
        imported_task(1, 2 / 3, started_at=T0 + 70),
        imported_task(2, 0.25, started_at=T0 + 470),
        imported_task(3, started_at=T0 + 900),
    )
    seen = RunImported(vm="", at=T0, run=imported_run(), tasks=found)
    assert [change.type for change in took(state, seen)] == [EventType.RUN_CHANGED, EventType.TASK_SETTLED, EventType.TASK_SETTLED]
    assert list(state.runs) == ["vm-1-x"]
    assert state.runs[RunId("vm-1-x")].files == "/results"
    first, second = state.tasks[RunId("vm-1-x")].values()
    assert (first.score, first.status, first.provisional) == (2 / 3, TaskStatus.PASSED, False)
    assert (second.score, second.status) == (0.25, TaskStatus.FAILED)
    assert took(state, seen) == []


def test_results_of_the_same_tasks_at_another_time_are_another_run() -> None:
    state = State()
    state.put(a_run(run_id=RunId("vm-1-x")))
    state.put(replace(imported_task(1, run_id="vm-1-x"), vm="vm-1"))
    took(state, RunImported(vm="", at=T0, run=imported_run(), tasks=(imported_task(1, started_at=T0 + 4000),)))
    assert list(state.runs) == ["vm-1-x", "gpt-4o-1"]


def a_job(**fields: object) -> Job:
    values = {"job_id": "j1", "request": ImportRequest(kind=ImportKind.FOLDER, path="/results"), "created_at": T0}
    return Job(**{**values, **fields})  # type: ignore[arg-type]


def test_a_job_is_told_when_it_changes() -> None:
    state = State()
    running = a_job(status=JobStatus.RUNNING, progress=7)
    steps = (a_job(), a_job(), running, replace(running, status=JobStatus.COMPLETED, progress=100))
    told = [[change.type for change in took(state, JobSeen(vm="", at=T0, job=job))] for job in steps]
    assert told == [[EventType.JOB_CREATED], [], [EventType.JOB_CHANGED], [EventType.JOB_ENDED]]


def test_only_jobs_that_are_over_are_forgotten() -> None:
    state = State()
    state.put(a_job(job_id="runs", status=JobStatus.RUNNING))
    for number in range(MAX_JOBS + 5):
        state.put(a_job(job_id=f"j{number}", status=JobStatus.FAILED))
    assert len(state.jobs) == MAX_JOBS
    assert "runs" in state.jobs
    assert "j0" not in state.jobs


def an_incident(**fields: object) -> Incident:
    values = {
        "incident_id": "i1",
        "vm": "vm-1",
        "concern": Concern.GUEST_DOWN,
        "severity": Severity.CRITICAL,
        "title": "down",
        "began_at": T0,
    }
    return Incident(**{**values, **fields})  # type: ignore[arg-type]


def test_an_incident_is_opened_once_collects_its_tasks_and_is_resolved() -> None:
    state = State()
    state.put(a_vm())
    seen = [
        (an_incident(tasks=("a",)),),
        (an_incident(tasks=("a",)),),
        (an_incident(tasks=("b",)),),
        (),
        (),
    ]
    told = [
        [c.type for c in took(state, IncidentsSeen(vm="vm-1", at=T0 + n, incidents=found)) if isinstance(c.entity, Incident)]
        for n, found in enumerate(seen)
    ]
    assert told == [[EventType.INCIDENT_OPENED], [], [EventType.INCIDENT_CHANGED], [EventType.INCIDENT_RESOLVED], []]
    assert state.incidents["i1"].tasks == ("a", "b")
    assert state.incidents["i1"].ended_at == T0 + 3


def test_a_vm_that_is_taken_away_has_no_open_incidents() -> None:
    state = State()
    state.put(a_vm())
    took(state, IncidentsSeen(vm="vm-1", at=T0, incidents=(an_incident(),)), VmForgotten(vm="vm-1", at=T0 + 5))
    assert state.incidents["i1"].ended_at == T0 + 5
