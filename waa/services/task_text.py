"""What is asked for about a task besides its steps: the log's lines of a step, and the file that specifies it.

Both are read from where they lie when somebody opens them, once however many do, and kept for the next who asks. What cannot be read
now is shown as it was read last, with its age.
"""

import asyncio
import functools
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from waa.core.entity import RunId
from waa.core.error import Failure, LinkError
from waa.core.logs.excerpt import Excerpt
from waa.core.results.folder import FileRead
from waa.core.results.span import Span, lines_of
from waa.core.results.specification import MAX_BYTES, Specification, read_specification

log = logging.getLogger(__name__)
Value = TypeVar("Value")

MAX_LOG_BYTES = 64 * 1024
"""Of the lines of one step; usual ones have one or two thousand."""
MAX_KEPT = 64
"""Of each kind: some four megabytes of log lines."""
LOG_AGAIN_S = 3.0
"""When a step's lines are asked for again while it goes on, and after a failure."""
SPECIFICATION_AGAIN_S = 60.0
"""When a file that was not found is looked for again."""


class TextReader(Protocol):
    """Asks the VMs, or this machine's disk; see ``Monitor`` and ``ResultReader``. Both raise NotFound for an unknown run, and LinkError."""

    async def task_log(
        self, run_id: RunId, domain: str, task_id: str, *, from_at: float, until_at: float, max_bytes: int
    ) -> Excerpt | None: ...

    async def task_specification(self, run_id: RunId, domain: str, task_id: str, *, max_bytes: int) -> FileRead: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen(Generic[Value]):
    """What was read last, at ``read_at`` (None: nothing yet), and why it could not be read when that was ``tried_at`` last."""

    value: Value | None = None
    read_at: float | None = None
    failure: Failure | None = None
    tried_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSeen:
    """The lines of a step; None: there is no such log any more. ``is_open``: it may still get more."""

    excerpt: Excerpt | None
    is_open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecificationSeen:
    """The specification of a task and the file it stands in; None where none of the files ``searched`` is there, or where the one at
    ``path`` makes no sense."""

    specification: Specification | None
    path: str = ""
    searched: tuple[str, ...] = ()


class TaskTexts:
    """For the loop's thread."""

    def __init__(self, *, reader: TextReader, clock: Callable[[], float]) -> None:
        self._reader = reader
        self._logs: _Shelf[LogSeen] = _Shelf(clock, again_s=LOG_AGAIN_S, is_final=lambda seen: not seen.is_open)
        self._specifications: _Shelf[SpecificationSeen] = _Shelf(
            clock, again_s=SPECIFICATION_AGAIN_S, is_final=lambda seen: seen.specification is not None
        )

    async def log(self, run_id: RunId, domain: str, task_id: str, span: Span) -> Seen[LogSeen]:
        """What the run's log says of a span of time. Raises NotFound for an unknown run."""
        key = (run_id, domain, task_id, span)
        return await self._logs.load(key, functools.partial(self._read_log, *key))

    async def specification(self, run_id: RunId, domain: str, task_id: str) -> Seen[SpecificationSeen]:
        """The file that specifies a task. Raises NotFound for an unknown run."""
        key = (run_id, domain, task_id)
        return await self._specifications.load(key, functools.partial(self._read_specification, *key))

    async def close(self) -> None:
        """End what is being read. May be called twice."""
        await self._logs.close()
        await self._specifications.close()

    async def _read_log(self, run_id: RunId, domain: str, task_id: str, span: Span) -> LogSeen:
        from_at, until_at = span.search
        found = await self._reader.task_log(run_id, domain, task_id, from_at=from_at, until_at=until_at, max_bytes=MAX_LOG_BYTES)
        excerpt = lines_of(found, span) if found is not None else None
        is_whole = excerpt is not None and bool(excerpt.data) and span.until_at is not None
        return LogSeen(excerpt=excerpt, is_open=not is_whole)

    async def _read_specification(self, run_id: RunId, domain: str, task_id: str) -> SpecificationSeen:
        found = await self._reader.task_specification(run_id, domain, task_id, max_bytes=MAX_BYTES + 1)
        read = read_specification(found.data) if found.data is not None else None
        return SpecificationSeen(specification=read, path=found.path, searched=found.searched)


class _Shelf(Generic[Value]):
    """Keeps what was read, by key. One that is final is not read again."""

    def __init__(self, clock: Callable[[], float], *, again_s: float, is_final: Callable[[Value], bool]) -> None:
        self._clock = clock
        self._again_s = again_s
        self._is_final = is_final
        self._kept: OrderedDict[object, Seen[Value]] = OrderedDict()
        self._under_way: dict[object, asyncio.Task[Seen[Value]]] = {}

    async def load(self, key: object, read: Callable[[], Coroutine[Any, Any, Value]]) -> Seen[Value]:
        """What is kept where that still holds, else what is read now. Who asks for the same meanwhile waits for the same."""
        kept = self._kept.get(key)
        if kept is not None and self._holds(kept):
            self._kept.move_to_end(key)
            return kept
        if key not in self._under_way:
            self._under_way[key] = task = asyncio.create_task(self._read(key, read))
            task.add_done_callback(functools.partial(self._end, key))
        return await asyncio.shield(self._under_way[key])

    async def close(self) -> None:
        """End what is being read."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _holds(self, kept: Seen[Value]) -> bool:
        is_young = 0 <= self._clock() - kept.tried_at < self._again_s
        return is_young or (kept.failure is None and kept.value is not None and self._is_final(kept.value))

    async def _read(self, key: object, read: Callable[[], Coroutine[Any, Any, Value]]) -> Seen[Value]:
        before = self._kept.get(key, Seen())
        try:
            value = await read()
        except LinkError as error:
            log.debug("not read key=%s reason=%s", key, error)
            seen = replace(before, failure=error.failure, tried_at=self._clock())
        else:
            seen = Seen(value=value, read_at=self._clock(), tried_at=self._clock())
        self._kept[key] = seen
        self._kept.move_to_end(key)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return seen

    def _end(self, key: object, done: asyncio.Task[Seen[Value]]) -> None:
        del self._under_way[key]
        if not done.cancelled():
            done.exception()  # whoever waited was told; all may have left
