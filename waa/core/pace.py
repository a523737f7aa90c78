"""How fast a run goes: when it may end."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from waa.core.entity import Run, Task
from waa.core.state import Progress
from waa.core.statistics import Eta, eta, mean
from waa.core.status import RunStatus

MAX_PAUSE_S = 900.0
"""A longer pause between two tasks was an interruption, and says nothing about the pace."""


def expected_end(run: Run, progress: Progress, tasks: Sequence[Task], current: Sequence[Task]) -> Eta | None:
    """When a run may end, None where that cannot be told yet; ``current`` are the tasks that run."""
    if run.total is None or run.status is not RunStatus.RUNNING:
        return None
    begun = [task.started_at for task in current]
    last = max((task.ended_at for task in tasks if task.ended_at is not None), default=run.started_at)
    return eta(
        list(_cycles_s(tasks)),
        remaining=run.total - progress.completed,
        since_at=mean(begun) or last,
        workers=max(1, len(current)),
    )


def pauses(tasks: Iterable[Task]) -> Iterator[tuple[float, float]]:
    """From when to when no task ran, where that was an interruption; in order."""
    until: float | None = None
    for task in sorted(tasks, key=lambda task: task.started_at):
        if until is not None and task.started_at - until > MAX_PAUSE_S:
            yield until, task.started_at
        end = task.ended_at if task.ended_at is not None else task.changed_at
        until = max(until or end, end)


def _cycles_s(tasks: Iterable[Task]) -> Iterable[float]:
    """What each ended task took, with the pause before the next one of its worker, seconds."""
    by_worker: dict[str, list[Task]] = defaultdict(list)
    for task in tasks:
        by_worker[task.worker].append(task)
    for own in by_worker.values():
        own.sort(key=lambda task: task.started_at)
        for task, following in pairwise(own):
            if task.ended_at is not None:
                pause_s = following.started_at - task.ended_at
                yield max(0.0, task.ended_at - task.started_at) + (pause_s if 0 <= pause_s <= MAX_PAUSE_S else 0.0)
        if own[-1].ended_at is not None:
            yield max(0.0, own[-1].ended_at - own[-1].started_at)
