"""The jobs of Azure ML workspaces: listed, their details read, the logs that are needed followed."""

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from waa.core.azure import Details, Scope, Workspace, listed_again, newest_first, with_details
from waa.core.azure_pace import CloudError
from waa.core.cloud import WRITING, CloudJob, source_name
from waa.core.error import Conflict, NotFound
from waa.core.observation import LinkSought, VmForgotten
from waa.core.outside import CloudJobsSeen
from waa.core.spec import Origin
from waa.services.azure_log import JobLog, JobLogSeen, LogTools
from waa.services.azure_part import Interest, Lane, Part, PartSeen
from waa.services.supervise import Supervisor

log = logging.getLogger(__name__)
MIN_SLEEP_S = 0.05
MAX_JOBS = 200
"""Of one workspace."""
MAX_CHILDREN = 100
DETAILED = 20
"""So many of the newest jobs get their details read; of others when they are opened."""
MAX_FOLLOWED = 8
"""Live jobs whose logs are read for a run without being opened."""
MAX_LOGS_KEPT = 64
"""Jobs whose log it is known how far it was read."""


class _Listed:
    """One workspace."""

    def __init__(self, workspace: Workspace, *, jobs: Part, details: Part) -> None:
        self.workspace = workspace
        self.jobs = jobs
        self.details = details
        self.is_whole = True


@dataclass(slots=True)
class _Known:
    """Details of a job that are held in memory: addresses of its logs, and when they were read."""

    logs: Mapping[str, str]
    at: float


