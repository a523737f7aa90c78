"""The files that other programs read: whole, in their forms, safe, and honest about what is lacking."""

import asyncio
import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.builders import a_run, a_task
from tests.services.reader import PlayedFolders
from tests.support.wait import PATIENCE_S
from tests.web.house import T0, House, house, until
from tests.web.test_task_page import CLICK, RESET, RUN, a_line, begin, finish, start
from waa.core.entity import RunId
from waa.core.results.folder import FolderFound, FolderLacking, Lack
from waa.core.results.record import StepRecord, TaskRecord
from waa.core.status import TaskStatus
from waa.services.task_record import RecordSeen
from waa.web.export_rows import FORMULA, STEP_COLUMNS, TASK_COLUMNS, by_task, csv_line, lacking_words, moment, step_rows, task_cells

PATHS = (f"/runs/{RUN}/tasks.csv", f"/runs/{RUN}/steps.csv", f"/api/runs/{RUN}/steps")


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


async def table(built: House, path: str) -> list[dict[str, str]]:
    answer = await built.ask(path)
    assert answer.code == 200, answer.body
    return read_csv(answer.body.decode())


async def lines(built: House) -> list[dict[str, Any]]:
    answer = await built.ask(PATHS[2])
    assert answer.code == 200, answer.body
    assert answer.body.endswith(b"\n")
    return [json.loads(line) for line in answer.body.splitlines()]


async def test_tasks_have_a_line_per_attempt() -> None:
    async with house() as built:
        await begin(built, steps=2, instruction='Say "hi",\nthen leave.')
        await finish(built, None, error="boom")
        await start(built, T0 + 300, task_id="t-1")
        await start(built, T0 + 400, task_id="t-2")
        first, second, last = await table(built, PATHS[0])
        assert (first["run"], first["vm"], first["domain"], first["task_id"]) == (RUN, "vm-1", "clock", "t-1")
        assert (first["attempt"], first["index"], first["status"], first["error"]) == ("1", "1", "error", "boom")
        assert (first["score"], first["provisional"], first["steps"]) == ("", "", "2")
        assert (first["started_at"], first["ended_at"]) == ("2026-02-04T12:12:59.000Z", "2026-02-04T12:15:51.000Z")
        assert (first["duration_s"], first["instruction"]) == ("172", 'Say "hi",\nthen leave.')
        assert (second["attempt"], second["status"]) == ("2", "running")
        assert (last["task_id"], last["ended_at"], last["duration_s"]) == ("t-2", "", "")


async def test_steps_have_all_that_was_recorded() -> None:
    folders = PlayedFolders()
    folders.put("clock", "t-1", RESET, a_line(1, action=CLICK, response="It is OK."), a_line(2, action="DONE", done=True, reward=0.5))
    async with house(reader=folders) as built:
        await begin(built, steps=2)
        first, last = await table(built, PATHS[1])
        assert [first[name] for name in ("label", "step", "part", "action", "thought")] == ["1", "1", "1", CLICK.strip(), "It is OK."]
        assert [first[name] for name in ("at", "points", "done")] == ["2026-02-04T12:13:01.000Z", "0.25 0.5", "false"]
        assert [first[name] for name in ("before", "after")] == ["screenshot-step_reset_x.png", "screenshot-step_0_x.png"]
        assert [last[name] for name in ("action", "reward", "done", "lacking")] == ["DONE", "0.5", "true", ""]
        told_first, told_last = await lines(built)
        assert (told_first["points"], told_first["at"], told_first["lacking"]) == ([{"x": 0.25, "y": 0.5}], T0 + 30, None)
        assert told_first["before"]["url"].endswith("/files/screenshot-step_reset_x.png")
        assert (told_last["run"], told_last["attempt"], told_last["label"]) == (RUN, 1, "2")


async def test_each_folder_is_read_once_also_for_several_attempts() -> None:
    folders = PlayedFolders()
    async with house(reader=folders) as built:
        await begin(built, steps=1)
        await finish(built, None, error="boom")
        await start(built, T0 + 300, task_id="t-2")
        await start(built, T0 + 3600, task_id="t-1")
        late = a_line(1, action_timestamp="20260204@131300", action="again()")
        folders.put("clock", "t-1", RESET, a_line(1), json.dumps({"Error": "x", "Exception": "boom"}), RESET, late)
        folders.put("clock", "t-2", RESET, a_line(1, action_timestamp="20260204@121740", action="other()"))
        rows = await table(built, PATHS[1])
        assert [(row["task_id"], row["attempt"], row["action"]) for row in rows] == [
            ("t-1", "1", "act(1)"),
            ("t-1", "2", "again()"),
            ("t-2", "1", "other()"),
        ]
        assert folders.readings == 2


async def test_what_is_lacking_has_a_row_that_says_so() -> None:
    folders = PlayedFolders()
    folders.put("clock", "t-1", RESET, a_line(1), "{broken", is_cut=True)
    async with house(reader=folders) as built:
        await begin(built, steps=1)
        await start(built, T0 + 300, task_id="t-2")
        found, note, absent = await table(built, PATHS[1])
        assert (found["label"], found["lacking"]) == ("1", "")
        assert (note["label"], note["attempt"]) == ("", "1")
        assert note["lacking"] == "the record is longer than what is read of one; 1 lines of the record made no sense"
        assert (absent["task_id"], absent["action"], absent["lacking"]) == ("t-2", "", "nothing there (/results)")
        assert [row["lacking"] for row in await lines(built)] == [None, note["lacking"], absent["lacking"]]
        assert {*(await lines(built))[0]} == {*(await lines(built))[2]} == set(STEP_COLUMNS)


