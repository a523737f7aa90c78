"""All that is known now, and how an event changes it (``evolve``): an assignment, nothing more."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from waa.core.cloud import CloudJob, CloudVm
from waa.core.entity import Entity, Run, RunId, Task, Trouble, Vm
from waa.core.event import GONE, Change, EventType
from waa.core.incident import Incident
from waa.core.job import Job
from waa.core.meter import Meter
from waa.core.observation import LogCursor
from waa.core.pipeline import Pipeline, PipelineCheck
from waa.core.status import RunStatus, TaskStatus
from waa.core.training import Epoch, PredictionBatch, Training

MAX_TROUBLES = 50
"""The page shows the newest few; older ones are in the store's event log."""


MAX_JOBS = 200
MAX_INCIDENTS = 1000
MAX_CLOUD_JOBS = 500
"""In memory; the oldest that are over go first."""
MAX_METERS = 1000

Kept = TypeVar("Kept", Job, Incident, Meter, CloudJob)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Counts of one run. ``completed`` = tasks that ended = passed + failed + error + unknown."""

    completed: int = 0
    passed: int = 0
    failed: int = 0
    error: int = 0
    unknown: int = 0
    running: int = 0

    @property
    def scored(self) -> int:
        """Tasks with a verdict of the evaluator."""
        return self.passed + self.failed

    def with_task(self, status: TaskStatus, by: int) -> "Progress":
        """The counts after ``by`` (+1 or -1) tasks of a status."""
        over = 0 if status is TaskStatus.RUNNING else by
        return Progress(
            completed=self.completed + over,
            passed=self.passed + by * (status is TaskStatus.PASSED),
            failed=self.failed + by * (status is TaskStatus.FAILED),
            error=self.error + by * (status is TaskStatus.ERROR),
            unknown=self.unknown + by * (status is TaskStatus.UNKNOWN),
            running=self.running + by * (status is TaskStatus.RUNNING),
        )


@dataclass(slots=True)
class State:
    """One writer evolves it; everyone on the loop's thread may read it between two awaits.

    ``tasks`` holds the attempts of each run in the order of their start; ``progress`` is derived from them.
    A task that is tried again counts once, with its newest attempt. ``epochs`` are those of each training, by number.
    """

    vms: dict[str, Vm] = field(default_factory=dict)
    runs: dict[RunId, Run] = field(default_factory=dict)
    tasks: dict[RunId, dict[str, Task]] = field(default_factory=dict)
    progress: dict[RunId, Progress] = field(default_factory=dict)
    cursors: dict[tuple[str, str], LogCursor] = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    incidents: dict[str, Incident] = field(default_factory=dict)
    trainings: dict[str, Training] = field(default_factory=dict)
    epochs: dict[str, dict[int, Epoch]] = field(default_factory=dict)
    meters: dict[str, Meter] = field(default_factory=dict)
    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    pipeline_check: PipelineCheck | None = None
    cloud_vms: dict[str, CloudVm] = field(default_factory=dict)
    cloud_jobs: dict[str, CloudJob] = field(default_factory=dict)
    last_event_id: int = 0
    _of_vm: dict[str, dict[RunId, None]] = field(default_factory=dict)

    def evolve(self, change: Change) -> None:
        """Take one change over."""
        if change.type is EventType.VM_REMOVED and isinstance(change.entity, Vm):
            self._remove(change.entity)
        elif change.type is EventType.TRAINING_REMOVED and isinstance(change.entity, Training):
            self.drop_trainings([change.entity.job_id])
        elif change.type is EventType.PIPELINE_REMOVED and isinstance(change.entity, Pipeline):
            self.pipelines.pop(change.entity.pipeline_id, None)
        elif change.type in GONE and isinstance(change.entity, CloudVm):
            self.cloud_vms.pop(change.entity.key, None)
        elif change.type in GONE and isinstance(change.entity, CloudJob):
            self.cloud_jobs.pop(change.entity.key, None)
        else:
            self.put(change.entity)

    def put(self, entity: Entity) -> None:  # noqa: PLR0912 - one branch per kind
        """Take the newest version of an entity over."""
        match entity:
            case Vm():
                self.vms[entity.name] = entity
            case Run():
                self.runs[entity.run_id] = entity
                self._of_vm.setdefault(entity.vm, {})[entity.run_id] = None
                self.tasks.setdefault(entity.run_id, {})
                self.progress.setdefault(entity.run_id, Progress())
            case Task():
                self._put_task(entity)
            case Trouble():
                self.troubles.append(entity)
                del self.troubles[:-MAX_TROUBLES]
            case Job():
                self.jobs[entity.job_id] = entity
                _forget_oldest(self.jobs, MAX_JOBS)
            case Incident():
                self.incidents[entity.incident_id] = entity
                _forget_oldest(self.incidents, MAX_INCIDENTS)
            case Training():
                self.trainings[entity.job_id] = entity
                self.epochs.setdefault(entity.job_id, {})
            case Epoch():
                self.epochs.setdefault(entity.job_id, {})[entity.epoch] = entity
            case PredictionBatch():
                for part in entity.parts:
                    self.put(part)
            case Meter():
                self.meters[entity.vm] = entity
                _forget_oldest(self.meters, MAX_METERS)
            case Pipeline() | PipelineCheck():
                self._put_pipeline(entity)
            case CloudVm():
                self.cloud_vms[entity.key] = entity
            case CloudJob():
                self.cloud_jobs[entity.key] = entity
                _forget_oldest(self.cloud_jobs, MAX_CLOUD_JOBS)

    def put_cursor(self, cursor: LogCursor) -> None:
        """Remember how far a log was digested."""
        self.cursors[cursor.vm, cursor.source.key] = cursor

    def run_of_log(self, vm: str, log_key: str) -> Run | None:
        """The run that this log tells or repeats: one that runs, else the newest."""
        told = [run for run in self.runs_of(vm) if log_key == run.log.key or log_key in run.echoes]
        return next((run for run in told if run.status is RunStatus.RUNNING), told[0] if told else None)

    def runs_of(self, vm: str) -> list[Run]:
        """The runs of a VM, newest first (of two that began at the same moment, the one heard of last)."""
        runs = [self.runs[run_id] for run_id in reversed(self._of_vm.get(vm, {}))]
        return sorted(runs, key=lambda run: run.started_at, reverse=True)

    def open_tasks(self, run_id: RunId) -> Iterator[Task]:
        """The tasks that run now, oldest first."""
        if self.progress.get(run_id, Progress()).running:
            yield from (task for task in self.tasks[run_id].values() if not task.is_over)

    def open_incidents(self, vm: str) -> list[Incident]:
        """What is wrong with a VM now, oldest first."""
        return [incident for incident in self.incidents.values() if incident.vm == vm and not incident.is_over]

    def checked_at(self, pipeline_id: str) -> float | None:
        """When a pipeline was looked at, as far as the store knows. None: never, or not since it was named."""
        return self.pipeline_check.seen.get(pipeline_id) if self.pipeline_check is not None else None

    def drop_runs(self, run_ids: Iterable[RunId]) -> None:
        """Forget runs that the store pruned."""
        for run_id in run_ids:
            run = self.runs.pop(run_id, None)
            self.tasks.pop(run_id, None)
            self.progress.pop(run_id, None)
            if run is not None:
                for incident in [known for known in self.incidents.values() if known.run_id == run_id]:
                    del self.incidents[incident.incident_id]
                del self._of_vm[run.vm][run_id]
                if not self._of_vm[run.vm]:
                    del self._of_vm[run.vm]

    def drop_trainings(self, job_ids: Iterable[str]) -> None:
        """Forget trainings that were removed or that the store pruned."""
        for job_id in job_ids:
            self.trainings.pop(job_id, None)
            self.epochs.pop(job_id, None)

    def copy(self) -> "State":
        """An independent copy; the entities are immutable and shared."""
        return State(
            vms=dict(self.vms),
            runs=dict(self.runs),
            tasks={run_id: dict(tasks) for run_id, tasks in self.tasks.items()},
            progress=dict(self.progress),
            cursors=dict(self.cursors),
            troubles=list(self.troubles),
            jobs=dict(self.jobs),
            incidents=dict(self.incidents),
            trainings=dict(self.trainings),
            epochs={job_id: dict(epochs) for job_id, epochs in self.epochs.items()},
            meters=dict(self.meters),
            pipelines=dict(self.pipelines),
            pipeline_check=self.pipeline_check,
            cloud_vms=dict(self.cloud_vms),
            cloud_jobs=dict(self.cloud_jobs),
            last_event_id=self.last_event_id,
            _of_vm={vm: dict(run_ids) for vm, run_ids in self._of_vm.items()},
        )

    def _put_pipeline(self, entity: Pipeline | PipelineCheck) -> None:
        if isinstance(entity, Pipeline):
            self.pipelines[entity.pipeline_id] = entity
        else:
            self.pipeline_check = entity

    def _put_task(self, task: Task) -> None:
        tasks = self.tasks.setdefault(task.run_id, {})
        name = f"{task.domain}/{task.task_id}"
        replaced = tasks.get(task.key) or tasks.get(f"{name}#{task.attempt - 1}")
        is_newest_attempt = f"{name}#{task.attempt + 1}" not in tasks
        tasks[task.key] = task
        if is_newest_attempt:
            progress = self.progress.get(task.run_id, Progress())
            if replaced is not None:
                progress = progress.with_task(replaced.status, -1)
            self.progress[task.run_id] = progress.with_task(task.status, 1)

    def _remove(self, vm: Vm) -> None:
        self.vms.pop(vm.name, None)
        if vm.is_played:
            self.drop_runs([run.run_id for run in self.runs_of(vm.name)])
            for key in [key for key in self.cursors if key[0] == vm.name]:
                del self.cursors[key]
            for incident in [known for known in self.incidents.values() if known.vm == vm.name]:
                del self.incidents[incident.incident_id]


def _forget_oldest(known: dict[str, Kept], limit: int) -> None:
    """Drop the oldest that are over, beyond a bound."""
    for key in [key for key, entity in known.items() if entity.is_over][: max(0, len(known) - limit)]:
        del known[key]


def newest_attempts(tasks: Iterable[Task]) -> list[Task]:
    """The attempt at each task that counts: the newest, in the order of the first ones."""
    newest: dict[tuple[str, str], Task] = {}
    for task in tasks:
        other = newest.get((task.domain, task.task_id))
        if other is None or other.attempt < task.attempt:
            newest[task.domain, task.task_id] = task
    return list(newest.values())


def current_run(state: State, vm: Vm) -> Run | None:
    """The run that the VM is shown with: the one that runs, else the newest."""
    runs: Mapping[RunId, Run] = state.runs
    run = runs.get(vm.run_id) if vm.run_id is not None else None
    if run is not None and run.status is RunStatus.RUNNING:
        return run
    return next(iter(state.runs_of(vm.name)), None)
