"""Pipelines: the list, searched, filtered and sorted, and one with its history."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from waa.core.error import NotFound
from waa.core.pipeline import AuthKind, Pipeline, PipelineStatus
from waa.core.pipeline_history import Part, Uptime, is_lapsed, observed, parts_of, shown_status, uptime_of
from waa.core.spec import Origin
from waa.web.view import Look, View
from waa.web.views.pipeline_form import AUTH_WORDS
from waa.web.views.query import Column, Head, Order, Pager, Query, has_words, heads, pager, printed

PAGE_SIZE = 50
MAX_ROWS = 50
"""Rows of a history that are seen at once; the older ones unfold."""
BAR_UNITS = 1000.0
LEAST_UNITS = 4.0
"""What was bad is seen, however short it was."""
STATUSES = tuple(status.value for status in PipelineStatus)
WORDS = {
    PipelineStatus.UP: "Up",
    PipelineStatus.DEGRADED: "Degraded",
    PipelineStatus.DOWN: "Down",
    PipelineStatus.UNKNOWN: "Unknown",
}
TONES = {
    PipelineStatus.UP: "passed",
    PipelineStatus.DEGRADED: "error",
    PipelineStatus.DOWN: "failed",
    PipelineStatus.UNKNOWN: "unknown",
}
_RANKS = (PipelineStatus.DOWN, PipelineStatus.DEGRADED, PipelineStatus.UNKNOWN, PipelineStatus.UP)
COLUMNS = {
    "name": Column(word="Pipeline"),
    "status": Column(word="State"),
    "backend": Column(word="Backend"),
    "since": Column(word="Since", descends=True),
    "uptime": Column(word="Up, 24 h"),
}
WORST_FIRST = Order(column="status")
NAMES = ("q", "status", "sort", "page")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A time up to now that is drawn as a bar, whose end moves by ``step_s``."""

    name: str
    words: str
    length_s: float
    step_s: float


