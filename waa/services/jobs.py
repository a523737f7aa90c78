"""Work in the background that outlives the request that asked for it, and the server.

A job is an entity: what is shown of it is stored. One that was under way when the server ended is done again from where
its work left off: the work itself finds what is there already.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from uuid import uuid4

from waa.core.error import Conflict, NotFound, Unavailable, WaaError
from waa.core.job import ImportRequest, ImportResult, Job, JobStatus
from waa.core.outside import JobSeen
from waa.services.recorder import Recorder

log = logging.getLogger(__name__)

MAX_WAITING = 50
TELL_EVERY_S = 1.0
"""Progress is an event, at most so often (requirement C2)."""


@dataclass(slots=True)
class Progress:
    """How far the work is, told from any thread. ``must_stop``: end soon; ``is_cancelled``: for good, what was begun is to be removed."""

    percent: float = 0.0
    detail: str = ""
    must_stop: bool = False
    is_cancelled: bool = False

    def tell(self, percent: float, detail: str) -> None:
        """Percent 0 to 100, and what is done now."""
        self.percent, self.detail = min(max(percent, 0.0), 100.0), detail


@dataclass(slots=True)
class _Running:
    job_id: str
    progress: Progress
    work: asyncio.Future[ImportResult]
    has_ended: asyncio.Event


Work = Callable[[Job, Progress], Awaitable[ImportResult]]


class Jobs:
    """Does one job after the other, in the order of asking. For the loop's thread only."""

    def __init__(self, *, recorder: Recorder, work: Work, clock: Callable[[], float], tell_every_s: float = TELL_EVERY_S) -> None:
        self._recorder = recorder
        self._work = work
        self._clock = clock
        self._tell_every_s = tell_every_s
        self._waiting: asyncio.Queue[str] = asyncio.Queue()
        self._running: _Running | None = None
        self._worker: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, with what an earlier server left undone."""
        for job in self._recorder.state.jobs.values():
            if not job.is_over:
                self._waiting.put_nowait(job.job_id)
        self._worker = asyncio.create_task(self._serve(), name="jobs")

    async def submit(self, request: ImportRequest) -> Job:
        """A new job, or the one that does just this already. Raises Unavailable where too many wait."""
        unfinished = [job for job in self._recorder.state.jobs.values() if not job.is_over]
        for job in unfinished:
            if job.request == request:
                return job
        if len(unfinished) >= MAX_WAITING:
            raise Unavailable(f"{MAX_WAITING} imports wait already; try again when some have ended")
        job = Job(job_id=uuid4().hex[:16], request=request, created_at=self._clock())
        await self._put(job)
        self._waiting.put_nowait(job.job_id)
        return job

    def need(self, job_id: str) -> Job:
        """The job of that id. Raises NotFound."""
        job = self._recorder.state.jobs.get(job_id)
        if job is None:
            raise NotFound(f"There is no job {job_id!r}; those that ended long ago are forgotten")
        return job

    async def cancel(self, job_id: str) -> Job:
        """End a job and undo it; returns when it has ended. Raises NotFound, Conflict where it has ended already."""
        job = self.need(job_id)
        if job.is_over:
            raise Conflict(f"job {job_id}: has ended already ({job.status})")
        running = self._running
        if running is not None and running.job_id == job_id:
            running.progress.is_cancelled = running.progress.must_stop = True
            running.work.cancel()
            await running.has_ended.wait()
        else:
            await self._put(replace(job, status=JobStatus.CANCELLED, ended_at=self._clock()))
        return self.need(job_id)

    async def close(self) -> None:
        """Stop; what is under way goes on after the next start. May be called twice."""
        if self._running is not None:
            self._running.progress.must_stop = True
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait([self._worker])

    async def _serve(self) -> None:
        while True:
            job = self._recorder.state.jobs.get(await self._waiting.get())
            if job is not None and not job.is_over:
                await self._do(job)

    async def _do(self, job: Job) -> None:
        progress = Progress(percent=job.progress)
        job = replace(job, status=JobStatus.RUNNING, started_at=job.started_at or self._clock())
        await self._put(job)
        work = asyncio.ensure_future(self._work(job, progress))
        self._running = running = _Running(job.job_id, progress, work, asyncio.Event())
        try:
            while not (await asyncio.wait([work], timeout=self._tell_every_s))[0]:
                job = replace(job, progress=int(progress.percent), detail=progress.detail)
                await self._put(job)
            await self._put(self._ended(job, progress, work))
        finally:
            work.cancel()
            await asyncio.wait([work])
            self._running = None
            running.has_ended.set()

    def _ended(self, job: Job, progress: Progress, work: "asyncio.Future[ImportResult]") -> Job:
        job = replace(job, progress=int(progress.percent), ended_at=self._clock(), detail="")
        if progress.is_cancelled:
            return replace(job, status=JobStatus.CANCELLED)
        error = asyncio.CancelledError() if work.cancelled() else work.exception()
        if error is None:
            return replace(job, status=JobStatus.COMPLETED, progress=100, result=work.result())
        if not isinstance(error, WaaError):
            log.error("job failed job=%s", job.job_id, exc_info=error)
        message = (
            str(error) if isinstance(error, WaaError) else f"The import failed unexpectedly ({type(error).__name__}); see the server's log."
        )
        return replace(job, status=JobStatus.FAILED, error=message)

    async def _put(self, job: Job) -> None:
        await self._recorder.record(JobSeen(vm="", at=self._clock(), job=job))
        await self._recorder.flush()
