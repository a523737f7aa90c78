"""Log lines and specifications: read when somebody opens them, kept while they hold, and shown with their age when they cannot be read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.core.builders import T0
from tests.support.wait import until
from waa.core.entity import RunId
from waa.core.error import Failure, LinkError, NotFound
from waa.core.logs.excerpt import Excerpt
from waa.core.results.folder import FileRead
from waa.core.results.span import Span
from waa.core.status import Reason
from waa.services.task_text import LOG_AGAIN_S, MAX_KEPT, SPECIFICATION_AGAIN_S, TaskTexts

RUN = RunId("run-1")
CLOSED, OPEN = Span(from_at=T0, until_at=T0 + 10), Span(from_at=T0, until_at=None)
LINE = b"[2026-02-04 12:13:03,000 INFO x/1-MainProcess] a line\n"
GONE = Failure(reason=Reason.TIMEOUT, message="vm-1 does not answer", remedy="Start it.")


class PlayedTexts:
    """A VM with one log and one specification."""

    def __init__(self) -> None:
        self.excerpt: Excerpt | None = Excerpt(data=LINE)
        self.file = FileRead(path="/tasks/t-1.json", data=b'{"instruction": "Do it."}')
        self.failure: Failure | None = None
        self.asked: list[object] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def task_log(
        self, run_id: RunId, domain: str, task_id: str, *, from_at: float, until_at: float, max_bytes: int
    ) -> Excerpt | None:
        self.asked.append((from_at, until_at))
        await self._wait()
        return self.excerpt

    async def task_specification(self, run_id: RunId, domain: str, task_id: str, *, max_bytes: int) -> FileRead:
        self.asked.append(task_id)
        await self._wait()
        return self.file

    async def _wait(self) -> None:
        await self.gate.wait()
        if self.failure is not None:
            raise LinkError(self.failure)


class Desk:
    def __init__(self) -> None:
        self.reader = PlayedTexts()
        self.now = T0 + 100
        self.texts = TaskTexts(reader=self.reader, clock=lambda: self.now)


@asynccontextmanager
async def a_desk() -> AsyncIterator[Desk]:
    desk = Desk()
    try:
        yield desk
    finally:
        await desk.texts.close()
        await desk.texts.close()


async def test_the_lines_of_a_step_that_is_over_are_read_once() -> None:
    async with a_desk() as desk:
        for _ in range(3):
            seen = await desk.texts.log(RUN, "clock", "t-1", CLOSED)
            assert seen.value is not None
            assert (seen.value.excerpt, seen.value.is_open) == (Excerpt(data=LINE), False)
            desk.now += 3600
        assert desk.reader.asked == [(T0, T0 + 10)]


@pytest.mark.parametrize("data", [None, b"", LINE])
async def test_what_may_still_grow_is_read_again_but_not_at_once(data: bytes | None) -> None:
    async with a_desk() as desk:
        desk.reader.excerpt = Excerpt(data=data) if data is not None else None
        span = OPEN if data else CLOSED
        for _ in range(3):
            seen = await desk.texts.log(RUN, "clock", "t-1", span)
            assert seen.value is not None
            assert seen.value.is_open
        assert len(desk.reader.asked) == 1
        desk.now += LOG_AGAIN_S
        await desk.texts.log(RUN, "clock", "t-1", span)
        assert len(desk.reader.asked) == 2


async def test_those_who_open_it_at_once_share_one_reading() -> None:
    async with a_desk() as desk:
        desk.reader.gate.clear()
        opening = [asyncio.create_task(desk.texts.log(RUN, "clock", "t-1", OPEN)) for _ in range(5)]
        await until(lambda: desk.reader.asked)
        opening[0].cancel()
        desk.reader.gate.set()
        assert len({(await each).read_at for each in opening[1:]}) == 1
        assert len(desk.reader.asked) == 1


async def test_what_was_read_stays_with_its_age_when_the_vm_is_gone() -> None:
    async with a_desk() as desk:
        await desk.texts.log(RUN, "clock", "t-1", OPEN)
        read_at = desk.now
        desk.reader.failure = GONE
        desk.now += 60
        seen = await desk.texts.log(RUN, "clock", "t-1", OPEN)
        assert seen.value is not None
        assert (seen.value.excerpt, seen.read_at, seen.failure) == (Excerpt(data=LINE), read_at, GONE)
        never = await desk.texts.log(RUN, "clock", "t-2", OPEN)
        assert (never.value, never.read_at, never.failure) == (None, None, GONE)
        desk.reader.failure = None
        desk.now += LOG_AGAIN_S
        assert (await desk.texts.log(RUN, "clock", "t-2", OPEN)).failure is None


async def test_a_specification_is_kept_and_one_that_is_not_there_looked_for_again() -> None:
    async with a_desk() as desk:
        desk.reader.file = FileRead(searched=("/tasks/t-1.json",))
        for _ in range(2):
            seen = await desk.texts.specification(RUN, "clock", "t-1")
            assert seen.value is not None
            assert (seen.value.specification, seen.value.searched) == (None, ("/tasks/t-1.json",))
        desk.reader.file = FileRead(path="/tasks/t-1.json", data=b'{"instruction": "Do it."}')
        for _ in range(3):
            desk.now += SPECIFICATION_AGAIN_S
            seen = await desk.texts.specification(RUN, "clock", "t-1")
        assert seen.value is not None
        assert seen.value.specification is not None
        assert seen.value.specification.instruction == "Do it."
        assert desk.reader.asked == ["t-1", "t-1"]


async def test_only_so_many_are_kept() -> None:
    async with a_desk() as desk:
        spans = [Span(from_at=T0 + number, until_at=T0 + number + 1) for number in range(MAX_KEPT + 1)]
        for span in spans:
            await desk.texts.log(RUN, "clock", "t-1", span)
        await desk.texts.log(RUN, "clock", "t-1", spans[-1])
        assert len(desk.reader.asked) == MAX_KEPT + 1
        await desk.texts.log(RUN, "clock", "t-1", spans[0])
        assert len(desk.reader.asked) == MAX_KEPT + 2


async def test_an_unknown_run_is_told_and_not_kept() -> None:
    async with a_desk() as desk:

        async def refuse(*_: object, **__: object) -> FileRead:
            raise NotFound("There is no run 'run-1'")

        desk.reader.task_specification = refuse  # type: ignore[method-assign]
        with pytest.raises(NotFound):
            await desk.texts.specification(RUN, "clock", "t-1")
