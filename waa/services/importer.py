"""Imports finished runs: gets their files to this machine, finds the runs, reads every task, and records each run as a whole.

Done twice it changes nothing, and begun again it goes on from the files that are here already. A folder on this machine is read where
it lies; what comes from a VM or an archive is kept in a folder of its own for as long as a run refers to it.
"""

import asyncio
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Protocol

from waa.core.entity import Imported, Run, RunId, Task
from waa.core.error import Cancelled, Invalid, Unavailable, WaaError
from waa.core.job import ImportKind, ImportRequest, ImportResult, Job
from waa.core.observation import LogKind, LogSource
from waa.core.outside import RunImported, known_run, take_import
from waa.core.results.record import read_record
from waa.core.results.summary import TaskResult, run_identity, summarise
from waa.core.results.tree import MAX_SETTINGS_BYTES, ExtractReport, FileListed, RunPlace, find_runs, with_settings
from waa.core.status import RunStatus
from waa.services.jobs import Progress
from waa.services.recorder import Recorder
from waa.services.result_reader import TreeReader
from waa.services.supervise import backoff_s

FETCHED_PERCENT = 80
UNPACKED_PERCENT = 60
MAX_SLUG = 60
MAX_IDENTITY = 12
MAX_NOTES = 20
MAX_WAIT_S = 30.0
MAX_WAITS = 25
MAX_REFUSALS = 2
"""A VM that cannot be reached is waited for, some ten minutes; one that answers and does not give the files is asked again twice."""

_NO_LOG = LogSource(kind=LogKind.FILE, path="")


class Extract(Protocol):
    """Unpacks what matters of an archive into a folder that appears when all of it is there. Blocks."""

    def __call__(self, path: str, into: str, *, on_progress: Callable[[float], None], is_cancelled: Callable[[], bool]) -> ExtractReport:
        """``on_progress`` is told the share that is done. Raises Invalid, Cancelled, Unavailable."""


class TreeFetcher(Protocol):
    """Gets result trees from VMs, but for what is here already; see ``Monitor``. Raises NotFound, Unavailable, Invalid."""

    async def fetch_results(
        self, name: str, path: str, *, inner: bool, into: str, on_progress: Callable[[float, str], None]
    ) -> Sequence[FileListed]: ...


@dataclass(frozen=True, slots=True)
class _Found:
    """A run that was read: where (on this machine), and what came of its tasks."""

    place: RunPlace
    files: str
    results: tuple[TaskResult, ...]


