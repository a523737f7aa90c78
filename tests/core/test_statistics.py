"""Intervals, coverage, McNemar's test, pass@k, means, quartiles and the expected end of a run, against reference libraries."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from waa.core.statistics import (
    MIN_DURATIONS,
    Coverage,
    Eta,
    Share,
    Spread,
    coverage,
    eta,
    mcnemar_exact,
    mean,
    pass_at_k,
    quantile,
    share,
    spread,
    wilson,
)

counts = st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
durations = st.lists(st.floats(0.1, 10_000), min_size=MIN_DURATIONS, max_size=60)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (50, 100, 0.4038, 0.5962), (1, 1, 0.2065, 1.0)],
)
def test_wilson_agrees_with_published_values(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


@given(counts, st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99]))
def test_wilson_agrees_with_statsmodels_and_scipy(count: tuple[int, int], confidence: float) -> None:
    successes, n = count
    found = wilson(successes, n, confidence)
    assert found == pytest.approx(proportion_confint(successes, n, alpha=1 - confidence, method="wilson"), abs=1e-12)
    reference = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert found == pytest.approx((reference.low, reference.high), abs=1e-12)


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


# --- coverage ---


def test_a_share_is_a_rate_with_its_interval() -> None:
    assert share(8, 10) == Share(passed=8, n=10, rate=0.8, low=wilson(8, 10)[0], high=wilson(8, 10)[1])
    assert share(0, 0) == Share(passed=0, n=0, rate=None, low=0.0, high=1.0)


def test_coverage_names_both_denominators() -> None:
    found = coverage(passed=6, failed=4, errors=3, unknown=2, planned=20)
    assert found == Coverage(planned=20, ended=15, errors=3, unknown=2, of_scored=share(6, 10), of_planned=0.3)


def test_a_run_that_has_not_said_its_size_has_no_rate_of_all() -> None:
    found = coverage(passed=6, failed=4, errors=0, unknown=0, planned=None)
    assert (found.ended, found.of_planned, found.of_scored.rate) == (10, None, 0.6)


def test_nothing_scored_is_no_rate() -> None:
    found = coverage(passed=0, failed=0, errors=2, unknown=0, planned=5)
    assert (found.of_scored.rate, found.of_planned) == (None, 0.0)
    assert coverage(passed=0, failed=0, errors=0, unknown=0, planned=0).of_planned is None


@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 500), st.integers(0, 500), st.integers(0, 500))
def test_the_rate_of_all_is_never_above_the_rate_of_the_scored(passed: int, failed: int, errors: int, unknown: int, waiting: int) -> None:
    planned = passed + failed + errors + unknown + waiting
    found = coverage(passed=passed, failed=failed, errors=errors, unknown=unknown, planned=planned)
    assert found.ended + waiting == planned
    assert (found.of_planned or 0.0) <= (found.of_scored.rate or 0.0)


@pytest.mark.parametrize(
    ("counts_told", "message"),
    [
        ({"passed": -1}, "passed is -1"),
        ({"errors": -2}, "errors is -2"),
        ({"planned": -1}, "planned is -1"),
        ({"planned": 9, "failed": 10}, "10 tasks ended of 9 planned"),
    ],
)
def test_impossible_counts_are_refused(counts_told: dict[str, int], message: str) -> None:
    told = {"passed": 0, "failed": 0, "errors": 0, "unknown": 0, "planned": 20, **counts_told}
    with pytest.raises(ValueError, match=message):
        coverage(passed=told["passed"], failed=told["failed"], errors=told["errors"], unknown=told["unknown"], planned=told["planned"])


# --- pass@k ---

trials = st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n)))


@given(trials)
def test_pass_at_k_is_the_share_of_choices_with_one_that_passed(trial: tuple[int, int, int]) -> None:
    n, passed, k = trial
    choices = [any(chosen) for chosen in combinations([True] * passed + [False] * (n - passed), k)]
    assert pass_at_k(n, passed, k) == pytest.approx(sum(choices) / len(choices))


@given(st.integers(1, 10**9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_pass_at_one_is_the_success_rate_for_any_number_of_trials(trial: tuple[int, int]) -> None:
    n, passed = trial
    assert pass_at_k(n, passed, 1) == pytest.approx(passed / n, rel=1e-12)


@pytest.mark.parametrize(("n", "passed", "k"), [(10**6, 3, 500_000), (10**6, 500_000, 3)])
def test_pass_at_k_of_many_trials_neither_overflows_nor_loses_digits(n: int, passed: int, k: int) -> None:
    exact = 1 - (500_000 * 499_999 * 499_998) / (10**6 * 999_999 * 999_998)
    assert pass_at_k(n, passed, k) == pytest.approx(exact, rel=1e-12)


def test_a_tiny_chance_keeps_its_digits() -> None:
    assert pass_at_k(10**15, 1, 2) == pytest.approx(2e-15, rel=1e-12, abs=0)


@given(trials)
def test_more_tries_and_more_passes_never_lower_it(trial: tuple[int, int, int]) -> None:
    n, passed, k = trial
    found = pass_at_k(n, passed, k)
    assert 0.0 <= found <= 1.0
    if k < n:
        assert pass_at_k(n, passed, k + 1) >= found - 1e-12
    if passed < n:
        assert pass_at_k(n, passed + 1, k) >= found - 1e-12


@pytest.mark.parametrize(
    ("n", "passed", "k", "message"), [(3, 4, 1, "4 passed"), (3, -1, 1, "-1 passed"), (3, 1, 0, "k is 0"), (3, 1, 4, "k is 4")]
)
def test_pass_at_k_of_nonsense_is_refused(n: int, passed: int, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pass_at_k(n, passed, k)


# --- McNemar ---

flips = st.tuples(st.integers(0, 400), st.integers(0, 400))


@given(flips, st.integers(0, 500), st.integers(0, 500))
def test_mcnemar_agrees_with_statsmodels_and_scipy(flip: tuple[int, int], both: int, neither: int) -> None:
    first, second = flip
    found = mcnemar_exact(first, second)
    assert found == pytest.approx(mcnemar([[both, first], [second, neither]], exact=True).pvalue, rel=1e-9)
    if first + second:
        assert found == pytest.approx(binomtest(first, first + second, 0.5).pvalue, rel=1e-9)


@given(flips)
def test_which_run_is_first_does_not_matter(flip: tuple[int, int]) -> None:
    assert mcnemar_exact(*flip) == mcnemar_exact(*reversed(flip))


def test_runs_that_never_differ_do_not_differ() -> None:
    assert mcnemar_exact(0, 0) == 1.0


def test_thousands_of_tasks_are_exact() -> None:
    assert mcnemar_exact(2400, 2600) == pytest.approx(binomtest(2400, 5000, 0.5).pvalue, rel=1e-9)
    assert 0.0 <= mcnemar_exact(0, 5000) < 1e-300


@pytest.mark.parametrize(("first", "second", "message"), [(-1, 2, "only_first is -1"), (2, -3, "only_second is -3")])
def test_negative_flips_are_refused(first: int, second: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mcnemar_exact(first, second)


# --- quartiles ---

values = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=80)


@given(values, st.floats(0, 1))
def test_quantiles_agree_with_numpy(numbers: list[float], q: float) -> None:
    assert quantile(numbers, q) == pytest.approx(float(np.quantile(numbers, q)), rel=1e-9, abs=1e-6)


@given(values)
def test_a_spread_agrees_with_numpy(numbers: list[float]) -> None:
    found = spread(numbers)
    assert found is not None
    least, low, median, high, most = np.percentile(numbers, [0, 25, 50, 75, 100])
    assert (found.n, found.min, found.max) == (len(numbers), least, most)
    assert (found.low, found.median, found.high) == pytest.approx((low, median, high), rel=1e-9, abs=1e-6)


def test_one_value_is_its_own_spread_and_none_has_none() -> None:
    assert spread([7.0]) == Spread(n=1, median=7.0, low=7.0, high=7.0, min=7.0, max=7.0)
    assert spread([]) is None


@pytest.mark.parametrize(
    ("numbers", "q", "message"), [([], 0.5, "nothing"), ([1.0], 1.1, "q is 1.1"), ([1.0], -0.1, "q is"), ([float("nan")], 0.5, "finite")]
)
def test_quantiles_of_nonsense_are_refused(numbers: list[float], q: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quantile(numbers, q)
