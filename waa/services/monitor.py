"""The probe loop: one prober per VM however many clients watch, over one kept connection.

Flow of one VM: open the link (back off with jitter where that fails) -> the watch reports status on change and a
heartbeat -> found logs are followed from their cursors, parsed and recorded -> the link ends with a reason -> again.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import count

from waa.core.entity import Run, RunId, Task
from waa.core.error import Failure, LinkError, NotFound, Unavailable
from waa.core.event import Event, EventType
from waa.core.logs.excerpt import Excerpt
from waa.core.logs.files import read_score
from waa.core.observation import (
    Container,
    LinkFailed,
    LinkOpened,
    LinkSought,
    LogFound,
    LogKind,
    LogSource,
    Machine,
    ScoreFound,
    StatusSeen,
    TimePassed,
    VmForgotten,
    VmNamed,
)
from waa.core.port import LinkOpener, Watch, WatchMaker
from waa.core.results.folder import FileRead, FolderFound, FolderLacking, Lack
from waa.core.results.specification import places_of_specification
from waa.core.results.tree import FileListed
from waa.core.spec import Origin, VmSpec
from waa.core.status import ContainerStatus, Reason, TaskStatus
from waa.services.log_reader import LogReader, LogSink
from waa.services.recorder import Recorder
from waa.services.supervise import Supervisor, backoff_s

log = logging.getLogger(__name__)

UNPROBED = (Origin.FILES, Origin.JOB)
"""VMs that stand for something else, which nobody logs in to."""
MIN_BACKOFF_S = 1.0
MAX_BACKOFF_S = 30.0
TICK_S = 10.0
"""How often what depends on time alone is looked at."""
MAX_UNSETTLED = 500
"""Scores that wait for their ``result.txt``; a whole benchmark fits."""
SETTLE_AGAIN_S = (0.5, 5.0, 30.0)
"""When a ``result.txt`` that was not there is looked for again; it can be written a little later than the log line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tools:
    """What every prober works with."""

    recorder: Recorder
    opener: LinkOpener
    make_watch: WatchMaker
    on_log: LogSink
    clock: Callable[[], float]
    spread: Callable[[], float]
    seen_at: dict[str, float]
    retry_at: dict[str, float]
    machine_at: dict[str, float]


