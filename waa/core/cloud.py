"""What a cloud says of its machines and jobs: whole entities, known by the cloud's own ids."""

import hashlib
import re
from dataclasses import dataclass, field
from enum import StrEnum


class PowerState(StrEnum):
    """STOPPED is switched off and still billed; DEALLOCATED is not. GONE: the cloud no longer has the machine."""

    UNKNOWN = "unknown"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DEALLOCATING = "deallocating"
    DEALLOCATED = "deallocated"
    GONE = "gone"


MOVING = (PowerState.STARTING, PowerState.STOPPING, PowerState.DEALLOCATING)
"""On the way to another one, soon."""
OFF = (PowerState.STOPPED, PowerState.DEALLOCATED, PowerState.STOPPING, PowerState.DEALLOCATING, PowerState.GONE)
"""Nothing can run there."""

POWER_WORDS = {
    PowerState.UNKNOWN: "Power state not known",
    PowerState.STARTING: "Starting",
    PowerState.RUNNING: "Running",
    PowerState.STOPPING: "Stopping",
    PowerState.STOPPED: "Stopped, still billed",
    PowerState.DEALLOCATING: "Deallocating",
    PowerState.DEALLOCATED: "Deallocated",
    PowerState.GONE: "No longer exists",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """The power state of a watched VM, as its cloud told it. ``is_spot``: the cloud may take it away."""

    state: PowerState
    is_spot: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudVm:
    """A virtual machine of a subscription. ``resource_id`` is its identity, whatever its addresses and case.

    ``os`` is "linux", "windows" or "" (not told). Addresses are "" where it has none, or none is known. ``admin_user`` is the
    account that it was made with.
    """

    resource_id: str
    name: str
    subscription: str
    resource_group: str
    region: str = ""
    size: str = ""
    os: str = ""
    is_spot: bool = False
    power: PowerState = PowerState.UNKNOWN
    public_ip: str = ""
    private_ip: str = ""
    admin_user: str = ""
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The identity: the cloud writes ids in varying case."""
        return self.resource_id.lower()

    @property
    def vm(self) -> str:
        """It is no VM's."""
        return ""

    def host(self, *, is_private: bool) -> str:
        """The address to reach it by, "" where it has none now."""
        return self.private_ip if is_private else self.public_ip


class JobStatus(StrEnum):
    """As Azure ML names them."""

    NOT_STARTED = "NotStarted"
    STARTING = "Starting"
    PROVISIONING = "Provisioning"
    PREPARING = "Preparing"
    QUEUED = "Queued"
    RUNNING = "Running"
    FINALIZING = "Finalizing"
    CANCEL_REQUESTED = "CancelRequested"
    NOT_RESPONDING = "NotResponding"
    PAUSED = "Paused"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELED = "Canceled"
    UNKNOWN = "Unknown"


ENDED = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELED)
"""From which a job does not come back."""
WRITING = (JobStatus.RUNNING, JobStatus.FINALIZING, JobStatus.CANCEL_REQUESTED, JobStatus.NOT_RESPONDING)
"""While its log can grow."""
PARENT_TYPES = ("Pipeline", "Sweep", "AutoML")
"""Jobs whose work is done by children, which hold the logs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudJob:
    """A job of an Azure ML workspace. ``resource_id`` names it, ``workspace`` is the id of its workspace, ``parent`` the name of the job
    that it is a part of ("": none).

    What only its details tell is None or "" until they were read (``has_details``): when it began and ended, how long it ran, on what
    size of machine. ``portal_url`` is an https address or "".
    """

    resource_id: str
    name: str
    workspace: str
    title: str = ""
    type: str = ""
    status: JobStatus = JobStatus.UNKNOWN
    experiment: str = ""
    compute: str = ""
    portal_url: str = ""
    created_at: float | None = None
    parent: str = ""
    has_details: bool = False
    started_at: float | None = None
    ended_at: float | None = None
    duration_s: float | None = None
    vm_size: str = ""
    is_low_priority: bool | None = None
    error: str = ""

    @property
    def key(self) -> str:
        """The identity, without the parts that all jobs share: subscription/group/workspace/name, in lower case."""
        return job_key(self.resource_id)

    @property
    def vm(self) -> str:
        """It is no VM's."""
        return ""

    @property
    def is_over(self) -> bool:
        """Whether it ended for good."""
        return self.status in ENDED

    @property
    def has_children(self) -> bool:
        """Whether others do its work."""
        return self.type in PARENT_TYPES

    @property
    def workspace_name(self) -> str:
        """The last part of the workspace's id."""
        return self.workspace.rpartition("/")[2]


_JOB_ID = re.compile(r"/subscriptions/([^/]+)/resourcegroups/([^/]+)/.*/workspaces/([^/]+)/jobs/([^/]+)", re.IGNORECASE)


def job_key(resource_id: str) -> str:
    """See ``CloudJob.key``; another id than a job's stands as it is."""
    match = _JOB_ID.fullmatch(resource_id)
    return "/".join(match.groups()).lower() if match is not None else resource_id.lower()


def source_name(job: CloudJob, *, is_alone: bool) -> str:
    """The name of the VM that stands for a job whose log tells of a run. ``is_alone``: no other known job has its name."""
    plain = "aml-" + (re.sub(r"[^A-Za-z0-9._-]", "-", job.name) or "job")
    if is_alone and len(plain) <= 63:
        return plain
    return f"{plain[:54]}-{hashlib.sha256(job.key.encode()).hexdigest()[:8]}"
