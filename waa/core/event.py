"""What is said about a change. An event holds the whole entity after it, so replay is an assignment."""

from dataclasses import dataclass
from enum import StrEnum

from waa.core.cloud import CloudJob, CloudVm
from waa.core.entity import Entity, Run, Task, Trouble, Vm
from waa.core.incident import Incident
from waa.core.job import Job
from waa.core.meter import Meter
from waa.core.pipeline import Pipeline, PipelineCheck
from waa.core.training import Epoch, PredictionBatch, Training


class EventType(StrEnum):
    """Past tense; the part before the dot names the entity it carries."""

    VM_ADDED = "vm.added"
    VM_REMOVED = "vm.removed"
    VM_CONNECTED = "vm.connected"
    VM_DISCONNECTED = "vm.disconnected"
    VM_PHASE_CHANGED = "vm.phase_changed"
    VM_CHANGED = "vm.changed"
    RUN_STARTED = "run.started"
    RUN_CHANGED = "run.changed"
    RUN_FINISHED = "run.finished"
    RUN_INTERRUPTED = "run.interrupted"
    RUN_IMPORTED = "run.imported"
    TASK_STARTED = "task.started"
    TASK_CHANGED = "task.changed"
    TASK_STEPPED = "task.stepped"
    TASK_COMPLETED = "task.completed"
    TASK_SETTLED = "task.settled"
    TASK_IMPORTED = "task.imported"
    TROUBLE_MET = "trouble.met"
    JOB_CREATED = "job.created"
    JOB_CHANGED = "job.changed"
    JOB_ENDED = "job.ended"
    INCIDENT_OPENED = "incident.opened"
    INCIDENT_CHANGED = "incident.changed"
    INCIDENT_RESOLVED = "incident.resolved"
    TRAINING_CREATED = "training.created"
    TRAINING_CHANGED = "training.changed"
    TRAINING_ENDED = "training.ended"
    TRAINING_REMOVED = "training.removed"
    PREDICTIONS_ADDED = "predictions.added"
    METER_CHANGED = "meter.changed"
    PIPELINE_ADDED = "pipeline.added"
    PIPELINE_CHANGED = "pipeline.changed"
    PIPELINE_STATUS_CHANGED = "pipeline.status_changed"
    PIPELINE_REMOVED = "pipeline.removed"
    PIPELINES_CHECKED = "pipelines.checked"
    CLOUD_VM_FOUND = "cloud_vm.found"
    CLOUD_VM_CHANGED = "cloud_vm.changed"
    CLOUD_VM_GONE = "cloud_vm.gone"
    CLOUD_JOB_FOUND = "cloud_job.found"
    CLOUD_JOB_CHANGED = "cloud_job.changed"
    CLOUD_JOB_GONE = "cloud_job.gone"


PASSING = frozenset({EventType.PREDICTIONS_ADDED})
"""Come by the thousand and are told from the records that they refer to: neither kept in memory nor for long in the store."""
GONE = (EventType.CLOUD_VM_GONE, EventType.CLOUD_JOB_GONE)
"""What these carry is no longer there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An event before the store gave it a number. ``previous`` is the status or phase before, where that changed."""

    type: EventType
    at: float
    entity: Entity
    previous: str | None = None

    @property
    def topic(self) -> str:
        """The resource it is about: ``vms/<name>``, ``runs/<id>``, ``runs/<id>/tasks/<key>``, ``jobs/<id>``,
        ``trainings/<id>``, ``pipelines/<id>``."""
        return topic_of(self.entity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Change):
    """A change that the store accepted. ``id`` rises without end within one store."""

    id: int


def vm_of(entity: Entity) -> str:
    """The name of the VM that an entity is about, "" for none."""
    match entity:
        case Vm():
            return entity.name
        case Training() | Epoch() | PredictionBatch():
            return ""
        case _:
            return entity.vm


def topic_of(entity: Entity) -> str:
    """The resource path of an entity."""
    match entity:
        case Vm():
            path = f"vms/{entity.name}"
        case Run():
            path = f"runs/{entity.run_id}"
        case Task():
            path = f"runs/{entity.run_id}/tasks/{entity.key}"
        case Trouble():
            path = f"vms/{entity.vm}/trouble"
        case Job():
            path = f"jobs/{entity.job_id}"
        case Incident():
            path = f"incidents/{entity.incident_id}"
        case Training() | PredictionBatch():
            path = f"trainings/{entity.job_id}"
        case Epoch():
            path = f"trainings/{entity.job_id}/epochs/{entity.epoch}"
        case Meter():
            path = f"vms/{entity.vm}/meter"
        case Pipeline() | PipelineCheck():
            path = f"pipelines/{entity.pipeline_id}" if isinstance(entity, Pipeline) else "pipelines"
        case CloudVm():
            path = f"cloud/vms/{entity.key}"
        case CloudJob():
            path = f"cloud/jobs/{entity.key}"
    return path
