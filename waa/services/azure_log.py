"""The log of one job: read by ranges while somebody looks, shown as a tail, and parsed: a benchmark's run inside the job is a run.

A run needs a VM that it is told of. The job is that VM while it runs: it is named when its log tells of a benchmark, and goes when the
job is over and its log is read; the run stays. A job that runs something else is no VM.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace

from waa.core.azure import chosen_logs
from waa.core.azure_pace import MAX_WAIT_S, CloudError, Fault, Pace, log_interval_s
from waa.core.cloud import CloudJob
from waa.core.error import Failure
from waa.core.logs import fact as f
from waa.core.logs.parser import LogParser
from waa.core.observation import LinkFailed, LinkOpened, LogCursor, LogKind, LogRead, LogSource, VmForgotten, VmNamed
from waa.core.port import Cloud
from waa.core.spec import Origin, Transport, VmSpec
from waa.core.status import RunStatus
from waa.services.log_reader import SLICE_BYTES, TAIL_BYTES, LogSink
from waa.services.news import wait_for_event
from waa.services.recorder import Recorder
from waa.services.supervise import backoff_s

log = logging.getLogger(__name__)
CHUNK_BYTES = 1024 * 1024
"""Of one request."""
MAX_WHOLE_BYTES = 64 * 1024 * 1024
"""A log that is further ahead than this is not searched for a run; its end is shown."""
MAX_BACKOFF_S = 60.0
QUIET_LOOKS = 2
"""After its job is over, a log that says nothing new so often is complete: the last lines come a little later than the end."""
_TELLS_OF_A_RUN = (f.LauncherStarted, f.RunStarted, f.TaskStarted, f.ContainerBooted)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLogSeen:
    """How the log of a job stands. ``logs``: the names of those that are read, the main one first. ``source``: the name that its tails
    are kept under. ``is_whole``: it was read to its end and does not grow any more. ``is_cut``: only its end is read."""

    source: str = ""
    logs: tuple[str, ...] = ()
    is_reading: bool = False
    is_whole: bool = False
    is_cut: bool = False
    refreshed_at: float | None = field(default=None, compare=False)
    failure: Failure | None = None
    failed_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogTools:
    """What every job's log is read with."""

    cloud: Cloud
    recorder: Recorder
    on_log: LogSink
    seen_at: MutableMapping[str, float]
    pace: Pace
    clock: Callable[[], float]
    spread: Callable[[], float]


class JobLog:
    """Reads all logs of one job that tell what its program says. ``seen`` says how far it is.

    ``look_up`` gives the newest version of the job, ``urls`` the signed addresses of its logs (anew where that is asked for).
    ``is_wanted`` ends the reading where it turns False; ``is_open``: somebody looks at this very log, so it is read often.
    """

    def __init__(
        self,
        job: CloudJob,
        source: str,
        tools: LogTools,
        *,
        look_up: Callable[[], CloudJob | None],
        urls: Callable[[CloudJob, bool], Awaitable[Mapping[str, str]]],
        is_wanted: Callable[[], bool],
        is_open: Callable[[], bool],
    ) -> None:
        self.seen = JobLogSeen(source=source, is_reading=True)
        self._job = job
        self._tools = tools
        self._look_up = look_up
        self._urls = urls
        self._is_wanted = is_wanted
        self._is_open = is_open
        self._pieces: dict[str, _OneLog] = {}
        self._failures = 0
        self._silent = 0
        self._quiet_at_end = 0
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Somebody opened it: look now."""
        self._woken.set()

    async def run(self) -> None:
        """Until the log is read to its end, or nobody wants it any more."""
        must_renew = False
        while self._is_wanted():
            job = self._look_up() or self._job
            self._job = job
            try:
                grew = await self._read(job, await self._urls(job, must_renew))
                must_renew = False
                await self._note_success()
            except CloudError as error:
                must_renew = error.fault is Fault.EXPIRED
                if not (must_renew and self._failures == 0):
                    await self._note_failure(error)
                self._failures += 1
                await self._pause(max(min(error.retry_after_s or 0.0, MAX_WAIT_S), self._backoff_s(must_renew)))
                continue
            self._quiet_at_end = self._quiet_at_end + 1 if job.is_over and not grew else 0
            if self._quiet_at_end == QUIET_LOOKS:
                await self._end(job)
                return
            self._silent = 0 if grew else self._silent + 1
            await self._pause(self._interval_s(grew))

    # --- reading ---

    async def _read(self, job: CloudJob, urls: Mapping[str, str]) -> bool:
        """Whether something new was read."""
        grew = False
        names = chosen_logs(urls)
        self.seen = replace(self.seen, logs=tuple(names))
        for name in names:
            piece = self._pieces.get(name)
            if piece is None:
                piece = self._pieces[name] = _OneLog(self.seen.source, job, name, self._tools)
            while await piece.read(urls[name]):
                grew = True
        self.seen = replace(
            self.seen,
            is_reading=False,
            is_cut=any(piece.is_cut for piece in self._pieces.values()),
            refreshed_at=self._tools.clock(),
        )
        return grew

    async def _end(self, job: CloudJob) -> None:
        """The job is over and nothing more is written: what the log left open is ended with the job's own word."""
        recorder, source, now = self._tools.recorder, self.seen.source, self._tools.clock()
        for piece in self._pieces.values():
            await piece.finish()
        await recorder.flush()
        if source in recorder.state.vms and recorder.state.vms[source].spec.origin is Origin.JOB:
            reason = f"the job ended: {job.status}" + (f", {job.error}" if job.error else "")
            told = f.RunInterrupted(at=job.ended_at or now, reason=reason[:300])
            for run in recorder.state.runs_of(source):
                if run.status is RunStatus.RUNNING:
                    await self._pieces_of(run.log).record([told])
            await recorder.record(VmForgotten(vm=source, at=self._tools.clock()), wait=True)
        self.seen = replace(self.seen, is_whole=True)

    def _pieces_of(self, source: LogSource) -> "_OneLog":
        return self._pieces.get(source.path) or _OneLog(self.seen.source, self._job, source.path, self._tools)

    # --- how it goes ---

    async def _note_success(self) -> None:
        self._failures = 0
        source = self.seen.source
        vm = self._tools.recorder.state.vms.get(source)
        if vm is not None:
            self._tools.seen_at[source] = self._tools.clock()
            if not vm.connection.connected:
                await self._tools.recorder.record(LinkOpened(vm=source, at=self._tools.clock()))
        self.seen = replace(self.seen, failure=None, failed_at=None)

    async def _note_failure(self, error: CloudError) -> None:
        now, source = self._tools.clock(), self.seen.source
        if self.seen.failure is None:
            log.warning("job log not read job=%s reason=%s", self._job.name, error)
        self.seen = replace(self.seen, is_reading=False, failure=error.failure, failed_at=self.seen.failed_at or now)
        if source in self._tools.recorder.state.vms:
            await self._tools.recorder.record(LinkFailed(vm=source, at=now, failure=error.failure))

    def _backoff_s(self, must_renew: bool) -> float:
        if must_renew and self._failures == 1:
            return 0.0
        return backoff_s(max(1, self._failures), min_s=self._tools.pace.log_s, max_s=MAX_BACKOFF_S, spread=self._tools.spread())

    def _interval_s(self, grew: bool) -> float:
        if grew and self._job.is_over:
            return 0.0
        if self._is_open():
            return self._tools.pace.log_s if grew else log_interval_s(self._silent, self._tools.pace)
        return self._tools.pace.followed_s

    async def _pause(self, seconds: float) -> None:
        """Shorter where somebody opens the log meanwhile."""
        await wait_for_event(self._woken, seconds)
        self._woken.clear()