class Importer:
    """The work of an import job. ``folder`` is where files from elsewhere are kept."""

    def __init__(
        self,
        *,
        recorder: Recorder,
        reader: TreeReader,
        extract: Extract,
        fetcher: TreeFetcher,
        folder: Path,
        clock: Callable[[], float],
        threshold: float,
        min_wait_s: float = 1.0,
    ) -> None:
        self._recorder = recorder
        self._reader = reader
        self._extract = extract
        self._fetcher = fetcher
        self._folder = folder
        self._clock = clock
        self._threshold = threshold
        self._min_wait_s = min_wait_s

    async def work(self, job: Job, progress: Progress) -> ImportResult:
        """Do it. Raises Invalid where there are no results, or none that can be read; LinkError, NotFound, Unavailable of a VM."""
        try:
            root, begun = await self._get(job, progress)
            found = await asyncio.to_thread(self._read_all, root, job, progress, begun)
            result = await self._record(job, found)
            progress.tell(100, "")
        except (asyncio.CancelledError, Cancelled):
            if progress.is_cancelled:
                self._clean(job)
            raise
        except WaaError:
            self._clean(job)
            raise
        self._clean(job)
        return result

    def sweep(self) -> None:
        """Remove kept files that no run and no unfinished job refers to. Blocks."""
        jobs = {job.job_id for job in self._recorder.state.jobs.values() if not job.is_over}
        for folder in self._folder.iterdir() if self._folder.is_dir() else ():
            if folder.name.lstrip(".").partition(".")[0] not in jobs and not self._is_used(folder):
                shutil.rmtree(folder, ignore_errors=True)

    # --- the files ---

    async def _get(self, job: Job, progress: Progress) -> tuple[str, float]:
        """The folder to read, and the percentage that is done with it."""
        request = job.request
        if request.kind is ImportKind.FOLDER:
            return request.path, 0.0
        into = self._folder / job.job_id
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if request.kind is ImportKind.VM:
            await self._fetch(request, into, progress)
            return str(into), FETCHED_PERCENT
        if not into.exists():
            await asyncio.to_thread(
                self._extract,
                request.path,
                str(into),
                on_progress=lambda share: progress.tell(UNPACKED_PERCENT * share, "Unpacking"),
                is_cancelled=lambda: progress.must_stop,
            )
        return str(into), UNPACKED_PERCENT

    async def _fetch(self, request: ImportRequest, into: Path, progress: Progress) -> None:
        """From a VM, which may come and go meanwhile: one that cannot be reached is waited for."""
        refused = 0
        for failures in count(1):
            try:
                await self._fetcher.fetch_results(
                    request.vm,
                    request.path,
                    inner=request.inner,
                    into=str(into),
                    on_progress=lambda share, detail: progress.tell(FETCHED_PERCENT * share, detail),
                )
            except Unavailable as error:
                vm = self._recorder.state.vms.get(request.vm)
                refused += vm is None or bool(vm.connection.connected)
                if refused > MAX_REFUSALS or failures > MAX_WAITS:
                    raise
                progress.tell(progress.percent, f"Waiting: {error}")
                await asyncio.sleep(backoff_s(failures, min_s=self._min_wait_s, max_s=MAX_WAIT_S, spread=0.0))
            else:
                return

    def _read_all(self, root: str, job: Job, progress: Progress, begun: float) -> list[_Found]:
        """Blocks."""
        files = self._reader.list_tree(
            root, on_count=lambda count: progress.tell(begun, f"{count:,} files found"), is_cancelled=lambda: progress.must_stop
        )
        base = {ImportKind.FOLDER: root, ImportKind.VM: job.request.path, ImportKind.ARCHIVE: ""}[job.request.kind]
        places = find_runs(files, base=base)
        if not places:
            raise Invalid("path", f"{job.request.source} holds no results: no traj.jsonl, result.txt or execution.json was found")
        whole, done, found = sum(len(place.tasks) for place in places), 0, []
        for place in places:
            known, results = self._settled(root, place), []
            for task in known.tasks:
                if progress.must_stop:
                    raise Cancelled
                folder = self._reader.read_task_folder(f"{root}/{task.path}".rstrip("/"), root=root)
                if folder is not None:
                    results.append(summarise(task, folder, read_record(folder), threshold=self._threshold))
                done += 1
                progress.tell(begun + (99 - begun) * done / max(whole, done), f"{done:,} of {whole:,} tasks read")
            if results:
                first = Path(root, results[0].path)
                found.append(_Found(known, str(first.parent.parent), tuple(results)))
        return found

    def _settled(self, root: str, place: RunPlace) -> RunPlace:
        for path in place.settings:
            folder, _, name = path.rpartition("/")
            data = self._reader.read_file(f"{root}/{folder}".rstrip("/"), name, MAX_SETTINGS_BYTES, root=root)
            place = with_settings(place, path, data) if data is not None else place
        return place

    def _clean(self, job: Job) -> None:
        if job.request.kind is ImportKind.ARCHIVE:
            Path(job.request.path).unlink(missing_ok=True)
        kept = self._folder / job.job_id
        if kept.exists() and not self._is_used(kept):
            shutil.rmtree(kept, ignore_errors=True)

    def _is_used(self, folder: Path) -> bool:
        return any(run.files and Path(run.files).is_relative_to(folder) for run in self._recorder.state.runs.values())

    # --- the records ---

    async def _record(self, job: Job, found: Sequence[_Found]) -> ImportResult:
        result = ImportResult()
        for one in found:
            seen = self._seen(job, one, several=len(found) > 1)
            state = self._recorder.state
            known = known_run(state, seen)
            before = set(state.tasks[known.run_id]) if known is not None else set()
            touched = [change.entity.key for change in take_import(state, seen) if isinstance(change.entity, Task)]
            await self._recorder.record(seen, wait=True)
            new = sum(key not in before for key in touched)
            result = replace(
                result,
                run_ids=(*result.run_ids, known.run_id if known is not None else seen.run.run_id),
                tasks=result.tasks + len(seen.tasks),
                steps=result.steps + sum(task.step for task in seen.tasks),
                new=result.new + new,
                changed=result.changed + len(touched) - new,
                notes=(*result.notes, *_notes(one))[:MAX_NOTES],
            )
        return result

    def _seen(self, job: Job, found: _Found, *, several: bool) -> RunImported:
        """The run and its tasks; with the files that the run has here already where these add nothing to them."""
        run, tasks = self._entities(job, found, several=several)
        seen = RunImported(vm="", at=self._clock(), run=run, tasks=tasks)
        known = known_run(self._recorder.state, seen)
        if known is not None and known.files and Path(known.files).is_dir():
            same = replace(seen, run=replace(run, files=known.files))
            if not take_import(self._recorder.state, same):
                return same
        return seen

    def _run_id(self, name: str, identity: str) -> RunId:
        """The same for the same run, whatever it was called when it came first."""
        known = (run_id for run_id in self._recorder.state.runs if run_id.endswith(f"-{identity}"))
        return next(known, RunId(f"{_slug(name)}-{identity}"))

    def _entities(self, job: Job, found: _Found, *, several: bool) -> tuple[Run, tuple[Task, ...]]:
        now = self._clock()
        begun = [result.started_at for result in found.results if result.started_at is not None]
        ended = [result.ended_at for result in found.results if result.ended_at is not None]
        started_at = min(begun, default=now)
        own = found.place.label
        label = f"{job.request.label} · {own}" if job.request.label and several else job.request.label or own
        run_id = self._run_id(own, run_identity(found.place, found.results)[:MAX_IDENTITY])
        order = sorted(found.results, key=lambda result: (result.started_at or started_at, result.domain, result.task_id))
        run = Run(
            run_id=run_id,
            vm="",
            log=_NO_LOG,
            dialect=found.place.dialect,
            status=RunStatus.FINISHED,
            started_at=started_at,
            first_seen_at=now,
            ended_at=max(ended, default=started_at),
            total=len(order),
            arguments=dict(found.place.arguments),
            threshold=self._threshold,
            imported=Imported(kind=job.request.kind, source=job.request.source, at=now),
            files=found.files,
            label=label,
        )
        return run, tuple(_task(run, index, result) for index, result in enumerate(order, start=1))


def _task(run: Run, index: int, result: TaskResult) -> Task:
    started_at = result.started_at if result.started_at is not None else run.started_at
    ended_at = result.ended_at if result.ended_at is not None else started_at
    return Task(
        run_id=run.run_id,
        vm="",
        domain=result.domain,
        task_id=result.task_id,
        index=index,
        instruction=result.instruction,
        status=result.status,
        step=result.steps,
        score=result.score,
        provisional=False,
        error=result.error,
        started_at=started_at,
        ended_at=ended_at,
        changed_at=ended_at,
    )


def _notes(found: _Found) -> list[str]:
    cut = sum(result.is_cut for result in found.results)
    missing = len(found.place.tasks) - len(found.results)
    notes = [f"{cut} tasks have longer records than are read"] if cut else []
    return [*notes, f"{missing} task folders could not be read"] if missing else notes


def _slug(text: str) -> str:
    words = re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")[:MAX_SLUG].rstrip("-.")
    return words or "run"
