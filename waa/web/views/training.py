"""Trainings: the list, one with its trends, its predictions page by page, and two sets of predictions side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import quote_plus

from waa.core.diff import Difference, difference
from waa.core.error import Invalid, NotFound
from waa.core.port import PredictionReader
from waa.core.statistics import mcnemar_exact, share
from waa.core.training import (
    JOB_ID,
    MAX_NUMBER,
    Epoch,
    PairCounts,
    Prediction,
    PredictionFilter,
    Side,
    Training,
    TrainingStatus,
    Turn,
    turn_of,
)
from waa.services.live_query import Seen
from waa.web.view import Look, View
from waa.web.views.query import Query, printed

PAGE_SIZE = 50
MAX_SHOWN_TEXT = 600
"""Characters of a text in a table; the page of the prediction has all of it."""
MAX_POINTS = 200
MAX_CHARTS = 8
MAX_EPOCH_ROWS = 50
WIDTH, HEIGHT = 1000.0, 100.0
STATUS_WORDS = {
    TrainingStatus.RUNNING: ("Running", "running"),
    TrainingStatus.COMPLETED: ("Completed", "passed"),
    TrainingStatus.FAILED: ("Failed", "failed"),
    TrainingStatus.CANCELLED: ("Cancelled", "unknown"),
}
VERDICTS = {True: ("Match", "passed"), False: ("Differs", "failed"), None: ("No target", "unknown")}
MATCHES = {"yes": "Those that match", "no": "Those that differ"}
TURN_WORDS = {
    Turn.FIXED: ("Fixed", "passed"),
    Turn.BROKEN: ("Broken", "failed"),
    Turn.BOTH: ("Both match", "passed"),
    Turn.NEITHER: ("Neither matches", "failed"),
    Turn.UNJUDGED: ("No target", "unknown"),
}
PREDICTION_NAMES = ("epoch", "match", "before", "after")
COMPARE_NAMES = ("a", "ae", "b", "be", "turn", "after")


# --- what is asked for ---


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionSubject:
    """Which predictions a table shows: the newest; those older than ``before``; or those newer than ``after``, next to it."""

    job_id: str
    filter: PredictionFilter = PredictionFilter()
    before: int | None = None
    after: int | None = None

    @classmethod
    def of(cls, job_id: str, query: Query) -> "PredictionSubject":
        """Raises Invalid."""
        match = query.choice("match", MATCHES)
        before, after = _number(query, "before"), _number(query, "after")
        if before is not None and after is not None:
            raise Invalid("after", "does not go with before")
        wanted = PredictionFilter(epoch=_number(query, "epoch"), match=match == "yes" if match else None)
        return cls(job_id=_job_id("jobId", job_id), filter=wanted, before=before, after=after)

    @classmethod
    def parse(cls, text: str | None) -> "PredictionSubject":
        """Raises Invalid."""
        job_id, _, query = (text or "").partition("?")
        return cls.of(job_id, Query.parse(query, PREDICTION_NAMES))

    @property
    def query(self) -> str:
        """The choice as it stands in an address, "" for the newest of all."""
        match = {True: "yes", False: "no", None: ""}[self.filter.match]
        return printed({"epoch": _text(self.filter.epoch), "match": match, "before": _text(self.before), "after": _text(self.after)})

    @property
    def text(self) -> str:
        """The one way to write it."""
        return f"{self.job_id}?{self.query}" if self.query else self.job_id

    @property
    def url(self) -> str:
        """The page that shows it."""
        return f"{monitor_url(self.job_id)}{f'&{self.query}' if self.query else ''}"

    def narrowed(self, wanted: PredictionFilter) -> "PredictionSubject":
        """The newest of others."""
        return PredictionSubject(job_id=self.job_id, filter=wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonSubject:
    """Two sides, which of their pairs are listed, and from where on."""

    first: Side
    second: Side
    turn: Turn | None = None
    after: int = 0

    @classmethod
    def of(cls, query: Query) -> "ComparisonSubject":
        """Raises Invalid."""
        turn = query.choice("turn", tuple(Turn))
        first, second = (Side(job_id=_job_id(side, query.one(side)), epoch=_number(query, f"{side}e")) for side in ("a", "b"))
        if first == second:
            raise Invalid("be", "names another epoch, or b another training: the two sides are the same")
        return cls(first=first, second=second, turn=Turn(turn) if turn else None, after=_number(query, "after") or 0)

    @classmethod
    def parse(cls, text: str | None) -> "ComparisonSubject":
        """Raises Invalid."""
        return cls.of(Query.parse(text or "", COMPARE_NAMES))

    @property
    def text(self) -> str:
        """The one way to write it."""
        sides = {"a": self.first.job_id, "ae": _text(self.first.epoch), "b": self.second.job_id, "be": _text(self.second.epoch)}
        return printed({**sides, "turn": self.turn.value if self.turn is not None else "", "after": _text(self.after or None)})

    @property
    def url(self) -> str:
        """The page that shows it."""
        return f"/training/compare?{self.text}"


def jobs_of(about: str) -> tuple[str, ...]:
    """The trainings that the subject of a comparison names."""
    subject = ComparisonSubject.parse(about)
    return subject.first.job_id, subject.second.job_id


def monitor_url(job_id: str) -> str:
    """The page of a training."""
    return f"/training/monitor?jobId={quote_plus(job_id)}"


def need_training(look: Look, job_id: str | None) -> Training:
    """Whose it is must have been looked at. Raises NotFound."""
    training = look.state.trainings.get(job_id or "")
    if training is None:
        raise NotFound(f"There is no training {job_id!r}")
    return training


# --- what is read for it, in a thread ---


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionRow:
    """A prediction in a table. ``pieces`` None: there is no target to differ from, and ``text`` is what was said."""

    seq: int
    epoch: int
    step: int
    prompt: str
    text: str
    difference: Difference | None
    target: str | None
    word: str
    tone: str
    scores: tuple[tuple[str, str], ...]
    received_at: float
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The predictions of one page, newest first, and whether there are older and newer ones beyond them."""

    rows: tuple[PredictionRow, ...]
    has_older: bool
    has_newer: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRow:
    """Two predictions about the same."""

    prompt: str
    target: str | None
    first: PredictionRow
    second: PredictionRow
    word: str
    tone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """The pairs of one page, how all of them compare, and how often chance alone does so (McNemar's exact p, None: nothing to judge)."""

    counts: PairCounts
    p: float | None
    rows: tuple[PairRow, ...]
    next_after: int | None


