"""Which changes come from what no probe saw: imported runs, another threshold, the progress of a job, what trainings push, looks at
pipelines."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from waa.core.cloud import CloudJob, CloudVm
from waa.core.entity import Run, RunId, Task
from waa.core.event import Change, EventType
from waa.core.job import Job
from waa.core.meter import Meter
from waa.core.observation import Observation
from waa.core.pipeline import PipelineRules
from waa.core.pipeline_change import PipelineForgotten, PipelineLooked, PipelineNamed, PipelinesChecked, PipelineSeen, decide_pipeline
from waa.core.state import State
from waa.core.status import TaskStatus
from waa.core.training import Prediction, PredictionBatch, Training, extend
from waa.core.verdict import judge

SAME_TASK_S = 180.0
"""The log tells a task's start, its trajectory the first step, which follows the set-up of the task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunImported(Observation):
    """A run whose results were read; ``vm`` is "", ``tasks`` in the order of their start. All of it is taken at once or not at all."""

    run: Run
    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdSet(Observation):
    """The operator decided from which score on tasks of a run pass; ``vm`` is ""."""

    run_id: RunId
    threshold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSeen(Observation):
    """How a job stands; ``vm`` is ""."""

    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSeen(Observation):
    """A training as somebody wants it to be; ``vm`` is "". Its counts are those that are known here."""

    training: Training


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingForgotten(Observation):
    """A training goes, with its predictions; ``vm`` is ""."""

    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionsPushed(Observation):
    """Predictions that were not known before, in their order; ``vm`` is ""."""

    job_id: str
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochClosed(Observation):
    """The training says that an epoch is complete; ``vm`` is ""."""

    job_id: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterRead(Observation):
    """When a VM was up, and what it costs, as far as that is known now."""

    meter: Meter


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudVmsSeen(Observation):
    """All VMs that are meant in these subscriptions; ``vm`` is ""."""

    subscriptions: frozenset[str]
    vms: tuple[CloudVm, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudJobsSeen(Observation):
    """Jobs of a workspace (its id); ``vm`` is "". ``is_whole``: those that are not among them, and no part of one of them, are no longer
    there."""

    workspace: str
    jobs: tuple[CloudJob, ...]
    is_whole: bool = False


Outside = (
    RunImported
    | ThresholdSet
    | JobSeen
    | TrainingSeen
    | TrainingForgotten
    | PredictionsPushed
    | EpochClosed
    | MeterRead
    | PipelineSeen
    | CloudVmsSeen
    | CloudJobsSeen
)


def decide_outside(state: State, seen: Outside, pipelines: PipelineRules) -> list[Change]:
    """The changes, in order."""
    match seen:
        case RunImported():
            changes = take_import(state, seen)
        case ThresholdSet():
            changes = set_threshold(state, seen)
        case JobSeen():
            changes = see_job(state, seen)
        case TrainingSeen():
            changes = see_training(state, seen)
        case TrainingForgotten() | PredictionsPushed() | EpochClosed():
            known = state.trainings.get(seen.job_id)
            changes = _of_training(state, known, seen) if known is not None else []
        case MeterRead():
            changes = read_meter(state, seen)
        case PipelineNamed() | PipelineForgotten() | PipelineLooked() | PipelinesChecked():
            changes = decide_pipeline(state, seen, pipelines)
        case CloudVmsSeen():
            changes = list(_cloud_vms(state, seen))
        case CloudJobsSeen():
            changes = list(_cloud_jobs(state, seen))
    return changes


def read_meter(state: State, seen: MeterRead) -> list[Change]:
    """A meter as it is now; of a VM that was taken off the list meanwhile, only its end counts."""
    if state.meters.get(seen.vm) == seen.meter or (seen.vm not in state.vms and not seen.meter.is_over):
        return []
    return [Change(type=EventType.METER_CHANGED, at=seen.at, entity=seen.meter)]


def see_job(state: State, seen: JobSeen) -> list[Change]:
    """A job as it is now."""
    known = state.jobs.get(seen.job.job_id)
    if known == seen.job:
        return []
    return [
        Change(type=_job_type(known, seen.job), at=seen.at, entity=seen.job, previous=known.status.value if known is not None else None)
    ]


def see_training(state: State, seen: TrainingSeen) -> list[Change]:
    """A training is new, is called otherwise, or ended."""
    known, training = state.trainings.get(seen.training.job_id), seen.training
    if known is None:
        return [Change(type=EventType.TRAINING_CREATED, at=seen.at, entity=training)]
    training = replace(known, title=training.title, status=training.status, error=training.error, ended_at=training.ended_at)
    if training == known:
        return []
    training = replace(training, changed_at=max(seen.at, known.changed_at))
    ends = training.is_over and not known.is_over
    previous = known.status.value if training.status is not known.status else None
    return [Change(type=EventType.TRAINING_ENDED if ends else EventType.TRAINING_CHANGED, at=seen.at, entity=training, previous=previous)]


def _of_training(state: State, known: Training, seen: TrainingForgotten | PredictionsPushed | EpochClosed) -> list[Change]:
    epochs = state.epochs.get(known.job_id, {})
    match seen:
        case TrainingForgotten():
            return [Change(type=EventType.TRAINING_REMOVED, at=seen.at, entity=known)]
        case PredictionsPushed():
            batch = extend(known, epochs, seen.predictions, seen.at)
        case EpochClosed():
            epoch = epochs.get(seen.epoch)
            if epoch is None or epoch.is_complete:
                return []
            closed = replace(epoch, is_complete=True)
            batch = PredictionBatch(
                training=replace(known, changed_at=max(seen.at, known.changed_at)),
                first_seq=known.total + 1,
                epochs=(closed,),
                completed=(seen.epoch,),
            )
    return [Change(type=EventType.PREDICTIONS_ADDED, at=seen.at, entity=batch)]


def _cloud_vms(state: State, seen: CloudVmsSeen) -> Iterator[Change]:
    found = {vm.key: vm for vm in seen.vms}
    for vm in found.values():
        known = state.cloud_vms.get(vm.key)
        if known is None:
            yield Change(type=EventType.CLOUD_VM_FOUND, at=seen.at, entity=vm)
        elif known != vm:
            previous = known.power.value if known.power is not vm.power else None
            yield Change(type=EventType.CLOUD_VM_CHANGED, at=seen.at, entity=vm, previous=previous)
    for known in state.cloud_vms.values():
        if known.subscription in seen.subscriptions and known.key not in found:
            yield Change(type=EventType.CLOUD_VM_GONE, at=seen.at, entity=known)


def _cloud_jobs(state: State, seen: CloudJobsSeen) -> Iterator[Change]:
    found = {job.key: job for job in seen.jobs}
    for job in found.values():
        known = state.cloud_jobs.get(job.key)
        if known is None:
            yield Change(type=EventType.CLOUD_JOB_FOUND, at=seen.at, entity=job)
        elif known != job:
            previous = known.status.value if known.status is not job.status else None
            yield Change(type=EventType.CLOUD_JOB_CHANGED, at=seen.at, entity=job, previous=previous)
    if seen.is_whole:
        names = {job.name for job in seen.jobs}
        for known in state.cloud_jobs.values():
            if known.workspace.lower() == seen.workspace.lower() and known.key not in found and known.parent not in names:
                yield Change(type=EventType.CLOUD_JOB_GONE, at=seen.at, entity=known)


def take_import(state: State, seen: RunImported) -> list[Change]:
    """A run whose results were read. One that was watched while it ran gets its files and exact scores, and no second entry; one
    that was imported before gets what is new. Verdicts keep to the threshold that the run has here."""
    known = known_run(state, seen)
    is_watched = known is not None and known.imported is None
    return list(_completed(state, known, seen) if known is not None and is_watched else _imported(state, known, seen))


def known_run(state: State, seen: RunImported) -> Run | None:
    """The run that this is: imported before, or seen by a prober while most of these tasks ran there at the same time."""
    return state.runs.get(seen.run.run_id) or _watched(state, seen)


def set_threshold(state: State, seen: ThresholdSet) -> list[Change]:
    """All scores of a run judged anew; errors have none."""
    run = state.runs.get(seen.run_id)
    if run is None or run.threshold == seen.threshold:
        return []
    changes = [Change(type=EventType.RUN_CHANGED, at=seen.at, entity=replace(run, threshold=seen.threshold))]
    for task in state.tasks.get(run.run_id, {}).values():
        judged = _judged(task, seen.threshold)
        if judged != task:
            changes.append(Change(type=EventType.TASK_SETTLED, at=seen.at, entity=judged, previous=task.status.value))
    return changes


def _imported(state: State, known: Run | None, seen: RunImported) -> Iterator[Change]:
    run = seen.run
    if known is not None:
        run = replace(run, threshold=known.threshold, imported=known.imported, first_seen_at=known.first_seen_at)
    if run != known:
        yield Change(type=EventType.RUN_IMPORTED, at=seen.at, entity=run)
    tasks = state.tasks.get(run.run_id, {})
    for task in seen.tasks:
        judged = _judged(task, run.threshold)
        if tasks.get(task.key) != judged:
            yield Change(type=EventType.TASK_IMPORTED, at=seen.at, entity=judged)


def _completed(state: State, run: Run, seen: RunImported) -> Iterator[Change]:
    if run.files != seen.run.files:
        yield Change(type=EventType.RUN_CHANGED, at=seen.at, entity=replace(run, files=seen.run.files))
    for found in seen.tasks:
        task = _same(state, run, found)
        if task is None or not task.is_over or not task.provisional or found.score is None or task.status is TaskStatus.ERROR:
            continue
        status = judge(found.score, run.threshold)
        settled = replace(task, score=found.score, provisional=False, status=status, error="")
        yield Change(type=EventType.TASK_SETTLED, at=seen.at, entity=settled, previous=task.status.value)


def _watched(state: State, seen: RunImported) -> Run | None:
    for run in state.runs.values():
        if run.imported is None and seen.tasks:
            same = sum(_same(state, run, task) is not None for task in seen.tasks)
            if 2 * same > len(seen.tasks):
                return run
    return None


def _same(state: State, run: Run, found: Task) -> Task | None:
    """The attempt of a watched run that an imported task is."""
    tasks = state.tasks.get(run.run_id, {})
    attempt, last = 1, None
    while (task := tasks.get(f"{found.domain}/{found.task_id}#{attempt}")) is not None:
        if abs(task.started_at - found.started_at) <= SAME_TASK_S:
            last = task
        attempt += 1
    return last


def _judged(task: Task, threshold: float) -> Task:
    if not task.is_over or task.score is None or task.status is TaskStatus.ERROR:
        return task
    return replace(task, status=judge(task.score, threshold))


def _job_type(known: Job | None, job: Job) -> EventType:
    if job.is_over:
        return EventType.JOB_ENDED
    return EventType.JOB_CREATED if known is None else EventType.JOB_CHANGED
