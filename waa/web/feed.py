"""The benchmark stream for programs: ``/api/benchmark-sse`` (requirements A1 to A9).

Clients with the same interval share a group, so that each message is encoded once. ``status`` and ``progress`` are
paced per group; ``task_complete`` and ``error`` go out as they happen.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence

from waa.core.codec import encode
from waa.core.entity import Run, RunId, Task, Trouble, Vm
from waa.core.event import Event, EventType
from waa.core.incident import Incident
from waa.core.state import State
from waa.hub.hub import Hub
from waa.web import sse, wire
from waa.web.fanout import Fanout
from waa.web.stream_service import StreamService

PROTOCOL_VERSION = "1.0"
DEFAULT_INTERVAL_S = 5
MIN_INTERVAL_S = 1
MAX_INTERVAL_S = 60
HEARTBEAT_S = 30.0
INCIDENTS = (EventType.INCIDENT_OPENED, EventType.INCIDENT_RESOLVED)
REPLAYED = (EventType.TASK_COMPLETED, EventType.TASK_SETTLED, EventType.TROUBLE_MET, *INCIDENTS)
"""What a client that was away must still be told; the rest it learns from the snapshot."""
STATUS, PROGRESS = "status", "progress"

Subject = tuple[str, str]
"""STATUS and the name of a VM, or PROGRESS and the id of a run."""
Saying = Mapping[str, object]
"""A payload, but for the age of the look."""


def clamp_interval(text: str | None) -> int:
    """Seconds from the query (A1): absent or not a number is 5, the rest is clamped to 1..60 and rounded."""
    try:
        value = float(text) if text is not None else float(DEFAULT_INTERVAL_S)
    except ValueError:
        return DEFAULT_INTERVAL_S
    if math.isnan(value):
        return DEFAULT_INTERVAL_S
    return round(min(max(value, MIN_INTERVAL_S), MAX_INTERVAL_S))


class BenchmarkFeed:
    """Turns events into the messages of the benchmark stream. Nothing is done for groups that nobody is in."""

    def __init__(self, *, state: State, hub: Hub, streams: StreamService, seen_at: Mapping[str, float], clock: Callable[[], float]) -> None:
        self._state = state
        self._hub = hub
        self._streams = streams
        self._seen_at = seen_at
        self._clock = clock
        self._groups: dict[int, _Group] = {}
        self._stop = hub.listen(self._hear)

    def group(self, interval_s: int) -> Fanout:
        """The group of one interval; whoever joins it has been told what ``first`` gives."""
        group = self._groups.get(interval_s)
        if group is None:
            fanout = self._streams.fanout(heartbeat=self.heartbeat, heartbeat_s=HEARTBEAT_S)
            group = self._groups[interval_s] = _Group(self, fanout, interval_s)
        return group.fanout

    def first(self, interval_s: int, missed: Sequence[Event], *, has_gap: bool) -> bytes:
        """What a client gets at once: ``connected``, ``gap`` where events are lost to it, what it missed, a snapshot.

        Call with no ``await`` before the client joins its group.
        """
        parts = [_message("connected", {"timestamp": self._clock(), "interval": interval_s, "version": PROTOCOL_VERSION})]
        if has_gap:
            parts.append(self._now("gap", {"message": "earlier events are no longer held; a snapshot follows"}))
        parts.extend(filter(None, (self.told(event) for event in missed)))
        parts.extend(self.message(subject, saying) for subject, saying in self.snapshot().items())
        return b"".join(parts)

    def snapshot(self) -> dict[Subject, Saying]:
        """What there is to say of every VM, every run that runs, and the newest run."""
        newest = wire.shown_run(self._state)
        runs = [*wire.active_runs(self._state), *([newest] if newest is not None else [])]
        subjects = [*((STATUS, name) for name in self._state.vms), *dict.fromkeys((PROGRESS, run.run_id) for run in runs)]
        return {subject: saying for subject in subjects if (saying := self.saying(subject)) is not None}

    def saying(self, subject: Subject) -> Saying | None:
        """What there is to say of a VM or a run now, None where it is gone."""
        kind, name = subject
        if kind == STATUS:
            vm = self._state.vms.get(name)
            return wire.status_payload(vm) if vm is not None else None
        run = self._state.runs.get(RunId(name))
        return wire.progress_payload(self._state, run) if run is not None else None

    def message(self, subject: Subject, saying: Saying) -> bytes:
        """The message that says it; a VM's with the age of the last look."""
        kind, name = subject
        return self._now(kind, wire.aged_status(self._state.vms[name], self._seen_at) if kind == STATUS else saying)

    def told(self, event: Event) -> bytes | None:
        """The message of an event that must reach every client, None for all others."""
        wire_id = self._hub.wire_id(event.id)
        match event.entity:
            case Task() if event.type is EventType.TASK_COMPLETED:
                return _message("task_complete", wire.task_payload(event.entity), wire_id)
            case Task() if event.type is EventType.TASK_SETTLED and event.previous != event.entity.status.value:
                return _message("task_settled", wire.task_payload(event.entity), wire_id)
            case Trouble():
                return _message("error", wire.error_payload(event.entity), wire_id)
            case Incident() if event.type in INCIDENTS or event.previous is not None:
                return _message("incident", wire.incident_payload(event.entity), wire_id)
        return None

    def heartbeat(self) -> bytes:
        """A6."""
        return _message("heartbeat", {"timestamp": self._clock()})

    def close(self) -> None:
        """Hear no more events."""
        self._stop()
        for group in self._groups.values():
            group.close()

    def _now(self, name: str, payload: Saying) -> bytes:
        return _message(name, payload, self._hub.wire_id(self._hub.last_event_id))

    def _hear(self, events: Sequence[Event]) -> None:
        for interval_s in [key for key, group in self._groups.items() if not len(group.fanout)]:
            self._groups.pop(interval_s).close()
        if not self._groups:
            return
        for event in events:
            message = self.told(event)
            for group in self._groups.values():
                group.take(event, message)


class _Group:
    """Clients of one interval: what changed is collected and sent at most once per interval.

    ``_said`` is what was said last of each VM and run of the state: what says the same is not said again.
    """

    def __init__(self, feed: BenchmarkFeed, fanout: Fanout, interval_s: int) -> None:
        self.fanout = fanout
        self._feed = feed
        self._interval_s = interval_s
        self._touched: dict[Subject, None] = {}
        self._said = feed.snapshot()
        self._timer: asyncio.TimerHandle | None = None
        self._next_s = 0.0

    def take(self, event: Event, message: bytes | None) -> None:
        """Send at once what must not wait, and remember what changed."""
        if message is not None:
            self.fanout.publish(message)
        match event.entity:
            case Vm(name=name):
                self._touched[STATUS, name] = None
            case Run(run_id=run_id) | Task(run_id=run_id):
                self._touched[PROGRESS, run_id] = None
        if self._touched and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(self._next_s, loop.time()), self._flush)

    def close(self) -> None:
        """Send nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _flush(self) -> None:
        self._timer = None
        self._next_s = asyncio.get_running_loop().time() + self._interval_s
        touched, self._touched = self._touched, {}
        for subject in touched:
            saying = self._feed.saying(subject)
            if saying is None:
                self._said.pop(subject, None)
            elif self._said.get(subject) != saying:
                self._said[subject] = saying
                self.fanout.publish(self._feed.message(subject, saying))


def _message(name: str, payload: Mapping[str, object], wire_id: str | None = None) -> bytes:
    return sse.encode(encode(payload), event=name, id=wire_id)
