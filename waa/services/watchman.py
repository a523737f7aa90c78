"""Keeps a record of what goes wrong: compares what needs a person now with the incidents that are open, and tells the difference."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from zlib import crc32

from waa.core.attention import Attention, Limits, attention_of
from waa.core.dwell import UsualTime, unknown_time
from waa.core.entity import Run, Task, Vm
from waa.core.event import Event
from waa.core.incident import Incident
from waa.core.observation import IncidentsSeen
from waa.services.news import look_at_news
from waa.services.recorder import Recorder

log = logging.getLogger(__name__)

LOOK_EVERY_S = 3.0
"""What time alone brings about is noticed by then."""
GONE_AFTER_S = 4.0
"""What is away for less is not over; it takes two looks to be."""


class Watchman:
    """Opens an incident for each cause, keeps it while the cause lasts, and resolves it when it is gone.

    A cause is known by its VM, concern and subject, and by the run that it hits; ids hold the moment at which it began. So an incident
    goes on over a restart of the server, and the same cause is never told twice. A VM that was not asked yet, or is out of reach for
    less than its limit, keeps its incidents as they are: nothing is known of them.
    """

    def __init__(
        self,
        *,
        recorder: Recorder,
        limits: Limits,
        clock: Callable[[], float],
        usual_s: UsualTime = unknown_time,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._recorder = recorder
        self._limits = limits
        self._clock = clock
        self._usual_s = usual_s
        self._look_every_s = look_every_s
        self._missed_at: dict[str, float] = {}
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Until it is cancelled."""
        stop = self._recorder.hub.listen(self._hear)
        try:
            await look_at_news(self.look, self._news, self._look_every_s)
        finally:
            stop()

    async def look(self) -> None:
        """Compare once; what differs is recorded."""
        state, now = self._recorder.state, self._clock()
        found: dict[str, list[Attention]] = {name: [] for name in state.vms}
        for item in attention_of(state, now=now, limits=self._limits, usual_s=self._usual_s):
            found[item.vm].append(item)
        for name, items in found.items():
            vm = state.vms.get(name)
            if vm is not None and (items or vm.connection.connected):
                await self._tell(name, items, now)
        self._missed_at = {key: at for key, at in self._missed_at.items() if key in state.incidents and not state.incidents[key].is_over}

    async def _tell(self, vm: str, items: Sequence[Attention], now: float) -> None:
        known = {incident.incident_id: incident for incident in self._recorder.state.open_incidents(vm)}
        seen = {incident.incident_id: incident for incident in (self._incident(item, list(known.values()), now) for item in items)}
        for key, incident in seen.items():
            if key not in known:
                log.info("incident vm=%s concern=%s subject=%s", vm, incident.concern, incident.subject)
        seen |= {key: incident for key, incident in known.items() if key not in seen and self._may_come_back(key, now)}
        if seen != known:
            await self._recorder.record(IncidentsSeen(vm=vm, at=now, incidents=tuple(seen.values())))

    def _incident(self, item: Attention, known: Sequence[Incident], now: float) -> Incident:
        """The incident of an item: the open one of the same cause, with what is new of it, or another."""
        before = next((incident for incident in known if _is_same(incident, item)), None)
        began_at = before.began_at if before is not None else item.since_at if item.since_at is not None else now
        if before is not None:
            self._missed_at.pop(before.incident_id, None)
        return Incident(
            incident_id=before.incident_id if before is not None else _id(item, began_at),
            vm=item.vm,
            concern=item.concern,
            subject=item.subject,
            severity=item.severity,
            title=item.title,
            detail=item.detail,
            remedy=item.remedy,
            began_at=began_at,
            run_id=item.run_id or (before.run_id if before is not None else None),
            tasks=tuple(dict.fromkeys((*(before.tasks if before is not None else ()), *item.tasks))),
        )

    def _may_come_back(self, incident_id: str, now: float) -> bool:
        """Whether it is away for a moment only."""
        return now - self._missed_at.setdefault(incident_id, now) < GONE_AFTER_S

    def _hear(self, events: Sequence[Event]) -> None:
        if any(isinstance(event.entity, Vm | Run | Task) for event in events):
            self._news.set()


def _is_same(incident: Incident, item: Attention) -> bool:
    is_run_alike = incident.run_id is None or item.run_id is None or incident.run_id == item.run_id
    return (incident.concern, incident.subject) == (item.concern, item.subject) and is_run_alike


def _id(item: Attention, began_at: float) -> str:
    """The same again for the same cause, begun at the same moment: it is opened anew, not doubled."""
    about = f"{item.run_id or ''} {item.subject}".encode(errors="replace")
    return f"{item.vm}-{item.concern}-{round(began_at * 1000)}-{crc32(about):08x}"
