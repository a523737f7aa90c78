"""When a step was under way: from its own moment to that of the next."""

from tests.core.builders import T0, a_task
from waa.core.results.record import StepRecord
from waa.core.results.span import Span, span_of


def steps(*moments: float | None) -> list[StepRecord]:
    return [StepRecord(number=number, action="x", at=at) for number, at in enumerate(moments, start=1)]


def test_steps_end_where_the_next_begins_and_the_first_holds_the_set_up() -> None:
    task = a_task(started_at=T0, ended_at=T0 + 90.5)
    told = [span_of(steps(T0 + 30, T0 + 40, T0 + 55), place, task) for place in range(3)]
    assert told == [
        Span(from_at=T0, until_at=T0 + 40),
        Span(from_at=T0 + 40, until_at=T0 + 55),
        Span(from_at=T0 + 55, until_at=T0 + 90.5 + 0.001),
    ]


def test_the_last_step_of_a_running_task_goes_on() -> None:
    task = a_task(started_at=T0, ended_at=None)
    assert span_of(steps(T0 + 30, T0 + 40), 1, task) == Span(from_at=T0 + 40, until_at=None)


def test_actions_of_one_second_share_their_span_and_what_is_undated_has_none() -> None:
    task = a_task(started_at=T0, ended_at=None)
    moments = steps(T0 + 30, None, T0 + 40, T0 + 40, T0 + 50)
    assert span_of(moments, 0, task) == Span(from_at=T0, until_at=T0 + 40)
    assert span_of(moments, 1, task) is None
    assert span_of(moments, 2, task) == span_of(moments, 3, task) == Span(from_at=T0 + 40, until_at=T0 + 50)


def test_a_first_step_that_is_older_than_its_task_begins_there() -> None:
    span = span_of(steps(T0 - 5), 0, a_task(started_at=T0, ended_at=None))
    assert span == Span(from_at=T0 - 5, until_at=None)
