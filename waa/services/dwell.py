"""Remembers how long VMs stay in each phase of Windows set-up: from the stored events at the start, then from the new ones."""

import asyncio
from collections.abc import Sequence

from waa.core.dwell import PHASE_EVENTS, Dwells
from waa.core.event import Event
from waa.core.status import Phase
from waa.services.recorder import Recorder

PAGE = 1000
"""Events read from the store at once."""


class DwellTimes:
    """What is usual is known some time after the start: nobody waits for it."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._dwells = Dwells()
        self._heard: list[Event] | None = None

    def usual_s(self, vm: str, phase: Phase) -> float | None:
        """See ``Dwells.usual_s``."""
        return self._dwells.usual_s(vm, phase)

    async def run(self) -> None:
        """Until it is cancelled. Raises Unavailable where the stored events cannot be read."""
        self._dwells, self._heard = Dwells(), []
        stop = self._recorder.hub.listen(self._hear)
        try:
            last_id = await self._read()
            heard, self._heard = self._heard, None
            self._fold([event for event in heard if event.id > last_id])
            await asyncio.get_running_loop().create_future()
        finally:
            stop()

    async def _read(self) -> int:
        """Fold what is stored; gives the last id."""
        last_id = 0
        while page := await self._recorder.events_since(last_id, types=PHASE_EVENTS, limit=PAGE):
            self._fold(page)
            last_id = page[-1].id
        return last_id

    def _hear(self, events: Sequence[Event]) -> None:
        if self._heard is None:
            self._fold(events)
        else:  # what is stored is still being read
            self._heard.extend(event for event in events if event.type in PHASE_EVENTS)

    def _fold(self, events: Sequence[Event]) -> None:
        for event in events:
            self._dwells.take(event)