async def test_steps_arrive_while_later_tasks_are_still_read_and_leaving_ends_the_reading() -> None:
    folders = PlayedFolders()
    folders.put("clock", "t-1", RESET, a_line(1))
    async with house(reader=folders) as built:
        await begin(built, steps=1)
        for number in range(2, 6):
            await start(built, T0 + 300 * number, task_id=f"t-{number}")
        await built.json(f"/api/runs/{RUN}/tasks/clock/t-1")
        folders.gate.clear()
        reader, writer = await built.connect()
        writer.write(f"GET {PATHS[1]} HTTP/1.1\r\nHost: {built.netloc}\r\n\r\n".encode())
        async with asyncio.timeout(PATIENCE_S):
            await reader.readuntil(b"act(1)")
        await until(lambda: folders.readings == 2, "the second task is read")
        writer.close()
        await writer.wait_closed()
        await built.ask("/live")
        folders.gate.set()
        assert (await built.json(f"/api/runs/{RUN}/tasks/clock/t-2"))["steps"] is None
        assert folders.readings == 2


class FailingFolders(PlayedFolders):
    """Breaks at the second folder."""

    async def task_record(self, run_id: RunId, domain: str, task_id: str) -> FolderFound | FolderLacking:
        if self.readings:
            raise RuntimeError("the reader broke")
        return await super().task_record(run_id, domain, task_id)


async def test_what_fails_on_the_way_does_not_look_whole(caplog: pytest.LogCaptureFixture) -> None:
    folders = FailingFolders()
    folders.put("clock", "t-1", RESET, a_line(1))
    async with house(reader=folders) as built:
        await begin(built, steps=1)
        await start(built, T0 + 300, task_id="t-2")
        raw = await built.raw(f"GET {PATHS[1]} HTTP/1.1\r\nHost: {built.netloc}\r\n\r\n".encode())
        assert b"act(1)" in raw
        assert not raw.endswith(b"0\r\n\r\n")
    assert "the reader broke" in caplog.text


@pytest.mark.parametrize("path", PATHS)
async def test_a_file_has_a_name_and_a_head_and_is_made_anew(path: str) -> None:
    async with house(reader=PlayedFolders()) as built:
        await begin(built, steps=1)
        answer = await built.ask(path)
        name = f"{RUN}-{path.rpartition('/')[2]}" + (".ndjson" if path.startswith("/api") else "")
        assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Type"].startswith("application/x-ndjson" if path.startswith("/api") else "text/csv; charset=utf-8")
        head = await built.ask(path, "HEAD")
        assert (head.code, head.body) == (200, b"")
        assert (await built.ask(path.replace(RUN, "nobody"))).code == 404


async def test_a_run_without_tasks_gives_heads_alone() -> None:
    async with house() as built:
        await built.name()
        await built.start_run()
        assert (await built.ask(PATHS[0])).body.decode() == ",".join(TASK_COLUMNS) + "\r\n"
        assert (await built.ask(PATHS[1])).body.decode() == ",".join(STEP_COLUMNS) + "\r\n"
        assert (await built.ask(PATHS[2])).body == b""


@pytest.mark.parametrize("letter", FORMULA)
def test_no_text_begins_as_a_formula(letter: str) -> None:
    (cell,) = next(csv.reader(io.StringIO(csv_line([f"{letter}cmd|' /C calc'!A0"]).decode(), newline="")))
    assert cell == f"'{letter}cmd|' /C calc'!A0"


def test_numbers_are_numbers() -> None:
    line = csv_line([-1.0, -3, 0.8571428571428571, float("nan"), float("-inf"), None, True, False])
    assert line == b"-1,-3,0.8571428571428571,,,,true,false\r\n"


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_any_text_comes_back(texts: list[str]) -> None:
    data = csv_line([*texts, 1]).decode()
    (row,) = csv.reader(io.StringIO(data, newline=""))
    read = [cell.removeprefix("'") if text.startswith(FORMULA) else cell for cell, text in zip(row, texts, strict=False)]
    assert read == [text.replace("\0", "?") for text in texts]


def test_moments_have_one_form() -> None:
    assert moment(T0 + 0.25) == "2026-02-04T12:12:31.250Z"
    assert [moment(at) for at in (None, float("nan"), float("inf"), -1.0, 1e15)] == [""] * 5


def test_a_row_has_a_cell_for_each_column() -> None:
    task = a_task(status=TaskStatus.PASSED, score=0.8571428571428571, provisional=False, ended_at=T0 + 9)
    assert len(task_cells(a_run(), task)) == len(TASK_COLUMNS)
    seen = RecordSeen(record=TaskRecord(steps=(StepRecord(number=1, action="a"),), unreadable=2))
    assert [len(row.cells()) for row in step_rows(a_run(), task, seen)] == [len(STEP_COLUMNS)] * 2
    assert dict(zip(TASK_COLUMNS, task_cells(a_run(), task), strict=True))["score"] == 0.8571428571428571


def test_every_reason_for_a_gap_has_words() -> None:
    assert lacking_words(RecordSeen(record=TaskRecord())) == "no step was recorded"
    assert lacking_words(RecordSeen(is_reading=True)) == "the result folder was not read in time"
    assert lacking_words(RecordSeen(is_other=True)) == "the result folder tells of other attempts only"
    assert lacking_words(RecordSeen(lacking=FolderLacking(lack=Lack.ABSENT))) == "there is no result folder"
    assert lacking_words(RecordSeen(record=TaskRecord(steps=(StepRecord(number=1, action="a"),)))) == ""


def test_attempts_at_one_task_stand_together() -> None:
    first, other, again = a_task("a"), a_task("b"), a_task("a", attempt=2)
    assert by_task([first, other, again]) == [first, again, other]
