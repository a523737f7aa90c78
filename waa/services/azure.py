"""Azure, for all who look: discovered VMs, jobs and their logs. Asked only while somebody looks, or always with ``has_history``."""

import random
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass

from waa.core.azure import Scope
from waa.core.azure_pace import Pace
from waa.core.cloud import CloudJob
from waa.core.error import Conflict, NotFound
from waa.core.port import Cloud
from waa.core.spec import VmSpec
from waa.services.azure_jobs import AzureJobs
from waa.services.azure_log import JobLogSeen, LogTools
from waa.services.azure_part import Interest, Lane, PartSeen
from waa.services.azure_vms import AzureVms, Watcher
from waa.services.log_reader import LogSink
from waa.services.recorder import Recorder
from waa.services.supervise import Supervisor

VMS_HOW_TO = 'To discover VMs, name their subscription: azure_subscriptions = ["..."].'
JOBS_HOW_TO = 'To show jobs, name their workspace: azure_workspaces = ["subscription/group/workspace"].'


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureSeen:
    """How Azure stands for one kind of thing. ``is_on`` False: ``message`` says why, and how to switch it on. ``notes``: what keeps a VM
    from being watched, by its key. ``is_whole`` False: there are more than are listed."""

    is_on: bool = False
    message: str = ""
    parts: tuple[PartSeen, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    is_whole: bool = True
    is_private: bool = False


class NoAzure:
    """It is not configured, or cannot be."""

    def __init__(self, message: str = "") -> None:
        """``message`` "": nothing is configured."""
        self._message = message

    def look_at_vms(self) -> AzureSeen:
        """Off."""
        return AzureSeen(message=self._message or VMS_HOW_TO)

    def look_at_jobs(self) -> AzureSeen:
        """Off."""
        return AzureSeen(message=self._message or JOBS_HOW_TO)

    def find_job(self, name: str) -> CloudJob:
        """Raises NotFound."""
        raise NotFound(f"job_id: there is no job {name!r}")

    def look_at_log(self, job: CloudJob) -> JobLogSeen:
        """Nothing is read."""
        return JobLogSeen(source=job.name)

    def source_of(self, job: CloudJob) -> str:
        """No log has a name."""
        return job.name

    def spec_of(self, resource_id: str) -> VmSpec:
        """Raises Conflict."""
        raise Conflict(f"id: Azure is not asked. {self._message or VMS_HOW_TO}")

    async def close(self) -> None:
        """Nothing to give back."""


class Azure:
    """Starts its refreshers when it is started; looks keep them at work. For the loop's thread."""

    def __init__(
        self,
        *,
        scope: Scope,
        cloud: Cloud,
        recorder: Recorder,
        watcher: Watcher,
        check: Callable[[VmSpec], None],
        supervisor: Supervisor,
        on_log: LogSink,
        seen_at: MutableMapping[str, float],
        power_at: MutableMapping[str, float],
        clock: Callable[[], float],
        pace: Pace | None = None,
        spread: Callable[[], float] = random.random,
    ) -> None:
        pace = pace or Pace()
        self._scope = scope
        self._supervisor = supervisor
        self._vm_interest = Interest(linger_s=pace.linger_s, is_constant=scope.has_history, clock=clock)
        self._job_interest = Interest(linger_s=pace.linger_s, is_constant=scope.has_history, clock=clock)
        subscriptions = {*scope.subscriptions, *(workspace.subscription for workspace in scope.workspaces)}
        lanes = {subscription: Lane() for subscription in subscriptions}
        self._vms = AzureVms(
            scope=scope,
            cloud=cloud,
            recorder=recorder,
            watcher=watcher,
            check=check,
            interest=self._vm_interest,
            lanes=lanes,
            power_at=power_at,
            pace=pace,
            clock=clock,
            spread=spread,
        )
        tools = LogTools(cloud=cloud, recorder=recorder, on_log=on_log, seen_at=seen_at, pace=pace, clock=clock, spread=spread)
        self._jobs = AzureJobs(scope=scope, tools=tools, supervisor=supervisor, interest=self._job_interest, lanes=lanes)

    def start(self) -> None:
        """Begin to wait for looks."""
        self._supervisor.start("azure vms", self._vms.run)
        self._supervisor.start("azure jobs", self._jobs.run)

    def look_at_vms(self) -> AzureSeen:
        """Somebody looks at the VMs: how their parts stand."""
        self._vm_interest.touch()
        if not self._scope.subscriptions:
            return AzureSeen(message=VMS_HOW_TO)
        return AzureSeen(is_on=True, parts=self._vms.seen, notes=tuple(self._vms.notes.items()), is_private=self._scope.is_private)

    def look_at_jobs(self) -> AzureSeen:
        """Somebody looks at the jobs."""
        self._job_interest.touch()
        if not self._scope.workspaces:
            return AzureSeen(message=JOBS_HOW_TO)
        return AzureSeen(is_on=True, parts=self._jobs.seen, is_whole=self._jobs.is_whole)

    def find_job(self, name: str) -> CloudJob:
        """A job by name, key or resource id. Raises NotFound, Conflict where several have the name."""
        return self._jobs.find(name)

    def look_at_log(self, job: CloudJob) -> JobLogSeen:
        """Somebody looks at the log of a job."""
        self._job_interest.touch()
        return self._jobs.open(job)

    def source_of(self, job: CloudJob) -> str:
        """The name under which the tails of its logs are kept; the name of its VM where it is one."""
        return self._jobs.source_of(job)

    def spec_of(self, resource_id: str) -> VmSpec:
        """A discovered VM, to be watched. Raises NotFound, Conflict."""
        return self._vms.spec_of(resource_id)

    async def close(self) -> None:
        """Ask no more. May be called twice."""
        await self._supervisor.stop("azure vms")
        await self._supervisor.stop("azure jobs")
        await self._jobs.close()


AzureAccess = Azure | NoAzure
