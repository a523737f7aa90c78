"""Intervals, means and the expected end of a run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waa.core.statistics import MIN_DURATIONS, Eta, eta, mean, wilson

counts = st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
durations = st.lists(st.floats(0.1, 10_000), min_size=MIN_DURATIONS, max_size=60)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (50, 100, 0.4038, 0.5962), (1, 1, 0.2065, 1.0)],
)
def test_wilson_agrees_with_published_values(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_nothing_tried_leaves_the_rate_open() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


@given(counts)
def test_the_interval_holds_the_rate_and_stays_within_bounds(count: tuple[int, int]) -> None:
    low, high = wilson(*count)
    assert 0.0 <= low <= count[0] / count[1] <= high <= 1.0


@given(counts)
def test_successes_and_failures_mirror_each_other(count: tuple[int, int]) -> None:
    successes, n = count
    low, high = wilson(successes, n)
    assert wilson(n - successes, n) == pytest.approx((1 - high, 1 - low))


@given(counts)
def test_more_confidence_is_a_wider_interval(count: tuple[int, int]) -> None:
    low, high = wilson(*count, confidence=0.8)
    wider_low, wider_high = wilson(*count, confidence=0.99)
    assert wider_low <= low
    assert high <= wider_high


@pytest.mark.parametrize(("successes", "n", "confidence"), [(3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0), (1, 2, 0.0)])
def test_nonsense_is_refused(successes: int, n: int, confidence: float) -> None:
    with pytest.raises(ValueError, match=r"successes|confidence"):
        wilson(successes, n, confidence)


def test_mean_of_nothing_is_none() -> None:
    assert mean([]) is None
    assert mean([0.0, 0.5, 1.0]) == 0.5


def test_the_end_is_not_guessed_while_warming_up() -> None:
    assert eta([60.0, 70.0], remaining=5, since_at=1000.0) is None


def test_a_run_with_nothing_left_has_no_end_to_come() -> None:
    assert eta([60.0, 70.0, 80.0], remaining=0, since_at=1000.0) is None


def test_equal_durations_give_one_moment() -> None:
    assert eta([60.0] * 4, remaining=5, since_at=1000.0) == Eta(1300.0, 1300.0)


def test_workers_share_what_remains() -> None:
    assert eta([60.0] * 4, remaining=6, since_at=1000.0, workers=3) == Eta(1120.0, 1120.0)
    assert eta([60.0] * 4, remaining=1, since_at=1000.0, workers=3) == Eta(1060.0, 1060.0)


@given(durations, st.integers(1, 500), st.integers(1, 16))
def test_the_range_is_ordered_and_never_in_the_past(durations_s: list[float], remaining: int, workers: int) -> None:
    found = eta(durations_s, remaining=remaining, since_at=1000.0, workers=workers)
    assert found is not None
    assert 1000.0 <= found.earliest_at <= found.latest_at


@given(durations, st.integers(1, 500))
def test_one_more_task_never_ends_earlier(durations_s: list[float], remaining: int) -> None:
    before = eta(durations_s, remaining=remaining, since_at=1000.0)
    after = eta(durations_s, remaining=remaining + 1, since_at=1000.0)
    assert before is not None
    assert after is not None
    assert after.latest_at >= before.latest_at
