"""What is known of VMs, runs and tasks. Immutable: a change makes a new one."""

from dataclasses import dataclass, field
from typing import NewType

from waa.core.cloud import CloudJob, CloudVm, Power
from waa.core.error import Failure
from waa.core.incident import Incident
from waa.core.job import ImportKind, Job
from waa.core.logs.fact import Activity, Dialect, TaskRef
from waa.core.meter import Meter
from waa.core.observation import Container, GuestProbe, LogSource, Machine, Reading, Runner, SetupPage
from waa.core.pipeline import Pipeline, PipelineCheck
from waa.core.spec import Origin, VmSpec
from waa.core.status import BootStage, Phase, RunStatus, TaskStatus
from waa.core.training import Epoch, PredictionBatch, Training

RunId = NewType("RunId", str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Our connection to the VM. ``connected`` None: not tried yet. ``since_at``: when it became so."""

    connected: bool | None = None
    since_at: float | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """How far Windows set-up is, from the container's log. ``boots`` counts container starts seen in that log.

    ``failed_boots``: how many starts in a row, right before this one, ended with an error; ``last_error`` is the last one's.
    ``log`` is the key of the log that tells of it; a copy of the same lines in another log is ignored.
    """

    stage: BootStage | None = None
    stage_at: float | None = None
    detail: str = ""
    percent: float | None = None
    error: str = ""
    error_at: float | None = None
    stopped: str = ""
    boots: int = 0
    failed_boots: int = 0
    last_error: str = ""
    log: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vm:
    """A VM: what the operator said, and what was observed, each part with its age.

    ``phase_at`` is when the phase began. ``seen_at`` is the last time that the machine said anything, as far as
    events know it; between events the monitor knows a younger one. ``power`` is what its cloud says, where it is known there.
    """

    name: str
    spec: VmSpec
    connection: Connection = Connection()
    phase: Phase = Phase.UNKNOWN
    phase_at: float | None = None
    phase_detail: str = ""
    container: Reading[Container] = Reading()
    probe: Reading[GuestProbe] = Reading()
    runner: Reading[Runner] = Reading()
    machine: Reading[Machine] = Reading()
    setup_page: Reading[SetupPage] = Reading()
    power: Reading[Power] = Reading()
    boot: Boot = Boot()
    run_id: RunId | None = None
    seen_at: float | None = None

    @property
    def is_played(self) -> bool:
        """Whether it is the demo: what it did is no history, and goes when it goes."""
        return self.spec.origin is Origin.DEMO


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """Where an imported run comes from, in words, and when it was imported."""

    kind: ImportKind
    source: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One benchmark run. ``total`` is None until the run itself said it; ``plan`` is its ordered task list
    where printed. ``log`` is the log that tells about it; ``echoes`` are the keys of logs found to repeat it, which
    are ignored.

    ``threshold``: a score of at least this passes. ``runner_pid`` is the process last seen to run it, None: none was seen.

    ``imported`` None: a prober saw it run; else it has no VM (``vm`` "") and no log. ``files`` is the folder on this server's machine
    below which its result tree lies, "" where the tree is read from the VM. ``label`` is its name for people, "": its id.
    """

    run_id: RunId
    vm: str
    log: LogSource
    dialect: Dialect
    status: RunStatus = RunStatus.RUNNING
    started_at: float
    first_seen_at: float
    ended_at: float | None = None
    end_reason: str = ""
    launcher: bool = False
    total: int | None = None
    plan: tuple[TaskRef, ...] = ()
    arguments: dict[str, str] = field(default_factory=dict)
    average_score: float | None = None
    threshold: float = 1.0
    runner_pid: int | None = None
    echoes: tuple[str, ...] = ()
    imported: Imported | None = None
    files: str = ""
    label: str = ""

    @property
    def name(self) -> str:
        """What people call it."""
        return self.label or self.run_id

    @property
    def kept_since_at(self) -> float | None:
        """From when on its age counts: its end, or its later import. None: it runs."""
        return max(self.ended_at, self.imported.at) if self.ended_at is not None and self.imported is not None else self.ended_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One attempt at one task of a run. ``index`` is its 1-based place in the order of starting.

    ``score`` is a fraction; ``provisional``: it is the log's rounded one, no ``result.txt`` confirmed it yet.
    ``activity``, ``action``, ``previous_action`` and ``repeats`` (how often ``action`` came again in a row, 0: it differs
    from the one before) tell what a running task does. ``same_screens``: how many of its newest screenshots are the same picture
    (1: the newest differs from the one before), None: not known. ``ended_in`` is what an ended one was doing last.
    """

    run_id: RunId
    vm: str
    domain: str
    task_id: str
    attempt: int = 1
    index: int
    worker: str = ""
    instruction: str = ""
    status: TaskStatus = TaskStatus.RUNNING
    step: int = 0
    action: str = ""
    previous_action: str = ""
    repeats: int = 0
    same_screens: int | None = None
    activity: Activity | None = None
    ended_in: Activity | None = None
    score: float | None = None
    provisional: bool = True
    error: str = ""
    started_at: float
    ended_at: float | None = None
    changed_at: float

    @property
    def key(self) -> str:
        """What tells the attempts of one run apart."""
        return f"{self.domain}/{self.task_id}#{self.attempt}"

    @property
    def success(self) -> bool | None:
        """None where the outcome was not observed, or is an infrastructure error."""
        return {TaskStatus.PASSED: True, TaskStatus.FAILED: False}.get(self.status)

    @property
    def is_over(self) -> bool:
        """Whether it ended, in whatever way."""
        return self.status is not TaskStatus.RUNNING


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something that went wrong on the server's side of the work."""

    vm: str
    at: float
    failure: Failure


Entity = (
    Vm | Run | Task | Trouble | Job | Incident | Training | Epoch | PredictionBatch | Meter | Pipeline | PipelineCheck | CloudVm | CloudJob
)
