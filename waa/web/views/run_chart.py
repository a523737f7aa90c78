"""A run over its time: how its success rate came about, how many tasks an hour, and how its scores lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from waa.core.entity import Run, Task
from waa.core.pace import pauses
from waa.core.state import State, newest_attempts
from waa.core.statistics import share
from waa.web.view import Look, View
from waa.web.views.run import need_run

MAX_POINTS = 200
MAX_LISTED = 40
"""Points in the table behind the chart."""
WIDTH = 1000.0
"""Of the chart, in its own units; it is 100 high, one for each percent."""
BUCKETS_S = (60.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14_400.0, 28_800.0, 86_400.0, 7 * 86_400.0)
MAX_BUCKETS = 36
SCORE_BINS = ("0", "to 0.25", "to 0.5", "to 0.75", "below 1", "1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The success rate once a task was scored, in percent: ``passed`` of ``scored`` so far."""

    at: float
    passed: int
    scored: int
    percent: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A part of the run without an interruption, as an SVG draws it: the line, and the band of the interval around it."""

    line: str
    band: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Nothing ran from ``began_at`` to ``ended_at``; ``x`` and ``width`` in the units of the chart."""

    began_at: float
    ended_at: float
    x: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Tasks that ended from a moment on, for as long as ``RunChart.bucket_word`` says. ``height`` is 100 for the most."""

    at: float
    ended: int
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """How many tasks have such a score. ``width`` is 100 for the most."""

    word: str
    count: int
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunChart(View):
    """A run over its time. ``last`` None: no task was scored yet. ``listed`` are points of the chart, far fewer than it draws.
    ``per_hour``: tasks that ended per hour, without the pauses; None where none ended."""

    began_at: float
    until_at: float
    last: Point | None
    listed: tuple[Point, ...]
    stretches: tuple[Stretch, ...]
    pauses: tuple[Pause, ...]
    buckets: tuple[Bucket, ...]
    bucket_word: str
    per_hour: float | None
    bins: tuple[Bin, ...]


def run_chart(look: Look, run_id: str | None) -> RunChart:
    """A run over its time. Raises NotFound."""
    run = need_run(look.state, run_id)
    tasks = _tasks(look.state, run)
    ended = sorted((task for task in tasks if task.ended_at is not None), key=_end)
    until_at = max([run.started_at, *map(_end, ended)])
    points = points_of(ended)
    gaps = [(begin, end) for begin, end in pauses(tasks) if begin < until_at]
    drawn = thinned(points, MAX_POINTS, [begin for begin, _ in gaps])
    scale = _Scale(run.started_at, until_at)
    bucket_s = _bucket_s(until_at - run.started_at)
    worked_s = until_at - run.started_at - sum(end - begin for begin, end in gaps)
    return RunChart(
        now=look.now,
        began_at=run.started_at,
        until_at=until_at,
        last=points[-1] if points else None,
        listed=tuple(thinned(points, MAX_LISTED)),
        stretches=tuple(_stretch(part, scale) for part in _parts(drawn, [begin for begin, _ in gaps])),
        pauses=tuple(_pause(begin, end, scale) for begin, end in gaps),
        buckets=_buckets(ended, run.started_at, until_at, bucket_s),
        bucket_word=_bucket_word(bucket_s),
        per_hour=len(ended) * 3600 / worked_s if ended and worked_s > 0 else None,
        bins=_bins([task.score for task in newest_attempts(tasks) if task.is_over and task.score is not None]),
    )


def points_of(ended: Sequence[Task]) -> list[Point]:
    """The rate after each task that was scored, from attempts in the order of their end; a later attempt takes an earlier one's place."""
    verdicts: dict[tuple[str, str], bool | None] = {}
    passed = scored = 0
    points = []
    for task in ended:
        name = (task.domain, task.task_id)
        before, now = verdicts.get(name), task.success
        verdicts[name] = now
        passed += (now is True) - (before is True)
        scored += (now is not None) - (before is not None)
        if before is not now and scored:
            points.append(_point(_end(task), passed, scored))
    return points


