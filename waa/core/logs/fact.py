"""What a log says, as typed facts. A parser yields them in the order of the bytes, whatever the chunking."""

from dataclasses import dataclass, field
from enum import StrEnum

from waa.core.status import BootStage


class Dialect(StrEnum):
    """Which program wrote the lines (formats differ in what they print and in what they leave out)."""

    WAA = "waa"
    WAA_V1 = "waa-v1"
    WAA_V2 = "waa-v2"
    OSWORLD = "osworld"
    OPENADAPT = "openadapt"
    SEED = "seed"


class Activity(StrEnum):
    """What the agent loop is doing inside a task."""

    RESETTING = "resetting"
    THINKING = "thinking"
    ACTING = "acting"
    EVALUATING = "evaluating"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRef:
    """One task of a plan. ``task_id`` is the file name of the task: case-sensitive, no format assumed."""

    domain: str
    task_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Common to all: ``at`` is the record's own time (epoch seconds, log clock taken as UTC), None where
    the line has none; ``worker`` names the process that wrote it where the log tells, else ``""``."""

    at: float | None = None
    worker: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LauncherStarted(Fact):
    """A launcher session began that runs one process (or container) per task in this same file (WAA-V2)."""

    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Fact):
    """A runner process began. Tasks left open by an earlier one in the same stream are cut off."""

    dialect: Dialect


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlanned(Fact):
    """What this process will do. ``total`` counts what the process says is its own share;
    ``tasks`` is the ordered list where printed, else empty."""

    total: int
    tasks: tuple[TaskRef, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfigured(Fact):
    """The arguments the runner printed (``Args: Namespace(...)``), as text, secrets masked."""

    arguments: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed(Fact):
    """The runner found earlier results: mean score 0..1 of what was already done."""

    earlier_score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Fact):
    """The runner said that it is done. ``average_score`` is its own figure (errors left out), None where not printed."""

    average_score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInterrupted(Fact):
    """The runner said that it was stopped (a signal) or gave up."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerWaiting(Fact):
    """Runner or container waits for the guest's server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerReady(Fact):
    """The guest's server answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStarted(Fact):
    """A task opened. ``index`` is its 1-based place where the log prints it ("Task 5/30"), else None."""

    domain: str
    task_id: str
    index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInstructed(Fact):
    """The instruction of the open task; repeated with more text when it has several lines."""

    instruction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskActive(Fact):
    """What the open task is doing now."""

    activity: Activity


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted(Fact):
    """Step ``number`` of the open task (1-based in every dialect); ``action`` is its first line."""

    number: int
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDescribed(Fact):
    """The whole text (bounded) of the action of the step begun last, once its record is complete."""

    number: int
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskScored(Fact):
    """A score of the open task as the log shows it (rounded): provisional. None for "nan"."""

    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFinished(Fact):
    """The task ended in the regular way; its score is the last TaskScored before."""

    domain: str
    task_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCrashed(Fact):
    """The task ended with an exception: an infrastructure error, no score."""

    domain: str
    task_id: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCut(Fact):
    """The task ended without an outcome: its process restarted, was stopped, or its worker died."""

    domain: str
    task_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerBooted(Fact):
    """The container (again) began to start Windows. ``engine`` e.g. "Docker", ``version`` of dockur/windows."""

    engine: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BootStaged(Fact):
    """Windows set-up reached a stage; ``detail`` is the container's own sentence."""

    stage: BootStage
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BootProgressed(Fact):
    """Percent 0..100 of the stage's work (download)."""

    percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BootFailed(Fact):
    """The container printed an error during set-up; it may try again."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BootWarned(Fact):
    """The container printed a warning during set-up."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BootStopped(Fact):
    """The machine in the container stopped. ``clean`` is False where QEMU died or was forced, None unknown."""

    detail: str
    clean: bool | None = None


AnyFact = (
    LauncherStarted
    | RunStarted
    | RunPlanned
    | RunConfigured
    | RunResumed
    | RunFinished
    | RunInterrupted
    | ServerWaiting
    | ServerReady
    | TaskStarted
    | TaskInstructed
    | TaskActive
    | StepStarted
    | StepDescribed
    | TaskScored
    | TaskFinished
    | TaskCrashed
    | TaskCut
    | ContainerBooted
    | BootStaged
    | BootProgressed
    | BootFailed
    | BootWarned
    | BootStopped
)
