"""The replays that are open, each with panels and streams of its own, moved on by one timer."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from waa.core.codec import encode
from waa.core.entity import Run
from waa.core.error import NotFound
from waa.core.timeline import AFTER_S, Timeline
from waa.services.replay import Order, Replay
from waa.web import sse
from waa.web.panel_stream import PanelStreams
from waa.web.render import Renderer
from waa.web.stream_service import StreamService
from waa.web.terminal import LogTails
from waa.web.view import Look
from waa.web.views.replay import replay_status

TICK_S = 0.1
MAX_REPLAYS = 16
MAX_PER_BROWSER = 4
MAX_CHANGES = 300_000
"""Of all replays: some 500 bytes each in memory."""
AWAY_S = 15.0
"""A page that polls asks more often. Time stands while nobody watches."""
KEPT_S = 300.0
"""A replay that nobody watches ends."""


@dataclass(slots=True, kw_only=True)
class Session:
    """One replay. ``browser`` opened it; ``is_reading``: the steps of its tasks are being read; ``asked_s``: when somebody last asked."""

    token: str
    browser: str
    replay: Replay
    panels: PanelStreams
    look: Callable[[], Look]
    asked_s: float
    is_reading: bool = False
    reading: asyncio.Task[None] | None = None

    def message(self) -> bytes:
        """Where it is, for the page's time line."""
        return sse.encode(encode(replay_status(self.replay, is_reading=self.is_reading)), event="replay")

    def tell(self) -> None:
        """Its time goes on otherwise than the pages think."""
        self.panels.publish(self.panels.heartbeat() + self.message())


class Replays:
    """For the loop's thread. ``look`` gives the settings that all pages share; ``clock`` monotonic seconds."""

    def __init__(
        self, *, renderer: Renderer, streams: StreamService, look: Callable[[], Look], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._renderer = renderer
        self._streams = streams
        self._look = look
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._sessions)

    def known_line(self, run: Run, now: float) -> Timeline | None:
        """The line of a run that has ended, where it is open already, with all its steps."""
        if run.ended_at is None or now <= run.ended_at + AFTER_S:
            return None
        lines = (session.replay.timeline for session in self._sessions.values() if not session.is_reading)
        return next((line for line in lines if line.run == run), None)

    def open(self, timeline: Timeline, *, order: Order, browser: str) -> Session:
        """A new replay; where there are too many, one that nobody watches goes, or the oldest."""
        self._make_room(browser, len(timeline.changes))
        token = secrets.token_urlsafe(18)
        replay = Replay(timeline, clock=self._clock, order=order)

        def look() -> Look:
            return self._look_at(replay, token)

        panels = PanelStreams(
            renderer=self._renderer,
            look=look,
            hub=replay.hub,
            streams=self._streams,
            tails=LogTails(),
            clock=lambda: replay.moment,
            notifies=False,
        )
        session = Session(token=token, browser=browser, replay=replay, panels=panels, look=look, asked_s=self._clock())
        self._sessions[token] = session
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)
        return session

    def find(self, token: str) -> Session:
        """An open replay; asking keeps it open. Raises NotFound."""
        session = self._sessions.get(token)
        if session is None:
            raise NotFound("This replay has ended: nobody watched it for some minutes, or newer ones took its place.")
        session.asked_s = self._clock()
        return session

    def take(self, session: Session, order: Order) -> None:
        """Change a replay, and tell all who watch it."""
        session.replay.take(order)
        session.tell()

    def turn(self) -> None:
        """Move those on that are watched; let those go that nobody wants."""
        now_s = self._clock()
        for session in list(self._sessions.values()):
            if session.panels.watchers:
                session.asked_s = now_s
            if now_s - session.asked_s > KEPT_S:
                self._drop(session)
            elif now_s - session.asked_s > AWAY_S:
                session.replay.rest()
            elif session.replay.advance():
                session.tell()

    def close(self) -> None:
        """End them all. May be called twice."""
        for session in list(self._sessions.values()):
            self._drop(session)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)
        self.turn()
        if not self._sessions:
            self._timer.cancel()
            self._timer = None

    def _look_at(self, replay: Replay, token: str) -> Look:
        shared = self._look()
        return Look(
            state=replay.state,
            now=replay.moment,
            limits=shared.limits,
            interval_s=shared.interval_s,
            sse=shared.sse,
            version=shared.version,
            rate=replay.rate,
            base=f"/replay/{token}",
        )

    def _make_room(self, browser: str, changes: int) -> None:
        while len(own := [session for session in self._sessions.values() if session.browser == browser]) >= MAX_PER_BROWSER:
            self._drop_one(own)
        while self._sessions and (len(self._sessions) >= MAX_REPLAYS or self._changes() + changes > MAX_CHANGES):
            self._drop_one(self._sessions.values())

    def _changes(self) -> int:
        return sum({id(line): len(line.changes) for line in (session.replay.timeline for session in self._sessions.values())}.values())

    def _drop_one(self, sessions: Iterable[Session]) -> None:
        self._drop(min(sessions, key=lambda session: session.panels.watchers > 0))  # of equal ones the first, which is the oldest

    def _drop(self, session: Session) -> None:
        del self._sessions[session.token]
        if session.reading is not None:
            session.reading.cancel()
        session.panels.publish(sse.encode("{}", event="bye"))
        session.panels.finish()
        session.panels.close()
