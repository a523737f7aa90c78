"""What is read for those who look: once, again when it changed, and kept where reading fails."""

import asyncio

import pytest

from tests.web.house import until
from waa.core.error import Unavailable
from waa.services.live_query import AGAIN_S, MAX_KEPT, LiveQueries, Seen


class Desk:
    """A database that the test holds, changes and breaks."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.moment = 1
        self.reads: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.changed: list[str] = []
        self.queries: LiveQueries[str, str] = LiveQueries(read=self.read, moment=lambda _key: self.moment, clock=lambda: self.now)
        self.queries.on_change = self.changed.append

    async def read(self, key: str) -> str:
        self.reads.append(key)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return f"{key} at {self.moment}"


async def test_a_look_begins_a_reading_and_its_end_is_told() -> None:
    desk = Desk()
    assert desk.queries.peek("a") == Seen()
    await until(lambda: desk.changed == ["a"], "the reading")
    assert desk.queries.peek("a") == Seen(value="a at 1")
    assert desk.reads == ["a"]
    await desk.queries.close()


async def test_who_waits_gets_it_at_once_and_others_do_not_read_again() -> None:
    desk = Desk()
    both = list(await asyncio.gather(desk.queries.load("a"), desk.queries.load("a")))
    assert both == [Seen(value="a at 1")] * 2
    assert desk.reads == ["a"]
    await desk.queries.close()


async def test_what_changed_is_read_again_and_shown_as_it_was_until_then() -> None:
    desk = Desk()
    await desk.queries.load("a")
    desk.moment = 2
    desk.gate.clear()
    assert desk.queries.peek("a") == Seen(value="a at 1")
    assert desk.queries.peek("a") == Seen(value="a at 1")
    await until(lambda: len(desk.reads) == 2, "the reading")
    desk.moment = 3
    desk.gate.set()
    await until(lambda: len(desk.changed) == 2, "its end")
    assert await desk.queries.load("a") == Seen(value="a at 3")
    await desk.queries.close()


async def test_patience_ends_and_the_reading_goes_on() -> None:
    desk = Desk()
    desk.gate.clear()
    assert await desk.queries.load("a", patience_s=0.01) == Seen()
    desk.gate.set()
    await until(lambda: desk.changed, "the reading")
    assert desk.queries.peek("a").value == "a at 1"
    await desk.queries.close()


async def test_a_reading_that_fails_keeps_what_was_known_and_says_why() -> None:
    desk = Desk()
    await desk.queries.load("a")
    desk.moment, desk.error = 2, Unavailable("The database is locked.")
    assert await desk.queries.load("a") == Seen(value="a at 1", error="The database is locked.")
    assert desk.queries.peek("a").error
    assert len(desk.reads) == 2
    desk.error, desk.now = None, desk.now + AGAIN_S
    assert await desk.queries.load("a") == Seen(value="a at 2")
    await desk.queries.close()


async def test_a_mistake_in_reading_is_logged_and_told(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    desk.error = ValueError("a mistake")
    with pytest.raises(ValueError, match="a mistake"):
        await desk.queries.load("a")
    assert desk.queries.peek("a") == Seen(error="It could not be read")
    await desk.queries.close()
    assert "not read key=a" in caplog.text


async def test_the_oldest_answer_goes() -> None:
    desk = Desk()
    for number in range(MAX_KEPT + 1):
        await desk.queries.load(str(number))
    assert desk.queries.peek("1").value is not None
    assert desk.queries.peek("0").value is None
    await desk.queries.close()
