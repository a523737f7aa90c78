"""Pictures and their thumbnails: fetched once, made once, kept."""

import asyncio

import pytest

from tests.services.reader import PNG
from tests.support.wait import until
from waa.core.error import Unavailable
from waa.services.picture import Pictures
from waa.store.thumbnail import shrink


class Kept:
    """A disk."""

    def __init__(self) -> None:
        self.pictures: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:
        return self.pictures.get(key)

    def put(self, key: str, data: bytes) -> None:
        self.pictures[key] = data


class Source:
    """Where a picture lies."""

    def __init__(self, data: bytes | None = PNG) -> None:
        self.data = data
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self) -> bytes | None:
        self.asked += 1
        await self.gate.wait()
        return self.data


class Shrinker:
    """Counts what it is given."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, png: bytes, *, width: int) -> bytes | None:
        self.asked.append(width)
        return b"small %d" % width if png == PNG else None


async def test_those_who_ask_for_the_same_thumbnail_share_the_making() -> None:
    source, disk, small = Source(), Kept(), Shrinker()
    pictures = Pictures(store=disk, shrink=small)
    source.gate.clear()
    asking = [asyncio.create_task(pictures.thumbnail("a", 160, source.fetch)) for _ in range(5)]
    whole = asyncio.create_task(pictures.whole("a", source.fetch))
    await until(lambda: source.asked)
    asking[0].cancel()  # one who leaves does not take it from the others
    source.gate.set()
    assert await asyncio.gather(*asking[1:]) == [b"small 160"] * 4
    assert await whole == PNG
    assert (source.asked, small.asked) == (1, [160])
    assert await pictures.thumbnail("a", 160, source.fetch) == b"small 160"
    assert await pictures.thumbnail("a", 320, source.fetch) == b"small 320"
    assert (source.asked, small.asked, len(disk.pictures)) == (1, [160, 320], 3)
    await pictures.close()
    await pictures.close()


async def test_a_thumbnail_outlives_the_picture_that_it_was_made_of() -> None:
    source, disk = Source(), Kept()
    pictures = Pictures(store=disk, shrink=Shrinker())
    await pictures.thumbnail("a", 160, source.fetch)
    disk.pictures = {key: data for key, data in disk.pictures.items() if data != PNG}
    source.data = None
    assert await pictures.thumbnail("a", 160, source.fetch) == b"small 160"
    assert source.asked == 1
    await pictures.close()


async def test_what_cannot_be_shown_is_not_kept() -> None:
    disk = Kept()
    pictures = Pictures(store=disk, shrink=shrink)
    assert await pictures.whole("a", Source(PNG[:-1]).fetch) is None
    assert await pictures.thumbnail("a", 160, Source(None).fetch) is None
    assert disk.pictures == {}
    assert await pictures.thumbnail("a", 160, Source(PNG).fetch) is None  # whole, but nobody can read it
    assert list(disk.pictures.values()) == [PNG]
    await pictures.close()


async def test_a_source_out_of_reach_is_told_to_all_and_asked_again() -> None:
    async def fail() -> bytes | None:
        raise Unavailable("vm-1 cannot be reached now")

    pictures = Pictures(store=Kept(), shrink=Shrinker())
    for told in await asyncio.gather(*(pictures.thumbnail("a", 160, fail) for _ in range(3)), return_exceptions=True):
        assert isinstance(told, Unavailable)
    with pytest.raises(Unavailable):
        await pictures.whole("a", fail)
    assert await pictures.thumbnail("a", 160, Source().fetch) == b"small 160"
    await pictures.close()


async def test_a_picture_at_hand_is_made_small_once() -> None:
    disk, small = Kept(), Shrinker()
    pictures = Pictures(store=disk, shrink=small)
    assert await asyncio.gather(*(pictures.shrunk(PNG, 640) for _ in range(3))) == [b"small 640"] * 3
    assert await pictures.shrunk(PNG, 640) == b"small 640"
    assert (small.asked, list(disk.pictures.values())) == ([640], [b"small 640"])
    assert await pictures.shrunk(b"other", 640) is None
    await pictures.close()
