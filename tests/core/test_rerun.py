"""Task lists of what to run again."""

import pytest

from tests.core.builders import T0, a_run, a_task
from waa.core.error import Invalid
from waa.core.logs.fact import TaskRef
from waa.core.rerun import USUAL, Again, read_again, task_list, tasks_again
from waa.core.status import RunStatus, TaskStatus

PLAN = tuple(
    TaskRef(domain=domain, task_id=task_id) for domain, task_id in (("vlc", "v1"), ("chrome", "c1"), ("vlc", "v2"), ("chrome", "c2"))
)
OVER = a_run(plan=PLAN, total=4, status=RunStatus.INTERRUPTED, ended_at=T0 + 900)


def ended(domain: str, task_id: str, status: TaskStatus, attempt: int = 1) -> object:
    return a_task(task_id, domain=domain, status=status, attempt=attempt, ended_at=T0 + 9)


def listed(tasks: list[object], wanted: object = USUAL, run: object = OVER) -> dict[str, list[str]]:
    return task_list(tasks_again(run, tasks, wanted))  # type: ignore[arg-type]


def test_the_planned_order_is_kept_and_what_never_began_is_missing() -> None:
    tasks = [ended("chrome", "c1", TaskStatus.ERROR), ended("vlc", "v1", TaskStatus.UNKNOWN), ended("chrome", "x", TaskStatus.ERROR)]
    assert listed(tasks) == {"vlc": ["v1", "v2"], "chrome": ["c1", "c2", "x"]}
    assert list(listed(tasks)) == ["vlc", "chrome"]


def test_each_word_chooses_its_tasks() -> None:
    tasks = [ended("vlc", "v1", TaskStatus.PASSED), ended("chrome", "c1", TaskStatus.FAILED), ended("vlc", "v2", TaskStatus.ERROR)]
    assert listed(tasks) == {"vlc": ["v2"], "chrome": ["c2"]}
    assert listed(tasks, (Again.FAILED,)) == {"chrome": ["c1"]}
    assert listed(tasks, (Again.MISSING,)) == {"chrome": ["c2"]}
    assert listed(tasks, (Again.UNKNOWN,)) == {}


def test_the_newest_attempt_counts() -> None:
    tasks = [ended("vlc", "v1", TaskStatus.ERROR), ended("vlc", "v1", TaskStatus.PASSED, attempt=2)]
    assert listed(tasks, (Again.ERROR,)) == {}


def test_nothing_is_missing_while_the_run_goes_on() -> None:
    running = a_run(plan=PLAN, total=4)
    assert listed([ended("vlc", "v1", TaskStatus.ERROR), a_task("c1", domain="chrome")], run=running) == {"vlc": ["v1"]}


def test_the_words_are_read() -> None:
    assert read_again(None) == set(USUAL)
    assert read_again("failed, error") == {Again.FAILED, Again.ERROR}
    for text in ("", "passed", "error,,failed", "x" * 5000):
        with pytest.raises(Invalid, match=r"status: .* is not one of: error, unknown, missing, failed"):
            read_again(text)
