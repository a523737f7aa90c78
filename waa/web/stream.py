"""Handlers of the two live streams. They give their connection away and are gone."""

from waa.core.event import Event
from waa.web.base import BROWSER_COOKIE, BaseHandler
from waa.web.feed import REPLAYED, clamp_interval

MAX_REPLAY = 5000
"""Events a client can catch up with; one that missed more gets a gap and a snapshot."""


class BenchmarkStreamHandler(BaseHandler):
    """``GET /api/benchmark-sse`` (A1 to A9): JSON events for programs, resumable by id."""

    async def get(self) -> None:
        interval_s = clamp_interval(self.one_argument("interval"))
        last_id = self.request.headers.get("Last-Event-ID") or self.one_argument("lastEventId")
        missed, has_gap = await self._missed(last_id)
        feed = self.deps.feed
        if last_id and not has_gap:
            missed += self.deps.hub.since(missed[-1].id if missed else self._known(last_id)) or []
        self.deps.streams.adopt(
            self,
            feed.group(interval_s),
            first=feed.first(interval_s, missed, has_gap=has_gap),
            key=self.get_cookie(BROWSER_COOKIE),
            address=self.request.remote_ip or "",
            resumed=bool(last_id),
        )

    async def head(self) -> None:
        """The headers alone."""
        await self.get()

    def _known(self, last_id: str) -> int:
        return self.deps.hub.parse_wire_id(last_id) or 0

    async def _missed(self, last_id: str | None) -> tuple[list[Event], bool]:
        """The events after an id, as far as memory does not hold them, and whether some are lost."""
        if not last_id:
            return [], False
        hub = self.deps.hub
        after = hub.parse_wire_id(last_id)
        if after is None or after + 1 < hub.first_event_id:
            return [], True
        if hub.since(after) is not None:
            return [], False
        stored = await self.deps.recorder.events_since(after, types=REPLAYED, limit=MAX_REPLAY)
        return (stored, False) if len(stored) < MAX_REPLAY else ([], True)


class PanelStreamHandler(BaseHandler):
    """``GET /stream?panels=a,b[&vm=][&run=]``: the HTML of those panels, for a page of this server or of an embedder."""

    public_to_embedders = True

    def get(self) -> None:
        panels = self.deps.panels
        key = panels.key(self.one_argument("panels"), self.one_argument("vm"), self.one_argument("run"))
        self.deps.streams.adopt(
            self,
            panels.group(key),
            first=panels.first(key),
            key=self.get_cookie(BROWSER_COOKIE),
            address=self.request.remote_ip or "",
            headers={"Cache-Control": "no-store, no-transform"},
            resumed="Last-Event-ID" in self.request.headers,
        )

    def head(self) -> None:
        """The headers alone."""
        self.get()
