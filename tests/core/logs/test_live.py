"""Facts from looks at ``benchmark_live.json``: the recorded states, every second one of them, restarts."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.logs.corpus import TRUTH, data
from waa.core.logs import fact as f
from waa.core.logs.files import LiveState, LiveStep, LiveTask, read_live
from waa.core.logs.live import LiveReader

FILE = "generated/openadapt_evals_live_states.jsonl"
STATES = [state for line in data(FILE).splitlines() if (state := read_live(line)) is not None]
TASKS: list[dict[str, Any]] = TRUTH[FILE]["tasks"]


def taken(states: Sequence[LiveState], reader: LiveReader | None = None) -> list[f.AnyFact]:
    """The facts of looks in their order."""
    reader = reader or LiveReader()
    return [fact for state in states for fact in reader.take(state)]


def outcomes(facts: Sequence[f.AnyFact]) -> list[tuple[str, float | str | None]]:
    """Each task that ended: its score, or why it has none."""
    ended: list[tuple[str, float | str | None]] = []
    score: float | None = None
    for fact in facts:
        match fact:
            case f.TaskScored():
                score = fact.score
            case f.TaskFinished():
                ended.append((fact.task_id, score))
            case f.TaskCut():
                ended.append((fact.task_id, fact.reason))
    return ended


def running(task: LiveTask | None = None, *, total: int | None = 3, completed: int = 0) -> LiveState:
    return LiveState(status="running", total_tasks=total, tasks_completed=completed, current_task=task)


def a_task(task_id: str = "a", *, steps: int = 0, score: float | None = None, success: bool | None = None) -> LiveTask:
    told = tuple(LiveStep(number=number, action=f"click({number})") for number in range(1, steps + 1))
    has_result = score is not None or success is not None
    return LiveTask(task_id=task_id, domain="vlc", steps=told, has_result=has_result, score=score, success=success)


def test_the_recorded_run_is_told_whole() -> None:
    facts = taken(STATES)
    assert facts[:2] == [f.RunStarted(dialect=f.Dialect.OPENADAPT), f.RunPlanned(total=6)]
    assert facts[-1] == f.RunFinished()
    assert [fact.task_id for fact in facts if isinstance(fact, f.TaskStarted)] == [task["id"] for task in TASKS]
    ended = outcomes(facts)
    assert [task_id for task_id, _ in ended] == [task["id"] for task in TASKS], "each once, in order"
    for task, (_, score) in zip(TASKS, ended, strict=True):
        if task["outcome"] == "error":
            assert score == "the next task began, no result was seen", "an exception is not written to the file"
        else:
            assert (score == 1.0) is (task["outcome"] == "success")


def test_what_a_model_says_changes_nothing() -> None:
    told = "".join(repr(fact) for fact in taken(STATES) if not isinstance(fact, f.StepStarted | f.StepDescribed))
    assert "Step 99" not in told
    assert "Result: PASS" not in told


def test_the_same_state_again_says_nothing_new() -> None:
    assert taken([state for state in STATES for _ in range(3)]) == taken(STATES)


@given(st.sets(st.integers(0, len(STATES) - 1)))
def test_whatever_looks_are_missed_no_task_is_told_twice_or_out_of_order(missed: set[int]) -> None:
    seen = [state for number, state in enumerate(STATES) if number not in missed]
    ended = [task_id for task_id, _ in outcomes(taken(seen))]
    order = [task["id"] for task in TASKS]
    assert ended == [task_id for task_id in order if task_id in ended]


@given(st.integers(0, len(STATES)))
def test_a_reader_goes_on_where_another_stopped(at: int) -> None:
    first = LiveReader()
    facts = taken(STATES[:at], first)
    resumed = LiveReader.resume(json.loads(json.dumps(first.state())))
    assert facts + taken(STATES[at:], resumed) == taken(STATES)


@pytest.mark.parametrize("state", [{}, {"task_id": 5, "step": "x", "is_running": "yes", "completed": None, "total": []}])
def test_a_state_that_does_not_fit_begins_anew(state: dict[str, object]) -> None:
    assert taken(STATES, LiveReader.resume(state)) == taken(STATES)


def test_the_last_result_counts_although_the_run_is_over_already() -> None:
    end = LiveState(status="complete", total_tasks=1, tasks_completed=1, current_task=a_task(score=1.0))
    facts = taken([running(a_task()), end])
    assert outcomes(facts) == [("a", 1.0)]
    assert facts[-1] == f.RunFinished()


def test_a_task_that_began_and_ended_with_the_run_between_two_looks_is_told() -> None:
    end = LiveState(status="complete", current_task=a_task("b", score=0.5))
    assert outcomes(taken([running(a_task("a", score=1.0)), end])) == [("a", 1.0), ("b", 0.5)]


def test_a_total_that_comes_later_or_changes_is_told() -> None:
    facts = taken([running(total=None), running(total=3), running(total=3), running(total=4)])
    assert [fact.total for fact in facts if isinstance(fact, f.RunPlanned)] == [3, 4]


def test_a_count_that_falls_is_another_run() -> None:
    facts = taken([running(a_task("a"), completed=2), running(a_task("a", steps=1), completed=0)])
    assert sum(isinstance(fact, f.RunStarted) for fact in facts) == 2
    assert outcomes(facts) == [("a", "the run was started again")]
    assert sum(isinstance(fact, f.TaskStarted) for fact in facts) == 2


@pytest.mark.parametrize("before", [a_task(score=0.0), a_task(steps=3)], ids=["after its result", "in its middle"])
def test_the_same_task_from_its_beginning_is_another_attempt(before: LiveTask) -> None:
    facts = taken([running(before), running(a_task(steps=1)), running(a_task(steps=1, score=1.0))])
    assert sum(isinstance(fact, f.TaskStarted) for fact in facts) == 2
    assert outcomes(facts)[-1] == ("a", 1.0)


def test_a_result_without_a_score_counts_by_its_success() -> None:
    results = [running(a_task("a", success=True)), running(a_task("b", success=False))]
    assert outcomes(taken(results)) == [("a", 1.0), ("b", 0.0)]


@pytest.mark.parametrize("status", ["idle", "error", "cancelled", ""])
def test_any_other_end_is_an_interruption(status: str) -> None:
    facts = taken([running(a_task()), LiveState(status=status)])
    assert isinstance(facts[-1], f.RunInterrupted)
    assert outcomes(facts) == [("a", "the run ended")]


@pytest.mark.parametrize("status", ["idle", "complete", "error"])
def test_a_file_that_tells_of_no_run_under_way_is_no_run(status: str) -> None:
    assert taken([LiveState(status=status, total_tasks=6, tasks_completed=4)]) == []
