"""What a few outcomes allow to say: success rates with their intervals and what they leave out, whether two runs differ, pass@k over
trials, means and quartiles, and when a run may end."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import expm1, floor, isfinite, log1p, sqrt
from statistics import NormalDist, fmean, stdev

MIN_DURATIONS = 3
"""Fewer ended tasks say nothing about the next ones: the run is warming up."""

ETA_CONFIDENCE = 0.8
"""The end falls into the range of ``eta`` about four times in five, if the tasks to come are like those before."""


@dataclass(frozen=True, slots=True)
class Eta:
    """When a run probably ends: between two moments, epoch seconds."""

    earliest_at: float
    latest_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """``passed`` of ``n`` tasks. ``rate`` is a fraction, None of nothing; ``low`` and ``high`` bound it (Wilson, 95 %)."""

    passed: int
    n: int
    rate: float | None
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What a success rate rests on, and what it leaves out.

    ``planned`` None: the run has not said how many tasks it has. ``ended`` = scored + errors (infrastructure) + unknown, where
    ``of_scored.n`` tasks were scored. ``of_planned`` is the fraction of all planned tasks that passed, None where their number is
    not known: a task without a verdict counts as not passed, whatever became of it.
    """

    planned: int | None
    ended: int
    errors: int
    unknown: int
    of_scored: Share
    of_planned: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How ``n`` values lie: the quartiles ``low`` and ``high`` hold the middle half of them."""

    n: int
    median: float
    low: float
    high: float
    min: float
    max: float


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of a success rate, as fractions ``(low, high)``; (0, 1) where nothing was tried.

    Raises ValueError unless ``0 <= successes <= n`` and ``0 < confidence < 1``.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is not between 0 and 1")
    if n == 0:
        return 0.0, 1.0
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    rate = successes / n
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = sqrt(z2) * sqrt(rate * (1 - rate) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def share(passed: int, n: int) -> Share:
    """A success rate with its interval. Raises ValueError unless ``0 <= passed <= n``."""
    low, high = wilson(passed, n)
    return Share(passed=passed, n=n, rate=passed / n if n else None, low=low, high=high)


def coverage(*, passed: int, failed: int, errors: int, unknown: int, planned: int | None) -> Coverage:
    """What is known of a run by its counts. Raises ValueError for a negative count, and where more tasks ended than were planned."""
    counts = {"passed": passed, "failed": failed, "errors": errors, "unknown": unknown, "planned": planned or 0}
    for name, count in counts.items():
        if count < 0:
            raise ValueError(f"{name} is {count}: a count is not negative")
    ended = passed + failed + errors + unknown
    if planned is not None and ended > planned:
        raise ValueError(f"{ended} tasks ended of {planned} planned")
    return Coverage(
        planned=planned,
        ended=ended,
        errors=errors,
        unknown=unknown,
        of_scored=share(passed, passed + failed),
        of_planned=passed / planned if planned else None,
    )


def pass_at_k(n: int, passed: int, k: int) -> float:
    """How likely at least one of ``k`` trials passes, estimated without bias from ``n`` trials of which ``passed`` did: the fraction
    of all choices of ``k`` of them with at least one that passed. Takes min(k, passed) steps, and is exact to some 1e-12 of its
    value for any ``n``.

    Raises ValueError unless ``0 <= passed <= n`` and ``1 <= k <= n``.
    """
    if not 0 <= passed <= n:
        raise ValueError(f"{passed} passed of {n} trials")
    if not 1 <= k <= n:
        raise ValueError(f"k is {k}, with {n} trials it is 1 to {n}")
    if n - passed < k:
        return 1.0
    fewer, more = sorted((passed, k))
    return -expm1(sum(log1p(-more / (n - i)) for i in range(fewer)))


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """The two-sided p of McNemar's exact test: how often chance alone, a fair coin per task that differs, tells two runs at least that
    far apart. ``only_first`` tasks passed in the first run alone, ``only_second`` in the second alone; 1 where no task differs.

    Raises ValueError for a negative count.
    """
    for name, count in (("only_first", only_first), ("only_second", only_second)):
        if count < 0:
            raise ValueError(f"{name} is {count}: a count is not negative")
    n = only_first + only_second
    tail = ways = 1  # whole numbers: no rounding adds up
    for i in range(min(only_first, only_second)):
        ways = ways * (n - i) // (i + 1)
        tail += ways
    return min(1.0, 2 * tail / (1 << n))


def quantile(values: Sequence[float], q: float) -> float:
    """The value below which a fraction ``q`` lies, between two values in proportion. Raises ValueError for no values, for one that is
    not finite, and unless ``0 <= q <= 1``."""
    if not values:
        raise ValueError("there is no quantile of nothing")
    if not 0 <= q <= 1:
        raise ValueError(f"q is {q}, not between 0 and 1")
    if not all(map(isfinite, values)):
        raise ValueError("a value is not finite")
    ordered = sorted(values)
    place = q * (len(ordered) - 1)
    below = floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def spread(values: Sequence[float]) -> Spread | None:
    """How values lie, None of nothing. Raises ValueError for one that is not finite."""
    if not values:
        return None
    low, median, high = (quantile(values, q) for q in (0.25, 0.5, 0.75))
    return Spread(n=len(values), median=median, low=low, high=high, min=min(values), max=max(values))


def mean(values: Sequence[float]) -> float | None:
    """The arithmetic mean, None of nothing."""
    return fmean(values) if values else None


def eta(durations_s: Sequence[float], *, remaining: int, since_at: float, workers: int = 1) -> Eta | None:
    """When ``remaining`` tasks that began at ``since_at`` are done, judged by how long the ended ones took.

    ``remaining`` counts the running ones too; ``workers`` work side by side. None while fewer than MIN_DURATIONS
    tasks have ended, or when nothing remains. The range widens with the spread of the durations and with how few
    of them are known; its early end is never before ``since_at``.
    """
    if len(durations_s) < MIN_DURATIONS or remaining <= 0:
        return None
    spread_s = stdev(durations_s) * sqrt(remaining + remaining**2 / len(durations_s))
    half_s = NormalDist().inv_cdf((1 + ETA_CONFIDENCE) / 2) * spread_s
    middle_s = fmean(durations_s) * remaining
    side_by_side = max(1, min(workers, remaining))
    return Eta(
        earliest_at=since_at + max(0.0, middle_s - half_s) / side_by_side,
        latest_at=since_at + (middle_s + half_s) / side_by_side,
    )
