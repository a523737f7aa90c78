"""Jobs: one after the other, told at most so often, cancelled for good, stopped for the next start (C2, C3)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from tests.core.builders import T0
from tests.support.wait import until
from waa.core.error import Conflict, Invalid, NotFound, Unavailable
from waa.core.job import ImportKind, ImportRequest, ImportResult, Job, JobStatus
from waa.core.transition import Rules
from waa.services.jobs import MAX_WAITING, Jobs, Progress
from waa.services.recorder import Recorder
from waa.store.memory import MemoryStore

RESULT = ImportResult(run_ids=("r",), tasks=3)


def a_request(path: str = "/results") -> ImportRequest:
    return ImportRequest(kind=ImportKind.FOLDER, path=path)


@dataclass
class Work:
    """Work that does what a test says."""

    begun: list[str] = field(default_factory=list)
    progress: dict[str, Progress] = field(default_factory=dict)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None

    async def __call__(self, job: Job, progress: Progress) -> ImportResult:
        self.begun.append(job.request.path)
        self.progress[job.request.path] = progress
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        return RESULT


@dataclass
class Desk:
    recorder: Recorder
    jobs: Jobs
    work: Work

    def of(self, job: Job) -> Job:
        return self.recorder.state.jobs[job.job_id]


@asynccontextmanager
async def desk(store: MemoryStore | None = None) -> AsyncIterator[Desk]:
    recorder = Recorder(store=store or MemoryStore(), rules=Rules(), clock=lambda: T0)
    await recorder.open()
    work = Work()
    jobs = Jobs(recorder=recorder, work=work, clock=lambda: T0, tell_every_s=0.001)
    jobs.start()
    try:
        yield Desk(recorder, jobs, work)
    finally:
        await jobs.close()
        await recorder.close()


async def test_a_job_is_done_and_its_result_is_stored() -> None:
    async with desk() as d:
        job = await d.jobs.submit(a_request())
        assert d.of(job).status in (JobStatus.PENDING, JobStatus.RUNNING)
        await until(lambda: d.work.begun)
        d.work.progress["/results"].tell(41.7, "reading")
        await until(lambda: d.of(job).progress == 41)
        assert d.of(job).detail == "reading"
        d.work.may_end.set()
        await until(lambda: d.of(job).is_over)
        assert (d.of(job).status, d.of(job).progress, d.of(job).result) == (JobStatus.COMPLETED, 100, RESULT)


async def test_what_was_not_foreseen_fails_with_a_sentence_and_the_next_is_done() -> None:
    async with desk() as d:
        d.work.error = Invalid("path", "holds no results")
        d.work.may_end.set()
        job = await d.jobs.submit(a_request())
        await until(lambda: d.of(job).is_over)
        assert (d.of(job).status, d.of(job).error) == (JobStatus.FAILED, "path: holds no results")
        d.work.error = ZeroDivisionError("x")
        job = await d.jobs.submit(a_request("/other"))
        await until(lambda: d.of(job).is_over)
        assert "ZeroDivisionError" in d.of(job).error
        d.work.error = None
        job = await d.jobs.submit(a_request("/third"))
        await until(lambda: d.of(job).is_over)
        assert d.of(job).status is JobStatus.COMPLETED


async def test_jobs_wait_for_their_turn_and_the_same_one_is_not_made_twice() -> None:
    async with desk() as d:
        first = await d.jobs.submit(a_request("/1"))
        second = await d.jobs.submit(a_request("/2"))
        assert (await d.jobs.submit(a_request("/2"))).job_id == second.job_id
        await until(lambda: d.work.begun)
        assert d.of(second).status is JobStatus.PENDING
        d.work.may_end.set()
        await until(lambda: d.of(second).is_over)
        assert d.work.begun == ["/1", "/2"]
        assert d.of(first).status is JobStatus.COMPLETED
        assert (await d.jobs.submit(a_request("/1"))).job_id != first.job_id


async def test_a_job_that_waits_or_runs_is_cancelled_for_good() -> None:
    async with desk() as d:
        first, second = await d.jobs.submit(a_request("/1")), await d.jobs.submit(a_request("/2"))
        await until(lambda: d.work.begun)
        assert (await d.jobs.cancel(second.job_id)).status is JobStatus.CANCELLED
        assert (await d.jobs.cancel(first.job_id)).status is JobStatus.CANCELLED
        assert d.work.progress["/1"].is_cancelled
        with pytest.raises(Conflict, match="ended already"):
            await d.jobs.cancel(first.job_id)
        with pytest.raises(NotFound):
            await d.jobs.cancel("nobody")
        third = await d.jobs.submit(a_request("/3"))
        d.work.may_end.set()
        await until(lambda: d.of(third).is_over)
        assert d.work.begun == ["/1", "/3"]


async def test_c3_what_a_stopped_server_left_is_done_by_the_next_one_in_order() -> None:
    store = MemoryStore()
    async with desk(store) as d:
        first = await d.jobs.submit(a_request("/1"))
        second = await d.jobs.submit(a_request("/2"))
        await until(lambda: d.work.begun)
        progress = d.work.progress["/1"]
    assert progress.must_stop
    assert not progress.is_cancelled
    async with desk(store) as d:
        d.work.may_end.set()
        await until(lambda: d.of(second).is_over)
        assert d.work.begun == ["/1", "/2"]
        assert (d.of(first).status, d.of(second).status) == (JobStatus.COMPLETED, JobStatus.COMPLETED)


async def test_too_many_that_wait_are_refused() -> None:
    async with desk() as d:
        for number in range(MAX_WAITING):
            await d.jobs.submit(a_request(f"/{number}"))
        with pytest.raises(Unavailable, match="wait"):
            await d.jobs.submit(a_request("/more"))
