"""What went wrong, from when to when, and which tasks it hit."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """CRITICAL: nothing will come of waiting. WARNING: look at it."""

    CRITICAL = "critical"
    WARNING = "warning"


class Concern(StrEnum):
    """What is wrong, by its cause."""

    UNREACHABLE = "unreachable"
    SETUP_FAILING = "setup_failing"
    SETUP_SLOW = "setup_slow"
    CONTAINER_OFF = "container_off"
    GUEST_OFF = "guest_off"
    GUEST_DOWN = "guest_down"
    RUNNER_GONE = "runner_gone"
    EVALUATOR_HUNG = "evaluator_hung"
    RESET_HUNG = "reset_hung"
    MODEL_HUNG = "model_hung"
    STALLED = "stalled"
    LOOPING = "looping"
    DISK_FULL = "disk_full"
    IDLE = "idle"
    LOOK_FAILED = "look_failed"
    REBOOTED = "rebooted"
    CONTAINER_RESTARTED = "container_restarted"
    OVER_BUDGET = "over_budget"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One cause of trouble, told once. ``ended_at`` None: it goes on. ``tasks`` are the keys of the tasks of ``run_id`` that were
    open while it lasted. ``subject`` tells two of one concern on one VM apart (a task's key, "" for the VM itself)."""

    incident_id: str
    vm: str
    concern: Concern
    subject: str = ""
    severity: Severity
    title: str
    detail: str = ""
    remedy: str = ""
    began_at: float
    ended_at: float | None = None
    run_id: str | None = None
    tasks: tuple[str, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether it was resolved."""
        return self.ended_at is not None
