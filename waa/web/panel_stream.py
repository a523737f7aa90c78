"""The page's own stream: panels as HTML, each rendered once per change and sent as the same bytes to all.

A page opens one stream for all its panels; pages with the same panels (and the same VM or run) share a group. Panels
are views: only the newest state counts, everything is sent in full on connect. Log lines are appended.
"""

import asyncio
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from waa.core.codec import encode
from waa.core.entity import Task, Trouble
from waa.core.error import Invalid, NotFound
from waa.core.event import Event, EventType
from waa.core.incident import Incident, Severity
from waa.core.observation import LogKind
from waa.core.status import TaskStatus
from waa.hub.hub import Hub
from waa.services.task_record import TaskKey, TaskRecords
from waa.web import sse, wire
from waa.web.fanout import Fanout, Subscriber
from waa.web.panels import PANELS, Panel, log_list_id
from waa.web.render import Renderer
from waa.web.stream_service import StreamService
from waa.web.terminal import LogTails
from waa.web.training_query import TrainingQueries
from waa.web.view import Look, View
from waa.web.views.pipelines import age_key, shown_ids
from waa.web.views.task import TaskSubject, find_task
from waa.web.views.training_subject import ComparisonSubject, PredictionSubject

PANEL_GAP_S = 0.1
"""Between two renderings of the same panels: ten a second are more than an eye follows."""
LOG_GAP_S = 0.025
"""Between two deliveries of log lines."""
HEARTBEAT_S = 10.0
CLOCK_S = 5.0
"""How often panels are looked at for what time alone changes (a stall, an idle VM)."""
FRESH_S = 5.0
"""A rendering that is asked for again within this time is the same bytes, unless something changed."""
PATIENCE_S = 3.0
"""A page is shown without its steps rather than later than this; they come by its stream."""
MAX_PANELS = 16
JOB_LOG_PANEL = "azure-job-logs"
MAX_CACHED = 256
"""Renderings kept for who asks next, pages of finished runs are long."""

