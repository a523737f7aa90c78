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
REPLAYED = (EventType.TASK_COMPLETED, EventType.TASK_SETTLED, EventType.TROUBLE_MET)
"""What a client that was away must still be told; the rest it learns from the snapshot."""


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
        """The group of one interval."""
        group = self._groups.get(interval_s)
        if group is None:
            group = self._groups[interval_s] = _Group(self, self._streams, interval_s)
        return group.fanout

    def first(self, interval_s: int, missed: Sequence[Event], *, has_gap: bool) -> bytes:
        """What a client gets at once: ``connected``, ``gap`` where events are lost to it, what it missed, a snapshot.

        Call with no ``await`` before the client joins its group.
        """
        parts = [_message("connected", {"timestamp": self._clock(), "interval": interval_s, "version": PROTOCOL_VERSION})]
        if has_gap:
            parts.append(self._now("gap", {"message": "earlier events are no longer held; a snapshot follows"}))
        parts.extend(filter(None, (self.told(event) for event in missed)))
        parts.extend(self.status(vm) for vm in self._state.vms.values())
        runs = {run.run_id: run for run in wire.active_runs(self._state)}
        newest = wire.shown_run(self._state)
        if newest is not None:
            runs.setdefault(newest.run_id, newest)
        parts.extend(self.progress(run) for run in runs.values())
        return b"".join(parts)

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
        return None

    def status(self, vm: Vm) -> bytes:
        """A ``status`` message as of now."""
        return self._now("status", wire.status_payload(vm, self._seen_at))

    def progress(self, run: Run) -> bytes:
        """A ``progress`` message as of now."""
        return self._now("progress", wire.progress_payload(self._state, run))

    def heartbeat(self) -> bytes:
        """A6."""
        return _message("heartbeat", {"timestamp": self._clock()})

    def vm(self, name: str) -> Vm | None:
        """A VM of the state."""
        return self._state.vms.get(name)

    def run(self, run_id: RunId) -> Run | None:
        """A run of the state."""
        return self._state.runs.get(run_id)

    def close(self) -> None:
        """Hear no more events."""
        self._stop()
        for group in self._groups.values():
            group.close()

    def _now(self, name: str, payload: Mapping[str, object]) -> bytes:
        return _message(name, payload, self._hub.wire_id(self._hub.last_event_id))

    def _hear(self, events: Sequence[Event]) -> None:
        groups = [group for group in self._groups.values() if len(group.fanout)]
        for interval_s in [key for key, group in self._groups.items() if not len(group.fanout)]:
            self._groups.pop(interval_s).close()
        if not groups:
            return
        for event in events:
            message = self.told(event)
            for group in groups:
                group.take(event, message)


class _Group:
    """Clients of one interval: what changed is collected and sent at most once per interval."""

    def __init__(self, feed: BenchmarkFeed, streams: StreamService, interval_s: int) -> None:
        self.fanout = streams.fanout(heartbeat=feed.heartbeat, heartbeat_s=HEARTBEAT_S)
        self._feed = feed
        self._interval_s = interval_s
        self._vms: dict[str, None] = {}
        self._runs: dict[RunId, None] = {}
        self._sent: dict[str, bytes] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next_s = 0.0

    def take(self, event: Event, message: bytes | None) -> None:
        if message is not None:
            self.fanout.publish(message)
        match event.entity:
            case Vm():
                self._vms[event.entity.name] = None
            case Run() | Task():
                self._runs[event.entity.run_id] = None
        if (self._vms or self._runs) and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(self._next_s, loop.time()), self._flush)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _flush(self) -> None:
        self._timer = None
        self._next_s = asyncio.get_running_loop().time() + self._interval_s
        vms = [vm for vm in map(self._feed.vm, self._vms) if vm is not None]
        runs = [run for run in map(self._feed.run, self._runs) if run is not None]
        self._vms.clear()
        self._runs.clear()
        for vm in vms:
            payload = wire.status_payload(vm, {vm.name: 0.0})
            self._publish(f"vm {vm.name}", encode(payload), self._feed.status(vm))
        for run in runs:
            message = self._feed.progress(run)
            self._publish(f"run {run.run_id}", message.partition(b"data:")[2], message)

    def _publish(self, key: str, content: bytes, message: bytes) -> None:
        """What says the same as last time is not said again."""
        if self._sent.get(key) != content:
            self._sent[key] = content
            self.fanout.publish(message)


def _message(name: str, payload: Mapping[str, object], wire_id: str | None = None) -> bytes:
    return sse.encode(encode(payload), event=name, id=wire_id)
