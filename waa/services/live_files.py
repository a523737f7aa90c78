"""A runner on this machine that keeps ``benchmark_live.json``: watched as one more VM, by its files."""

import asyncio
from collections.abc import Callable, MutableMapping

from waa.core.error import LinkError
from waa.core.logs.files import LiveProgress, read_live, read_progress
from waa.core.logs.live import LiveReader
from waa.core.observation import LinkFailed, LinkOpened, LogCursor, LogKind, LogRead, LogSource, VmNamed
from waa.core.spec import Origin, Transport, VmSpec
from waa.services.recorder import Recorder

LOOK_EVERY_S = 1.0
NAME = "local-files"
"""Name of the VM that stands for the files."""

Reader = Callable[[], tuple[bytes | None, bytes | None]]


class LiveFiles:
    """Looks at the files of an absolute ``folder`` once a second. ``progress`` is what the progress file said last, None: nothing yet."""

    def __init__(
        self, *, folder: str, recorder: Recorder, read: Reader, clock: Callable[[], float], seen_at: MutableMapping[str, float]
    ) -> None:
        self.progress: LiveProgress | None = None
        self._recorder = recorder
        self._read = read
        self._clock = clock
        self._seen_at = seen_at
        self._source = LogSource(kind=LogKind.FILE, path=f"{folder.rstrip('/')}/benchmark_live.json")
        self._is_open: bool | None = None

    async def run(self) -> None:
        """Until it is cancelled."""
        spec = VmSpec(name=NAME, transport=Transport.LOCAL, container="", log_path=self._source.path, origin=Origin.FILES)
        await self._recorder.record(VmNamed(vm=NAME, at=self._clock(), spec=spec), wait=True)
        cursor = self._recorder.state.cursors.get((NAME, self._source.key))
        reader = LiveReader.resume(cursor.parser if cursor is not None else {})
        while True:
            await self._look(reader)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self, reader: LiveReader) -> None:
        try:
            live, progress = await asyncio.to_thread(self._read)
        except LinkError as error:
            self._is_open = False
            await self._recorder.record(LinkFailed(vm=NAME, at=self._clock(), failure=error.failure))
            return
        now = self._clock()
        self._seen_at[NAME] = now
        if not self._is_open:
            self._is_open = True
            await self._recorder.record(LinkOpened(vm=NAME, at=now))
        if progress is not None:
            self.progress = read_progress(progress) or self.progress
        state = read_live(live) if live is not None else None
        facts = reader.take(state) if state is not None else []
        if facts:
            cursor = LogCursor(vm=NAME, source=self._source, parser=reader.state())
            await self._recorder.record(LogRead(vm=NAME, at=now, source=self._source, facts=tuple(facts), cursor=cursor))