Subject = tuple[str, str | None]
"""Name of a panel, and which VM, run or task it is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupKey:
    """What a stream carries. ``log``: the VM whose log lines it appends."""

    subjects: tuple[Subject, ...]
    log: str | None = None


@dataclass(frozen=True, slots=True)
class _Rendered:
    view: object
    html: bytes
    at: float


class PanelStreams:
    """Renders panels for streams and fragments, and tells the streams what changed."""

    def __init__(
        self,
        *,
        renderer: Renderer,
        look: Callable[[], Look],
        hub: Hub,
        streams: StreamService,
        tails: LogTails,
        clock: Callable[[], float],
        records: TaskRecords | None = None,
        queries: TrainingQueries | None = None,
        notifies: bool = True,
    ) -> None:
        """``notifies`` False: results and errors are shown by their panels alone."""
        self._renderer = renderer
        self._look = look
        self._hub = hub
        self._streams = streams
        self._tails = tails
        self._clock = clock
        self._groups: dict[GroupKey, Fanout] = {}
        self._cache: dict[Subject, _Rendered] = {}
        self._told: dict[Subject, object] = {}
        self._dirty: set[Subject] = set()
        self._log_from: dict[str, int | None] = {}
        self._panel_timer: asyncio.TimerHandle | None = None
        self._log_timer: asyncio.TimerHandle | None = None
        self._clock_timer: asyncio.TimerHandle | None = None
        self._next_panels_s = 0.0
        self._next_of: dict[Subject, float] = {}
        self._read_anew: set[Subject] = set()
        self._next_logs_s = 0.0
        self._records = records
        self._notifies = notifies
        self._stop = hub.listen(self._hear)
        tails.on_change = self._hear_log
        if records is not None:
            records.on_change = self._hear_record
        self._queries = queries
        if queries is not None:
            queries.predictions.on_change = lambda subject: self._soil_known("predictions", subject.text)
            queries.comparisons.on_change = lambda subject: self._soil_known("comparison", subject.text)

    # --- what is asked for ---

    def key(self, names: str | None, about: Mapping[str, str | None], *, is_all: bool = True) -> GroupKey:
        """The group of a stream request; ``about`` holds its query, by the names in QUERY. ``is_all``: see ``subject``. Raises Invalid for
        an unknown panel, NotFound for an unknown VM, run or task."""
        wanted = [name for name in (names or "").split(",") if name]
        if not wanted or len(wanted) > MAX_PANELS:
            raise Invalid("panels", f"names 1 to {MAX_PANELS} of: {', '.join(PANELS)}")
        subjects = []
        for name in dict.fromkeys(wanted):
            if name not in PANELS:
                raise Invalid("panels", f"{name!r} is not one of: {', '.join(PANELS)}")
            subjects.append(self.subject(PANELS[name], about, is_all=is_all))
        for subject in subjects:
            self.render(subject)
        return GroupKey(subjects=tuple(subjects), log=about.get("vm") if "log" in wanted else None)

    def subject(self, panel: Panel, about: Mapping[str, str | None], *, is_all: bool = True) -> Subject:
        """What a panel is about, from the query. ``is_all``: who asks may see what is everybody's. Raises Invalid where it is needed and
        not given."""
        if panel.parameter is None:
            return panel.name, None
        subject = about.get(panel.parameter)
        if subject is None and (panel.needs_subject or (panel.is_private and not is_all)):
            raise Invalid(panel.parameter, f"is needed by the panel {panel.name}")
        return panel.name, subject

    async def prepare(self, about: Mapping[str, str | None]) -> None:
        """Read what the panels about these subjects need, where nothing of it is known yet. Raises NotFound, Invalid."""
        subject = about.get("task")
        if subject is not None and self._records is not None:
            _, task = find_task(self._look(), TaskSubject.parse(subject))
            if task is not None and self._records.peek(task).is_reading:
                await self._records.load(task, patience_s=PATIENCE_S)
        subject = about.get("predictions")
        if subject is not None and self._queries is not None:
            await self._queries.predictions.load(PredictionSubject.parse(subject), patience_s=PATIENCE_S)
        subject = about.get("comparison")
        if subject is not None and self._queries is not None:
            await self._queries.comparisons.load(ComparisonSubject.parse(subject), patience_s=PATIENCE_S)

    def render(self, subject: Subject) -> bytes:
        """The panel's HTML; the same bytes for everyone who asks before it changes. Raises NotFound."""
        known = self._cache.get(subject)
        if known is not None and self._clock() - known.at < FRESH_S and subject not in self._dirty:
            return known.html
        return self._render(subject)

    def group(self, key: GroupKey) -> Fanout:
        """The group that a stream joins."""
        fanout = self._groups.get(key)
        if fanout is None:
            catch_up, beat = functools.partial(self._catch_up, key), functools.partial(self.heartbeat, key.subjects)
            fanout = self._groups[key] = self._streams.fanout(catch_up=catch_up, heartbeat=beat, heartbeat_s=HEARTBEAT_S)
        if self._clock_timer is None:
            self._clock_timer = asyncio.get_running_loop().call_later(CLOCK_S, self._look_at_clock)
        return fanout

    def first(self, key: GroupKey) -> bytes:
        """What a page gets at once: a greeting, the times of the last signs of life, and every panel in full."""
        hello = encode({"now": self._clock(), "id": self._hub.wire_id(self._hub.last_event_id)})
        return sse.encode(hello, event="hello", retry_ms=1000) + self.heartbeat(key.subjects) + self._everything(key)

    def heartbeat(self, subjects: Sequence[Subject] = ()) -> bytes:
        """A beat that also carries the age of every VM, and of the pipelines that these panels show, so that no panel is rendered for a
        mere sign of life."""
        look = self._look()
        seen = dict(look.seen_at) | {
            age_key(key): at for key in shown_ids(look, subjects) if (at := look.pipelines.seen_at(key)) is not None
        }
        rate = {"rate": look.rate} if look.rate is not None else {}
        return sse.encode(encode({"now": look.now, "seen": seen, **rate}), event="hb")

    def publish(self, message: bytes) -> None:
        """Send a complete message to every page."""
        for fanout in self._groups.values():
            fanout.publish(message)

    @property
    def watched(self) -> set[Subject]:
        """What open streams show."""
        return {subject for key, fanout in self._groups.items() if len(fanout) for subject in key.subjects}

    @property
    def watchers(self) -> int:
        """Open streams."""
        return sum(len(fanout) for fanout in self._groups.values())

    def finish(self) -> None:
        """End all streams, once what was published is sent."""
        for fanout in self._groups.values():
            fanout.finish()

    def close(self) -> None:
        """Hear nothing more."""
        self._stop()
        self._tails.on_change = None
        if self._records is not None:
            self._records.on_change = None
        if self._queries is not None:
            self._queries.predictions.on_change = self._queries.comparisons.on_change = None
        for timer in (self._panel_timer, self._log_timer, self._clock_timer):
            if timer is not None:
                timer.cancel()

    # --- what changes ---

    def _hear(self, events: Sequence[Event]) -> None:
        for subject in self._wanted() | self._cache.keys():
            panel = PANELS[subject[0]]
            if any(panel.is_touched(event, subject[1]) for event in events):
                self._soil(subject)
        for event in events if self._notifies else ():
            self._tell(event)

    def _hear_log(self, vm: str, log_key: str, first: int | None) -> None:
        if log_key.startswith(f"{LogKind.JOB}:"):
            for subject in self._wanted() | self._cache.keys():
                if subject[0] == JOB_LOG_PANEL:
                    self._soil(subject)
        watched = any(len(fanout) for key, fanout in self._groups.items() if key.log == vm)
        self._cache.pop(("log", vm), None)
        if not watched:
            return
        earlier = self._log_from.get(vm, first)
        self._log_from[vm] = None if first is None or earlier is None else min(first, earlier)
        if self._log_timer is None:
            loop = asyncio.get_running_loop()
            self._log_timer = loop.call_at(max(self._next_logs_s, loop.time()), self._flush_logs)

    def _hear_record(self, key: TaskKey) -> None:
        """The files of a task were read anew."""
        for subject in self._wanted() | self._cache.keys():
            name, about = subject
            if PANELS[name].subject == "task":
                task = TaskSubject.parse(about)
                if (task.run_id, task.domain, task.task_id) == key:
                    self._soil(subject)

    def _soil_known(self, panel: str, about: str) -> None:
        """What a panel rests on was read anew."""
        if (panel, about) in self._wanted() | self._cache.keys():
            self._read_anew.add((panel, about))
            self._soil((panel, about))

    def _soil(self, subject: Subject) -> None:
        self._dirty.add(subject)
        due_s = max(self._next_panels_s, self._next_of.get(subject, 0.0))
        if self._panel_timer is None or due_s < self._panel_timer.when():
            if self._panel_timer is not None:
                self._panel_timer.cancel()
            loop = asyncio.get_running_loop()
            self._panel_timer = loop.call_at(max(due_s, loop.time()), self._flush_panels)

    def _tell(self, event: Event) -> None:
        """Notifications and errors go to every page as they happen."""
        message: bytes | None = None
        match event.entity:
            case Task() if event.type is EventType.TASK_COMPLETED:
                message = sse.encode(encode(_notice(event.entity)), event="notify")
            case Trouble():
                message = sse.encode(encode(wire.error_payload(event.entity)), event="error")
            case Incident() if _is_alarm(event.entity, event):
                message = sse.encode(encode(_alarm(event.entity)), event="notify")
        if message is not None:
            self.publish(message)

    def _flush_panels(self) -> None:
        self._panel_timer = None
        now_s = asyncio.get_running_loop().time()
        self._next_panels_s = now_s + PANEL_GAP_S
        self._next_of = {subject: due_s for subject, due_s in self._next_of.items() if due_s > now_s}
        early = {subject for subject in self._dirty if subject in self._next_of}
        dirty, self._dirty = self._dirty - early, set()
        for subject in early:
            self._soil(subject)
        self._forget_empty()
        wanted = self._wanted()
        dirty -= {subject for subject in dirty & wanted if self._is_behind(subject)}
        self._next_of |= {subject: now_s + PANELS[subject[0]].gap_s for subject in dirty & wanted if PANELS[subject[0]].gap_s}
        changed = {subject: html for subject in dirty & wanted if (html := self._changed(subject)) is not None}
        for subject in dirty - wanted:
            self._cache.pop(subject, None)
        for key, fanout in self._groups.items():
            parts = [_partial(name, changed[name, about]) for name, about in key.subjects if (name, about) in changed]
            if parts:
                fanout.publish(_unnamed(parts))

    def _is_behind(self, subject: Subject) -> bool:
        """Whether what a panel rests on is being read anew: it is rendered when that is over, and not before."""
        name, about = subject
        if subject in self._read_anew:
            self._read_anew.discard(subject)
            return False
        return self._queries is not None and about is not None and self._queries.refresh(name, about)

    def _flush_logs(self) -> None:
        self._log_timer = None
        self._next_logs_s = asyncio.get_running_loop().time() + LOG_GAP_S
        changes, self._log_from = self._log_from, {}
        for vm, first in changes.items():
            groups = [fanout for key, fanout in self._groups.items() if key.log == vm and len(fanout)]
            message = self._log_message(vm, first) if groups else None
            for fanout in groups if message is not None else ():
                fanout.publish(message or b"")

    def _log_message(self, vm: str, first: int | None) -> bytes | None:
        """The changed lines and the number of the oldest that stays, for the page's script (a swap per line costs a browser
        more than a fast log leaves it); the whole panel where that is shorter."""
        look = self._look()
        lines = look.log_lines.get(vm, ())
        new = [line for line in lines if first is not None and line.number >= first]
        if first is None or len(new) >= len(lines) or not new:
            html = self._changed(("log", vm))
            return _unnamed([_partial("log", html)]) if html is not None else None
        rows = b"".join(self._renderer.log_line(vm, line) for line in new).decode()
        return sse.encode(encode({"list": log_list_id(vm), "oldest": lines[0].number, "html": rows}), event="log")

    def _look_at_clock(self) -> None:
        self._clock_timer = None
        self._forget_empty()
        if not self._groups:
            return
        for key in self._groups:
            for subject in key.subjects:
                if PANELS[subject[0]].is_timed:
                    self._soil(subject)
        self._clock_timer = asyncio.get_running_loop().call_later(CLOCK_S, self._look_at_clock)

    # --- rendering ---

    def _catch_up(self, key: GroupKey, _subscriber: Subscriber) -> bytes:
        return self._everything(key)

    def _everything(self, key: GroupKey) -> bytes:
        """Every panel in full, but for those whose VM or run is gone."""
        parts = []
        for subject in key.subjects:
            with suppress(NotFound):
                parts.append(_partial(subject[0], self.render(subject)))
                if self._told.get(subject) != self._cache[subject].view:
                    self._told.pop(subject, None)  # one page is ahead of the others: the next change is for all
        return _unnamed(parts)

    def _changed(self, subject: Subject) -> bytes | None:
        """The HTML if it says something else than what was sent last; None too where its VM or run is gone."""
        name, about = subject
        look = self._look()
        try:
            view = PANELS[name].view(look, about)
        except NotFound:
            self._cache.pop(subject, None)
            return None
        known = self._cache.get(subject)
        if self._told.get(subject) == view and (known is None or known.view == view):
            return None
        self._told[subject] = view
        return self._keep(subject, view, look)

    def _render(self, subject: Subject) -> bytes:
        name, about = subject
        look = self._look()
        return self._keep(subject, PANELS[name].view(look, about), look)

    def _keep(self, subject: Subject, view: View, look: Look) -> bytes:
        """The HTML of a view, for whoever asks next."""
        name, about = subject
        html = self._renderer.view(PANELS[name], view, look, about)
        self._cache.pop(subject, None)  # the youngest stands last
        self._cache[subject] = _Rendered(view, html, look.now)
        if len(self._cache) > MAX_CACHED:
            del self._cache[next(iter(self._cache))]
        return html

    def _wanted(self) -> set[Subject]:
        return {subject for key in self._groups for subject in key.subjects}

    def _forget_empty(self) -> None:
        for key in [key for key, fanout in self._groups.items() if not len(fanout)]:
            del self._groups[key]
        wanted = self._wanted()
        self._read_anew &= wanted
        for subject in self._told.keys() - wanted:
            del self._told[subject]


