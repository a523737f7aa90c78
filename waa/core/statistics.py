"""What a few outcomes allow to say: a success rate with its interval, a mean, and when a run may end."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
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
