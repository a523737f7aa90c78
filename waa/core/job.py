"""Work that the server does in the background for somebody: what was asked, how far it is, what came of it."""

from dataclasses import dataclass
from enum import StrEnum


class JobStatus(StrEnum):
    """PENDING waits for its turn. The last three are ends."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ImportKind(StrEnum):
    """Where an imported run comes from."""

    FOLDER = "folder"
    VM = "vm"
    ARCHIVE = "archive"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """Which results to import. ``path``: the folder on this machine, on the VM, or where the uploaded archive was put;
    ``name`` is the archive's own. ``inner``: the folder is in the VM's container. ``label`` names the runs, "": their own names do."""

    kind: ImportKind
    path: str
    vm: str = ""
    inner: bool = False
    name: str = ""
    label: str = ""

    @property
    def source(self) -> str:
        """Where it comes from, in words for people."""
        match self.kind:
            case ImportKind.VM:
                return f"{self.vm}:{self.path}"
            case ImportKind.ARCHIVE:
                return self.name
            case ImportKind.FOLDER:
                return self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """What an import found. ``new`` and ``changed`` count tasks; ``notes`` tell what was passed over, and why."""

    run_ids: tuple[str, ...] = ()
    tasks: int = 0
    steps: int = 0
    new: int = 0
    changed: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One import. ``progress`` in percent, ``detail`` says what is done now. ``error`` says why it failed, ``details`` more of it."""

    job_id: str
    request: ImportRequest
    status: JobStatus = JobStatus.PENDING
    progress: int = 0
    detail: str = ""
    result: ImportResult | None = None
    error: str = ""
    details: tuple[str, ...] = ()
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None

    @property
    def vm(self) -> str:
        """The VM that it reads from, "" for none."""
        return self.request.vm

    @property
    def is_over(self) -> bool:
        """Whether it ended, in whatever way."""
        return self.status not in (JobStatus.PENDING, JobStatus.RUNNING)