def read_window(reader: PredictionReader, subject: PredictionSubject) -> Window:
    """For a thread: it reads and compares texts. Raises Unavailable."""
    job_id, wanted = subject.job_id, subject.filter
    if subject.after is not None:
        found = reader.page(job_id, wanted, after=subject.after, limit=PAGE_SIZE + 1)
        has_newer, found = len(found) > PAGE_SIZE, found[:PAGE_SIZE][::-1]
        has_older = bool(found and reader.page(job_id, wanted, before=found[-1].seq, limit=1, newest_first=True))
    else:
        found = reader.page(job_id, wanted, before=subject.before, limit=PAGE_SIZE + 1, newest_first=True)
        has_older, found = len(found) > PAGE_SIZE, found[:PAGE_SIZE]
        top = found[0].seq if found else (subject.before or 1) - 1
        has_newer = subject.before is not None and bool(reader.page(job_id, wanted, after=top, limit=1))
    return Window(rows=tuple(prediction_row(item) for item in found), has_older=has_older, has_newer=has_newer)


def read_pairs(reader: PredictionReader, subject: ComparisonSubject) -> Pairs:
    """For a thread. Raises Unavailable."""
    counts = reader.pair_counts(subject.first, subject.second)
    found = reader.pairs(subject.first, subject.second, turn=subject.turn, after=subject.after, limit=PAGE_SIZE + 1)
    shown = found[:PAGE_SIZE]
    judged = counts.common - counts.turns[Turn.UNJUDGED]
    return Pairs(
        counts=counts,
        p=mcnemar_exact(counts.turns[Turn.BROKEN], counts.turns[Turn.FIXED]) if judged else None,
        rows=tuple(_pair(first, second) for first, second in shown),
        next_after=shown[-1][0].seq if len(found) > PAGE_SIZE else None,
    )


def prediction_row(item: Prediction, *, limit: int = MAX_SHOWN_TEXT) -> PredictionRow:
    """A prediction as tables and its own page show it."""
    word, tone = VERDICTS[item.exact_match]
    return PredictionRow(
        seq=item.seq,
        epoch=item.epoch,
        step=item.step,
        prompt=_cut(item.prompt, limit),
        text=_cut(item.prediction, limit),
        difference=difference(item.prediction, item.target) if item.target is not None else None,
        target=_cut(item.target, limit) if item.target is not None else None,
        word=word,
        tone=tone,
        scores=tuple((name, f"{value:.4g}") for name, value in item.scores.items()),
        received_at=item.received_at,
        url=f"/training/{item.job_id}/predictions/{item.seq}",
    )