class Monitor:
    """Starts and ends the probers of all VMs.

    ``seen_at`` is the last sign of life of each VM; it moves with every heartbeat and causes no event. ``retry_at`` is when
    a VM that cannot be reached is tried next. ``machine_at`` is when a VM last told of itself as a machine (its boot above all); what it
    told is recorded by then.
    """

    def __init__(
        self,
        *,
        recorder: Recorder,
        opener: LinkOpener,
        make_watch: WatchMaker,
        supervisor: Supervisor,
        on_log: LogSink,
        clock: Callable[[], float],
        spread: Callable[[], float] = random.random,
    ) -> None:
        self.seen_at: dict[str, float] = {}
        self.retry_at: dict[str, float] = {}
        self.machine_at: dict[str, float] = {}
        self._recorder = recorder
        self._supervisor = supervisor
        self._clock = clock
        self._tools = _Tools(
            recorder=recorder,
            opener=opener,
            make_watch=make_watch,
            on_log=on_log,
            clock=clock,
            spread=spread,
            seen_at=self.seen_at,
            retry_at=self.retry_at,
            machine_at=self.machine_at,
        )
        self._probers: dict[str, _Prober] = {}
        self._stop_listening: Callable[[], None] | None = None

    def start(self) -> None:
        """Begin to watch every VM of the state."""
        self._stop_listening = self._recorder.hub.listen(self._hear)
        self._supervisor.start("clock", self._tick)
        for vm in self._recorder.state.vms.values():
            if vm.seen_at is not None:
                self.seen_at[vm.name] = vm.seen_at
            if vm.spec.origin not in UNPROBED:
                self._begin(vm.spec)

    async def name(self, spec: VmSpec) -> None:
        """Add a VM, or replace what is said about it; it is watched from now on."""
        await self._recorder.record(VmNamed(vm=spec.name, at=self._clock(), spec=spec), wait=True)
        prober = self._probers.get(spec.name)
        if prober is not None and prober.spec == spec:
            return
        await self._end(spec.name)
        self._begin(spec)

    async def forget(self, name: str) -> None:
        """Stop watching a VM and take it off the list; its runs stay, but for the demo's."""
        await self._end(name)
        self.seen_at.pop(name, None)
        self.retry_at.pop(name, None)
        self.machine_at.pop(name, None)
        await self._recorder.record(VmForgotten(vm=name, at=self._clock()), wait=True)

    def retry_now(self, name: str) -> None:
        """Try an unreachable VM at once."""
        prober = self._probers.get(name)
        if prober is not None:
            prober.wake.set()

    async def screenshot(self, name: str) -> bytes | None:
        """The last screenshot (PNG) that the benchmark on a VM took; asked of the VM once per step however many look.

        None where there is none. Raises NotFound for an unknown VM; an unreachable one gives what was seen last.
        """
        prober = self._probers.get(name)
        if prober is None and name not in self._recorder.state.vms:
            raise NotFound(f"There is no VM named {name!r}")
        return await prober.screenshot() if prober is not None else None

    async def screen_sums(self, task: Task, *, newest: int) -> tuple[str, ...]:
        """Checksums of the ``newest`` so many screenshots of a task, the newest first; none where its VM cannot be asked now."""
        prober = self._probers.get(task.vm)
        run = self._recorder.state.runs.get(task.run_id)
        return await prober.screen_sums(run, task, newest=newest) if prober is not None and run is not None else ()

    async def task_record(self, run_id: RunId, domain: str, task_id: str) -> FolderFound | FolderLacking:
        """The folder that the benchmark keeps for a task of a run, asked of its VM now. Raises NotFound for an unknown run."""
        run = self._recorder.state.runs.get(run_id)
        if run is None:
            raise NotFound(f"There is no run {run_id!r}")
        prober = self._probers.get(run.vm)
        if prober is None:
            return FolderLacking(lack=Lack.OUT_OF_REACH, message=f"{_unwatched(run)}.")
        return await prober.task_record(run, domain, task_id)

    async def task_file(self, run_id: RunId, folder: FolderFound, name: str, *, max_bytes: int) -> bytes | None:
        """A file of a folder that ``task_record`` gave; None where there is none any more, or a longer one. Raises NotFound for an
        unknown run, Unavailable where its VM cannot be asked."""
        run = self._recorder.state.runs.get(run_id)
        if run is None:
            raise NotFound(f"There is no run {run_id!r}")
        prober = self._probers.get(run.vm)
        if prober is None:
            raise Unavailable(f"{run.vm} is not watched by this server")
        return await prober.task_file(folder, name, max_bytes=max_bytes)

    async def fetch_results(
        self, name: str, path: str, *, inner: bool, into: str, on_progress: Callable[[float, str], None]
    ) -> Sequence[FileListed]:
        """Bring what matters of a result tree on a VM (``inner``: in its container) into a folder here, but for what is there already.

        Gives what the tree holds. ``on_progress`` gets the share that is here, 0 to 1, and what is done, in words. Raises NotFound for
        an unknown VM, Unavailable where it cannot be asked or stops answering, Invalid (``path``) where there is no such folder.
        """
        prober = self._probers.get(name)
        if prober is None and name not in self._recorder.state.vms:
            raise NotFound(f"There is no VM named {name!r}")
        if prober is None:
            raise Unavailable(f"{name} is not watched by this server")
        return await prober.fetch_results(path, inner=inner, into=into, on_progress=on_progress)

    async def task_log(
        self, run_id: RunId, domain: str, task_id: str, *, from_at: float, until_at: float, max_bytes: int
    ) -> Excerpt | None:
        """What the log of a run says from a moment until before another one, asked of its VM now; None where there is no such log any
        more. Raises NotFound for an unknown run, LinkError where its VM cannot be asked."""
        run, prober = self._run_and_prober(run_id)
        return await prober.log_range(run.log, from_at=from_at, until_at=until_at, max_bytes=max_bytes)

    async def task_specification(self, run_id: RunId, domain: str, task_id: str, *, max_bytes: int) -> FileRead:
        """The file that specifies a task, asked of the run's VM now. Raises NotFound for an unknown run, LinkError where its VM cannot
        be asked."""
        run, prober = self._run_and_prober(run_id)
        return await prober.specification(run, domain, task_id, max_bytes=max_bytes)

    def _run_and_prober(self, run_id: RunId) -> "tuple[Run, _Prober]":
        run = self._recorder.state.runs.get(run_id)
        if run is None:
            raise NotFound(f"There is no run {run_id!r}")
        prober = self._probers.get(run.vm)
        if prober is None:
            remedy = "Add it again." if run.log.kind is not LogKind.JOB else ""
            raise LinkError(Failure(reason=Reason.CONFIG, message=_unwatched(run), remedy=remedy))
        return run, prober

    async def close(self) -> None:
        """End all probers. May be called twice."""
        if self._stop_listening is not None:
            self._stop_listening()
            self._stop_listening = None
        await self._supervisor.stop("clock")
        await asyncio.gather(*(self._end(name) for name in list(self._probers)))

    def _begin(self, spec: VmSpec) -> None:
        prober = _Prober(spec, self._tools)
        self._probers[spec.name] = prober
        self._supervisor.start(f"vm {spec.name}", prober.run)

    async def _end(self, name: str) -> None:
        if self._probers.pop(name, None) is not None:
            await self._supervisor.stop(f"vm {name}")

    def _hear(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.type is EventType.TASK_COMPLETED and isinstance(event.entity, Task):
                prober = self._probers.get(event.entity.vm)
                if prober is not None:
                    prober.unsettled.append(event.entity)
                    prober.has_unsettled.set()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for name in list(self._probers):
                await self._recorder.record(TimePassed(vm=name, at=self._clock()))


class _Prober:
    """Looks at one VM for as long as it is on the list."""

    def __init__(self, spec: VmSpec, tools: _Tools) -> None:
        self.spec = spec
        self.wake = asyncio.Event()
        self.unsettled: deque[Task] = deque(maxlen=MAX_UNSETTLED)
        self.has_unsettled = asyncio.Event()
        self._tools = tools
        self._recorder = tools.recorder
        self._clock = tools.clock
        self._watch: Watch | None = None
        self._screenshot: bytes | None = None
        self._screenshot_of = ""
        self._screenshot_lock = asyncio.Lock()
        self._folder_lock = asyncio.Lock()
        self._text_lock = asyncio.Lock()

    async def run(self) -> None:
        attempt = 0
        await self._recorder.record(LinkSought(vm=self.spec.name, at=self._clock()))
        while True:
            await self._recorder.flush()
            session = _Session(self.spec, self._tools)
            failure = await self._look(session)
            attempt = 1 if session.was_alive else attempt + 1
            delay_s = backoff_s(attempt, min_s=MIN_BACKOFF_S, max_s=MAX_BACKOFF_S, spread=self._tools.spread())
            now = self._clock()
            log.info("link failed vm=%s reason=%s retry_in_s=%.1f", self.spec.name, failure.reason, delay_s)
            await self._recorder.record(LinkFailed(vm=self.spec.name, at=now, failure=failure))
            self._tools.retry_at[self.spec.name] = now + delay_s
            self.wake.clear()
            try:
                async with asyncio.timeout(delay_s):
                    await self.wake.wait()
            except TimeoutError:
                continue

    async def _look(self, session: "_Session") -> Failure:
        try:
            link = await self._tools.opener.open(self.spec)
        except LinkError as error:
            return error.failure
        try:
            watch = self._tools.make_watch(
                link, self.spec, on_status=session.take_status, on_alive=session.take_alive, on_logs=session.take_logs
            )
            self._watch = watch
            return await session.run(watch, self._settle)
        finally:
            self._watch = None
            await link.close()

    async def screenshot(self) -> bytes | None:
        async with self._screenshot_lock:
            task = self._pictured_task()
            if task is None or self._watch is None:
                return self._screenshot
            moment = f"{task.run_id} {task.key} {task.step} {task.is_over}"
            if moment != self._screenshot_of:
                run = self._recorder.state.runs[task.run_id]
                inner = run.log.kind is not LogKind.FILE
                roots = result_roots(self.spec, run.arguments, inner=inner)
                try:
                    found = await self._watch.read_screenshot(domain=task.domain, task_id=task.task_id, roots=roots, inner=inner)
                except LinkError as error:
                    log.debug("screenshot not read vm=%s reason=%s", self.spec.name, error)
                    return self._screenshot
                if found is not None:
                    self._screenshot, self._screenshot_of = found, moment
            return self._screenshot

    async def screen_sums(self, run: Run, task: Task, *, newest: int) -> tuple[str, ...]:
        inner = run.log.kind is not LogKind.FILE
        roots = result_roots(self.spec, run.arguments, inner=inner)
        if self._watch is None or not roots:
            return ()
        try:
            return await self._watch.read_screen_sums(domain=task.domain, task_id=task.task_id, roots=roots, inner=inner, newest=newest)
        except LinkError as error:
            log.debug("screenshots not compared vm=%s task=%s reason=%s", self.spec.name, task.key, error)
            return ()

    async def task_record(self, run: Run, domain: str, task_id: str) -> FolderFound | FolderLacking:
        inner = run.log.kind is not LogKind.FILE
        roots = tuple(result_roots(self.spec, run.arguments, inner=inner))
        if not roots:
            return FolderLacking(lack=Lack.UNSET, message="The run did not say where its results lie.")
        async with self._folder_lock:
            watch = self._watch
            if watch is None:
                return FolderLacking(lack=Lack.OUT_OF_REACH, message=f"{self.spec.name} cannot be reached now.", where=roots)
            try:
                found = await watch.read_task(
                    domain=domain, task_id=task_id, roots=roots, inner=inner, within=run.arguments.get("trial_id", "").strip("'\"")
                )
            except LinkError as error:
                log.debug("task folder not read vm=%s reason=%s", self.spec.name, error)
                return FolderLacking(lack=Lack.FAILED, message=str(error), where=roots)
        return found or FolderLacking(lack=Lack.ABSENT, message=f"There is no folder {domain}/{task_id} there.", where=roots)

    async def task_file(self, folder: FolderFound, name: str, *, max_bytes: int) -> bytes | None:
        async with self._folder_lock:
            if self._watch is None:
                raise Unavailable(f"{self.spec.name} cannot be reached now")
            try:
                return await self._watch.read_task_file(folder=folder.path, name=name, inner=folder.inner, max_bytes=max_bytes)
            except LinkError as error:
                raise Unavailable(f"{self.spec.name}: {error}") from error

    async def fetch_results(self, path: str, *, inner: bool, into: str, on_progress: Callable[[float, str], None]) -> Sequence[FileListed]:
        watch = self._watch
        if watch is None:
            raise Unavailable(f"{self.spec.name} cannot be reached now")
        on_progress(0.0, f"Listing the files on {self.spec.name}")
        try:
            files = await watch.list_results(path, inner=inner)
            await watch.fetch_results(
                path, files, inner=inner, into=into, on_progress=lambda done, total: on_progress(*_fetched(done, total))
            )
        except LinkError as error:
            raise Unavailable(f"{self.spec.name}: {error}") from error
        return files

    async def log_range(self, source: LogSource, *, from_at: float, until_at: float, max_bytes: int) -> Excerpt | None:
        async with self._text_lock:
            return await self._need_watch().read_log_range(source, from_at=from_at, until_at=until_at, max_bytes=max_bytes)

    async def specification(self, run: Run, domain: str, task_id: str, *, max_bytes: int) -> FileRead:
        is_inner = run.log.kind is not LogKind.FILE
        roots = tuple(result_roots(self.spec, run.arguments, inner=is_inner))
        searched: list[str] = []
        async with self._text_lock:
            for inner in (True,) if is_inner else (False, True) if self.spec.container else (False,):
                places = places_of_specification(
                    run.arguments, roots if inner is is_inner else (), domain=domain, task_id=task_id, inner=inner
                )
                searched += [f"{place} (in the container)" if inner else place for place in places]
                try:
                    found = await self._need_watch().read_first(places, inner=inner, max_bytes=max_bytes)
                except LinkError:
                    if inner is is_inner:
                        raise
                    continue  # the container of a run that is told by a file on the host may be gone
                if found is not None:
                    return FileRead(path=found[0], data=found[1])
        return FileRead(searched=tuple(searched))

    def _need_watch(self) -> Watch:
        if self._watch is not None:
            return self._watch
        vm = self._recorder.state.vms.get(self.spec.name)
        told = vm.connection.failure if vm is not None else None
        raise LinkError(told or Failure(reason=Reason.CLOSED, message=f"{self.spec.name} cannot be reached now"))

    def _pictured_task(self) -> Task | None:
        """The task that took the newest screenshot."""
        for run in self._recorder.state.runs_of(self.spec.name)[:1]:
            begun = (task for task in self._recorder.state.tasks[run.run_id].values() if task.step)
            return max(begun, key=lambda task: task.changed_at, default=None)
        return None

    async def _settle(self, watch: Watch) -> None:
        """Look for the exact scores of tasks that ended; the log only has them rounded. One that is not there yet is
        looked for again later and keeps no other waiting."""
        loop = asyncio.get_running_loop()
        state = self._recorder.state
        for run in state.runs_of(self.spec.name)[:1]:
            self.unsettled.extend(task for task in state.tasks[run.run_id].values() if task.is_over and task.provisional)
        due: list[tuple[float, int, int, Task]] = []
        order = count()
        while True:
            self.has_unsettled.clear()
            while self.unsettled:
                task = self.unsettled.popleft()
                heappush(due, (loop.time(), next(order), 0, task))
            if not due or due[0][0] > loop.time():
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(due[0][0] if due else None):
                        await self.has_unsettled.wait()
                continue
            _, _, tries, task = heappop(due)
            if not await self._settle_one(watch, task) and tries < len(SETTLE_AGAIN_S) and len(due) < MAX_UNSETTLED:
                heappush(due, (loop.time() + SETTLE_AGAIN_S[tries], next(order), tries + 1, task))

    async def _settle_one(self, watch: Watch, task: Task) -> bool:
        """Whether there is nothing more to look for."""
        run = self._recorder.state.runs.get(task.run_id)
        inner = run is not None and run.log.kind is not LogKind.FILE
        roots = result_roots(self.spec, run.arguments, inner=inner) if run is not None else []
        if not roots or task.status is TaskStatus.ERROR:
            return True
        try:
            text = await watch.read_result(domain=task.domain, task_id=task.task_id, roots=roots, inner=inner)
        except LinkError as error:
            log.debug("result not read vm=%s task=%s reason=%s", self.spec.name, task.key, error)
            return False
        if text is None or not text.strip():
            return False
        score = read_score(text)
        found = ScoreFound(vm=self.spec.name, at=self._clock(), run_id=task.run_id, domain=task.domain, task_id=task.task_id, score=score)
        await self._recorder.record(found)
        return True


def _unwatched(run: Run) -> str:
    """Why there is nobody to ask about a run."""
    is_job = run.log.kind is LogKind.JOB
    return "It ran in a job of Azure ML, whose files this server does not read" if is_job else f"{run.vm} is not watched by this server"


def _fetched(done: int, total: int) -> tuple[float, str]:
    return done / total if total else 1.0, f"{done / 1e6:,.1f} of {total / 1e6:,.1f} MB fetched"


def result_roots(spec: VmSpec, arguments: Mapping[str, str], *, inner: bool) -> list[str]:
    """Folders below which a run's ``result.txt`` files lie: as configured, else as the run printed it."""
    if spec.results_dir is not None:
        return [spec.results_dir]
    printed = arguments.get("result_dir", "").strip("'\"")
    if printed.startswith("/"):
        return [printed]
    return [f"/client/{printed.removeprefix('./')}"] if inner and printed else []


class _Session:
    """One open link's worth of looking."""

    def __init__(self, spec: VmSpec, tools: _Tools) -> None:
        self.was_alive = False
        self._spec = spec
        self._tools = tools
        self._recorder = tools.recorder
        self._clock = tools.clock
        self._status: StatusSeen | None = None
        self._found: tuple[LogFound, ...] = ()
        self._news = asyncio.Event()
        self._container_runs = asyncio.Event()
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take_status(self, seen: StatusSeen) -> None:
        """Parts that come before the last ones were recorded are laid over them: the newest of each part counts."""
        self._status = seen if self._status is None else _merged(self._status, seen)
        if isinstance(seen.container, Container):
            if seen.container.status is ContainerStatus.RUNNING:
                self._container_runs.set()
            else:
                self._container_runs.clear()
        self._news.set()

    def take_alive(self, at: float) -> None:
        self._tools.seen_at[self._spec.name] = at
        if not self.was_alive:
            self.was_alive = True
            self._news.set()

    def take_logs(self, found: tuple[LogFound, ...]) -> None:
        self._found = found
        self._news.set()

    async def run(self, watch: Watch, settle: Callable[[Watch], Coroutine[None, None, None]]) -> Failure:
        """Until the link ends; gives why. To be called once.

        Not by a TaskGroup: before Python 3.13 it swallows a cancellation that comes when one of its tasks has just failed,
        and who stops a prober would wait for ever.
        """
        try:
            for work in (watch.run(), self._record(watch), settle(watch)):
                self._begin(work)
            await self._end
        except LinkError as error:
            return error.failure
        finally:
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)
        return Failure(reason=Reason.CLOSED, message="the connection ended")

    def _begin(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Do it until it fails, or another one does."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._note_end)
        return task

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._end.done():
            self._end.set_exception(error)

    async def _record(self, watch: Watch) -> None:
        told = False
        while True:
            await self._news.wait()
            self._news.clear()
            if self.was_alive and not told:
                told = True
                log.info("link opened vm=%s", self._spec.name)
                await self._recorder.record(LinkOpened(vm=self._spec.name, at=self._clock()))
            status, self._status = self._status, None
            if status is not None:
                await self._recorder.record(status)
                if isinstance(status.machine, Machine):
                    self._tools.machine_at[self._spec.name] = self._clock()
            for found in self._found:
                reader = self._readers.get(found.source.key)
                if reader is None or reader.done():
                    self._readers[found.source.key] = self._begin(self._read(watch, found.source))

    async def _read(self, watch: Watch, source: LogSource) -> None:
        """Follow one log for as long as the link lives; what lies in the container waits for the container."""
        tools = self._tools
        reader = LogReader(self._spec.name, source, recorder=tools.recorder, on_log=tools.on_log, clock=tools.clock)
        while True:
            if source.kind is not LogKind.FILE:
                await self._container_runs.wait()
            try:
                failure = await reader.follow(watch)
            except LinkError as error:
                failure = error.failure
            if failure is not None:
                log.debug("log ended vm=%s log=%s reason=%s", self._spec.name, source.key, failure.message)
            await asyncio.sleep(MIN_BACKOFF_S * 2)


def _merged(before: StatusSeen, after: StatusSeen) -> StatusSeen:
    return replace(
        after,
        container=after.container if after.container is not None else before.container,
        probe=after.probe if after.probe is not None else before.probe,
        runner=after.runner if after.runner is not None else before.runner,
        machine=after.machine if after.machine is not None else before.machine,
        setup_page=after.setup_page if after.setup_page is not None else before.setup_page,
    )
