"""Asks whether the screen stays the same while an agent repeats one action: a loop, or a list that is scrolled."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from waa.core.entity import RunId, Task
from waa.core.event import Event
from waa.core.observation import ScreensCompared
from waa.core.stall import count_same
from waa.services.recorder import Recorder

MAX_WAITING = 200
"""Tasks that wait to be looked at; a fleet has fewer that run."""


class SumReader(Protocol):
    """Reads checksums of screenshots (the monitor)."""

    def screen_sums(self, task: Task, *, newest: int) -> Awaitable[tuple[str, ...]]:
        """The newest first, none where the VM cannot be asked now."""


class ScreenCheck:
    """Compares the newest pictures of each task that repeats its action: once at ``repeats`` repeats, and again after as many steps."""

    def __init__(self, *, recorder: Recorder, reader: SumReader, repeats: int, clock: Callable[[], float]) -> None:
        self._recorder = recorder
        self._reader = reader
        self._repeats = repeats
        self._clock = clock
        self._asked: dict[tuple[RunId, str], int] = {}
        self._waiting: dict[tuple[RunId, str], None] = {}
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Until it is cancelled."""
        stop = self._recorder.hub.listen(self._hear)
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                while self._waiting:
                    await self._compare(self._waiting.popitem()[0])
        finally:
            stop()

    async def _compare(self, key: tuple[RunId, str]) -> None:
        task = self._recorder.state.tasks.get(key[0], {}).get(key[1])
        if task is None or task.is_over:
            return
        same = count_same(await self._reader.screen_sums(task, newest=self._repeats + 1))
        await self._recorder.record(ScreensCompared(vm=task.vm, at=self._clock(), run_id=task.run_id, task=task.key, same=same))

    def _hear(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event.entity, Task):
                self._take(event.entity)

    def _take(self, task: Task) -> None:
        key = (task.run_id, task.key)
        if task.is_over or task.repeats < self._repeats:
            self._asked.pop(key, None)
        elif (key not in self._asked or task.repeats >= self._asked[key] + self._repeats) and len(self._waiting) < MAX_WAITING:
            self._asked[key] = task.repeats
            self._waiting[key] = None
            self._news.set()
