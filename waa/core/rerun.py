"""Which tasks of a run to run again, in the form that the benchmark takes. Pure."""

from collections.abc import Collection, Iterable
from enum import StrEnum

from waa.core.entity import Run, Task
from waa.core.error import Invalid
from waa.core.logs.fact import TaskRef
from waa.core.state import newest_attempts
from waa.core.status import RunStatus, TaskStatus


class Again(StrEnum):
    """Why a task is run again. MISSING: it was planned and never began, and the run is over."""

    ERROR = "error"
    UNKNOWN = "unknown"
    MISSING = "missing"
    FAILED = "failed"


USUAL = (Again.ERROR, Again.UNKNOWN, Again.MISSING)
"""What says nothing about the agent."""

_STATUSES = {TaskStatus.ERROR: Again.ERROR, TaskStatus.UNKNOWN: Again.UNKNOWN, TaskStatus.FAILED: Again.FAILED}


def read_again(text: str | None) -> frozenset[Again]:
    """The words of ``error,unknown,missing,failed``; None: the usual ones. Raises Invalid that names ``status``."""
    if text is None:
        return frozenset(USUAL)
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in set(Again):
            raise Invalid("status", f"{word[:40]!r} is not one of: {', '.join(Again)}")
    return frozenset(Again(word) for word in words)


def tasks_again(run: Run, tasks: Iterable[Task], wanted: Collection[Again]) -> list[TaskRef]:
    """The tasks whose newest attempt ended so, in the planned order; those that were not planned come last, as they began."""
    newest = {TaskRef(domain=task.domain, task_id=task.task_id): task for task in newest_attempts(tasks)}
    order = dict.fromkeys((*run.plan, *newest))
    return [ref for ref in order if _reason(run, newest.get(ref)) in wanted]


def task_list(refs: Iterable[TaskRef]) -> dict[str, list[str]]:
    """Domain -> ids, as in the benchmark's ``test_all.json``."""
    listed: dict[str, list[str]] = {}
    for ref in refs:
        listed.setdefault(ref.domain, []).append(ref.task_id)
    return listed


def _reason(run: Run, task: Task | None) -> Again | None:
    if task is None:
        return Again.MISSING if run.status is not RunStatus.RUNNING else None
    return _STATUSES.get(task.status)
