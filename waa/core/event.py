"""What is said about a change. An event holds the whole entity after it, so replay is an assignment."""

from dataclasses import dataclass
from enum import StrEnum

from waa.core.entity import Entity, Run, Task, Trouble, Vm
from waa.core.incident import Incident
from waa.core.job import Job


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An event before the store gave it a number. ``previous`` is the status or phase before, where that changed."""

    type: EventType
    at: float
    entity: Entity
    previous: str | None = None

    @property
    def topic(self) -> str:
        """The resource it is about: ``vms/<name>``, ``runs/<id>``, ``runs/<id>/tasks/<key>``, ``jobs/<id>``."""
        return topic_of(self.entity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Change):
    """A change that the store accepted. ``id`` rises without end within one store."""

    id: int


def topic_of(entity: Entity) -> str:
    """The resource path of an entity."""
    match entity:
        case Vm():
            return f"vms/{entity.name}"
        case Run():
            return f"runs/{entity.run_id}"
        case Task():
            return f"runs/{entity.run_id}/tasks/{entity.key}"
        case Trouble():
            return f"vms/{entity.vm}/trouble"
        case Job():
            return f"jobs/{entity.job_id}"
        case Incident():
            return f"incidents/{entity.incident_id}"
