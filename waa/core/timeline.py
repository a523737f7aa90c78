"""A run on its time line: what happened when, from its first moment to its last."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf

from waa.core.entity import Run, Task, Vm
from waa.core.event import Change, Event, EventType
from waa.core.incident import Incident
from waa.core.spec import VmSpec
from waa.core.status import RunStatus, TaskStatus

AFTER_S = 120.0
"""Exact scores of the last tasks arrive after the end of the run."""
_OF_VM = (EventType.VM_CONNECTED, EventType.VM_DISCONNECTED, EventType.VM_PHASE_CHANGED)
"""What else happens to a VM says nothing about its run; that it was removed must not take the run away."""


class Source(StrEnum):
    """RECORDED: the events as they were stored. REBUILT: made up from the times of the tasks."""

    RECORDED = "recorded"
    REBUILT = "rebuilt"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMark:
    """When a task took a step, and what the step did."""

    number: int
    action: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """``changes`` in their order, each with its moment on the line, from ``began_at`` to ``ended_at``. ``run`` is the run as it is
    known now, ``vm`` its VM as it is taken to be at the beginning. ``stepless`` counts tasks whose steps are not known."""

    run: Run
    vm: Vm
    source: Source
    began_at: float
    ended_at: float
    changes: tuple[Change, ...]
    stepless: int = 0

    @property
    def duration_s(self) -> float:
        """From the first moment to the last."""
        return self.ended_at - self.began_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Something to look for on the line. ``status`` is a task's outcome, None for an incident."""

    at: float
    status: TaskStatus | None
    words: str


def recorded(run: Run, events: Iterable[Event], vm: Vm | None, *, now: float) -> Timeline | None:
    """The line from stored events, oldest first, which may be about other things too. None where its beginning is not among them.

    What a log told late stands at the time that the log gives it, not at the time of reading.
    """
    own = [event for event in events if _is_about(event, run)]
    began = next((event for event in own if isinstance(event.entity, Run)), None)
    if began is None or began.type is not EventType.RUN_STARTED:
        return None
    end_at = run.ended_at + AFTER_S if run.ended_at is not None else now
    changes = sorted(_placed(own, run.started_at, end_at), key=lambda change: change.at)
    return _line(run, changes, vm, Source.RECORDED, now)


def rebuilt(
    run: Run,
    tasks: Iterable[Task],
    vm: Vm | None,
    *,
    now: float,
    incidents: Iterable[Incident] = (),
    steps: Mapping[str, Sequence[StepMark]] | None = None,
) -> Timeline:
    """The line from what is known of the tasks now. ``steps`` by the key of the task."""
    known, all_tasks = steps or {}, list(tasks)
    began_at = min([run.started_at, *(task.started_at for task in all_tasks)])
    begun = replace(run, status=RunStatus.RUNNING, ended_at=None, end_reason="", average_score=None)
    changes = [Change(type=EventType.RUN_STARTED, at=began_at, entity=begun)]
    for task in all_tasks:
        changes += _life(task, known.get(task.key, ()))
    for incident in incidents:
        changes += _course(incident, began_at)
    changes.sort(key=lambda change: change.at)
    if run.status is not RunStatus.RUNNING:
        type_ = EventType.RUN_FINISHED if run.status is RunStatus.FINISHED else EventType.RUN_INTERRUPTED
        changes.append(Change(type=type_, at=max(run.ended_at or 0.0, changes[-1].at), entity=run))
    stepless = sum(1 for task in all_tasks if not known.get(task.key) and (task.step or task.is_over))
    return _line(run, changes, vm, Source.REBUILT, now, stepless=stepless)


def marks_of(timeline: Timeline) -> list[Mark]:
    """The ends of tasks, with the outcome that counts now, and the beginnings of incidents, in their order."""
    outcomes = {change.topic: change.entity for change in timeline.changes if isinstance(change.entity, Task)}
    marks = []
    for change in timeline.changes:
        if change.type is EventType.TASK_COMPLETED:
            task = outcomes[change.topic]
            marks.append(Mark(at=change.at, status=task.status, words=f"{task.domain} {task.task_id}"))
        elif change.type is EventType.INCIDENT_OPENED and isinstance(change.entity, Incident):
            marks.append(Mark(at=change.at, status=None, words=change.entity.title))
    return marks


