"""One log of a VM: from its bytes to recorded facts, from where an earlier server stopped."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from waa.core.error import Failure
from waa.core.logs.fact import AnyFact
from waa.core.logs.parser import LogParser
from waa.core.observation import LogCursor, LogRead, LogSource
from waa.core.port import LogFollower, Watch
from waa.services.recorder import Recorder

MAX_BUFFER_BYTES = 512 * 1024
"""Log bytes of one log that wait to be parsed; beyond it the machine is pushed back."""
SLICE_BYTES = 64 * 1024
"""Log bytes parsed in one turn of the loop: some milliseconds."""
TAIL_BYTES = 64 * 1024
"""Already digested log text that is read again after a restart, for the live tail only."""

LogSink = Callable[[str, LogSource, bytes], None]
"""Takes log text for the live tail: VM, log, bytes. Empty bytes: the log begins anew."""


class LogReader:
    """Turns one log's bytes into recorded facts; where it stands survives in the store."""

    def __init__(self, vm: str, source: LogSource, *, recorder: Recorder, on_log: LogSink, clock: Callable[[], float]) -> None:
        self._vm = vm
        self._recorder = recorder
        self._on_log = on_log
        self._clock = clock
        cursor = recorder.state.cursors.get((vm, source.key))
        self._source = cursor.source if cursor is not None else source
        self._parser = LogParser.resume(cursor.parser) if cursor is not None else LogParser()
        self._base = (cursor.offset if cursor is not None else 0) - self._parser.consumed
        self._pieces: deque[bytes | LogSource] = deque()
        self._waiting_bytes = 0
        self._skip_bytes = 0
        self._news = asyncio.Event()
        self._ended = False
        self._failure: Failure | None = None
        self._follower: LogFollower | None = None
        self._is_paused = False
        self._has_tail = False

    @property
    def _offset(self) -> int:
        return self._base + self._parser.consumed

    async def follow(self, watch: Watch) -> Failure | None:
        """Read until the log ends (the container stopped); gives why where it is a failure."""
        offset = self._offset
        start = offset if self._has_tail else max(0, offset - TAIL_BYTES)
        if start < offset:
            self._on_log(self._vm, self._source, b"")
        self._has_tail = True
        self._skip_bytes = offset - start
        self._ended, self._failure = False, None
        self._parser = LogParser.resume(self._parser.state())
        self._base = offset - self._parser.consumed
        self._follower = await watch.follow(self._source, start, on_data=self._take_data, on_reset=self._take_reset, on_end=self._take_end)
        try:
            while not self._ended or self._pieces:
                await self._news.wait()
                self._news.clear()
                while self._pieces:
                    await self._digest()
        finally:
            self._follower.close()
            self._pieces.clear()
            self._waiting_bytes = 0
        return self._failure

    def _take_data(self, data: bytes) -> None:
        self._pieces.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes > MAX_BUFFER_BYTES and not self._is_paused and self._follower is not None:
            self._is_paused = True
            self._follower.pause()
        self._news.set()

    def _take_reset(self, source: LogSource) -> None:
        self._pieces.append(source)
        self._news.set()

    def _take_end(self, failure: Failure | None) -> None:
        self._ended, self._failure = True, failure
        self._news.set()

    async def _digest(self) -> None:
        piece = self._pieces.popleft()
        if isinstance(piece, LogSource):
            await self._begin_anew(piece)
            return
        if len(piece) > SLICE_BYTES:
            self._pieces.appendleft(piece[SLICE_BYTES:])
            piece = piece[:SLICE_BYTES]
        self._waiting_bytes -= len(piece)
        if self._is_paused and self._waiting_bytes < MAX_BUFFER_BYTES // 4 and self._follower is not None:
            self._is_paused = False
            self._follower.resume()
        self._on_log(self._vm, self._source, piece)
        known = min(self._skip_bytes, len(piece))
        self._skip_bytes -= known
        if known < len(piece):
            await self._record(self._parser.feed(piece[known:]))
        await asyncio.sleep(0)

    async def _begin_anew(self, source: LogSource) -> None:
        """The file was truncated or replaced. The grammar keeps what it knows: a rotation cuts no task."""
        facts = self._parser.finish()
        self._skip_bytes = 0
        self._source = source
        self._base = -self._parser.consumed
        self._on_log(self._vm, source, b"")
        await self._record(facts)

    async def _record(self, facts: Sequence[AnyFact]) -> None:
        cursor = LogCursor(vm=self._vm, source=self._source, offset=self._offset, parser=self._parser.state())
        observation = LogRead(vm=self._vm, at=self._clock(), source=self._source, facts=tuple(facts), cursor=cursor)
        await self._recorder.record(observation)
