"""What an import makes of a tree: runs, tasks, files that are kept for as long as they are needed."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from tests.core.builders import a_run, a_task, a_vm
from tests.support.tree import BEGAN, png, stamp, waa_tree
from tests.support.wait import until
from waa.core.entity import Connection, RunId, Task
from waa.core.error import Invalid, Unavailable
from waa.core.event import Change, EventType
from waa.core.job import ImportKind, ImportRequest, ImportResult, Job, JobStatus
from waa.core.outside import JobSeen
from waa.core.results.folder import FolderLacking, Lack
from waa.core.results.tree import FileListed
from waa.core.status import TaskStatus
from waa.core.transition import Rules
from waa.probes import archive, results
from waa.services.importer import Importer
from waa.services.jobs import Progress
from waa.services.recorder import Recorder
from waa.services.result_reader import ResultReader, TaskReader
from waa.store.memory import MemoryStore

NOW = BEGAN + 90_000


class CopyingVms:
    """VMs whose folders lie here. ``absent``: how often they cannot be asked first."""

    def __init__(self) -> None:
        self.absent = 0
        self.asked = 0

    async def fetch_results(
        self, name: str, path: str, *, inner: bool, into: str, on_progress: Callable[[float, str], None]
    ) -> list[FileListed]:
        self.asked += 1
        if self.asked <= self.absent:
            raise Unavailable(f"{name} cannot be reached now")
        shutil.copytree(path, into, dirs_exist_ok=True)
        on_progress(1.0, "all")
        return []


@dataclass
class Desk:
    recorder: Recorder
    importer: Importer
    vms: CopyingVms
    folder: Path
    number: int = 0

    async def take(self, path: Path | str, kind: ImportKind = ImportKind.FOLDER, **fields: str) -> ImportResult:
        """Import to the end, as a job does."""
        self.number += 1
        request = ImportRequest(kind=kind, path=str(path), **fields)  # type: ignore[arg-type]
        job = Job(job_id=f"{self.number:016x}", request=request, created_at=NOW)
        return await self.importer.work(job, Progress())

    def task(self, run_id: str, task_id: str) -> Task:
        return next(task for task in self.recorder.state.tasks[RunId(run_id)].values() if task.task_id == task_id)


@asynccontextmanager
async def desk(tmp_path: Path, *, threshold: float = 1.0) -> AsyncIterator[Desk]:
    recorder = Recorder(store=MemoryStore(), rules=Rules(), clock=lambda: NOW)
    await recorder.open()
    vms = CopyingVms()
    importer = Importer(
        recorder=recorder,
        reader=results,
        extract=archive.extract,
        fetcher=vms,
        folder=tmp_path / "kept",
        clock=lambda: NOW,
        threshold=threshold,
        min_wait_s=0.001,
    )
    yield Desk(recorder, importer, vms, tmp_path / "kept")
    await recorder.close()


async def test_the_verdicts_follow_the_servers_threshold_and_times_the_steps(tmp_path: Path) -> None:
    run_folder = waa_tree(tmp_path / "results", tasks=4, steps=3, scores=(1.0, 0.5, 0.0, 0.75))
    async with desk(tmp_path, threshold=0.5) as d:
        result = await d.take(tmp_path / "results")
        (run_id,) = result.run_ids
        run = d.recorder.state.runs[RunId(run_id)]
        assert run.files == str(run_folder)
        assert (run.started_at, run.threshold, run.total, run.vm) == (BEGAN, 0.5, 4, "")
        assert [task.status.value for task in d.recorder.state.tasks[run.run_id].values()] == ["passed", "passed", "failed", "passed"]
        task = d.task(run_id, "00000001-WOS")
        assert (task.step, task.score, task.provisional, task.ended_at) == (3, 0.5, False, task.started_at + 30)


async def test_a_tree_that_has_grown_is_the_same_run(tmp_path: Path) -> None:
    run_folder = waa_tree(tmp_path / "results", tasks=3, steps=2)
    late = run_folder / "clock" / "00000001-WOS" / "result.txt"
    score = late.read_text()
    late.unlink()
    async with desk(tmp_path) as d:
        first = await d.take(tmp_path / "results")
        assert d.task(first.run_ids[0], "00000001-WOS").status is TaskStatus.UNKNOWN
        late.write_text(score)
        second = await d.take(tmp_path / "results")
        assert second.run_ids == first.run_ids
        assert (second.new, second.changed) == (0, 1)
        assert d.task(first.run_ids[0], "00000001-WOS").status is TaskStatus.FAILED


async def test_a_part_of_a_tree_is_a_part_of_the_same_run(tmp_path: Path) -> None:
    run_folder = waa_tree(tmp_path / "results", tasks=3, steps=2)
    async with desk(tmp_path) as d:
        whole = await d.take(run_folder)
        part = await d.take(run_folder / "chrome")
        assert part.run_ids == whole.run_ids
        assert (part.new, part.changed) == (0, 0)


async def test_files_from_a_vm_are_kept_once_and_go_with_their_run(tmp_path: Path) -> None:
    waa_tree(tmp_path / "vm" / "results", tasks=2, steps=2, picture=png(8, 8))
    async with desk(tmp_path) as d:
        d.vms.absent = 1
        first = await d.take(tmp_path / "vm" / "results", ImportKind.VM, vm="eval-1")
        assert d.vms.asked == 2
        await d.take(tmp_path / "vm" / "results", ImportKind.VM, vm="eval-1")
        assert [kept.name for kept in d.folder.iterdir()] == [f"{1:016x}"]
        d.importer.sweep()
        assert [kept.name for kept in d.folder.iterdir()] == [f"{1:016x}"]
        reader = ResultReader(state=d.recorder.state, monitor=_nobody(), local=results)
        found = await reader.task_record(RunId(first.run_ids[0]), "clock", "00000001-WOS")
        assert not isinstance(found, FolderLacking)
        picture = next(file.name for file in found.files if file.name.endswith(".png"))
        assert await reader.task_file(RunId(first.run_ids[0]), found, picture, max_bytes=10_000) == png(8, 8)
        assert await reader.task_file(RunId(first.run_ids[0]), found, "../../x.png", max_bytes=10_000) is None
        await d.recorder.prune(max_events=1000, runs_before=NOW + 1)
        d.importer.sweep()
        assert list(d.folder.iterdir()) == []


async def test_a_sweep_leaves_what_a_job_works_on(tmp_path: Path) -> None:
    async with desk(tmp_path) as d:
        request = ImportRequest(kind=ImportKind.ARCHIVE, path="/x")
        await d.recorder.record(JobSeen(vm="", at=NOW, job=Job(job_id="a" * 16, request=request, status=JobStatus.RUNNING, created_at=NOW)))
        await d.recorder.flush()
        for name in ("a" * 16, f".{'a' * 16}.x1.partial", "b" * 16, f".{'b' * 16}.x2.partial"):
            (d.folder / name).mkdir(parents=True)
        d.importer.sweep()
        assert sorted(kept.name for kept in d.folder.iterdir()) == [f".{'a' * 16}.x1.partial", "a" * 16]


async def test_results_of_a_watched_run_settle_it_and_give_it_files_that_stay(tmp_path: Path) -> None:
    waa_tree(tmp_path / "vm", tasks=2, steps=2, scores=(0.6666, 0.25))
    async with desk(tmp_path) as d:
        watched = a_run(run_id=RunId("vm-1-a"), threshold=0.5, started_at=BEGAN)
        seen = {"run_id": watched.run_id, "score": 0.67, "provisional": True, "status": TaskStatus.PASSED}
        tasks = [
            a_task(
                f"{number:08d}-WOS",
                **seen,
                domain=domain,
                index=number + 1,
                started_at=BEGAN + 80 * number,
                ended_at=BEGAN + 80 * number + 20,
            )
            for number, domain in enumerate(("chrome", "clock"))
        ]
        entities = [
            Change(type=EventType.RUN_STARTED, at=NOW, entity=watched),
            *(Change(type=EventType.TASK_STARTED, at=NOW, entity=task) for task in tasks),
        ]
        for change in entities:
            d.recorder.state.evolve(change)
            d.recorder._staged.evolve(change)
        result = await d.take(tmp_path / "vm", ImportKind.VM, vm="vm-1")
        assert result.run_ids == ("vm-1-a",)
        assert list(d.recorder.state.runs) == ["vm-1-a"]
        run = d.recorder.state.runs[watched.run_id]
        assert Path(run.files).is_relative_to(d.folder)
        assert [(task.score, task.provisional) for task in d.recorder.state.tasks[run.run_id].values()] == [(0.6666, False), (0.25, False)]


async def test_a_cancelled_import_leaves_nothing(tmp_path: Path) -> None:
    waa_tree(tmp_path / "vm", tasks=2, steps=2)
    async with desk(tmp_path) as d:
        d.recorder.state.put(a_vm("vm-1", connection=Connection(connected=False, since_at=NOW)))
        d.vms.absent = 1000
        progress = Progress()
        request = ImportRequest(kind=ImportKind.VM, path=str(tmp_path / "vm"), vm="vm-1")
        work = asyncio.ensure_future(d.importer.work(Job(job_id="a" * 16, request=request, created_at=NOW), progress))
        await until(lambda: progress.detail)
        assert "cannot be reached" in progress.detail
        (d.folder / ("a" * 16)).mkdir()
        progress.is_cancelled = progress.must_stop = True
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert list(d.folder.iterdir()) == []


async def test_a_folder_that_went_away_says_so(tmp_path: Path) -> None:
    run_folder = waa_tree(tmp_path / "results", tasks=1, steps=1)
    async with desk(tmp_path) as d:
        (run_id,) = (await d.take(run_folder)).run_ids
        reader = ResultReader(state=d.recorder.state, monitor=_nobody(), local=results)
        shutil.rmtree(run_folder / "chrome")
        found = await reader.task_record(RunId(run_id), "chrome", "00000000-WOS")
        assert isinstance(found, FolderLacking)
        assert found.lack is Lack.ABSENT
        shutil.rmtree(run_folder)
        found = await reader.task_record(RunId(run_id), "chrome", "00000000-WOS")
        assert isinstance(found, FolderLacking)
        assert found.lack is Lack.FAILED
        with pytest.raises(Invalid, match="path"):
            await d.take(run_folder)


def _nobody() -> TaskReader:
    """Whoever asks a VM is told that there is no such thing."""
    return cast(TaskReader, None)


async def test_an_attempt_that_is_appended_belongs_to_the_same_run(tmp_path: Path) -> None:
    run_folder = waa_tree(tmp_path / "results", tasks=1, steps=2)
    trajectory = run_folder / "chrome" / "00000000-WOS" / "traj.jsonl"
    async with desk(tmp_path) as d:
        first = await d.take(run_folder)
        again = trajectory.read_text().replace(stamp(BEGAN), stamp(BEGAN + 5000)).replace(stamp(BEGAN + 10), stamp(BEGAN + 5010))
        trajectory.write_text(trajectory.read_text() + again.replace(stamp(BEGAN + 20), stamp(BEGAN + 5020)))
        second = await d.take(run_folder)
        assert second.run_ids == first.run_ids
        assert (second.new, second.changed) == (0, 1)
        assert d.task(first.run_ids[0], "00000000-WOS").started_at == BEGAN + 5000


async def test_a_vm_that_answers_and_refuses_fails_the_import(tmp_path: Path) -> None:
    async with desk(tmp_path) as d:
        d.vms.absent = 1000
        d.recorder.state.put(a_vm("vm-1", connection=Connection(connected=True, since_at=NOW)))
        with pytest.raises(Unavailable, match="cannot be reached"):
            await d.take("/results", ImportKind.VM, vm="vm-1")
        assert d.vms.asked == 3
        assert not any(d.folder.iterdir())
