"""Runs side by side: what all of them scored, what flipped, what could not be compared."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar

from tests.core.builders import T0, a_run, a_task
from waa.core.codec import encode
from waa.core.comparison import Absence, ArgumentCompared, Comparison, Flip, compare
from waa.core.entity import Run, RunId, Task
from waa.core.logs.fact import TaskRef
from waa.core.statistics import Spread, wilson
from waa.core.status import RunStatus, TaskStatus

PASS, FAIL, ERROR, UNKNOWN, RUNNING = TaskStatus.PASSED, TaskStatus.FAILED, TaskStatus.ERROR, TaskStatus.UNKNOWN, TaskStatus.RUNNING
SCORES = {PASS: 1.0, FAIL: 0.0}

Told = tuple[Run, list[Task]]


def a_told_run(name: str, outcomes: Mapping[str, TaskStatus], **fields: Any) -> Told:
    """A run with tasks by "domain/id"."""
    run = a_run(name, **{"status": RunStatus.FINISHED, **fields})
    return run, [a_told_task(run.run_id, task, status) for task, status in outcomes.items()]


def a_told_task(run_id: RunId, name: str, status: TaskStatus, **fields: Any) -> Task:
    domain, _, task_id = name.partition("/")
    told: dict[str, Any] = {"score": SCORES.get(status), "ended_at": T0 + 61, "step": 4, "provisional": False}
    return a_task(task_id, run_id=run_id, domain=domain, status=status, **{**told, **fields})


def compared(*outcomes: Mapping[str, TaskStatus], **fields: Any) -> Comparison:
    return compare([a_told_run(f"run-{number}", each, **fields) for number, each in enumerate(outcomes)])


def test_only_tasks_that_all_scored_are_common() -> None:
    base = {"a/1": PASS, "a/2": FAIL, "a/3": ERROR, "b/1": PASS, "b/2": RUNNING}
    other = {"a/1": PASS, "a/2": PASS, "a/3": PASS, "b/1": UNKNOWN, "c/1": FAIL}
    found = compared(base, other)
    assert (found.common, found.tasks) == (2, 6)
    assert [(run.common.passed, run.common.n) for run in found.runs] == [(1, 2), (2, 2)]
    assert (found.runs[0].common.low, found.runs[0].common.high) == wilson(1, 2)
    assert [run.coverage.of_scored.n for run in found.runs] == [3, 4]
    assert (found.runs[0].coverage.errors, found.runs[1].coverage.unknown) == (1, 1)


def test_flips_are_told_each_way_and_tested() -> None:
    base = {f"a/{number}": PASS if number < 3 else FAIL for number in range(14)}
    other = {f"a/{number}": FAIL if number < 1 else PASS for number in range(14)}
    (pair,) = compared(base, other).pairs
    assert pair.other == "run-1"
    assert pair.lost == (Flip(domain="a", task_id="0", base_score=1.0, other_score=0.0),)
    assert [flip.task_id for flip in pair.gained] == sorted(str(number) for number in range(3, 14))
    assert (pair.both_passed, pair.both_failed) == (2, 0)
    assert pair.p == pytest.approx(mcnemar([[2, 1], [11, 0]], exact=True).pvalue)
    assert pair.rate_difference == pytest.approx(10 / 14)
    assert pair.score_difference == pytest.approx(10 / 14)


def test_runs_that_share_nothing_tell_nothing() -> None:
    found = compared({"a/1": PASS}, {"b/1": PASS})
    assert (found.common, found.domains, found.pass_at) == (0, (), ())
    (pair,) = found.pairs
    assert (pair.p, pair.rate_difference, pair.score_difference) == (1.0, None, None)
    assert [run.common.rate for run in found.runs] == [None, None]
    assert found.runs[0].outcome.steps is None


def test_why_a_task_is_missing_is_told_per_run() -> None:
    plan = (TaskRef(domain="a", task_id="waits"), TaskRef(domain="a", task_id="both"))
    base = a_told_run("base", {"a/both": PASS, "a/err": ERROR, "a/unk": UNKNOWN, "a/run": RUNNING}, plan=plan)
    other = a_told_run("other", {"a/both": PASS, "a/err": PASS, "a/unk": FAIL, "a/run": PASS, "a/waits": PASS, "z/extra": FAIL})
    found = compare([base, other])
    assert {task.task_id: task.reasons for task in found.uncompared} == {
        "err": (Absence.ERROR, None),
        "unk": (Absence.UNKNOWN, None),
        "run": (Absence.RUNNING, None),
        "waits": (Absence.NOT_BEGUN, None),
        "extra": (Absence.ABSENT, None),
    }


def test_a_run_that_goes_on_without_a_plan_may_still_begin_a_task() -> None:
    base = a_told_run("base", {"a/1": PASS}, status=RunStatus.RUNNING)
    found = compare([base, a_told_run("other", {"a/1": PASS, "a/2": PASS})])
    assert [task.reasons for task in found.uncompared] == [(Absence.NOT_BEGUN, None)]
    assert not found.is_final


def test_the_newest_attempt_counts() -> None:
    run, tasks = a_told_run("base", {"a/1": FAIL})
    again = a_told_task(run.run_id, "a/1", PASS, attempt=2)
    found = compare([(run, [again, *tasks]), a_told_run("other", {"a/1": FAIL})])
    assert found.pairs[0].lost[0].task_id == "1"
    assert found.runs[0].coverage.ended == 1


def test_verdicts_are_each_runs_own_and_other_thresholds_are_told() -> None:
    lax_run, strict_run = (
        a_run(name, status=RunStatus.FINISHED, threshold=threshold) for name, threshold in (("lax", 0.5), ("strict", 1.0))
    )
    lax = lax_run, [a_told_task(lax_run.run_id, "a/1", PASS, score=0.6)]
    strict = strict_run, [a_told_task(strict_run.run_id, "a/1", FAIL, score=0.7)]
    found = compare([lax, strict])
    assert found.has_mixed_thresholds
    assert [run.common.passed for run in found.runs] == [1, 0]
    assert found.pairs[0].score_difference == pytest.approx(0.1)
    assert not compared({"a/1": PASS}, {"a/1": PASS}).has_mixed_thresholds


def test_domains_are_compared_by_what_is_common() -> None:
    base = {"a/1": PASS, "a/2": FAIL, "b/1": PASS, "c/1": PASS}
    other = {"a/1": PASS, "a/2": PASS, "b/1": FAIL, "c/1": ERROR}
    found = {domain.domain: domain for domain in compared(base, other).domains}
    assert list(found) == ["a", "b"]
    assert (found["a"].n, found["a"].passed, found["a"].rates, found["a"].differences) == (2, (1, 2), (0.5, 1.0), (0.0, 0.5))
    assert found["b"].differences == (0.0, -1.0)


def test_steps_and_durations_are_told_by_outcome() -> None:
    run = a_run("base", status=RunStatus.FINISHED)
    tasks = [
        a_told_task(run.run_id, f"a/{number}", status, step=step, started_at=T0, ended_at=T0 + 10 * step)
        for number, (status, step) in enumerate([(PASS, 2), (PASS, 4), (FAIL, 15), (ERROR, 99)])
    ]
    base = compare([(run, tasks), a_told_run("other", {f"a/{number}": PASS for number in range(4)})]).runs[0]
    assert base.outcome.steps == Spread(n=3, median=4, low=3.0, high=9.5, min=2, max=15)
    assert base.passed.steps is not None
    assert base.passed.steps.median == 3
    assert base.failed.duration_s == Spread(n=1, median=150.0, low=150.0, high=150.0, min=150.0, max=150.0)


def test_scores_of_the_log_are_counted_as_provisional() -> None:
    run, tasks = a_told_run("base", {"a/1": PASS, "a/2": PASS})
    told = a_told_task(run.run_id, "a/3", PASS, provisional=True)
    found = compare([(run, [*tasks, told]), a_told_run("other", {"a/1": PASS, "a/2": FAIL, "a/3": FAIL})])
    assert found.provisional == 1


def test_arguments_that_differ_are_named() -> None:
    base = a_told_run("base", {}, arguments={"model": "x", "seed": "1", "only": "y"})
    other = a_told_run("other", {}, arguments={"model": "z", "seed": "1"})
    assert compare([base, other]).arguments == (
        ArgumentCompared(name="model", values=("x", "z")),
        ArgumentCompared(name="only", values=("y", None)),
    )


def test_more_tasks_than_were_planned_are_all_counted() -> None:
    found = compare([a_told_run("base", {"a/1": PASS, "a/2": FAIL}, total=1), a_told_run("other", {"a/1": PASS}, total=4)])
    assert [(run.coverage.planned, run.coverage.of_planned) for run in found.runs] == [(2, 0.5), (4, 0.25)]


outcome = st.sampled_from([PASS, FAIL, ERROR, UNKNOWN, RUNNING])
trials = st.integers(2, 5).flatmap(lambda n: st.lists(st.lists(outcome, min_size=6, max_size=6), min_size=n, max_size=n))


@given(trials)
def test_pass_at_k_is_the_mean_over_tasks_of_all_choices_of_trials(told: list[list[TaskStatus]]) -> None:
    found = compared(*({f"a/{number}": status for number, status in enumerate(each)} for each in told))
    columns = [column for column in zip(*told, strict=True) if all(status in SCORES for status in column)]
    if not columns:
        assert found.pass_at == ()
        return
    assert [each.k for each in found.pass_at] == list(range(1, len(told) + 1))
    for each in found.pass_at:
        choices = [any(status is PASS for status in chosen) for column in columns for chosen in combinations(column, each.k)]
        assert each.value == pytest.approx(sum(choices) / len(choices))


@given(trials)
def test_what_is_compared_and_what_is_not_are_all_tasks(told: list[list[TaskStatus]]) -> None:
    found = compared(*({f"d{number % 2}/{number}": status for number, status in enumerate(each)} for each in told))
    assert found.common + len(found.uncompared) == found.tasks == 6
    assert sum(domain.n for domain in found.domains) == found.common
    for pair in found.pairs:
        assert pair.both_passed + pair.both_failed + len(pair.gained) + len(pair.lost) == found.common
    assert encode(found)  # programs get it as it is


@given(trials)
def test_the_other_way_round_gains_are_losses(told: list[list[TaskStatus]]) -> None:
    runs = [a_told_run(f"run-{number}", {f"a/{i}": status for i, status in enumerate(each)}) for number, each in enumerate(told[:2])]
    there, back = compare(runs).pairs[0], compare(runs[::-1]).pairs[0]
    assert [flip.task_id for flip in there.gained] == [flip.task_id for flip in back.lost]
    assert there.p == back.p


def test_a_comparison_needs_two_runs_that_are_not_the_same() -> None:
    told = a_told_run("base", {"a/1": PASS})
    with pytest.raises(ValueError, match="needs two"):
        compare([told])
    with pytest.raises(ValueError, match="twice"):
        compare([told, told])
