"""What a look at a VM yields. A look that fails has observed something too: a Failure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from waa.core.cloud import Power
from waa.core.error import Failure
from waa.core.incident import Incident
from waa.core.logs.fact import AnyFact
from waa.core.spec import VmSpec
from waa.core.status import ContainerStatus

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading(Generic[Value]):
    """The newest value of one datum. ``value`` outlives a failure; ``since_at`` is when it was first seen so,
    ``failure`` says why it could not be read just now (since ``failed_at``)."""

    value: Value | None = None
    since_at: float | None = None
    failure: Failure | None = None
    failed_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """The benchmark's container. ``exit_code`` only where it is not running."""

    status: ContainerStatus
    container_id: str = ""
    image: str = ""
    started_at: float | None = None
    exit_code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestProbe:
    """The answer of the WAA server's ``/probe`` in the guest. ``status`` is its own word, or why there is none."""

    ready: bool
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """The benchmark's process. ``pid`` is None where none runs; ``where`` is host or container."""

    pid: int | None = None
    command: str = ""
    where: str = ""
    started_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The VM itself, quantised so that it is quiet: percents in steps of 1, memory in 5 % steps."""

    boot_id: str = ""
    booted_at: float | None = None
    disk_used_percent: float | None = None
    disk_free_bytes: int | None = None
    memory_used_percent: float | None = None
    clock_skew_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupPage:
    """What the container's own status page says while Windows is prepared (``/msg.html``)."""

    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One look at one VM; ``at`` is when it arrived here."""

    vm: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VmNamed(Observation):
    """The operator named a VM (configuration, API, form), or changed what is said about it."""

    spec: VmSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class VmForgotten(Observation):
    """The operator took a VM off the list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSought(Observation):
    """A prober began its work and has no link yet: what an earlier one knew of the link holds no longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkOpened(Observation):
    """The machine answers and its status reporter runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFailed(Observation):
    """The machine cannot be looked at (now)."""

    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSeen(Observation):
    """What the status reporter said, only the parts that it said. A part is its value or a Failure."""

    container: Container | Failure | None = None
    probe: GuestProbe | Failure | None = None
    runner: Runner | Failure | None = None
    machine: Machine | Failure | None = None
    setup_page: SetupPage | Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerSeen(Observation):
    """What the VM's cloud says of its power, or why it does not."""

    power: Power | Failure


class LogKind(StrEnum):
    """FILE: a run log file on the host; INNER: a file inside the container; CONTAINER: the container's own log; JOB: a log of a cloud's
    job, whose ``identity`` is the job's."""

    FILE = "file"
    INNER = "inner"
    CONTAINER = "container"
    JOB = "job"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSource:
    """One log of one VM. ``identity`` changes when the file is another one (inode, container id)."""

    kind: LogKind
    path: str
    identity: str = ""

    @property
    def key(self) -> str:
        """What tells the logs of one VM apart, whatever file lies there now."""
        return f"{self.kind}:{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFound:
    """A log that exists now. ``modified_at`` None where it is not told (a container's own log)."""

    source: LogSource
    size: int
    modified_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogCursor:
    """How far one log was digested: everything before byte ``offset`` of the file ``source.identity`` has become
    events; ``parser`` is the parser's state there. Kept in the store, in one transaction with those events."""

    vm: str
    source: LogSource
    offset: int = 0
    parser: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRead(Observation):
    """New facts of one log, and where that leaves its reader."""

    source: LogSource
    facts: tuple[AnyFact, ...]
    cursor: LogCursor


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreFound(Observation):
    """``result.txt`` of a task: the exact score, which settles the log's rounded one. None: not a number."""

    run_id: str
    domain: str
    task_id: str
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentsSeen(Observation):
    """All that is wrong with a VM now; what was wrong before and is not among it is over. ``incident_id`` and ``began_at`` of
    one that goes on are those it had."""

    incidents: tuple[Incident, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreensCompared(Observation):
    """How many of a task's newest screenshots are the same picture (1: the newest differs from the one before), None where there is
    none. ``task`` is the task's key."""

    run_id: str
    task: str
    same: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TroubleMet(Observation):
    """Something went wrong on our side of the work with this VM (shown in the banner, sent as ``error``)."""

    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class TimePassed(Observation):
    """Nothing new was seen; what depends on time alone is looked at."""


AnyObservation = (
    TimePassed
    | VmNamed
    | VmForgotten
    | LinkSought
    | LinkOpened
    | LinkFailed
    | StatusSeen
    | PowerSeen
    | LogRead
    | ScoreFound
    | ScreensCompared
    | IncidentsSeen
    | TroubleMet
)
