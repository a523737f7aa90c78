"""A task without progress: what hangs, since when, and whether that is longer than usual. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from waa.core.entity import Task
from waa.core.incident import Concern
from waa.core.logs.fact import Activity
from waa.core.state import State, newest_attempts

MIN_DURATIONS = 3
"""Ended tasks of a run that tell how long its tasks take."""

HUNG: Mapping[Activity | None, tuple[Concern, str, str]] = {
    Activity.EVALUATING: (
        Concern.EVALUATOR_HUNG,
        "The evaluator hangs",
        "It may wait for a file or a program in the guest that never comes. Stop the run and start it again.",
    ),
    Activity.RESETTING: (
        Concern.RESET_HUNG,
        "The task's set-up hangs",
        "Look at the screen: a download, a program or a dialog may block it. Stop the run and start it again.",
    ),
    Activity.THINKING: (
        Concern.MODEL_HUNG,
        "The model does not answer",
        "Check the model's service, its limits and the API key; the benchmark itself has no time limit. Start the run again.",
    ),
    Activity.ACTING: (
        Concern.STALLED,
        "An action hangs in the guest",
        "Look at the screen: the guest may be frozen or wait for a dialog.",
    ),
    None: (Concern.STALLED, "The task has stalled", "Look at the run's log and at the screen."),
}
"""By what a silent task was doing: the concern, its title, the remedy."""


def last_sign_at(state: State, task: Task) -> float:
    """When the task was last seen to get on. Several at once under one name cannot be told apart by the log: a sign of any counts."""
    tasks = [other for other in state.tasks[task.run_id].values() if other.worker == task.worker]
    if sum(not other.is_over for other in tasks) < 2:
        return task.changed_at
    return max(other.changed_at for other in tasks)


def usual_task_s(state: State, task: Task) -> float:
    """How long this task took in other runs, else how long the tasks of its run take, seconds; 0: nobody knows."""
    key = f"{task.domain}/{task.task_id}#1"
    own = _durations_s(tasks[key] for run_id, tasks in state.tasks.items() if run_id != task.run_id and key in tasks)
    if own:
        return median(own)
    others = _durations_s(newest_attempts(state.tasks[task.run_id].values()))
    return median(others) if len(others) >= MIN_DURATIONS else 0.0


def place_of(tasks: Sequence[Task]) -> str:
    """Where tasks are, in words; "" for none."""
    if not tasks:
        return ""
    more = f" and {len(tasks) - 1} more" if len(tasks) > 1 else ""
    return f"{name_of(tasks[0])}, {step_of(tasks[0])}{more}"


def name_of(task: Task) -> str:
    """A task as people name it."""
    return f"{task.domain}/{task.task_id}"


def step_of(task: Task) -> str:
    """How far a task is."""
    return f"step {task.step}" if task.step else "before its first step"


def _durations_s(tasks: Iterable[Task]) -> list[float]:
    return [task.ended_at - task.started_at for task in tasks if task.ended_at is not None and task.score is not None]


def count_same(sums: Sequence[str]) -> int | None:
    """How many of the newest pictures show the same, from their checksums, the newest first; None of nothing.

    A picture belongs to them while it equals the one before or after it: the clock of the task bar may change in between.
    """
    if not sums:
        return None
    for index, own in enumerate(sums):
        if own not in (*sums[max(0, index - 1) : index], *sums[index + 1 : index + 2]):
            return max(1, index)
    return len(sums)
