"""When a step was under way, and which lines of a log that makes its own."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from waa.core.entity import Task
from waa.core.logs.excerpt import Excerpt, excerpt_of
from waa.core.results.record import StepRecord

MILLISECOND_S = 0.001
"""The stamps of a log are as fine as that."""
SLACK_S = 15.0
"""A step's moment is noted in whole seconds, before its action or (by some) after it."""
END_OF_TIME = 253_370_764_800.0
"""The year 9999, beyond all stamps that a log can print."""

_RECORD = re.compile(
    rb"(?:\x1b\[1;33m)?\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?:\x1b\[[0-9;]*m)?[A-Z]{4,8} (?:\x1b\[[0-9;]*m)?"
    rb"[\w.<>-]{1,80}/\d{1,7}-([\w.:-]{1,80})(?:\x1b\[[0-9;]*m)?\] ?(?:\x1b\[0m)?(?:\s{0,4}Step (\d{1,7}): )?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """From a moment until before another one, by the runner's clock; ``until_at`` None: it goes on.

    ``number`` and ``part`` are those of the action that was under way then, 0: no particular one. What goes before the first
    action is its own too (``is_first``). The task began at ``began_at``; ``is_last``: what follows is another task's. ``process`` is
    the one that works on it, where several write into one log, else "".
    """

    from_at: float
    until_at: float | None
    number: int = 0
    part: int = 1
    is_first: bool = False
    is_last: bool = False
    began_at: float = 0.0
    process: str = ""

    @property
    def search(self) -> tuple[float, float]:
        """Between which moments the lines are to be looked for."""
        from_at = self.from_at if self.is_first or not self.number else max(self.from_at - SLACK_S, self.began_at)
        if self.until_at is None:
            return from_at, END_OF_TIME
        return from_at, self.until_at if self.is_last or not self.number else self.until_at + SLACK_S


def span_of(steps: Sequence[StepRecord], place: int, task: Task) -> Span | None:
    """From the beginning of an action to that of the next one; what goes before the first belongs to the first (the set-up), what
    comes after the last to the last (the evaluation). None where nobody noted when it began. Actions that began in one second
    share these moments: records are no finer."""
    step = steps[place]
    if step.at is None:
        return None
    is_first = not any(other.at is not None and other.at < step.at for other in steps[:place])
    next_at = next((other.at for other in steps[place + 1 :] if other.at is not None and other.at > step.at), None)
    ended_at = task.ended_at + MILLISECOND_S if task.ended_at is not None else None
    return Span(
        from_at=min(step.at, task.started_at) if is_first else step.at,
        until_at=next_at if next_at is not None else ended_at,
        number=step.number,
        part=step.part,
        is_first=is_first and place == 0,
        is_last=next_at is None,
        began_at=task.started_at,
        process=process_of(task),
    )


def span_of_task(task: Task) -> Span:
    """All of an attempt."""
    ended_at = task.ended_at + MILLISECOND_S if task.ended_at is not None else None
    return Span(from_at=task.started_at, until_at=ended_at, process=process_of(task))


def process_of(task: Task) -> str:
    """The process that works on a task, by its name in the log; "" where only one writes there, or they have all the same name."""
    return "" if task.worker.isdecimal() else task.worker


def lines_of(found: Excerpt, span: Span) -> Excerpt:
    """Of what was found between the moments of ``span.search`` the lines of its action: from the record that announces it to that which
    announces the next one. By their time, where the log announces no steps."""
    records = [(data, number) for data, process, number in _records(found.data) if span.process in ("", process)]
    if not span.number:
        return _joined(found, records)
    announced = [index for index, (_, number) in enumerate(records) if number]
    own = [index for index in announced if records[index][1] == span.number]
    if not own:
        until_at = span.until_at if span.until_at is not None else END_OF_TIME
        data = b"".join(data for data, _ in records)
        timed = excerpt_of(data, from_at=span.from_at, until_at=until_at, max_bytes=len(data) + 1)
        return replace(found, data=timed.data)
    begin = own[min(span.part, len(own)) - 1]
    end = next((index for index in announced if index > begin), None)
    picked = records[0 if span.is_first else begin : end]
    return _joined(found if end is None else replace(found, is_cut=False), picked)


def _records(data: bytes) -> Iterator[tuple[bytes, str, int]]:
    """The records of a piece of a log with the lines that follow each, the process that wrote it, and the step that it announces (0:
    none). What stands before the first record belongs to nobody."""
    matches = list(_RECORD.finditer(data))
    for match, following in zip_longest(matches, matches[1:]):
        end = following.start() if following is not None else len(data)
        yield data[match.start() : end], match[1].decode("ascii", "replace"), int(match[2] or 0)


def _joined(found: Excerpt, records: Sequence[tuple[bytes, int]]) -> Excerpt:
    return replace(found, data=b"".join(data for data, _ in records))
