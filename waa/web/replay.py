"""A run played again: its page, its panels and their stream, and what the reader does with it."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace

from waa.core.codec import convert, encode
from waa.core.entity import Run
from waa.core.error import Invalid, NotFound
from waa.services.replay import Order, load_steps, load_timeline, rebuild
from waa.web.base import BaseHandler
from waa.web.deps import Deps
from waa.web.pages import PageHandler
from waa.web.panels import PANELS, QUERY
from waa.web.replays import Session
from waa.web.stream import StreamHandler
from waa.web.views.query import Query
from waa.web.views.replay import PANELS as REPLAYED
from waa.web.views.replay import ReplayPage, replay_page, replay_status
from waa.web.views.run import need_run
from waa.web.views.run_table import NAMES, TaskFilter

log = logging.getLogger(__name__)
FIELDS = ("playing", "speed", "at", "skip_idle")
END = "end"
"""Instead of seconds: where the run ended, standing still."""


class ReplayPageHandler(PageHandler):
    """``GET /runs/<id>/replay[?speed=60&at=<seconds>|end]``: opens a replay for this page."""

    async def get(self, run_id: str) -> None:
        run = need_run(self.deps.recorder.state, run_id)
        speed, at = self.one_argument("speed"), self.one_argument("at")
        order = need_order({"speed": speed, "at": "inf", "playing": "false"} if at == END else {"speed": speed, "at": at})
        if self.request.method == "HEAD":
            return
        now = self.deps.clock()
        known = self.deps.replays.known_line(run, now)
        line = known or await load_timeline(self.deps.recorder, run, now=now)
        session = self.deps.replays.open(line, order=order, browser=self.browser_key())
        if known is None and line.stepless:
            session.is_reading = True
            session.reading = asyncio.create_task(_read_steps(self.deps, run, session))
        write_page(self, session, replay_page(session.replay, session.token, at_end=at == END, is_reading=session.is_reading))


class ReplayPartHandler(PageHandler):
    """``GET /replay/<token>/page[?sort=&page=&by=...]``: the page of an open replay, for the part of it that the reader orders anew."""

    def get(self, token: str) -> None:
        session = self.deps.replays.find(token)
        chosen = TaskFilter.of(Query({name: self.get_query_arguments(name) for name in NAMES}))
        write_page(self, session, replay_page(session.replay, token, is_reading=session.is_reading, chosen=chosen))


class ReplayHandler(BaseHandler):
    """``GET /replay/<token>``: where a replay is; ``POST`` with any of ``playing``, ``speed``, ``at`` and ``skip_idle`` changes it."""

    def get(self, token: str) -> None:
        self.answer(self.deps.replays.find(token))

    def post(self, token: str) -> None:
        session = self.deps.replays.find(token)
        given = {name: self.get_body_argument(name) for name in self.request.body_arguments if name != "_xsrf"}
        self.deps.replays.take(session, need_order(given))
        self.answer(session)

    def answer(self, session: Session) -> None:
        """Where it is now."""
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.write(encode(replay_status(session.replay, is_reading=session.is_reading)))


class ReplayFragmentHandler(BaseHandler):
    """``GET /replay/<token>/fragments/<panel>``: a panel as it was then."""

    def get(self, token: str, name: str) -> None:
        session = self.deps.replays.find(token)
        need_replayed(name)
        subject = session.panels.subject(PANELS[name], self.arguments(QUERY))
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.write(session.panels.render(subject))


class ReplayStreamHandler(StreamHandler):
    """``GET /replay/<token>/stream?panels=a,b&run=``: those panels as time passes there."""

    def get(self, token: str) -> None:
        session = self.deps.replays.find(token)
        names = self.one_argument("panels")
        for name in (names or "").split(","):
            need_replayed(name)
        key = session.panels.key(names, self.arguments(QUERY))
        self.join(
            session.panels.group(key),
            first=session.panels.first(key) + session.message(),
            headers={"Cache-Control": "no-store, no-transform"},
        )


def write_page(handler: PageHandler, session: Session, page: ReplayPage) -> None:
    """Answer with a page of a replay, which is nobody else's."""
    look = replace(session.look(), csrf_token=handler.xsrf_token.decode(), viewer=handler.page_look().viewer)
    handler.set_header("Content-Type", "text/html; charset=utf-8")
    handler.set_header("Cache-Control", "no-store")
    handler.write(handler.deps.renderer.page("pages/replay.html", look=look, page=page))


def need_order(given: Mapping[str, str | None]) -> Order:
    """What is asked for, from text. Raises Invalid that names the field."""
    for name in given:
        if name not in FIELDS:
            raise Invalid(name[:80], f"is not one of: {', '.join(FIELDS)}")
    return convert(Order, {name: value for name, value in given.items() if value is not None}, name="replay", strict=False)


def need_replayed(name: str) -> None:
    """Raises NotFound for a panel that a replay does not have."""
    if name not in REPLAYED:
        raise NotFound(f"A replay has no panel {name!r}; it has: {', '.join(REPLAYED)}")


async def _read_steps(deps: Deps, run: Run, session: Session) -> None:
    """Read the result folders, then go on with what they tell."""
    tasks = list(deps.recorder.state.tasks.get(run.run_id, {}).values())
    steps = await load_steps(tasks, deps.records)
    session.is_reading = False
    if run.run_id in deps.recorder.state.runs:
        session.replay.improve(rebuild(deps.recorder, run, now=deps.clock(), steps=steps))
    session.tell()