def thinned(points: Sequence[Point], most: int, cuts: Sequence[float] = ()) -> list[Point]:
    """At most ``most`` of them, evenly, and with those on either side of a cut (at most a quarter of ``most``); the last is one of them."""
    if len(points) <= most:
        return list(points)
    edges = set()
    for cut in cuts[: most // 8]:
        after = next((place for place, point in enumerate(points) if point.at > cut), len(points))
        edges |= {max(0, after - 1), min(after, len(points) - 1)}
    every = ceil((len(points) - 1) / (most - len(edges) - 1))
    kept = edges | set(range(0, len(points), every)) | {len(points) - 1}
    return [points[place] for place in sorted(kept)]


@dataclass(frozen=True, slots=True)
class _Scale:
    began_at: float
    until_at: float

    def x(self, at: float) -> float:
        """Where a moment stands in the chart."""
        span_s = self.until_at - self.began_at
        return round(WIDTH * (at - self.began_at) / span_s, 1) if span_s > 0 else WIDTH


def _tasks(state: State, run: Run) -> list[Task]:
    return list(state.tasks.get(run.run_id, {}).values())


def _end(task: Task) -> float:
    return task.ended_at if task.ended_at is not None else task.changed_at


def _point(at: float, passed: int, scored: int) -> Point:
    known = share(passed, scored)
    return Point(at=at, passed=passed, scored=scored, percent=100 * passed / scored, low=100 * known.low, high=100 * known.high)


def _parts(points: Sequence[Point], cuts: Sequence[float]) -> list[list[Point]]:
    """The points between the cuts."""
    parts: list[list[Point]] = [[]]
    waiting = list(cuts)
    for point in points:
        while waiting and point.at > waiting[0]:
            waiting.pop(0)
            parts.append([])
        parts[-1].append(point)
    return [part for part in parts if part]


def _stretch(points: Sequence[Point], scale: _Scale) -> Stretch:
    line = [f"{scale.x(point.at)} {100 - point.percent:.2f}" for point in points]
    upper = [f"{scale.x(point.at)} {100 - point.high:.2f}" for point in points]
    lower = [f"{scale.x(point.at)} {100 - point.low:.2f}" for point in reversed(points)]
    return Stretch(line=f"M{' L'.join(line)}" + (" h0" if len(line) == 1 else ""), band=f"M{' L'.join([*upper, *lower])} Z")


def _pause(began_at: float, ended_at: float, scale: _Scale) -> Pause:
    x = scale.x(began_at)
    return Pause(began_at=began_at, ended_at=ended_at, x=x, width=round(max(1.0, scale.x(ended_at) - x), 1))


def _bucket_s(span_s: float) -> float:
    return next((size for size in BUCKETS_S if span_s / size <= MAX_BUCKETS), max(BUCKETS_S[-1], ceil(span_s / MAX_BUCKETS)))


def _bucket_word(size_s: float) -> str:
    for word, unit_s in (("day", 86_400.0), ("hour", 3600.0), ("minute", 60.0)):
        if size_s >= unit_s:
            return word if size_s == unit_s else f"{size_s / unit_s:g} {word}s"
    return f"{size_s:g} s"


def _buckets(ended: Sequence[Task], began_at: float, until_at: float, size_s: float) -> tuple[Bucket, ...]:
    if not ended:
        return ()
    counts = [0] * (int((until_at - began_at) // size_s) + 1)
    for task in ended:
        counts[max(0, int((_end(task) - began_at) // size_s))] += 1
    most = max(counts)
    return tuple(
        Bucket(at=began_at + place * size_s, ended=count, height=round(100 * count / most, 1)) for place, count in enumerate(counts)
    )


def _bins(scores: Sequence[float]) -> tuple[Bin, ...]:
    counts = [0] * len(SCORE_BINS)
    for score in scores:
        counts[0 if score <= 0 else len(SCORE_BINS) - 1 if score >= 1 else min(4, ceil(4 * score))] += 1
    most = max(counts) or 1
    return tuple(Bin(word=word, count=count, width=round(100 * count / most, 1)) for word, count in zip(SCORE_BINS, counts, strict=True))