def _partial(name: str, html: bytes) -> bytes:
    return _swap(f"#{PANELS[name].element_id}", "outerMorph", html)


def _swap(target: str, style: str, html: bytes) -> bytes:
    return f'<hx-partial hx-target="{target}" hx-swap="{style}">'.encode() + html + b"</hx-partial>"


def _unnamed(parts: Iterable[bytes]) -> bytes:
    return sse.encode(b"".join(parts))


def _notice(task: Task) -> dict[str, str]:
    """The text of a browser notification (A21)."""
    word = {TaskStatus.PASSED: "passed", TaskStatus.FAILED: "failed"}.get(task.status, wire.STATUS_WORDS[task.status])
    score = f"Score: {task.score:.2f}" if task.score is not None else task.error[:120] or "No score"
    return {"title": f"Task {word}: {task.task_id}", "body": score, "tag": f"{task.run_id}/{task.key}"}


def _is_alarm(incident: Incident, event: Event) -> bool:
    """Whether it is critical, and was not before."""
    is_news = event.type is EventType.INCIDENT_OPENED or event.previous is not None
    return is_news and incident.severity is Severity.CRITICAL and not incident.is_over


def _alarm(incident: Incident) -> dict[str, str]:
    """The text of a browser notification about a VM."""
    names = [key.rpartition("#")[0] for key in incident.tasks[:1]]
    body = ", ".join([*names, *filter(None, [incident.detail])])
    return {"title": f"{incident.vm}: {incident.title}", "body": body[:200], "tag": incident.incident_id}