def _is_about(event: Event, run: Run) -> bool:
    match event.entity:
        case Run() | Task() | Incident():
            return event.entity.run_id == run.run_id
        case Vm():
            ended_at = run.ended_at if run.ended_at is not None else inf
            return event.entity.name == run.vm and event.type in _OF_VM and run.started_at <= event.at <= ended_at
        case _:
            return False


def _placed(events: Iterable[Event], began_at: float, end_at: float) -> Iterator[Change]:
    """Each event at its moment; of one thing none before the one before it."""
    last: dict[str, float] = {}
    here = began_at
    for event in events:
        if isinstance(event.entity, Incident) and event.at > end_at:
            continue
        own_at = _own_at(event, began_at, end_at)
        here = min(max(here if own_at is None else own_at, last.get(event.topic, began_at)), end_at)
        last[event.topic] = here
        yield Change(type=event.type, at=here, entity=event.entity, previous=event.previous)


def _own_at(event: Event, began_at: float, end_at: float) -> float | None:
    """When it happened; None: it was told later, and stands where what was told before it stands."""
    is_timely = began_at <= event.at <= end_at
    match event.entity:
        case Task() as task if event.type is EventType.TASK_STARTED:
            return task.started_at
        case Task() as task if event.type in (EventType.TASK_SETTLED, EventType.TASK_IMPORTED):
            return event.at if is_timely else task.ended_at or task.changed_at
        case Task() as task:
            return task.changed_at
        case Run() as run if event.type is EventType.RUN_STARTED:
            return run.started_at
        case Run() as run if event.type in (EventType.RUN_FINISHED, EventType.RUN_INTERRUPTED) and run.ended_at is not None:
            return run.ended_at
    return event.at if is_timely else None


def _life(task: Task, steps: Sequence[StepMark]) -> Iterator[Change]:
    """One attempt from its start on."""
    begun = replace(
        task,
        status=TaskStatus.RUNNING,
        step=0,
        action="",
        previous_action="",
        repeats=0,
        activity=None,
        score=None,
        provisional=True,
        error="",
        ended_at=None,
        changed_at=task.started_at,
    )
    yield Change(type=EventType.TASK_STARTED, at=task.started_at, entity=begun)
    last_at = max(task.started_at, task.ended_at or task.changed_at)
    for step in steps:
        at = min(max(step.at, begun.changed_at), last_at)
        begun = replace(begun, step=step.number, previous_action=begun.action, action=step.action, changed_at=at)
        yield Change(type=EventType.TASK_STEPPED, at=at, entity=begun)
    if task.is_over:
        yield Change(type=EventType.TASK_COMPLETED, at=last_at, entity=task, previous=TaskStatus.RUNNING.value)
    elif task.step:
        yield Change(type=EventType.TASK_CHANGED, at=last_at, entity=task)


def _course(incident: Incident, began_at: float) -> Iterator[Change]:
    """An incident from its beginning to its end."""
    opened_at = max(incident.began_at, began_at)
    yield Change(type=EventType.INCIDENT_OPENED, at=opened_at, entity=replace(incident, ended_at=None))
    if incident.ended_at is not None:
        yield Change(type=EventType.INCIDENT_RESOLVED, at=max(incident.ended_at, opened_at), entity=incident)


def _line(run: Run, changes: Sequence[Change], vm: Vm | None, source: Source, now: float, *, stepless: int = 0) -> Timeline:
    spec = vm.spec if vm is not None else VmSpec(name=run.vm or "imported")
    return Timeline(
        run=run,
        vm=Vm(name=run.vm, spec=spec, run_id=run.run_id),
        source=source,
        began_at=changes[0].at,
        ended_at=max(changes[-1].at, run.ended_at if run.ended_at is not None else now),
        changes=tuple(changes),
        stepless=stepless,
    )
