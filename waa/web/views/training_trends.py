"""A training by its epochs: a chart for each metric, and the numbers behind them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from waa.core.error import NotFound
from waa.core.statistics import share
from waa.core.training import Epoch, PredictionFilter, Side, Training
from waa.web.view import Look, View
from waa.web.views.training_subject import ComparisonSubject, PredictionSubject

MAX_POINTS = 200
MAX_CHARTS = 8
MAX_EPOCH_ROWS = 50
WIDTH, HEIGHT = 1000.0, 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How many of the judged predictions match exactly, in whole percents, with the 95 % interval."""

    percent: int
    low: int
    high: int
    matched: int
    judged: int


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


def need_training(look: Look, job_id: str | None) -> Training:
    """Whose it is must have been looked at. Raises NotFound."""
    training = look.state.trainings.get(job_id or "")
    if training is None:
        raise NotFound(f"There is no training {job_id!r}")
    return training


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


def quality_of(epoch: Epoch) -> Quality | None:
    return share_of(epoch.matched, epoch.judged)


def share_of(matched: int, judged: int) -> Quality | None:
    if not judged:
        return None
    known = share(matched, judged)
    return Quality(
        percent=round(100 * matched / judged), low=round(100 * known.low), high=round(100 * known.high), matched=matched, judged=judged
    )


def thinned(epochs: Sequence[Epoch]) -> list[Epoch]:
    """At most MAX_POINTS of them, evenly; the last is one of them."""
    every = -(-len(epochs) // MAX_POINTS)
    return [epoch for place, epoch in enumerate(epochs) if (len(epochs) - 1 - place) % every == 0] if epochs else []


def _match_chart(epochs: Sequence[Epoch]) -> Chart | None:
    if not epochs:
        return None
    points = [(epoch, share(epoch.matched, epoch.judged)) for epoch in thinned(epochs)]
    upper = [(epoch.epoch, known.high) for epoch, known in points]
    lower = [(epoch.epoch, known.low) for epoch, known in points]
    values = [(epoch.epoch, epoch.exact_match or 0.0) for epoch, _ in points]
    chart = _chart("Exact match", values, low=0.0, high=1.0, word=lambda value: f"{100 * value:.1f} %")
    band = f"{line_of(upper, 0.0, 1.0)} L{line_of(lower[::-1], 0.0, 1.0, span=lower).removeprefix('M')} Z" if len(points) > 1 else ""
    return replace(chart, band=band)


def _score_chart(name: str, epochs: Sequence[Epoch]) -> Chart | None:
    if not epochs:
        return None
    values = [(epoch.epoch, epoch.scores[name].mean) for epoch in thinned(epochs)]
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
        line=line_of(values, low, high),
        band="",
        dots=tuple(dots if len(dots) <= MAX_EPOCH_ROWS else dots[-1:]),
    )


def line_of(values: Sequence[tuple[int, float]], low: float, high: float, span: Sequence[tuple[int, float]] = ()) -> str:
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
        quality=quality_of(epoch),
        scores=tuple(f"{epoch.scores[name].mean:.4g}" if name in epoch.scores else "" for name in names),
        step=epoch.latest_step,
        is_complete=epoch.is_complete,
        url=subject.url,
        compare_url=compared,
    )
