"""What the runner writes arrives at a program, once and in order."""

import pytest

from tests.e2e.lab import VM, Lab, names, tasks
from tests.support.server import wait_for

pytestmark = [pytest.mark.sshd, pytest.mark.container]


def test_a_run_is_told_task_by_task_and_its_scores_settle(lab: Lab) -> None:
    lab.make_ready()
    since = lab.observer.mark
    lab.arena.start_run(tasks(4))
    lab.arena.step("computer.mouse.move(0, 0)")
    progress = lab.observer.next("progress", since=since, vm=VM, current_task="id-1", current_step=1)
    assert (progress["tasks_completed"], progress["total_tasks"], progress["current_index"]) == (0, 4, 1)
    lab.finish(1)
    lab.finish(1, score=0.857142857142857)
    lab.arena.crash_task("Error code: 429 - rate limit")
    assert lab.observer.next("progress", since=since, vm=VM, tasks_completed=3)["current_index"] == 4
    lab.finish(1, score=0.0)
    run_id = progress["run_id"]
    lab.observer.next("task_complete", since=since, run_id=run_id, task_id="id-4")

    told = lab.observer.all("task_complete", since=since, run_id=run_id)
    assert names(told) == tasks(4)
    assert [data["success"] for data in told] == [True, False, None, False]
    assert [data["status"] for data in told] == ["passed", "failed", "error", "failed"]
    assert [data["score"] for data in told] == [1.0, 0.86, None, 0.0]
    assert {data["vm"] for data in told} == {VM}

    run = wait_for(lambda: _settled_run(lab, 3), what="result.txt settles the scores")
    assert [task["score"] for task in run["tasks"]] == [1.0, 0.857142857142857, None, 0.0]
    assert (run["status"], run["total_tasks"], run["tasks_completed"]) == ("finished", 4, 4)
    assert names(lab.observer.all("task_complete", run_id=run_id)) == tasks(4)


def _settled_run(lab: Lab, count: int) -> dict[str, object] | None:
    run = lab.server.get(f"/api/current-run?vm={VM}")["run"]
    return run if sum(not task["provisional"] for task in run["tasks"]) >= count else None
