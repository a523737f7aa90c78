"""What Azure has, as it is shown: VMs that could be watched, jobs, and the log of one job."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from waa.core.azure import newest_first
from waa.core.cloud import POWER_WORDS, WRITING, CloudJob, CloudVm, JobStatus, PowerState
from waa.core.entity import Run
from waa.core.observation import LogKind, LogSource
from waa.core.spec import Origin
from waa.core.state import State
from waa.services.azure import AzureSeen
from waa.services.azure_log import JobLogSeen
from waa.services.azure_part import PartSeen
from waa.web.terminal import LogLine
from waa.web.view import Look, View

MAX_JOBS = 20
"""Newest jobs that are listed; programs get all."""
MAX_LINES = 200
"""Of a job's log; the tail holds more, programs get all of it."""

_POWER_TONES = {
    PowerState.RUNNING: "ready",
    PowerState.STOPPED: "warning",
    PowerState.DEALLOCATED: "off",
    PowerState.GONE: "off",
    PowerState.UNKNOWN: "unknown",
}
"""The others are on the way: ``setup``."""
_JOB_TONES = {
    JobStatus.COMPLETED: "passed",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELED: "unknown",
    JobStatus.RUNNING: "running",
    JobStatus.FINALIZING: "running",
    JobStatus.NOT_RESPONDING: "error",
    JobStatus.UNKNOWN: "unknown",
}
"""The others wait: ``setup``."""
_JOB_WORDS = {
    JobStatus.NOT_STARTED: "Not started",
    JobStatus.CANCEL_REQUESTED: "Being canceled",
    JobStatus.NOT_RESPONDING: "Not responding",
}
_SIZE_WORDS = "Standard_"
VMS_STALE_AFTER_S, JOBS_STALE_AFTER_S = 120, 240
"""Two intervals, the longer ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why something is old or lacking: which parts, since when, and when it is tried again."""

    parts: str
    message: str
    remedy: str
    since_at: float | None
    retry_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How Azure stands. ``is_on`` False: ``message`` says how to switch it on. ``refreshed_at``: its newest answer, None: there was none
    since the start; ``stale_after_s``: that is old after so long."""

    is_on: bool
    message: str
    problems: tuple[Problem, ...]
    refreshed_at: float | None
    stale_after_s: int

    @property
    def stale_since(self) -> float | None:
        """From when on something shown is old."""
        return min((problem.since_at for problem in self.problems if problem.since_at is not None), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudVmRow:
    """A VM of Azure. ``watched`` is its name where it is watched; ``hindrance`` says why it cannot be now."""

    key: str
    name: str
    power: str
    tone: str
    size: str
    region: str
    group: str
    os: str
    is_spot: bool
    public_ip: str
    private_ip: str
    watched: str
    hindrance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """The VMs of Azure. ``billed``: how many are stopped and still cost."""

    standing: Standing
    rows: tuple[CloudVmRow, ...]
    billed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLink:
    """A benchmark's run that a job's log tells."""

    run_id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A job. ``since_at``: it runs since then; ``duration_s``: how long it ran; both None: not known. ``number`` names its element."""

    key: str
    name: str
    title: str
    type: str
    word: str
    tone: str
    is_live: bool
    created_at: float | None
    since_at: float | None
    duration_s: float | None
    compute: str
    vm_size: str
    is_low_priority: bool
    portal_url: str
    error: str
    run: RunLink | None
    children: tuple["JobRow", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobList(View):
    """*Azure Jobs*, newest first. ``more`` are not listed; ``is_whole`` False: there are still more than those."""

    standing: Standing
    rows: tuple[JobRow, ...]
    live: int
    more: int
    is_whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLogs(View):
    """*Azure Job Logs*. ``job`` None: there is none. ``log`` is the name of the one shown, of ``logs``."""

    standing: Standing
    job: JobRow | None
    source: str
    log: str
    logs: tuple[str, ...]
    seen: JobLogSeen
    lines: Sequence[LogLine]
    parent: str


def keep_asking(look: Look) -> None:
    """Somebody looks at VMs: the power of those that are Azure's is asked for."""
    if any(vm.spec.azure_id is not None and vm.spec.origin is not Origin.JOB for vm in look.state.vms.values()):
        look.azure.look_at_vms()


def discovery(look: Look) -> Discovery:
    """The VMs of Azure by name."""
    seen = look.azure.look_at_vms()
    standing = _standing(seen, stale_after_s=VMS_STALE_AFTER_S)
    if not standing.is_on:
        return Discovery(standing=standing, rows=(), billed=0)
    watched = {vm.spec.azure_id.lower(): vm.name for vm in look.state.vms.values() if vm.spec.azure_id is not None}
    notes = dict(seen.notes)
    vms = all_vms(look.state)
    rows = tuple(_vm_row(vm, watched.get(vm.key, ""), notes.get(vm.key, ""), is_private=seen.is_private) for vm in vms)
    return Discovery(standing=standing, rows=rows, billed=sum(vm.power is PowerState.STOPPED for vm in vms))


def azure_jobs(look: Look, _subject: str | None) -> JobList:
    """The newest jobs, each parent with its children."""
    seen = look.azure.look_at_jobs()
    standing = _standing(seen, stale_after_s=JOBS_STALE_AFTER_S)
    jobs = all_jobs(look.state) if standing.is_on else []
    names = {(job.workspace.lower(), job.name) for job in jobs}
    tops = [job for job in jobs if not job.parent or (job.workspace.lower(), job.parent) not in names]
    runs = runs_of_jobs(look.state)
    return JobList(
        now=look.now,
        standing=standing,
        rows=tuple(_job_row(job, runs, _children(job, jobs)) for job in tops[:MAX_JOBS]),
        live=sum(not job.is_over for job in tops),
        more=max(0, len(tops) - MAX_JOBS),
        is_whole=seen.is_whole,
    )


def azure_job_logs(look: Look, subject: str | None) -> JobLogs:
    """The log of a job: ``key`` or ``key?log``; None: the newest that writes, else the newest. Raises NotFound, Conflict."""
    seen = look.azure.look_at_jobs()
    standing = _standing(seen, stale_after_s=JOBS_STALE_AFTER_S)
    job = chosen_job(look, subject) if standing.is_on else None
    if job is None:
        return JobLogs(now=look.now, standing=standing, job=None, source="", log="", logs=(), seen=JobLogSeen(), lines=(), parent="")
    log_seen = look.azure.look_at_log(job)
    wanted = (subject or "").partition("?")[2]
    log = wanted if wanted in log_seen.logs else next(iter(log_seen.logs), "")
    lines = look.lines_of(log_seen.source, log_key(log)) if log else ()
    jobs = all_jobs(look.state)
    parent = next((each.key for each in jobs if each.name == job.parent and each.workspace == job.workspace), "") if job.parent else ""
    return JobLogs(
        now=look.now,
        standing=standing,
        job=_job_row(job, runs_of_jobs(look.state), _children(job, jobs)),
        source=log_seen.source,
        log=log,
        logs=log_seen.logs,
        seen=log_seen,
        lines=tuple(lines)[-MAX_LINES:],
        parent=parent,
    )


def chosen_job(look: Look, subject: str | None) -> CloudJob | None:
    """The job that is asked for. Raises NotFound, Conflict."""
    if subject is not None:
        return look.azure.find_job(subject.partition("?")[0])
    jobs = [job for job in all_jobs(look.state) if not job.has_children]
    return next((job for job in jobs if job.status in WRITING), next(iter(jobs), None))


def all_jobs(state: State) -> list[CloudJob]:
    """Newest first."""
    return newest_first(state.cloud_jobs.values())


def all_vms(state: State) -> list[CloudVm]:
    """By name."""
    return sorted(state.cloud_vms.values(), key=lambda vm: (vm.name.lower(), vm.key))


def log_key(name: str) -> str:
    """What the tail of a job's log is kept under."""
    return LogSource(kind=LogKind.JOB, path=name).key


def runs_of_jobs(state: State) -> dict[str, Run]:
    """The newest run that the log of each job tells, by the job's key."""
    runs: dict[str, Run] = {}
    for run in state.runs.values():
        if run.log.kind is LogKind.JOB:
            known = runs.get(run.log.identity)
            runs[run.log.identity] = run if known is None or known.started_at <= run.started_at else known
    return runs


def _standing(seen: AzureSeen, *, stale_after_s: int) -> Standing:
    answered = [part.refreshed_at for part in seen.parts if part.refreshed_at is not None]
    return Standing(
        is_on=seen.is_on,
        message=seen.message,
        problems=tuple(_problems(seen.parts)),
        refreshed_at=max(answered, default=None),
        stale_after_s=stale_after_s,
    )


def _problems(parts: Iterable[PartSeen]) -> list[Problem]:
    """One for each cause: a login that fails keeps all parts from being read."""
    found: dict[tuple[str, str], list[PartSeen]] = {}
    for part in parts:
        if part.failure is not None:
            found.setdefault((part.failure.message, part.failure.remedy), []).append(part)
    return [
        Problem(
            parts=", ".join(part.name for part in failing),
            message=message,
            remedy=remedy,
            since_at=min((part.failed_at for part in failing if part.failed_at is not None), default=None),
            retry_at=min((part.retry_at for part in failing if part.retry_at is not None), default=None),
        )
        for (message, remedy), failing in found.items()
    ]


def _vm_row(vm: CloudVm, watched: str, note: str, *, is_private: bool) -> CloudVmRow:
    hindrance = note
    if not watched and not hindrance and not vm.host(is_private=is_private):
        hindrance = f"No {'private' if is_private else 'public'} address now" + (
            "" if vm.power is PowerState.RUNNING else ": start it first"
        )
    return CloudVmRow(
        key=vm.key,
        name=vm.name,
        power=POWER_WORDS[vm.power],
        tone=_POWER_TONES.get(vm.power, "setup"),
        size=vm.size.removeprefix(_SIZE_WORDS),
        region=vm.region,
        group=vm.resource_group,
        os=vm.os,
        is_spot=vm.is_spot,
        public_ip=vm.public_ip,
        private_ip=vm.private_ip,
        watched=watched,
        hindrance=hindrance,
    )


def _children(job: CloudJob, jobs: Sequence[CloudJob]) -> tuple[CloudJob, ...]:
    children = [each for each in jobs if each.parent == job.name and each.workspace == job.workspace]
    return tuple(reversed(children))


def _job_row(job: CloudJob, runs: dict[str, Run], children: tuple[CloudJob, ...] = ()) -> JobRow:
    run = runs.get(job.key)
    return JobRow(
        key=job.key,
        name=job.name,
        title=job.title if job.title and job.title != job.name else "",
        type=job.type,
        word=_JOB_WORDS.get(job.status, job.status.value),
        tone=_JOB_TONES.get(job.status, "setup"),
        is_live=not job.is_over,
        created_at=job.created_at,
        since_at=job.started_at if not job.is_over else None,
        duration_s=job.duration_s if job.is_over else None,
        compute=job.compute,
        vm_size=job.vm_size.removeprefix(_SIZE_WORDS),
        is_low_priority=bool(job.is_low_priority),
        portal_url=job.portal_url,
        error=job.error,
        run=RunLink(run_id=run.run_id, name=run.name) if run is not None else None,
        children=tuple(_job_row(child, runs) for child in children),
    )
