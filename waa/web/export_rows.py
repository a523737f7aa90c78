"""The tasks and steps of a run as rows of plain values, and as lines of CSV and JSON."""

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from waa.core.entity import Run, Task
from waa.core.results.record import StepRecord
from waa.services.task_record import RecordSeen
from waa.web import wire
from waa.web.views.task import labels_of

TASK_COLUMNS = (
    "run", "vm", "domain", "task_id", "attempt", "index", "worker", "status", "score", "provisional", "steps", "started_at", "ended_at",
    "duration_s", "error", "instruction", "cost", "currency",
)  # fmt: skip
STEP_COLUMNS = (
    "run", "vm", "domain", "task_id", "attempt", "label", "step", "part", "action", "thought", "at", "reward", "done", "before", "after",
    "points", "lacking",
)  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""A text that begins with one of these may be run by a spreadsheet: it is written with an apostrophe before it."""
LAST_YEAR_AT = 253_402_300_799.0


def task_cells(run: Run, task: Task, *, cost: float | None = None, currency: str = "") -> list[object]:
    """One attempt for CSV. The score is exact unless ``provisional``. ``cost`` is its share of what the VM cost meanwhile, None: not
    known."""
    own: list[object] = [run.run_id, run.vm, task.domain, task.task_id, task.attempt, task.index, task.worker, task.status.value]
    took_s = round(task.ended_at - task.started_at, 3) if task.ended_at is not None else None
    score = [task.score, task.provisional if task.score is not None else None]
    times = [moment(task.started_at), moment(task.ended_at), took_s]
    return [*own, *score, task.step, *times, task.error, task.instruction, cost, currency if cost is not None else ""]


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step of an attempt; without one it says what is not known of the attempt (``lacking``)."""

    run: Run
    task: Task
    step: StepRecord | None = None
    label: str = ""
    lacking: str = ""

    def cells(self) -> list[object]:
        """For CSV: pictures by their names, points as ``x y; x y`` in fractions of the picture."""
        step = self.step
        own: list[object] = [self.run.run_id, self.run.vm, self.task.domain, self.task.task_id, self.task.attempt]
        if step is None:
            return [*own, *[None] * (len(STEP_COLUMNS) - len(own) - 1), self.lacking]
        pictures = [picture.name if picture is not None else None for picture in (step.before, step.after)]
        points = "; ".join(f"{point.x:.6g} {point.y:.6g}" for point in step.points)
        told = [self.label, step.number, step.part, step.action, step.thought, moment(step.at), step.reward, step.done]
        return [*own, *told, *pictures, points, self.lacking]

    def payload(self) -> dict[str, object]:
        """For JSON: the same names and the same forms as in the task's own JSON; moments in epoch seconds."""
        step = wire.step_payload(self.task, self.step, self.label) if self.step is not None else dict.fromkeys(STEP_COLUMNS[5:-1])
        own = {"run": self.run.run_id, "vm": self.run.vm, "domain": self.task.domain, "task_id": self.task.task_id}
        return {**own, "attempt": self.task.attempt, **step, "lacking": self.lacking or None}


def step_rows(run: Run, task: Task, seen: RecordSeen) -> Iterator[StepRow]:
    """The steps of an attempt, and then a row for what is not known of it, if anything."""
    steps = seen.record.steps if seen.record is not None else ()
    for step, label in zip(steps, labels_of(steps), strict=True):
        yield StepRow(run, task, step, label)
    lacking = lacking_words(seen)
    if lacking:
        yield StepRow(run, task, lacking=lacking)


def lacking_words(seen: RecordSeen) -> str:
    """What is not known of an attempt's steps, "" where all of it is."""
    record, words = seen.record, []
    if seen.lacking is not None:
        place = f" ({', '.join(seen.lacking.where)})" if seen.lacking.where else ""
        words.append(f"{seen.lacking.message or 'there is no result folder'}{place}")
    if seen.is_reading:
        words.append("the result folder was not read in time")
    if seen.is_other:
        words.append("the result folder tells of other attempts only")
    if record is not None and record.is_cut:
        words.append("the record is longer than what is read of one")
    if record is not None and record.unreadable:
        words.append(f"{record.unreadable} lines of the record made no sense")
    if record is not None and not record.steps and not words:
        words.append("no step was recorded")
    return "; ".join(words)


def by_task(tasks: Iterable[Task]) -> list[Task]:
    """The attempts at one task together: they share a folder, which is then read once."""
    attempts: dict[tuple[str, str], list[Task]] = defaultdict(list)
    for task in tasks:
        attempts[task.domain, task.task_id].append(task)
    return [task for own in attempts.values() for task in own]


def csv_line(cells: Iterable[object]) -> bytes:
    """One line after RFC 4180, with its line break, in UTF-8."""
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerow([_cell(cell) for cell in cells])
    return written.getvalue().encode("utf-8", "replace")


def moment(at: float | None) -> str:
    """UTC to the millisecond, "" where there is none or no calendar has it."""
    if at is None or not 0 <= at <= LAST_YEAR_AT:
        return ""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            return repr(value).removesuffix(".0") if math.isfinite(value) else ""
        case int():
            return str(value)
        case _:
            text = str(value).replace("\0", "?")
            return f"'{text}" if text.startswith(FORMULA) else text
