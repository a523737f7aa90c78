"""One task of two or three runs, step by step beside each other."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from waa.core.entity import Run, Task
from waa.core.error import Invalid, NotFound
from waa.core.logs.fact import TaskRef
from waa.core.results.record import StepRecord
from waa.services.task_record import RecordSeen
from waa.web.view import Look
from waa.web.views.compare import LETTERS, compare_task_url, compare_url, need_runs
from waa.web.views.run import BADGES, task_url
from waa.web.views.task import StepShown, TaskSubject, attempts_of, labels_of, number_text, score_of, step_shown

MAX_COLUMNS = 3
"""More screenshots beside each other are too small to be read."""

_STEP = re.compile(r"\d{1,7}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskColumn:
    """A run's newest attempt. ``step`` None: it has no such step, ``missing`` says why. ``more_actions`` are the further actions of the
    step. ``recorded`` counts its steps; ``url`` is the task's own page, at the step."""

    letter: str
    run_id: str
    name: str
    url: str
    tone: str
    badge: str
    score_text: str
    is_provisional: bool
    is_running: bool
    recorded: int
    step: StepShown | None
    more_actions: tuple[str, ...]
    missing: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedTask:
    """The page. Steps are aligned by their number; ``last`` is the highest that any run recorded, 0: none did. ``wanted`` is a step that
    was asked for and is not there. Addresses are "" where they would lead nowhere."""

    domain: str
    task_id: str
    instruction: str
    step: int
    last: int
    wanted: str
    columns: tuple[TaskColumn, ...]
    previous_url: str
    next_url: str
    first_url: str
    last_url: str
    compare_url: str
    is_running: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQuestion:
    """Which task of which runs is asked for, and at which step, None: the first."""

    runs: tuple[Run, ...]
    tasks: tuple[Task | None, ...]
    domain: str
    task_id: str
    step: int | None


def ask_task(look: Look, runs: str | None, domain: str | None, task_id: str | None, step: str | None) -> TaskQuestion:
    """What a query asks for. Raises Invalid naming the parameter, NotFound for an unknown run, and for a task that no run has."""
    chosen = need_runs(look.state, runs, most=MAX_COLUMNS)
    if not domain:
        raise Invalid("domain", "is the domain of the task")
    if not task_id:
        raise Invalid("task", "is the id of the task")
    if step and _STEP.fullmatch(step) is None:
        raise Invalid("step", "is the number of a step, such as 3")
    tasks = []
    for run in chosen:
        attempts = attempts_of(look, TaskSubject(run_id=run.run_id, domain=domain, task_id=task_id))
        tasks.append(attempts[-1] if attempts else None)
    ref = TaskRef(domain=domain, task_id=task_id)
    if not any(tasks) and not any(ref in run.plan for run in chosen):
        raise NotFound(f"None of these runs has a task {domain}/{task_id}.")
    return TaskQuestion(runs=tuple(chosen), tasks=tuple(tasks), domain=domain, task_id=task_id, step=int(step) if step else None)


def compared_task(look: Look, asked: TaskQuestion) -> ComparedTask:
    """The page, from the events and from the result folders as far as they were read."""
    seen = [look.record_of(task) if task is not None else RecordSeen() for task in asked.tasks]
    numbers = sorted({step.number for each in seen for step in _steps(each)})
    step, wanted = _place(numbers, asked.step)
    ids = [run.run_id for run in asked.runs]

    def url(number: int | None) -> str:
        return compare_task_url(ids, asked.domain, asked.task_id, number) if number is not None else ""

    told = [task.instruction for task in asked.tasks if task is not None and task.instruction]
    return ComparedTask(
        domain=asked.domain,
        task_id=asked.task_id,
        instruction=next((text for text in [*told, *(each.record.instruction for each in seen if each.record is not None)] if text), ""),
        step=step,
        last=numbers[-1] if numbers else 0,
        wanted=wanted,
        columns=tuple(_column(look, asked, place, seen[place], step) for place in range(len(asked.runs))),
        previous_url=url(max((number for number in numbers if number < step), default=None)),
        next_url=url(min((number for number in numbers if number > step), default=None)),
        first_url=url(numbers[0]) if numbers and numbers[0] < step else "",
        last_url=url(numbers[-1]) if numbers and numbers[-1] > step else "",
        compare_url=compare_url(ids),
        is_running=any(task is not None and not task.is_over for task in asked.tasks),
    )


def _steps(seen: RecordSeen) -> Sequence[StepRecord]:
    return seen.record.steps if seen.record is not None else ()


def _place(numbers: Sequence[int], asked: int | None) -> tuple[int, str]:
    """The step shown, and the one asked for where no run has it."""
    if not numbers:
        return asked or 1, ""
    if asked is None:
        return numbers[0], ""
    return (asked, "") if asked in numbers else (numbers[-1], str(asked))


def _column(look: Look, asked: TaskQuestion, place: int, seen: RecordSeen, number: int) -> TaskColumn:
    run, task = asked.runs[place], asked.tasks[place]
    steps = _steps(seen)
    labelled = zip(steps, labels_of(steps), strict=True)
    here = [(step, label) for step, label in labelled if step.number == number]
    tone, badge = BADGES[task.status] if task is not None else ("pending", "NOT YET")
    score, is_provisional = score_of(task, seen)
    page = task_url(run.run_id, asked.domain, asked.task_id)
    return TaskColumn(
        letter=LETTERS[place],
        run_id=run.run_id,
        name=run.name,
        url="" if task is None else f"{page}?step={here[0][1]}" if here else page,
        tone=tone,
        badge=badge,
        score_text=number_text(score),
        is_provisional=is_provisional,
        is_running=task is not None and not task.is_over,
        recorded=len({step.number for step in steps}),
        step=step_shown(here[0][0], here[0][1], task) if here and task is not None else None,
        more_actions=tuple(step.action for step, _ in here[1:]),
        missing="" if here else _missing(run, task, seen, TaskRef(domain=asked.domain, task_id=asked.task_id), number),
    )


def _missing(run: Run, task: Task | None, seen: RecordSeen, ref: TaskRef, number: int) -> str:
    """Why a run has no such step."""
    if task is None:
        return "This run has not begun the task." if ref in run.plan else "This run has no such task."
    last = max((step.number for step in _steps(seen)), default=0)
    if not last:
        return _unread(task, seen)
    if number < last:
        return f"Step {number} was not recorded."
    return f"This run ended after step {last}." if task.is_over else f"This run is at step {max(last, task.step)}."


def _unread(task: Task, seen: RecordSeen) -> str:
    if seen.is_reading:
        return "Its result folder is being read. Reload in a moment."
    if seen.lacking is not None:
        return f"There are no files of it: {seen.lacking.message}"
    if seen.is_other:
        return "Its result folder tells of another attempt."
    return "No step was recorded." if task.is_over else "No step has been recorded yet."
