"""How pipelines stand, as programs are told: as JSON, and by the stream of any set of them (requirement D1)."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from waa.core.codec import encode
from waa.core.error import Failure
from waa.core.event import Event, EventType
from waa.core.pipeline import Pipeline
from waa.core.pipeline_history import is_lapsed, observed, parts_of, shown_status, uptime_of
from waa.hub.hub import Hub
from waa.web import sse
from waa.web.fanout import Fanout
from waa.web.payload import FailurePayload, PipelinePayload, PipelineStatusPayload, PipelineUptime, SpellPayload
from waa.web.stream_service import StreamService
from waa.web.view import Look

HEARTBEAT_S = 30.0
WINDOWS_S = {"1h": 3600.0, "24h": 86_400.0, "7d": 7 * 86_400.0}
TOLD = (EventType.PIPELINE_STATUS_CHANGED, EventType.PIPELINE_REMOVED)
"""What a client that was away is told one by one."""

Ids = tuple[str, ...] | None
"""Which pipelines, sorted; None: all, and those that come."""


def status_payload(look: Look, pipeline: Pipeline) -> PipelineStatusPayload:
    """A pipeline in one line."""
    return {"pipelineId": pipeline.pipeline_id, "status": _status(look, pipeline)}


def pipeline_payload(look: Look, pipeline: Pipeline) -> PipelinePayload:
    """A pipeline with what was seen of it."""
    key, sight = pipeline.pipeline_id, look.pipelines
    seen_at = sight.seen_at(key)
    spells = observed(pipeline, seen_at, now=look.now, gap_s=sight.gap_s)
    return {
        "id": key,
        "title": pipeline.spec.title or None,
        "backend": pipeline.spec.backend,
        "auth": pipeline.spec.auth.value,
        "origin": pipeline.spec.origin.value,
        "status": _status(look, pipeline),
        "last_status": pipeline.status.value,
        "said": pipeline.said or None,
        "since_at": pipeline.status_at,
        "observed_at": seen_at,
        "is_stale": is_lapsed(seen_at, now=look.now, gap_s=sight.gap_s),
        "failure": _failure(pipeline.failure),
        "failing_since_at": pipeline.failing_since_at,
        "uptime": {name: _uptime(look, pipeline, window_s) for name, window_s in WINDOWS_S.items()},
        "spells": [SpellPayload(status=spell.status.value, from_at=spell.from_at, until_at=spell.until_at) for spell in spells],
    }


class PipelineFeed:
    """Turns events into the messages of the streams; each set of pipelines is a group, whose messages are encoded once."""

    def __init__(self, *, look: Callable[[], Look], hub: Hub, streams: StreamService, clock: Callable[[], float]) -> None:
        self._look = look
        self._hub = hub
        self._streams = streams
        self._clock = clock
        self._groups: dict[Ids, _Group] = {}
        self._stop = hub.listen(self._hear)

    def group(self, ids: Ids) -> Fanout:
        """The group of a set; whoever joins it has been told what ``first`` gives."""
        self._forget_empty()
        if ids not in self._groups:
            self._groups[ids] = _Group(self._streams.fanout(heartbeat=self.heartbeat, heartbeat_s=HEARTBEAT_S))
        self._tell(ids, self._groups[ids])
        return self._groups[ids].fanout

    def first(self, ids: Ids, missed: Sequence[Event], *, has_gap: bool) -> bytes:
        """What a client gets at once: ``gap`` where events are lost to it, what it missed, and how all of them stand."""
        parts = []
        if has_gap:
            parts.append(self._message("gap", {"message": "earlier events are no longer held; a snapshot follows"}))
        parts.extend(filter(None, (self._replayed(event) for event in missed if _is_about(event, ids))))
        look = self._look()
        updates = [status_payload(look, pipeline) for pipeline in _chosen(look, ids)]
        parts.append(self._message("batch_update", {"updates": updates}))
        return b"".join(parts)

    def watched(self) -> Iterator[str]:
        """The pipelines that somebody is told of."""
        for ids, group in self._groups.items():
            if len(group.fanout):
                yield from self._look().state.pipelines if ids is None else ids

    def heartbeat(self) -> bytes:
        """A sign of life."""
        return self._message("heartbeat", {}, has_id=False)

    def close(self) -> None:
        """Hear nothing more."""
        self._stop()

    def _hear(self, events: Sequence[Event]) -> None:
        about = [event for event in events if isinstance(event.entity, Pipeline)]
        if not about:
            return
        self._forget_empty()
        for ids, group in self._groups.items():
            if any(_is_about(event, ids) for event in about):
                self._tell(ids, group)

    def _tell(self, ids: Ids, group: "_Group") -> None:
        """What differs from what was said last."""
        look = self._look()
        now = {pipeline.pipeline_id: _status(look, pipeline) for pipeline in _chosen(look, ids)}
        before, group.said = group.said, now
        if before is None:
            return
        for key, status in now.items():
            if before.get(key) != status:
                group.fanout.publish(self._message("status_update", _update(key, status, before.get(key))))
        for key in before.keys() - now.keys():
            group.fanout.publish(self._message("error", _removed(key)))

    def _replayed(self, event: Event) -> bytes | None:
        if not isinstance(event.entity, Pipeline) or event.type not in TOLD:
            return None
        key, status = event.entity.pipeline_id, event.entity.status.value
        removed = event.type is EventType.PIPELINE_REMOVED
        name, payload = ("error", _removed(key)) if removed else ("status_update", _update(key, status, event.previous))
        return self._message(name, payload, at=event.at, number=event.id)

    def _message(
        self, name: str, payload: dict[str, object], *, at: float | None = None, number: int | None = None, has_id: bool = True
    ) -> bytes:
        told = {"type": name, "timestamp": self._clock() if at is None else at, **payload}
        wire_id = self._hub.wire_id(self._hub.last_event_id if number is None else number) if has_id else None
        return sse.encode(encode(told), event=name, id=wire_id)

    def _forget_empty(self) -> None:
        self._groups = {ids: group for ids, group in self._groups.items() if len(group.fanout)}


class _Group:
    """Clients of one set. ``said``: the statuses as they were told, None: nothing was yet."""

    def __init__(self, fanout: Fanout) -> None:
        self.fanout = fanout
        self.said: dict[str, str] | None = None


def _chosen(look: Look, ids: Ids) -> Iterable[Pipeline]:
    pipelines = look.state.pipelines
    return pipelines.values() if ids is None else [pipelines[key] for key in ids if key in pipelines]


def _is_about(event: Event, ids: Ids) -> bool:
    return isinstance(event.entity, Pipeline) and (ids is None or event.entity.pipeline_id in ids)


def _status(look: Look, pipeline: Pipeline) -> str:
    seen_at = look.pipelines.seen_at(pipeline.pipeline_id)
    return shown_status(pipeline, seen_at, now=look.now, gap_s=look.pipelines.gap_s).value


def _uptime(look: Look, pipeline: Pipeline, window_s: float) -> PipelineUptime:
    sight = look.pipelines
    spells = observed(pipeline, sight.seen_at(pipeline.pipeline_id), now=look.now, gap_s=sight.gap_s)
    uptime = uptime_of(parts_of(spells, look.now - window_s, look.now))
    return {"rate": uptime.rate, "coverage": uptime.coverage}


def _failure(failure: Failure | None) -> FailurePayload | None:
    return {"reason": failure.reason.value, "message": failure.message, "remedy": failure.remedy} if failure is not None else None


def _update(key: str, status: str, previous: str | None) -> dict[str, object]:
    return {"pipelineId": key, "status": status, "previousStatus": previous}


def _removed(key: str) -> dict[str, object]:
    return {"pipelineId": key, "message": f"The pipeline {key} was taken away"}
