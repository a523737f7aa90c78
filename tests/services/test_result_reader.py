"""Logs and specifications of imported runs: those that their folders hold, and no others."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.core.builders import a_run
from tests.services.reader import PlayedFolders
from tests.services.test_task_text import PlayedTexts
from waa.core.entity import RunId
from waa.core.error import LinkError, NotFound
from waa.core.logs.excerpt import stamp
from waa.core.state import State
from waa.probes import results
from waa.services.result_reader import ResultReader, TaskReader

AT = 1_770_000_000.0


class PlayedVms(PlayedFolders, PlayedTexts):
    """The VMs of runs that were not imported."""

    def __init__(self) -> None:
        PlayedTexts.__init__(self)
        PlayedFolders.__init__(self)


def a_reader(files: Path | None) -> tuple[ResultReader, RunId, PlayedVms]:
    state = State()
    run = replace(a_run(), files=str(files), vm="") if files is not None else a_run()
    state.put(run)
    vms = PlayedVms()
    reader: TaskReader = vms
    return ResultReader(state=state, monitor=reader, local=results), run.run_id, vms


async def test_the_log_that_osworld_keeps_with_a_task_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "chrome" / "t-1"
    folder.mkdir(parents=True)
    lines = [f"[{stamp(AT + number)} INFO x/1-MainProcess] line {number}\nmore {number}\n" for number in range(5)]
    (folder / "runtime.log").write_text("".join(lines), encoding="utf-8")
    reader, run_id, _ = a_reader(tmp_path)
    found = await reader.task_log(run_id, "chrome", "t-1", from_at=AT + 1, until_at=AT + 3, max_bytes=1000)
    assert found is not None
    assert found.data.decode().strip() == "".join(lines[1:3]).strip()
    cut = await reader.task_log(run_id, "chrome", "t-1", from_at=AT, until_at=AT + 9, max_bytes=100)
    assert cut is not None
    assert (cut.is_cut, len(cut.data) <= 100) == (True, True)
    assert await reader.task_log(run_id, "chrome", "t-2", from_at=AT, until_at=AT + 9, max_bytes=100) is None


async def test_the_task_of_openadapt_is_its_specification(tmp_path: Path) -> None:
    folder = tmp_path / "tasks" / "t-1"
    folder.mkdir(parents=True)
    (folder / "task.json").write_bytes(b"{}")
    reader, run_id, _ = a_reader(tmp_path)
    found = await reader.task_specification(run_id, "chrome", "t-1", max_bytes=100)
    assert (found.path, found.data) == (f"{folder}/task.json", b"{}")
    absent = await reader.task_specification(run_id, "chrome", "t-2", max_bytes=100)
    assert (absent.data, len(absent.searched)) == (None, 2)


async def test_a_folder_that_went_away_is_told_and_others_are_asked_of_their_vm(tmp_path: Path) -> None:
    reader, run_id, _ = a_reader(tmp_path / "gone")
    with pytest.raises(LinkError):
        await reader.task_specification(run_id, "chrome", "t-1", max_bytes=100)
    with pytest.raises(NotFound):
        await reader.task_log(RunId("nobody"), "chrome", "t-1", from_at=AT, until_at=AT + 9, max_bytes=100)
    reader, run_id, vms = a_reader(None)
    assert await reader.task_log(run_id, "chrome", "t-1", from_at=AT, until_at=AT + 9, max_bytes=100) == vms.excerpt
    assert await reader.task_specification(run_id, "chrome", "t-1", max_bytes=100) == vms.file