class _OneLog:
    """One log blob, read on from where an earlier server stopped."""

    def __init__(self, vm: str, job: CloudJob, name: str, tools: LogTools) -> None:
        self.is_cut = False
        self._vm = vm
        self._job = job
        self._tools = tools
        self._source = LogSource(kind=LogKind.JOB, path=name, identity=job.key)
        cursor = tools.recorder.state.cursors.get((vm, self._source.key))
        self._parser = LogParser.resume(cursor.parser) if cursor is not None else LogParser()
        digested = cursor.offset if cursor is not None else 0
        self._base = digested - self._parser.consumed
        self._parse_from = digested
        self._next = max(0, digested - TAIL_BYTES)
        self._is_first = True

    async def read(self, url: str) -> bool:
        """Take the next piece; whether there was one."""
        part = await self._tools.cloud.read_blob(url, self._next, CHUNK_BYTES)
        if self._is_first:
            self._is_first = False
            self._tools.on_log(self._vm, self._source, b"")
            if part.total - self._next > MAX_WHOLE_BYTES:
                self.is_cut = True
                self._next = part.total - TAIL_BYTES
                return True
        if part.total < self._next:
            await self._begin_anew()
            return True
        for start in range(0, len(part.data), SLICE_BYTES):
            await self._digest(part.data[start : start + SLICE_BYTES])
        return bool(part.data)

    async def finish(self) -> None:
        """The log is complete."""
        if not self.is_cut:
            await self.record(self._parser.finish())

    async def record(self, facts: Sequence[f.AnyFact]) -> None:
        """Tell what it says, under the job's name as soon as it tells of a run."""
        recorder, now = self._tools.recorder, self._tools.clock()
        if self._vm not in recorder.state.vms and any(isinstance(fact, _TELLS_OF_A_RUN) for fact in facts):
            spec = VmSpec(
                name=self._vm,
                transport=Transport.LOCAL,
                container="",
                log_path=f"/{self._source.path}",
                azure_id=self._job.resource_id,
                origin=Origin.JOB,
            )
            await recorder.record(VmNamed(vm=self._vm, at=now, spec=spec), wait=True)
            await recorder.record(LinkOpened(vm=self._vm, at=now))
            self._tools.seen_at[self._vm] = now
        cursor = LogCursor(vm=self._vm, source=self._source, offset=self._base + self._parser.consumed, parser=self._parser.state())
        await recorder.record(LogRead(vm=self._vm, at=now, source=self._source, facts=tuple(facts), cursor=cursor))

    async def _digest(self, data: bytes) -> None:
        self._tools.on_log(self._vm, self._source, data)
        known = min(max(0, self._parse_from - self._next), len(data))
        self._next += len(data)
        if known < len(data) and not self.is_cut:
            await self.record(self._parser.feed(data[known:]))
        await asyncio.sleep(0)

    async def _begin_anew(self) -> None:
        """The job was started again, and writes its log anew."""
        facts = self._parser.finish()
        self._next = self._parse_from = 0
        self._base = -self._parser.consumed
        self._tools.on_log(self._vm, self._source, b"")
        await self.record(facts)