class AzureJobs:
    """Refreshes while somebody looks."""

    def __init__(self, *, scope: Scope, tools: LogTools, supervisor: Supervisor, interest: Interest, lanes: Mapping[str, Lane]) -> None:
        self._scope = scope
        self._tools = tools
        self._cloud = tools.cloud
        self._recorder = tools.recorder
        self._supervisor = supervisor
        self._interest = interest
        self._pace = tools.pace
        self._clock = tools.clock
        several = len(scope.workspaces) > 1

        def part(name: str, workspace: Workspace) -> Part:
            label = f"{name} of {workspace.name}" if several else name
            return Part(label, lane=lanes[workspace.subscription], pace=tools.pace, clock=tools.clock, spread=tools.spread)

        self._listed = [_Listed(each, jobs=part("Jobs", each), details=part("Details of jobs", each)) for each in scope.workspaces]
        self._known: dict[str, _Known] = {}
        self._logs: OrderedDict[str, JobLog] = OrderedDict()
        self._opened: dict[str, float] = {}

    @property
    def seen(self) -> tuple[PartSeen, ...]:
        """How the parts stand."""
        return tuple(part.seen for listed in self._listed for part in (listed.jobs, listed.details))

    @property
    def is_whole(self) -> bool:
        """Whether all jobs are listed, not only the newest."""
        return all(listed.is_whole for listed in self._listed)

    def find(self, name: str) -> CloudJob:
        """A job by its key, resource id or name. Raises NotFound, Conflict where several have that name."""
        jobs = self._recorder.state.cloud_jobs
        wanted = name.lower()
        if wanted in jobs:
            return jobs[wanted]
        found = [job for job in jobs.values() if name in (job.name, job.resource_id) or wanted == job.resource_id.lower()]
        if len(found) > 1:
            raise Conflict(
                f"job_id: {name!r} is the name of jobs in several workspaces: ask by one of {', '.join(job.key for job in found)}"
            )
        if not found:
            raise NotFound(f"job_id: there is no job {name!r}")
        return found[0]

    def source_of(self, job: CloudJob) -> str:
        """The name of the VM that stands for a job: the one it has, else the one it would get."""
        state = self._recorder.state
        for vm in state.vms.values():
            if vm.spec.origin is Origin.JOB and vm.spec.azure_id == job.resource_id:
                return vm.name
        reader = self._logs.get(job.key)
        if reader is not None:
            return reader.seen.source
        is_alone = not any(other.name == job.name and other.key != job.key for other in state.cloud_jobs.values())
        name = source_name(job, is_alone=is_alone)
        return name if name not in state.vms else source_name(job, is_alone=False)

    def open(self, job: CloudJob) -> JobLogSeen:
        """How its log stands; it is read from now on, for as long as somebody opens it again now and then."""
        is_new = self._clock() >= self._opened.get(job.key, 0.0)
        self._opened = {key: until for key, until in self._opened.items() if self._clock() < until}
        self._opened[job.key] = self._clock() + self._pace.linger_s
        reader = self._logs.get(job.key)
        if reader is None or not (reader.seen.is_whole or self._is_read(job)):
            reader = self._follow(job)
        elif is_new and not reader.seen.is_whole:
            reader.wake()
        return reader.seen

    async def run(self) -> None:
        """Until it is cancelled."""
        await self._forget_others()
        for name in [vm.name for vm in self._recorder.state.vms.values() if vm.spec.origin is Origin.JOB]:
            await self._recorder.record(LinkSought(vm=name, at=self._clock()))
        while self._listed:
            await self._interest.wait()
            for listed in self._listed:
                await self._refresh(listed)
            await self._forget_vms()
            self._follow_live()
            due_at = min(part.opens_at for listed in self._listed for part in (listed.jobs, listed.details))
            await self._interest.pause(max(due_at - self._clock(), MIN_SLEEP_S))

    # --- lists and details ---

    async def _refresh(self, listed: _Listed) -> None:
        workspace, state = listed.workspace, self._recorder.state
        is_live = any(not job.is_over for job in self._of(workspace))
        every_s = self._pace.jobs_s if is_live else self._pace.quiet_s

        def remaining() -> int | None:
            return self._cloud.remaining_reads(workspace.subscription)

        found = await listed.jobs.ask(lambda: self._cloud.jobs(workspace, at_most=MAX_JOBS), every_s=every_s, remaining=remaining)
        if found is not None:
            jobs, listed.is_whole = newest_first(found[0])[:MAX_JOBS], found[1] and len(found[0]) <= MAX_JOBS
            told = tuple(listed_again(job, state.cloud_jobs.get(job.key)) for job in jobs)
            if any(not job.is_over for job in told):
                listed.jobs.due_at = min(listed.jobs.due_at, self._clock() + self._pace.jobs_s)
            seen = CloudJobsSeen(vm="", at=self._clock(), workspace=workspace.path, jobs=told, is_whole=listed.is_whole)
            await self._recorder.record(seen, wait=True)
            listed.details.due_at = min(listed.details.due_at, self._clock()) if listed.details.fault is None else listed.details.due_at
        if self._undetailed(workspace):
            await listed.details.ask(lambda: self._detail(workspace), every_s=self._pace.details_s, remaining=remaining)
        elif listed.details.is_due:
            listed.details.due_at = self._clock() + self._pace.details_s

    def _undetailed(self, workspace: Workspace) -> list[CloudJob]:
        """Of the newest jobs those whose details are missing, or old while they can change."""
        found = []
        for job in newest_first(self._of(workspace))[:DETAILED]:
            known = self._known.get(job.key)
            is_old = known is None or self._clock() - known.at >= self._pace.details_s
            if (job.is_over and not job.has_details) or (job.status in WRITING and is_old):
                found.append(job)
        return found

    async def _detail(self, workspace: Workspace) -> None:
        """Read them. Raises CloudError."""
        for job in self._undetailed(workspace):
            await self._read_details(workspace, job)

    async def _read_details(self, workspace: Workspace, job: CloudJob) -> Details:
        details = await self._cloud.details(workspace, job.name)
        self._known[job.key] = _Known(details.logs, self._clock())
        for key in list(self._known)[:-MAX_JOBS]:
            del self._known[key]
        current = self._recorder.state.cloud_jobs.get(job.key, job)
        children: tuple[CloudJob, ...] = ()
        if job.has_children and not details.logs:
            children = tuple(
                listed_again(child, self._recorder.state.cloud_jobs.get(child.key))
                for child in await self._cloud.children(workspace, job, at_most=MAX_CHILDREN)
            )
        told = with_details(current, details)
        seen = CloudJobsSeen(vm="", at=self._clock(), workspace=workspace.path, jobs=(told, *children))
        await self._recorder.record(seen, wait=True)
        return details

    def _of(self, workspace: Workspace) -> list[CloudJob]:
        path = workspace.path.lower()
        return [job for job in self._recorder.state.cloud_jobs.values() if job.workspace.lower() == path]

    def _workspace_of(self, job: CloudJob) -> Workspace | None:
        return next((each for each in self._scope.workspaces if each.path.lower() == job.workspace.lower()), None)

    async def _forget_others(self) -> None:
        """What the configuration names no more is not shown either."""
        named = {workspace.path.lower() for workspace in self._scope.workspaces}
        others = {job.workspace for job in self._recorder.state.cloud_jobs.values() if job.workspace.lower() not in named}
        for workspace in others:
            await self._recorder.record(CloudJobsSeen(vm="", at=self._clock(), workspace=workspace, jobs=(), is_whole=True), wait=True)

    async def _forget_vms(self) -> None:
        """A job that is not listed any more stands for nothing."""
        keys = {job.resource_id for job in self._recorder.state.cloud_jobs.values()}
        for vm in [vm for vm in self._recorder.state.vms.values() if vm.spec.origin is Origin.JOB]:
            if vm.spec.azure_id not in keys:
                await self._recorder.record(VmForgotten(vm=vm.name, at=self._clock()), wait=True)

    # --- logs ---

    def _follow_live(self) -> None:
        """Read the logs of live jobs, which may tell of runs, and go on with those that did."""
        state = self._recorder.state
        runs = {vm.spec.azure_id for vm in state.vms.values() if vm.spec.origin is Origin.JOB}
        jobs = newest_first(state.cloud_jobs.values())
        live = [job for job in jobs if job.status in WRITING and not job.has_children][:MAX_FOLLOWED]
        for job in [*live, *(job for job in jobs if job.resource_id in runs)]:
            reader = self._logs.get(job.key)
            if reader is None or not (self._is_read(job) or reader.seen.is_whole):
                self._follow(job)

    def _follow(self, job: CloudJob) -> JobLog:
        """Read its log, on from where it was left."""
        reader = self._logs.pop(job.key, None) or JobLog(
            job,
            self.source_of(job),
            self._tools,
            look_up=lambda: self._recorder.state.cloud_jobs.get(job.key),
            urls=self._urls,
            is_wanted=lambda: self._is_open(job) or (self._interest.is_there and self._is_followed(job)),
            is_open=lambda: self._is_open(job),
        )
        self._logs[job.key] = reader
        for key in [key for key, known in self._logs.items() if known.seen.is_whole][: max(0, len(self._logs) - MAX_LOGS_KEPT)]:
            del self._logs[key]
        self._supervisor.start(_task(job), reader.run)
        return reader

    def _is_read(self, job: CloudJob) -> bool:
        return _task(job) in self._supervisor.names

    def _is_open(self, job: CloudJob) -> bool:
        return self._clock() < self._opened.get(job.key, 0.0)

    def _is_followed(self, job: CloudJob) -> bool:
        current = self._recorder.state.cloud_jobs.get(job.key)
        return current is not None and (current.status in WRITING or self.source_of(job) in self._recorder.state.vms)

    async def _urls(self, job: CloudJob, is_renewed: bool) -> Mapping[str, str]:
        """The signed addresses of its logs. Raises CloudError."""
        known = self._known.get(job.key)
        is_old = known is None or (not known.logs and not job.is_over and self._clock() - known.at >= self._pace.details_s)
        if known is not None and not is_old and not is_renewed:
            return known.logs
        workspace = self._workspace_of(job)
        if workspace is None:
            return {}
        try:
            return (await self._read_details(workspace, job)).logs
        except CloudError:
            self._known.pop(job.key, None)
            raise

    async def close(self) -> None:
        """Read no more. May be called twice."""
        for name in [name for name in self._supervisor.names if name.startswith(_TASK)]:
            await self._supervisor.stop(name)


_TASK = "azure log "


def _task(job: CloudJob) -> str:
    return f"{_TASK}{job.key}"