def _pair(first: Prediction, second: Prediction) -> PairRow:
    word, tone = TURN_WORDS[turn_of(first.exact_match, second.exact_match)]
    return PairRow(
        prompt=_cut(second.prompt, MAX_SHOWN_TEXT),
        target=_cut(second.target, MAX_SHOWN_TEXT) if second.target is not None else None,
        first=prediction_row(first),
        second=prediction_row(second),
        word=word,
        tone=tone,
    )


# --- the views ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How many of the judged predictions match exactly, in whole percents, with the 95 % interval."""

    percent: int
    low: int
    high: int
    matched: int
    judged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRow:
    """A training in the list. ``spark``: its exact match by epoch as an SVG draws it, "" of fewer than two epochs."""

    job_id: str
    name: str
    url: str
    word: str
    tone: str
    total: int
    epoch: int | None
    quality: Quality | None
    spark: str
    changed_at: float
    created_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingList(View):
    """One's trainings, the one that spoke last first."""

    rows: tuple[TrainingRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingHead(View):
    """A training in numbers. ``quality`` is of the latest epoch that has any, ``before`` of the one before it."""

    training: Training
    word: str
    tone: str
    epochs: int
    quality: Quality | None
    quality_epoch: int | None
    before: Quality | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One metric over the epochs. Points lie in a plot of 1000 by 100; ``band`` is "" without an interval."""

    name: str
    low: str
    high: str
    first_epoch: int
    last_epoch: int
    last: str
    change: str
    line: str
    band: str
    dots: tuple[tuple[float, float, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRow:
    """An epoch in numbers; ``scores`` in the order of ``Trends.names``, "" where none was pushed."""

    epoch: int
    count: int
    quality: Quality | None
    scores: tuple[str, ...]
    step: int
    is_complete: bool
    url: str
    compare_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trends(View):
    """A training by its epochs, newest first in the table. ``more`` epochs are not listed, ``more_charts`` scores not drawn."""

    job_id: str
    charts: tuple[Chart, ...]
    names: tuple[str, ...]
    rows: tuple[EpochRow, ...]
    more: int
    more_charts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionTable(View):
    """Predictions, page by page. ``window`` None: they are being read. ``matching`` of ``total`` are in the filter."""

    subject: PredictionSubject
    window: Window | None
    error: str
    total: int
    matching: int
    is_narrow: bool
    is_newest: bool
    older_url: str
    newer_url: str
    newest_url: str
    all_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SideShown:
    """One side of a comparison."""

    letter: str
    name: str
    url: str
    epoch: int | None
    count: int
    quality: Quality | None
    scores: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnLink:
    """How many pairs have such a turn, and the page that lists them."""

    word: str
    tone: str
    count: int
    url: str
    is_chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonView(View):
    """Two sets of predictions side by side. ``pairs`` None: they are being read."""

    sides: tuple[SideShown, ...]
    pairs: Pairs | None
    error: str
    sentence: str
    turns: tuple[TurnLink, ...]
    all_url: str
    is_narrow: bool
    first_url: str
    next_url: str


def training_list(look: Look, owner: str | None) -> TrainingList:
    """The trainings of a subject (see ``access.Identity``), None: all."""
    return TrainingList(now=look.now, rows=tuple(_row(look, training) for training in look.trainings.of(owner)))


def training_head(look: Look, job_id: str | None) -> TrainingHead:
    """A training in numbers. Raises NotFound."""
    training = need_training(look, job_id)
    epochs = look.state.epochs.get(training.job_id, {})
    judged = [epoch for _, epoch in sorted(epochs.items()) if epoch.judged]
    word, tone = STATUS_WORDS[training.status]
    return TrainingHead(
        now=look.now,
        training=training,
        word=word,
        tone=tone,
        epochs=len(epochs),
        quality=_quality(judged[-1]) if judged else None,
        quality_epoch=judged[-1].epoch if judged else None,
        before=_quality(judged[-2]) if len(judged) > 1 else None,
    )


def training_trends(look: Look, job_id: str | None) -> Trends:
    """A training by its epochs. Raises NotFound."""
    training = need_training(look, job_id)
    epochs = [epoch for _, epoch in sorted(look.state.epochs.get(training.job_id, {}).items())]
    names = list(dict.fromkeys(name for epoch in epochs for name in epoch.scores))
    charts = [_match_chart([epoch for epoch in epochs if epoch.judged])]
    charts += [_score_chart(name, [epoch for epoch in epochs if name in epoch.scores]) for name in names]
    drawn = [chart for chart in charts if chart is not None]
    rows = [_epoch_row(epoch, epochs[place - 1] if place else None, names[:MAX_CHARTS]) for place, epoch in enumerate(epochs)]
    return Trends(
        now=look.now,
        job_id=training.job_id,
        charts=tuple(drawn[:MAX_CHARTS]),
        names=tuple(names[:MAX_CHARTS]),
        rows=tuple(rows[::-1][:MAX_EPOCH_ROWS]),
        more=max(0, len(rows) - MAX_EPOCH_ROWS),
        more_charts=max(0, len(drawn) - MAX_CHARTS),
    )


def prediction_table(look: Look, about: str | None) -> PredictionTable:
    """Predictions of a training. Raises NotFound, Invalid."""
    subject = PredictionSubject.parse(about)
    training = need_training(look, subject.job_id)
    seen: Seen[Window] = look.trainings.predictions(subject)
    rows = seen.value.rows if seen.value is not None else ()
    epochs = look.state.epochs.get(training.job_id, {}).values()
    return PredictionTable(
        now=look.now,
        subject=subject,
        window=seen.value,
        error=seen.error,
        total=training.total,
        matching=sum(_matching(epoch, subject.filter) for epoch in epochs),
        is_narrow=subject.filter != PredictionFilter(),
        is_newest=subject.before is None and subject.after is None,
        older_url=replace(subject, before=rows[-1].seq, after=None).url if rows and seen.value and seen.value.has_older else "",
        newer_url=replace(subject, before=None, after=rows[0].seq).url if rows and seen.value and seen.value.has_newer else "",
        newest_url=replace(subject, before=None, after=None).url,
        all_url=monitor_url(subject.job_id),
    )


def comparison_detail(look: Look, about: str | None) -> ComparisonView:
    """Two sets of predictions. Raises NotFound, Invalid."""
    subject = ComparisonSubject.parse(about)
    sides = tuple(_side(look, side, letter) for side, letter in ((subject.first, "A"), (subject.second, "B")))
    seen: Seen[Pairs] = look.trainings.comparison(subject)
    pairs = seen.value
    every = replace(subject, turn=None, after=0)
    return ComparisonView(
        now=look.now,
        sides=sides,
        pairs=pairs,
        error=seen.error,
        sentence=_sentence(pairs) if pairs is not None else "",
        turns=tuple(_turn_link(every, turn, subject.turn, pairs.counts) for turn in Turn) if pairs is not None else (),
        all_url=every.url,
        is_narrow=subject.turn is not None,
        first_url=replace(subject, after=0).url if subject.after else "",
        next_url=replace(subject, after=pairs.next_after).url if pairs is not None and pairs.next_after is not None else "",
    )


# --- the parts ---


def _row(look: Look, training: Training) -> TrainingRow:
    epochs = [epoch for _, epoch in sorted(look.state.epochs.get(training.job_id, {}).items()) if epoch.judged]
    word, tone = STATUS_WORDS[training.status]
    return TrainingRow(
        job_id=training.job_id,
        name=training.name,
        url=monitor_url(training.job_id),
        word=word,
        tone=tone,
        total=training.total,
        epoch=training.epoch,
        quality=_quality(epochs[-1]) if epochs else None,
        spark=_line([(epoch.epoch, epoch.exact_match or 0.0) for epoch in _thinned(epochs)], 0.0, 1.0) if len(epochs) > 1 else "",
        changed_at=training.changed_at,
        created_at=training.created_at,
    )


def _quality(epoch: Epoch) -> Quality | None:
    return _share(epoch.matched, epoch.judged)


def _share(matched: int, judged: int) -> Quality | None:
    if not judged:
        return None
    known = share(matched, judged)
    return Quality(
        percent=round(100 * matched / judged), low=round(100 * known.low), high=round(100 * known.high), matched=matched, judged=judged
    )


def _matching(epoch: Epoch, wanted: PredictionFilter) -> int:
    if wanted.epoch not in (None, epoch.epoch):
        return 0
    return {None: epoch.count, True: epoch.matched, False: epoch.judged - epoch.matched}[wanted.match]


def _thinned(epochs: Sequence[Epoch]) -> list[Epoch]:
    """At most MAX_POINTS of them, evenly; the last is one of them."""
    every = -(-len(epochs) // MAX_POINTS)
    return [epoch for place, epoch in enumerate(epochs) if (len(epochs) - 1 - place) % every == 0] if epochs else []


def _match_chart(epochs: Sequence[Epoch]) -> Chart | None:
    if not epochs:
        return None
    points = [(epoch, share(epoch.matched, epoch.judged)) for epoch in _thinned(epochs)]
    upper = [(epoch.epoch, known.high) for epoch, known in points]
    lower = [(epoch.epoch, known.low) for epoch, known in points]
    values = [(epoch.epoch, epoch.exact_match or 0.0) for epoch, _ in points]
    chart = _chart("Exact match", values, low=0.0, high=1.0, word=lambda value: f"{100 * value:.1f} %")
    band = f"{_line(upper, 0.0, 1.0)} L{_line(lower[::-1], 0.0, 1.0, span=lower).removeprefix('M')} Z" if len(points) > 1 else ""
    return replace(chart, band=band)


def _score_chart(name: str, epochs: Sequence[Epoch]) -> Chart | None:
    if not epochs:
        return None
    values = [(epoch.epoch, epoch.scores[name].mean) for epoch in _thinned(epochs)]
    low, high = min(value for _, value in values), max(value for _, value in values)
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low == high:
        low, high = low - 0.5, high + 0.5
    return _chart(name, values, low=low, high=high, word=lambda value: f"{value:.4g}")


def _chart(name: str, values: Sequence[tuple[int, float]], *, low: float, high: float, word: Callable[[float], str]) -> Chart:
    change = values[-1][1] - values[-2][1] if len(values) > 1 else None
    dots = [(_x(epoch, values), _y(value, low, high), f"Epoch {epoch}: {word(value)}") for epoch, value in values]
    return Chart(
        name=name,
        low=word(low),
        high=word(high),
        first_epoch=values[0][0],
        last_epoch=values[-1][0],
        last=word(values[-1][1]),
        change=("" if change is None else "no change" if not change else f"{'+' if change > 0 else '−'}{word(abs(change))}"),
        line=_line(values, low, high),
        band="",
        dots=tuple(dots if len(dots) <= MAX_EPOCH_ROWS else dots[-1:]),
    )


def _line(values: Sequence[tuple[int, float]], low: float, high: float, span: Sequence[tuple[int, float]] = ()) -> str:
    return "M" + " L".join(f"{_x(epoch, span or values)} {_y(value, low, high)}" for epoch, value in values)


def _x(epoch: int, values: Sequence[tuple[int, float]]) -> float:
    first, last = values[0][0], values[-1][0]
    return round(WIDTH * (epoch - first) / (last - first), 1) if last > first else WIDTH / 2


def _y(value: float, low: float, high: float) -> float:
    return round(HEIGHT * (1 - (value - low) / (high - low)), 2)


def _epoch_row(epoch: Epoch, before: Epoch | None, names: Sequence[str]) -> EpochRow:
    subject = PredictionSubject(job_id=epoch.job_id, filter=PredictionFilter(epoch=epoch.epoch))
    compared = ""
    if before is not None:
        sides = [Side(job_id=epoch.job_id, epoch=each.epoch) for each in (before, epoch)]
        compared = ComparisonSubject(first=sides[0], second=sides[1]).url
    return EpochRow(
        epoch=epoch.epoch,
        count=epoch.count,
        quality=_quality(epoch),
        scores=tuple(f"{epoch.scores[name].mean:.4g}" if name in epoch.scores else "" for name in names),
        step=epoch.latest_step,
        is_complete=epoch.is_complete,
        url=subject.url,
        compare_url=compared,
    )


def _side(look: Look, side: Side, letter: str) -> SideShown:
    training = need_training(look, side.job_id)
    epochs = [epoch for number, epoch in look.state.epochs.get(side.job_id, {}).items() if side.epoch in (None, number)]
    names = dict.fromkeys(name for epoch in epochs for name in epoch.scores)
    means = []
    for name in names:
        sums = [epoch.scores[name] for epoch in epochs if name in epoch.scores]
        means.append((name, f"{sum(item.total for item in sums) / sum(item.n for item in sums):.4g}"))
    return SideShown(
        letter=letter,
        name=training.name,
        url=PredictionSubject(job_id=side.job_id, filter=PredictionFilter(epoch=side.epoch)).url,
        epoch=side.epoch,
        count=sum(epoch.count for epoch in epochs),
        quality=_share(sum(epoch.matched for epoch in epochs), sum(epoch.judged for epoch in epochs)),
        scores=tuple(means[:MAX_CHARTS]),
    )


def _turn_link(every: ComparisonSubject, turn: Turn, chosen: Turn | None, counts: PairCounts) -> TurnLink:
    word, tone = TURN_WORDS[turn]
    return TurnLink(word=word, tone=tone, count=counts.turns[turn], url=replace(every, turn=turn).url, is_chosen=turn is chosen)


def _sentence(pairs: Pairs) -> str:
    """What the numbers allow to say, and no more."""
    fixed, broken = pairs.counts.turns[Turn.FIXED], pairs.counts.turns[Turn.BROKEN]
    if not pairs.counts.common:
        return "The two sides have no prompt with the same target in common."
    if pairs.p is None:
        return "No prompt that both sides have has a target: there is nothing to judge."
    told = f"B matches on {fixed} prompt{'s' if fixed != 1 else ''} where A does not, A on {broken} where B does not"
    if pairs.p >= 0.05:
        return f"{told}: chance alone would do as much (McNemar's exact p = {_p(pairs.p)})."
    return f"{told}: {'B' if fixed > broken else 'A'} is better beyond chance (McNemar's exact p = {_p(pairs.p)})."


def _p(p: float) -> str:
    return f"{p:.2g}" if p >= 0.0001 else "below 0.0001"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"


def _text(number: int | None) -> str:
    return "" if number is None else str(number)


def _number(query: Query, name: str) -> int | None:
    """Raises Invalid."""
    text = query.one(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_NUMBER)) and int(text) <= MAX_NUMBER):
        raise Invalid(name, "is a whole number")
    return int(text)


def _job_id(name: str, text: str) -> str:
    """Raises Invalid."""
    if not JOB_ID.fullmatch(text):
        raise Invalid(name, "names a training")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionPage:
    """One prediction with all of its text."""

    training: Training
    row: PredictionRow
    client_id: str
    metadata: tuple[tuple[str, str], ...]
    created_at: float
    monitor_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorPage:
    """The page of a training: what its filter form shows. ``compare_url`` "": there are not two epochs yet."""

    job_id: str
    name: str
    is_over: bool
    subject: PredictionSubject
    epochs: tuple[int, ...]
    matches: tuple[tuple[str, str], ...]
    match: str
    compare_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTraining:
    """What was entered into the form of a new training, and what is wrong with it, by field; ``made``: its id and token, shown once."""

    job_id: str = ""
    title: str = ""
    errors: dict[str, str] = field(default_factory=dict)
    made: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparePage:
    """What the form of a comparison shows: the trainings with their epochs that can be chosen. ``subject`` "": nothing is chosen yet."""

    trainings: tuple[tuple[str, str], ...]
    values: dict[str, str]
    subject: str
    error: str = ""


def monitor_page(look: Look, subject: PredictionSubject) -> MonitorPage:
    """Raises NotFound."""
    training = need_training(look, subject.job_id)
    epochs = sorted(look.state.epochs.get(training.job_id, {}))
    sides = [Side(job_id=training.job_id, epoch=epoch) for epoch in epochs[-2:]]
    return MonitorPage(
        job_id=training.job_id,
        name=training.name,
        is_over=training.is_over,
        subject=subject,
        epochs=tuple(dict.fromkeys([*epochs[::-1][:200], *([subject.filter.epoch] if subject.filter.epoch is not None else [])])),
        matches=tuple(MATCHES.items()),
        match={True: "yes", False: "no", None: ""}[subject.filter.match],
        compare_url=ComparisonSubject(first=sides[0], second=sides[1]).url if len(sides) == 2 else "",
    )


def prediction_page(training: Training, item: Prediction) -> PredictionPage:
    """One prediction."""
    return PredictionPage(
        training=training,
        row=prediction_row(item, limit=10**6),
        client_id=item.client_id,
        metadata=tuple((name, str(value)) for name, value in item.metadata.items()),
        created_at=item.created_at,
        monitor_url=monitor_url(training.job_id),
    )
