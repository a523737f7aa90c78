"""Local files as a source (requirement A11): through the recorder to the stream and its twins."""

import asyncio
import functools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.core.logs.corpus import data
from tests.web.house import House, Listener, house, until
from waa.core.error import LinkError
from waa.probes.files import LIVE_FILE, PROGRESS_FILE, read_live_files
from waa.services import live_files as module
from waa.services.live_files import NAME, LiveFiles
from waa.store.memory import MemoryStore

STATES = data("generated/openadapt_evals_live_states.jsonl").splitlines()


@asynccontextmanager
async def watching(built: House, folder: Path) -> AsyncIterator[LiveFiles]:
    files = LiveFiles(
        folder=str(folder),
        recorder=built.recorder,
        read=functools.partial(read_live_files, folder),
        clock=built.clock,
        seen_at=built.monitor.seen_at,
    )
    task = asyncio.create_task(files.run())
    try:
        yield files
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.002)


def connection(built: House) -> Any:
    vm = built.recorder.state.vms.get(NAME)
    return vm.connection if vm is not None else None


async def play(built: House, folder: Path, states: list[bytes]) -> None:
    """Write each state and wait until it was looked at."""
    for state in states:
        (folder / LIVE_FILE).write_bytes(state)
        looks = 0

        async def looked() -> bool:
            nonlocal looks
            looks += built.monitor.seen_at.pop(NAME, None) is not None
            return looks > 2

        await until(looked, "a look at the file")
        await built.recorder.flush()


async def test_a11_a_run_in_the_files_is_told_like_any_other(tmp_path: Path) -> None:
    (tmp_path / LIVE_FILE).write_bytes(STATES[0])
    async with house() as built, watching(built, tmp_path):
        await until(lambda: connection(built) and connection(built).connected, "the files' VM")
        listener: Listener = await built.listen()
        await play(built, tmp_path, STATES)
        done = [await listener.until("task_complete") for _ in range(6)]
        assert [(message.data["success"], message.data["status"]) for message in done] == [
            (True, "passed"),
            (False, "failed"),
            (None, "unknown"),
            (None, "unknown"),
            (False, "failed"),
            (False, "failed"),
        ]
        run = (await built.json(f"/api/current-run?vm={NAME}"))["run"]
        assert (run["status"], run["total_tasks"], run["tasks_completed"], run["dialect"]) == ("finished", 6, 6, "openadapt")


async def test_a11_a_file_that_is_half_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / LIVE_FILE).write_bytes(STATES[1])
    async with house() as built, watching(built, tmp_path):
        await until(lambda: built.recorder.state.runs, "the run")
        before = built.recorder.state.last_event_id
        await play(built, tmp_path, [STATES[5][: len(STATES[5]) // 2], b"", b"[]", b"\xff\xfe", b"{" * 5000, STATES[1]])
        assert built.recorder.state.last_event_id == before
        await play(built, tmp_path, [STATES[5]])
        (run_id,) = built.recorder.state.runs
        assert built.recorder.state.progress[run_id].passed == 1


async def test_a11_a_restart_tells_nothing_twice_and_what_came_meanwhile(tmp_path: Path) -> None:
    store = MemoryStore()
    async with house(store=store) as built, watching(built, tmp_path):
        await play(built, tmp_path, STATES[1:6])
    (tmp_path / LIVE_FILE).write_bytes(STATES[11])
    async with house(store=store) as built, watching(built, tmp_path):
        (run_id,) = built.recorder.state.runs
        await until(lambda: built.recorder.state.progress[run_id].completed == 2, "the second task")
        tasks = list(built.recorder.state.tasks[run_id].values())
        assert [(task.attempt, task.status.value) for task in tasks] == [(1, "passed"), (1, "failed")]


async def test_a11_files_that_are_not_there_are_named_with_what_to_do(tmp_path: Path) -> None:
    async with house() as built, watching(built, tmp_path):
        await until(lambda: connection(built) and connection(built).failure, "the failure")
        failure = connection(built).failure
        assert LIVE_FILE in failure.message
        assert "live_files" in failure.remedy
        await built.recorder.flush()
        before = built.recorder.state.last_event_id
        (tmp_path / PROGRESS_FILE).write_text(json.dumps({"status": "running", "tasks_complete": 1, "tasks_total": 2}))
        await until(lambda: connection(built).connected, "the files")
        assert built.recorder.state.last_event_id == before + 1, "the same failure again was no event"
        (tmp_path / PROGRESS_FILE).unlink()
        await until(lambda: not connection(built).connected, "their loss")


async def test_a11_the_progress_file_is_kept_while_it_is_half_written(tmp_path: Path) -> None:
    (tmp_path / PROGRESS_FILE).write_text(json.dumps({"status": "running", "provider": "aws", "tasks_complete": 1, "tasks_total": 2}))
    async with house() as built, watching(built, tmp_path) as files:
        await until(lambda: files.progress, "the progress")
        built.progress = files.progress
        assert (await built.json("/api/benchmark-progress"))["provider"] == "aws"
        (tmp_path / PROGRESS_FILE).write_text('{"status": "run')
        await play(built, tmp_path, [STATES[0]])
        assert files.progress is not None
        assert files.progress.tasks_total == 2


def test_a_folder_in_the_place_of_a_file_is_a_named_failure(tmp_path: Path) -> None:
    (tmp_path / LIVE_FILE).mkdir()
    with pytest.raises(LinkError) as caught:
        read_live_files(tmp_path)
    assert caught.value.failure.remedy
