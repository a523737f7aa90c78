"""What happened in the tasks that somebody looks at: read from the VM when it changed, kept for the next who asks.

Nothing is read for a task that nobody watches: a look (``peek``) at one that is behind starts a reading, and its end is told.
"""

import asyncio
import functools
import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from waa.core.entity import RunId, Task
from waa.core.error import NotFound
from waa.core.results.folder import FolderFound, FolderLacking
from waa.core.results.record import TaskRecord, attempt_of, of_attempt, read_record
from waa.core.state import State
from waa.services.picture import Pictures

log = logging.getLogger(__name__)
Result = TypeVar("Result")

MAX_KEPT = 64
MAX_KEPT_BYTES = 64 * 1024 * 1024
"""Of what the kept records were read from."""
MAX_PICTURE_BYTES = 8 * 1024 * 1024
MIN_AGAIN_S = 2.0
MAX_AGAIN_S = 60.0
"""When a record that is behind its task is read again: the files are written seconds after the log."""
THREADS = 2

TaskKey = tuple[RunId, str, str]
"""Run, domain, task: its attempts share a folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSeen:
    """What is known of one attempt at a task. ``record`` None: nothing was read (``lacking`` says why), or the folder tells of
    other attempts only (``is_other``). ``lacking`` with a record: it is what was read last. ``is_reading``: nothing is known yet."""

    record: TaskRecord | None = None
    lacking: FolderLacking | None = None
    path: str = ""
    is_other: bool = False
    is_reading: bool = False
    read_at: float | None = field(default=None, compare=False)


class FolderReader(Protocol):
    """Asks the VMs; see ``Monitor``."""

    async def task_record(self, run_id: RunId, domain: str, task_id: str) -> FolderFound | FolderLacking: ...

    async def task_file(self, run_id: RunId, folder: FolderFound, name: str, *, max_bytes: int) -> bytes | None: ...


@dataclass(slots=True)
class _Entry:
    moment: str = ""
    folder: FolderFound | None = None
    record: TaskRecord | None = None
    lacking: FolderLacking | None = None
    size: int = 0
    read_at: float = 0.0
    tries: int = 0


class TaskRecords:
    """For the loop's thread. ``on_change`` is told of each record that was read anew."""

    def __init__(self, *, reader: FolderReader, state: State, pictures: Pictures, clock: Callable[[], float]) -> None:
        self.on_change: Callable[[TaskKey], None] | None = None
        self._reader = reader
        self._state = state
        self._pictures = pictures
        self._clock = clock
        self._entries: dict[TaskKey, _Entry] = {}
        self._readings: dict[TaskKey, asyncio.Task[None]] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="records")

    def peek(self, task: Task) -> RecordSeen:
        """What is known now; a reading begins where the task went on since."""
        key = _key(task)
        if self._is_due(key):
            self._begin(key)
        return self._seen(key, task)

    async def load(self, task: Task, *, patience_s: float | None = None) -> RecordSeen:
        """What is known when a reading that is due has ended, or after ``patience_s``: the reading then goes on."""
        key = _key(task)
        if self._is_due(key):
            reading = self._begin(key)
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await asyncio.shield(reading)
        return self._seen(key, task)

    async def picture(self, task: Task, name: str, *, width: int | None = None) -> bytes:
        """A screenshot, from the disk or from the VM: a whole PNG, or a WebP of that width (one of WIDTHS). Raises NotFound, saying
        why, and Unavailable."""
        await self.load(task)
        key = _key(task)
        entry = self._entries.get(key)
        if entry is None or entry.folder is None:
            told = entry.lacking.message if entry is not None and entry.lacking is not None else "it was not read."
            raise NotFound(f"The result folder of {task.domain}/{task.task_id} is not known: {told}")
        file = next((file for file in entry.folder.files if file.name == name), None)
        if file is None or not name.endswith(".png"):
            raise NotFound(f"There is no screenshot {name!r} in the result folder of {task.domain}/{task.task_id}")
        if file.size > MAX_PICTURE_BYTES:
            raise NotFound(f"{name} has {file.size} bytes; up to {MAX_PICTURE_BYTES} are shown")
        told = json.dumps([task.vm, *key, entry.folder.path, file.name, file.size, file.modified_at])
        fetch = functools.partial(self._reader.task_file, task.run_id, entry.folder, name, max_bytes=MAX_PICTURE_BYTES)
        data = await (self._pictures.whole(told, fetch) if width is None else self._pictures.thumbnail(told, width, fetch))
        if data is None:
            is_damaged = width is not None and await self._pictures.whole(told, fetch) is not None
            raise NotFound(f"{name} is {'no picture that can be read' if is_damaged else 'gone, or is still being written'}")
        return data

    async def close(self) -> None:
        """End what is being read. May be called twice."""
        self.on_change = None
        tasks = list(self._readings.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _seen(self, key: TaskKey, task: Task) -> RecordSeen:
        entry = self._entries.get(key)
        if entry is None:
            return RecordSeen(is_reading=True)
        if entry.record is None or entry.folder is None:
            return RecordSeen(lacking=entry.lacking, read_at=entry.read_at)
        attempt = attempt_of(entry.record, began_at=task.started_at, ended_at=task.ended_at)
        return RecordSeen(
            record=of_attempt(entry.record, attempt) if attempt is not None else None,
            lacking=entry.lacking,
            path=entry.folder.path,
            is_other=attempt is None,
            read_at=entry.read_at,
        )

    def _newest(self, key: TaskKey) -> Task | None:
        tasks = self._state.tasks.get(key[0], {})
        attempt, newest = 1, None
        while (task := tasks.get(f"{key[1]}/{key[2]}#{attempt}")) is not None:
            attempt, newest = attempt + 1, task
        return newest

    def _moment(self, key: TaskKey) -> str:
        """Changes when the folder may have."""
        task, run = self._newest(key), self._state.runs.get(key[0])
        vm = self._state.vms.get(run.vm) if run is not None else None
        link = vm.connection.connected if vm is not None else None
        return f"{task.attempt} {task.step} {task.status} {task.provisional} {link}" if task is not None else f"{link}"

    def _is_due(self, key: TaskKey) -> bool:
        entry = self._entries.get(key)
        if key in self._readings:
            return entry is None
        if entry is None or entry.moment != self._moment(key):
            return True
        again_s = min(MAX_AGAIN_S, MIN_AGAIN_S * 2.0 ** min(entry.tries, 10))
        return self._is_behind(key, entry) and self._clock() - entry.read_at >= again_s

    def _is_behind(self, key: TaskKey, entry: _Entry) -> bool:
        task = self._newest(key)
        if entry.record is None or entry.lacking is not None:
            return True
        if task is None:
            return False
        attempt = attempt_of(entry.record, began_at=task.started_at, ended_at=task.ended_at)
        steps = [step.number for step in entry.record.steps if step.attempt == attempt]
        is_short = task.step > max(steps, default=0)
        return is_short or (task.is_over and not entry.record.has_result and not entry.record.error)

    def _begin(self, key: TaskKey) -> asyncio.Task[None]:
        reading = self._readings.get(key)
        if reading is None:
            reading = self._readings[key] = asyncio.create_task(self._read(key))
            reading.add_done_callback(lambda done: self._end(key, done))
        return reading

    def _end(self, key: TaskKey, done: asyncio.Task[None]) -> None:
        self._readings.pop(key, None)
        if not done.cancelled() and done.exception() is not None:
            log.error("task record not read run=%s task=%s/%s", *key, exc_info=done.exception())
        if self.on_change is not None:
            self.on_change(key)

    async def _read(self, key: TaskKey) -> None:
        moment = self._moment(key)
        before = self._entries.get(key)
        try:
            found = await self._reader.task_record(*key)
        except NotFound:
            return
        tries = before.tries + 1 if before is not None and before.moment == moment else 0
        if isinstance(found, FolderLacking):
            old = before or _Entry()
            entry = replace(old, moment=moment, lacking=found, read_at=self._clock(), tries=tries)
        else:
            size = sum(map(len, (found.trajectory or b"", *found.texts.values(), *found.heads.values()))) + 200 * len(found.files)
            record = await self._in_thread(functools.partial(read_record, found))
            bare = replace(found, trajectory=None, result=None, error=None, texts={}, heads={})
            entry = _Entry(moment=moment, folder=bare, record=record, size=size, read_at=self._clock(), tries=tries)
        self._entries.pop(key, None)  # the youngest stands last
        self._entries[key] = entry
        while len(self._entries) > 1 and (
            len(self._entries) > MAX_KEPT or sum(kept.size for kept in self._entries.values()) > MAX_KEPT_BYTES
        ):
            del self._entries[next(iter(self._entries))]

    async def _in_thread(self, call: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def _key(task: Task) -> TaskKey:
    return task.run_id, task.domain, task.task_id