HOUR = Window(name="1h", words="1 h", length_s=3600.0, step_s=15.0)
DAY = Window(name="24h", words="24 h", length_s=86_400.0, step_s=300.0)
WEEK = Window(name="7d", words="7 days", length_s=7 * 86_400.0, step_s=3600.0)
WINDOWS = (HOUR, DAY, WEEK)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFilter:
    """Which pipelines, in which order; "" and () of each: all."""

    q: str = ""
    statuses: tuple[str, ...] = ()
    order: Order = WORST_FIRST
    page: int = 1

    @classmethod
    def of(cls, query: Query) -> "PipelineFilter":
        """Raises Invalid."""
        return cls(
            q=query.one("q"),
            statuses=query.choices("status", STATUSES),
            order=query.order("sort", COLUMNS, WORST_FIRST),
            page=query.page("page"),
        )

    @classmethod
    def parse(cls, text: str) -> "PipelineFilter":
        """Raises Invalid."""
        return cls.of(Query.parse(text, NAMES))

    @property
    def text(self) -> str:
        """The one way to write it, "" for all, the worst first."""
        sort = self.order.text if self.order != WORST_FIRST else ""
        page = str(self.page) if self.page > 1 else ""
        return printed({"q": self.q, "status": ",".join(self.statuses), "sort": sort, "page": page})

    @property
    def url(self) -> str:
        """The page that shows this."""
        return f"/pipelines?{self.text}" if self.text else "/pipelines"

    @property
    def is_narrow(self) -> bool:
        """Whether it leaves pipelines out."""
        return bool(self.q or self.statuses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """When it was looked at last, None: never. It alone makes no view another one."""

    key: str
    at: float | None = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BarPart:
    """A part of a bar in units of BAR_UNITS."""

    tone: str
    x: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A window as it is drawn; what no part covers was not observed. ``label`` says it in words, ``uptime`` is "" where nothing is known,
    ``coverage`` "" where all is."""

    window: Window
    parts: tuple[BarPart, ...]
    uptime: str
    coverage: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineNow:
    """How one stands. ``word`` is what is known of now; ``note`` says why it is not known, or quotes the backend; ``message`` and
    ``remedy`` are those of the last look, where it failed."""

    pipeline_id: str
    name: str
    backend: str
    word: str
    tone: str
    note: str
    message: str
    remedy: str
    since_at: float | None
    failing_since_at: float | None
    seen: Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRow:
    """One line of the list."""

    now: PipelineNow
    bar: Bar
    uptimes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineList(View):
    """One page of the list. ``known`` counts all, ``counts`` those of each status; ``sort`` is the order as it stands in an address."""

    rows: tuple[PipelineRow, ...]
    heads: Mapping[str, Head]
    pager: Pager
    known: int
    counts: tuple[tuple[str, str, int], ...]
    is_narrow: bool
    sort: str
    has_history: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SpellRow:
    """A part of the history, newest first. ``until_at`` None: it goes on."""

    word: str
    tone: str
    from_at: float
    until_at: float | None
    is_observed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineDetail(View):
    """One pipeline with its history: the newest ``rows``, then ``older``."""

    about: PipelineNow
    url: str
    asked_with: str
    bars: tuple[Bar, ...]
    rows: tuple[SpellRow, ...]
    older: tuple[SpellRow, ...]
    has_history: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelinesPage:
    """The page of the list: what its filter form shows. ``subject`` is its panel's."""

    filter: PipelineFilter
    subject: str | None
    statuses: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelinePage:
    """The page of one. What the configuration names is removed there, not here."""

    pipeline_id: str
    name: str
    is_removable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineNeed:
    """One that is down."""

    pipeline_id: str
    name: str
    message: str
    remedy: str
    since_at: float | None


def pipeline_list(look: Look, subject: str | None) -> PipelineList:
    """One page of the list. Raises Invalid."""
    chosen = PipelineFilter.parse(subject or "")
    found = matching_pipelines(look, chosen)
    part = pager(len(found), chosen.page, PAGE_SIZE, lambda page: replace(chosen, page=page).url)
    statuses = [_status(look, pipeline) for pipeline in look.state.pipelines.values()]
    return PipelineList(
        now=look.now,
        rows=tuple(_row(look, pipeline) for pipeline in part.part(found)),
        heads=heads(COLUMNS, chosen.order, lambda order: replace(chosen, order=order, page=1).url),
        pager=part,
        known=len(statuses),
        counts=tuple((WORDS[status], TONES[status], count) for status in _RANKS if (count := statuses.count(status))),
        is_narrow=chosen.is_narrow,
        sort=chosen.order.text if chosen.order != WORST_FIRST else "",
        has_history=look.pipelines.has_history,
    )


def pipeline_detail(look: Look, pipeline_id: str | None) -> PipelineDetail:
    """One with its history. Raises NotFound."""
    pipeline = need_pipeline(look, pipeline_id)
    spells = observed(pipeline, look.pipelines.seen_at(pipeline.pipeline_id), now=look.now, gap_s=look.pipelines.gap_s)
    rows = tuple(_spell_rows(look, pipeline))
    return PipelineDetail(
        now=look.now,
        about=_now(look, pipeline),
        url=f"{pipeline.spec.backend}/pipeline/{pipeline.pipeline_id}/health",
        asked_with=AUTH_WORDS[pipeline.spec.auth] if pipeline.spec.auth is not AuthKind.NONE else "no credential",
        bars=tuple(_bar(spells, window, look.now) for window in WINDOWS),
        rows=rows[:MAX_ROWS],
        older=rows[MAX_ROWS:],
        has_history=look.pipelines.has_history,
    )


def pipelines_page(_look: Look, chosen: PipelineFilter) -> PipelinesPage:
    """The page of the list."""
    return PipelinesPage(filter=chosen, subject=chosen.text or None, statuses=tuple((each.value, WORDS[each]) for each in _RANKS))


def pipeline_page(look: Look, pipeline_id: str) -> PipelinePage:
    """The page of one. Raises NotFound."""
    pipeline = need_pipeline(look, pipeline_id)
    return PipelinePage(pipeline_id=pipeline_id, name=pipeline.spec.name, is_removable=pipeline.spec.origin is Origin.API)


def pipeline_needs(look: Look) -> tuple[PipelineNeed, ...]:
    """Those that are down now, for longest first."""
    needs = []
    for pipeline in look.state.pipelines.values():
        if _status(look, pipeline) is PipelineStatus.DOWN:
            now = _now(look, pipeline)
            message = now.message or now.note
            needs.append(
                PipelineNeed(pipeline_id=now.pipeline_id, name=now.name, message=message, remedy=now.remedy, since_at=now.since_at)
            )
    return tuple(sorted(needs, key=lambda need: need.since_at or look.now))


def matching_pipelines(look: Look, chosen: PipelineFilter) -> list[Pipeline]:
    """All that the filter keeps, in its order; of equal ones by name."""
    named = sorted(look.state.pipelines.values(), key=lambda pipeline: (pipeline.spec.name.casefold(), pipeline.pipeline_id))
    kept = [pipeline for pipeline in named if _keeps(look, chosen, pipeline)]
    return chosen.order.sort(kept, _value_of(chosen.order.column, look))


def shown_ids(look: Look, subjects: Iterable[tuple[str, str | None]]) -> Iterator[str]:
    """The pipelines that these panels show: those of one page of the list, or the one that a panel is about."""
    for name, subject in subjects:
        if name == "pipeline" and subject is not None:
            yield subject
        elif name == "pipelines":
            chosen = PipelineFilter.parse(subject or "")
            found = matching_pipelines(look, chosen)
            part = pager(len(found), chosen.page, PAGE_SIZE, lambda _page: "").part(found)
            yield from (pipeline.pipeline_id for pipeline in part)


def age_key(pipeline_id: str) -> str:
    """The name under which heartbeats tell when it was looked at; no VM has a name like this."""
    return f"pipeline:{pipeline_id}"


def need_pipeline(look: Look, pipeline_id: str | None) -> Pipeline:
    """Raises NotFound."""
    pipeline = look.state.pipelines.get(pipeline_id or "")
    if pipeline is None:
        raise NotFound(f"There is no pipeline {pipeline_id!r}")
    return pipeline


def _status(look: Look, pipeline: Pipeline) -> PipelineStatus:
    seen_at = look.pipelines.seen_at(pipeline.pipeline_id)
    return shown_status(pipeline, seen_at, now=look.now, gap_s=look.pipelines.gap_s)


def _keeps(look: Look, chosen: PipelineFilter, pipeline: Pipeline) -> bool:
    if chosen.statuses and _status(look, pipeline).value not in chosen.statuses:
        return False
    failure = pipeline.failure.message if pipeline.failure is not None else ""
    return has_words((pipeline.pipeline_id, pipeline.spec.title, pipeline.spec.backend, pipeline.said, failure), chosen.q)


def _value_of(column: str, look: Look) -> Callable[[Pipeline], Any]:
    """What a column sorts by; None: it has none."""
    values: dict[str, Callable[[Pipeline], Any]] = {
        "name": lambda pipeline: pipeline.spec.name.casefold(),
        "status": lambda pipeline: _RANKS.index(_status(look, pipeline)),
        "backend": lambda pipeline: pipeline.spec.backend,
        "since": lambda pipeline: pipeline.status_at,
        "uptime": lambda pipeline: _uptime(look, pipeline, DAY).rate,
    }
    return values[column]


def _uptime(look: Look, pipeline: Pipeline, window: Window) -> Uptime:
    spells = observed(pipeline, look.pipelines.seen_at(pipeline.pipeline_id), now=look.now, gap_s=look.pipelines.gap_s)
    return uptime_of(parts_of(spells, look.now - window.length_s, look.now))


def _row(look: Look, pipeline: Pipeline) -> PipelineRow:
    spells = observed(pipeline, look.pipelines.seen_at(pipeline.pipeline_id), now=look.now, gap_s=look.pipelines.gap_s)
    bars = [_bar(spells, window, look.now) for window in WINDOWS]
    return PipelineRow(now=_now(look, pipeline), bar=bars[1], uptimes=tuple((bar.uptime, bar.coverage) for bar in bars))


def _now(look: Look, pipeline: Pipeline) -> PipelineNow:
    seen_at = look.pipelines.seen_at(pipeline.pipeline_id)
    is_old = is_lapsed(seen_at, now=look.now, gap_s=look.pipelines.gap_s)
    status = PipelineStatus.UNKNOWN if is_old else pipeline.status
    failure = pipeline.failure
    return PipelineNow(
        pipeline_id=pipeline.pipeline_id,
        name=pipeline.spec.name,
        backend=pipeline.spec.backend.partition("://")[2],
        word=WORDS[status],
        tone=TONES[status],
        note=_note(pipeline, seen_at, is_old=is_old),
        message=failure.message if failure is not None else "",
        remedy=failure.remedy if failure is not None else "",
        since_at=None if is_old else pipeline.status_at,
        failing_since_at=pipeline.failing_since_at,
        seen=Seen(key=age_key(pipeline.pipeline_id), at=seen_at),
    )


def _note(pipeline: Pipeline, seen_at: float | None, *, is_old: bool) -> str:
    if seen_at is None:
        return "not looked at yet"
    if is_old:
        return f"nobody looks at it; it was {WORDS[pipeline.status].lower()}"
    if pipeline.failure is not None:
        return "" if pipeline.status is PipelineStatus.DOWN else "does not answer just now"
    if pipeline.said and pipeline.status is not PipelineStatus.UP and pipeline.said.lower() != pipeline.status.value:
        return f"says “{pipeline.said}”"
    return ""


def _bar(spells: Sequence[Any], window: Window, now: float) -> Bar:
    """The bar ends at the next whole step, so that it is the same picture until then; what goes on now reaches its end."""
    parts = parts_of(spells, now - window.length_s, now)
    end = math.ceil(now / window.step_s) * window.step_s
    begin = end - window.length_s
    drawn = []
    for part in parts:
        if part.status is None:
            continue
        until_at = end if part.until_at >= now else part.until_at
        x = max(0.0, (max(part.from_at, begin) - begin) / window.length_s * BAR_UNITS)
        width = (until_at - begin) / window.length_s * BAR_UNITS - x
        if width <= 0:
            continue
        if part.status in (PipelineStatus.DOWN, PipelineStatus.DEGRADED):
            width = max(width, LEAST_UNITS)
            x = min(x, BAR_UNITS - width)
        drawn.append((_RANKS[::-1].index(part.status), BarPart(tone=part.status.value, x=round(x, 1), width=round(width, 1))))
    drawn.sort(key=lambda pair: (pair[0], pair[1].x))  # what was bad is drawn over the rest
    uptime = uptime_of(parts)
    rate, coverage = rate_words(uptime), coverage_words(uptime)
    return Bar(
        window=window, parts=tuple(part for _, part in drawn), uptime=rate, coverage=coverage, label=_label(window, parts, rate, coverage)
    )


def rate_words(uptime: Uptime) -> str:
    """Rounded down, so that 100 % means always."""
    if uptime.rate is None:
        return ""
    if uptime.up_s <= 0:
        return "0 %"
    return "100 %" if uptime.down_s <= 0 else f"{math.floor(uptime.rate * 10_000) / 100:.2f} %"


def coverage_words(uptime: Uptime) -> str:
    """How much of the time is known, "" where it is all but a hundredth."""
    share = math.floor(uptime.coverage * 100)
    return "" if share >= 99 else f"{share} %" if share else "< 1 %"


def _label(window: Window, parts: Sequence[Part], rate: str, coverage: str) -> str:
    downs = sum(part.status is PipelineStatus.DOWN for part in parts)
    times = "" if not downs else f", down {downs} time{'s' if downs > 1 else ''}"
    known = f", known for {coverage} of the time" if coverage else ""
    return f"Last {window.words}: up {rate}{times}{known}" if rate else f"Last {window.words}: nothing is known"


def _spell_rows(look: Look, pipeline: Pipeline) -> Iterator[SpellRow]:
    spells = observed(pipeline, look.pipelines.seen_at(pipeline.pipeline_id), now=look.now, gap_s=look.pipelines.gap_s)
    if not spells:
        return
    for part in reversed(parts_of(spells, spells[0].from_at, look.now)):
        yield SpellRow(
            word=WORDS[part.status] if part.status is not None else "Not observed",
            tone=TONES[part.status] if part.status is not None else "off",
            from_at=part.from_at,
            until_at=None if part.until_at >= look.now else part.until_at,
            is_observed=part.status is not None,
        )
