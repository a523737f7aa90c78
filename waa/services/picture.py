"""Pictures that somebody looks at: each fetched or made once however many look, and kept on the disk."""

import asyncio
import functools
import hashlib
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from waa.core.port import PictureStore, Shrink
from waa.core.results.picture import is_whole_png

Result = TypeVar("Result")
Fetch = Callable[[], Awaitable[bytes | None]]
"""Gets a picture from where it lies, None where it is gone."""

WIDTHS = (160, 320, 640)
"""Of thumbnails, in pixels: a film strip, a card, a phone."""
THREADS = 2


class Pictures:
    """For the loop's thread."""

    def __init__(self, *, store: PictureStore, shrink: Shrink) -> None:
        self._store = store
        self._shrink = shrink
        self._under_way: dict[str, asyncio.Task[bytes | None]] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="pictures")

    async def whole(self, name: str, fetch: Fetch) -> bytes | None:
        """The picture that ``name`` means for good, a whole PNG; None where it is gone or half written. Raises what ``fetch`` does."""
        return await self._once(_key(name), functools.partial(self._whole, name, fetch))

    async def thumbnail(self, name: str, width: int, fetch: Fetch) -> bytes | None:
        """A WebP of that picture, of one of WIDTHS; None too where the picture cannot be read."""
        key = _key(name, width)
        return await self._once(key, functools.partial(self._thumbnail, key, width, functools.partial(self.whole, name, fetch)))

    async def shrunk(self, png: bytes, width: int) -> bytes | None:
        """A WebP of a picture that is at hand, of one of WIDTHS; None where it cannot be read."""

        async def at_hand() -> bytes | None:
            return png

        key = _key(hashlib.sha256(png).hexdigest(), width)
        return await self._once(key, functools.partial(self._thumbnail, key, width, at_hand))

    async def close(self) -> None:
        """End what is under way. May be called twice."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _once(self, key: str, get: Callable[[], Coroutine[Any, Any, bytes | None]]) -> bytes | None:
        """Who asks for the same meanwhile waits for the same; one who leaves does not take it from the others."""
        if key not in self._under_way:
            self._under_way[key] = task = asyncio.create_task(get())
            task.add_done_callback(functools.partial(self._end, key))
        return await asyncio.shield(self._under_way[key])

    def _end(self, key: str, done: asyncio.Task[bytes | None]) -> None:
        del self._under_way[key]
        if not done.cancelled():
            done.exception()  # whoever waited was told; all may have left

    async def _whole(self, name: str, fetch: Fetch) -> bytes | None:
        kept = await self._in_thread(functools.partial(self._store.get, _key(name)))
        if kept is not None:
            return kept
        data = await fetch()
        if data is None or not is_whole_png(data):
            return None
        await self._in_thread(functools.partial(self._store.put, _key(name), data))
        return data

    async def _thumbnail(self, key: str, width: int, get: Fetch) -> bytes | None:
        kept = await self._in_thread(functools.partial(self._store.get, key))
        if kept is not None:
            return kept
        data = await get()
        small = await self._in_thread(functools.partial(self._shrink, data, width=width)) if data is not None else None
        if small is not None:
            await self._in_thread(functools.partial(self._store.put, key, small))
        return small

    async def _in_thread(self, call: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def _key(name: str, width: int | None = None) -> str:
    told = name if width is None else f"{name} {width}"
    return hashlib.sha256(told.encode("utf-8", "replace")).hexdigest()
