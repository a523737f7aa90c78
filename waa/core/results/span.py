"""When a step was under way."""

from collections.abc import Sequence
from dataclasses import dataclass

from waa.core.entity import Task
from waa.core.results.record import StepRecord

MILLISECOND_S = 0.001
"""The stamps of a log are as fine as that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """From a moment until before another one, by the runner's clock; ``until_at`` None: it goes on."""

    from_at: float
    until_at: float | None


def span_of(steps: Sequence[StepRecord], place: int, task: Task) -> Span | None:
    """From the beginning of an action to that of the next one; what goes before the first belongs to the first (the set-up), what
    comes after the last to the last (the evaluation). None where nobody noted when it began. Actions that began in one second
    share their span: records are no finer."""
    at = steps[place].at
    if at is None:
        return None
    is_first = not any(step.at is not None and step.at < at for step in steps[:place])
    next_at = next((step.at for step in steps[place + 1 :] if step.at is not None and step.at > at), None)
    ended_at = task.ended_at + MILLISECOND_S if task.ended_at is not None else None
    return Span(from_at=min(at, task.started_at) if is_first else at, until_at=next_at if next_at is not None else ended_at)
