"""Records of tasks: read when somebody looks and something changed, kept, told when they are new."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from tests.core.builders import T0, a_run, a_task
from tests.services.reader import PNG, PlayedFolders
from tests.services.test_picture import Kept, Shrinker
from tests.support.wait import until
from waa.core.entity import Task
from waa.core.error import NotFound, Unavailable
from waa.core.results.folder import FolderFound, Lack
from waa.core.state import State
from waa.core.status import TaskStatus
from waa.services.picture import Pictures
from waa.services.task_record import TaskKey, TaskRecords


def a_line(number: int, stamp: str = "20260204@121240", **fields: object) -> str:
    """A step at T0 + 9 s."""
    return json.dumps(
        {
            "step_num": number,
            "action_timestamp": stamp,
            "action": f"act({number})",
            "screenshot": f"screenshot-step_{number - 1}_x.png",
            **fields,
        }
    )


class Desk:
    def __init__(self) -> None:
        self.state = State()
        self.reader = PlayedFolders()
        self.disk = Kept()
        self.now = T0 + 100
        self.changes: list[TaskKey] = []
        self.pictures = Pictures(store=self.disk, shrink=Shrinker())
        self.records = TaskRecords(reader=self.reader, state=self.state, pictures=self.pictures, clock=lambda: self.now)
        self.records.on_change = self.changes.append
        self.state.put(a_run())

    def task(self, **fields: object) -> Task:
        """The task as the log told it."""
        task = replace(a_task(), **fields)  # type: ignore[arg-type]  # those of Task
        self.state.put(task)
        return task


@asynccontextmanager
async def a_desk() -> AsyncIterator[Desk]:
    desk = Desk()
    try:
        yield desk
    finally:
        await desk.records.close()
        await desk.records.close()
        await desk.pictures.close()


async def test_a_look_begins_a_reading_whose_end_is_told() -> None:
    async with a_desk() as desk:
        desk.reader.put("notepad", "task-1", a_line(1))
        task = desk.task(step=1)
        assert desk.records.peek(task).is_reading
        await until(lambda: desk.changes)
        seen = desk.records.peek(task)
        assert seen.record is not None
        assert [step.action for step in seen.record.steps] == ["act(1)"]
        assert desk.changes == [(task.run_id, "notepad", "task-1")]
        for _ in range(10):
            desk.records.peek(task)
        assert desk.reader.readings == 1


async def test_it_is_read_again_when_the_task_goes_on_and_only_then() -> None:
    async with a_desk() as desk:
        desk.reader.put("notepad", "task-1", a_line(1))
        task = desk.task(step=1)
        await desk.records.load(task)
        desk.now += 3600
        await desk.records.load(task)
        assert desk.reader.readings == 1
        task = desk.task(step=2)
        desk.reader.put("notepad", "task-1", a_line(1), a_line(2))
        seen = await desk.records.load(task)
        assert seen.record is not None
        assert len(seen.record.steps) == 2
        assert desk.reader.readings == 2


async def test_files_that_are_late_are_looked_for_again_ever_more_rarely() -> None:
    async with a_desk() as desk:
        task = desk.task(step=1)
        waits = []
        for _ in range(8):
            await desk.records.load(task)
            before, began_at = desk.reader.readings, desk.now
            while desk.reader.readings == before:
                desk.now += 1
                await desk.records.load(task)
            waits.append(desk.now - began_at)
        assert waits == [2, 4, 8, 16, 32, 60, 60, 60]


async def test_those_who_look_at_once_share_one_reading() -> None:
    async with a_desk() as desk:
        desk.reader.put("notepad", "task-1", a_line(1))
        desk.reader.gate.clear()
        task = desk.task(step=1)
        looks = [asyncio.create_task(desk.records.load(task)) for _ in range(5)]
        await until(lambda: desk.reader.readings)
        looks[0].cancel()  # one who leaves does not take it from the others
        desk.reader.gate.set()
        seen = await asyncio.gather(*looks[1:])
        assert all(each.record is not None for each in seen)
        assert desk.reader.readings == 1


async def test_who_has_no_patience_sees_what_is_known_and_the_reading_goes_on() -> None:
    async with a_desk() as desk:
        desk.reader.put("notepad", "task-1", a_line(1))
        desk.reader.gate.clear()
        task = desk.task(step=1)
        assert (await desk.records.load(task, patience_s=0.01)).is_reading
        desk.reader.gate.set()
        await until(lambda: desk.changes)
        assert desk.records.peek(task).record is not None
        assert desk.reader.readings == 1


async def test_what_was_read_stays_when_the_vm_cannot_be_reached() -> None:
    async with a_desk() as desk:
        desk.reader.put("notepad", "task-1", a_line(1))
        task = desk.task(step=1)
        await desk.records.load(task)
        assert await desk.records.picture(task, "screenshot-step_0_x.png") == PNG
        desk.reader.is_down = True
        task = desk.task(step=2)
        seen = await desk.records.load(task)
        assert seen.record is not None
        assert seen.lacking is not None
        assert seen.lacking.lack is Lack.OUT_OF_REACH
        assert await desk.records.picture(task, "screenshot-step_0_x.png") == PNG
        assert desk.reader.fetches == ["screenshot-step_0_x.png"]


async def test_a_folder_that_was_used_again_does_not_tell_of_the_earlier_attempt() -> None:
    async with a_desk() as desk:
        desk.reader.put("notepad", "task-1", a_line(1, "20260205@121240"))
        seen = await desk.records.load(desk.task(step=1, status=TaskStatus.FAILED, ended_at=T0 + 60))
        assert seen.is_other
        assert seen.record is None


async def test_attempts_share_a_folder_and_each_gets_its_own_steps() -> None:
    async with a_desk() as desk:
        first = desk.task(step=1, status=TaskStatus.ERROR, ended_at=T0 + 60)
        second = desk.task(attempt=2, index=2, started_at=T0 + 3600, changed_at=T0 + 3600, step=2)
        error = json.dumps({"Error": "Exception in notepad/task-1", "Exception": "boom"})
        desk.reader.put("notepad", "task-1", a_line(1), error, a_line(1, "20260204@131240"), a_line(2, "20260204@131250"))
        one, two = await desk.records.load(first), await desk.records.load(second)
        assert one.record is not None
        assert two.record is not None
        assert (len(one.record.steps), one.record.error, len(two.record.steps), two.record.error) == (1, "boom", 2, "")


async def test_a_picture_is_fetched_once_however_many_look() -> None:
    async with a_desk() as desk:
        desk.reader.put("notepad", "task-1", a_line(1))
        task = desk.task(step=1)
        await desk.records.load(task)
        desk.reader.gate.clear()
        looks = [asyncio.create_task(desk.records.picture(task, "screenshot-step_0_x.png")) for _ in range(5)]
        await until(lambda: desk.reader.fetches)
        desk.reader.gate.set()
        assert await asyncio.gather(*looks) == [PNG] * 5
        assert await desk.records.picture(task, "screenshot-step_0_x.png") == PNG
        assert len(desk.reader.fetches) == 1


async def test_a_thumbnail_is_made_of_the_picture() -> None:
    async with a_desk() as desk:
        desk.reader.put("notepad", "task-1", a_line(1))
        task = desk.task(step=1)
        assert await desk.records.picture(task, "screenshot-step_0_x.png", width=160) == b"small 160"
        assert await desk.records.picture(task, "screenshot-step_0_x.png") == PNG
        assert desk.reader.fetches == ["screenshot-step_0_x.png"]


async def test_another_content_under_the_same_name_is_another_picture() -> None:
    async with a_desk() as desk:
        desk.reader.put("notepad", "task-1", a_line(1))
        await desk.records.picture(desk.task(step=1), "screenshot-step_0_x.png")
        folder = desk.reader.folders["notepad", "task-1"]
        desk.reader.folders["notepad", "task-1"] = replace(folder, files=(replace(folder.files[0], modified_at=2.0),))
        await desk.records.picture(desk.task(step=2), "screenshot-step_0_x.png")
        assert len(desk.reader.fetches) == 2
        assert len(desk.disk.pictures) == 2


async def test_pictures_that_cannot_be_shown_say_why() -> None:
    async with a_desk() as desk:
        task = desk.task(step=1)
        with pytest.raises(NotFound, match="nothing there"):
            await desk.records.picture(task, "screenshot-step_0_x.png")
        desk.reader.put("notepad", "task-1", a_line(1))
        task = desk.task(step=2)
        with pytest.raises(NotFound, match="no screenshot"):
            await desk.records.picture(task, "traj.jsonl")
        desk.reader.files["screenshot-step_0_x.png"] = PNG[:-4]
        with pytest.raises(NotFound, match="still being written"):
            await desk.records.picture(task, "screenshot-step_0_x.png")
        desk.reader.files["screenshot-step_0_x.png"] = PNG + PNG
        with pytest.raises(NotFound, match="no picture that can be read"):
            await desk.records.picture(task, "screenshot-step_0_x.png", width=160)
        desk.disk.pictures.clear()

        async def refuse(*_: object, **__: object) -> bytes | None:
            raise Unavailable("vm-1 cannot be reached now")

        desk.reader.task_file = refuse  # type: ignore[method-assign]
        with pytest.raises(Unavailable):
            await desk.records.picture(task, "screenshot-step_0_x.png")
        assert desk.disk.pictures == {}


async def test_only_so_many_records_are_kept() -> None:
    async with a_desk() as desk:
        tasks = [desk.task(task_id=f"t-{number}", index=number, step=1) for number in range(1, 70)]
        for task in tasks:
            desk.reader.folders["notepad", task.task_id] = FolderFound(path="/r", trajectory=a_line(1).encode())
            await desk.records.load(task)
        assert desk.reader.readings == 69
        await desk.records.load(tasks[-1])
        assert desk.reader.readings == 69
        await desk.records.load(tasks[0])
        assert desk.reader.readings == 70
