"""Handlers of the two live streams. They give their connection away and are gone."""

from waa.core.event import Event
from waa.web.base import BROWSER_COOKIE, BaseHandler
from waa.web.feed import REPLAYED, clamp_interval
from waa.web.views.pipelines import shown_ids

MAX_REPLAY = 5000
"""Events a client can catch up with; one that missed more gets a gap and a snapshot."""


class BenchmarkStreamHandler(BaseHandler):
    """``GET /api/benchmark-sse`` (A1 to A9): JSON events for programs, resumable by id."""

    async def get(self) -> None:
        interval_s = clamp_interval(self.one_argument("interval"))
        job_id = self.one_argument("job_id")
        job = self.deps.azure.find_job(job_id).key if job_id else None
        last_id = self.request.headers.get("Last-Event-ID") or self.one_argument("lastEventId")
        stored, since = await self._stored(last_id) if last_id else ([], None)
        # From here to adopt() there is no await: what memory holds, the snapshot and the membership fit together.
        recent = self.deps.hub.since(since) if since is not None else []
        has_gap = bool(last_id) and (since is None or recent is None)
        missed = [] if has_gap else [*stored, *(recent or [])]
        self.deps.streams.adopt(
            self,
            self.deps.feed.group(interval_s, job),
            first=self.deps.feed.first(interval_s, missed, has_gap=has_gap, job=job),
            key=self.get_cookie(BROWSER_COOKIE),
            address=self.request.remote_ip or "",
            owner=self.need_identity().handle,
            resumed=bool(last_id),
        )

    async def _stored(self, last_id: str) -> tuple[list[Event], int | None]:
        """What memory no longer holds of the events after an id, and the id from which memory holds the rest; None
        where events are lost to this client."""
        hub = self.deps.hub
        after = hub.parse_wire_id(last_id)
        if after is None or after + 1 < hub.first_event_id:
            return [], None
        if hub.since(after) is not None:
            return [], after
        until = hub.last_event_id
        events = await self.deps.recorder.events_since(after, types=REPLAYED, limit=MAX_REPLAY)
        is_whole = len(events) < MAX_REPLAY and after + 1 >= hub.first_event_id  # the store may have dropped some meanwhile
        return [event for event in events if event.id <= until], until if is_whole else None


class PanelStreamHandler(BaseHandler):
    """``GET /stream?panels=a,b[&vm=][&run=][&task=]...``: the HTML of those panels, for a page of this server or of an embedder."""

    public_to_embedders = True

    async def get(self) -> None:
        panels = self.deps.panels
        names = self.one_argument("panels") or ""
        about = self.subjects(names.split(","))
        await panels.prepare(about)
        key = panels.key(names, about, is_all=self.sees_all)
        self.deps.pipelines.glance(shown_ids(self.deps.look(), key.subjects))
        self.deps.streams.adopt(
            self,
            panels.group(key),
            first=panels.first(key),
            key=self.get_cookie(BROWSER_COOKIE),
            address=self.request.remote_ip or "",
            owner=self.need_identity().handle,
            headers={"Cache-Control": "no-store, no-transform"},
            resumed="Last-Event-ID" in self.request.headers,
        )
