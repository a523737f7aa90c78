"""Handlers of live streams. They give their connection away and are gone."""

from collections.abc import Awaitable, Callable, Mapping

from waa.core.event import Event
from waa.web.base import BROWSER_COOKIE, BaseHandler
from waa.web.fanout import Fanout
from waa.web.feed import REPLAYED, clamp_interval
from waa.web.views.pipelines import shown_ids

MAX_REPLAY = 5000
"""Events a client can catch up with; one that missed more gets a gap and a snapshot."""

FromStore = Callable[[int], Awaitable[list[Event]]]
"""The stored events after an id, oldest first, up to MAX_REPLAY of them."""


class StreamHandler(BaseHandler):
    """Joins a group of streams, for whom and from where its request comes."""

    @property
    def last_event_id(self) -> str | None:
        """Where the client says that it stopped; None or "": it begins."""
        return self.request.headers.get("Last-Event-ID") or self.one_argument("lastEventId")

    def join(self, fanout: Fanout, *, first: bytes, resumed: bool = False, headers: Mapping[str, str] | None = None) -> None:
        """Give the connection to the group; see ``StreamService.adopt``."""
        self.deps.streams.adopt(
            self,
            fanout,
            first=first,
            key=self.get_cookie(BROWSER_COOKIE),
            address=self.request.remote_ip or "",
            owner=self.need_identity().handle,
            headers=headers,
            resumed=resumed,
        )

    async def missed(self, last_id: str | None, from_store: FromStore) -> list[Event] | None:
        """The events after an id, from the store where memory no longer holds them; none for a client that begins; None where events are
        lost to this client. There is no ``await`` after the last look at memory: what is computed at once from here on fits to it."""
        if not last_id:
            return []
        hub = self.deps.hub
        after = hub.parse_wire_id(last_id)
        if after is None or after + 1 < hub.first_event_id:
            return None
        recent = hub.since(after)
        if recent is not None:
            return recent
        until = hub.last_event_id
        stored = await from_store(after)
        recent = hub.since(until)
        if len(stored) >= MAX_REPLAY or after + 1 < hub.first_event_id or recent is None:  # the store may have dropped some meanwhile
            return None
        return [*(event for event in stored if event.id <= until), *recent]


class BenchmarkStreamHandler(StreamHandler):
    """``GET /api/benchmark-sse`` (A1 to A9): JSON events for programs, resumable by id."""

    async def get(self) -> None:
        interval_s = clamp_interval(self.one_argument("interval"))
        job_id = self.one_argument("job_id")
        job = self.deps.azure.find_job(job_id).key if job_id else None
        last_id, recorder, feed = self.last_event_id, self.deps.recorder, self.deps.feed
        missed = await self.missed(last_id, lambda after: recorder.events_since(after, types=REPLAYED, limit=MAX_REPLAY))
        # From here to join() there is no await: what memory holds, the snapshot and the membership fit together.
        first = feed.first(interval_s, missed or [], has_gap=missed is None, job=job)
        self.join(feed.group(interval_s, job), first=first, resumed=bool(last_id))


class PanelStreamHandler(StreamHandler):
    """``GET /stream?panels=a,b[&vm=][&run=][&task=]...``: the HTML of those panels, for a page of this server or of an embedder."""

    public_to_embedders = True

    async def get(self) -> None:
        panels = self.deps.panels
        names = self.one_argument("panels") or ""
        about = self.subjects(names.split(","))
        await panels.prepare(about)
        key = panels.key(names, about, is_all=self.sees_all)
        self.deps.pipelines.glance(shown_ids(self.deps.look(), key.subjects))
        self.join(
            panels.group(key),
            first=panels.first(key),
            headers={"Cache-Control": "no-store, no-transform"},
            resumed="Last-Event-ID" in self.request.headers,
        )
