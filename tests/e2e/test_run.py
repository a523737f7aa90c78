"""What the runner writes arrives at a program, once and in order."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.lab import VM, Lab, names, tasks
from tests.support.wait import wait_for

pytestmark = [pytest.mark.sshd, pytest.mark.container]


def test_a_run_is_told_task_by_task_and_its_scores_settle(lab: Lab) -> None:
    lab.make_ready()
    since = lab.observer.mark
    lab.arena.start_run(tasks(4, "told"))
    lab.arena.step("computer.mouse.move(0, 0)")
    progress = lab.observer.next("progress", since=since, vm=VM, current_task="told-1", current_step=1)
    assert (progress["tasks_completed"], progress["total_tasks"], progress["current_index"]) == (0, 4, 1)
    lab.finish(1)
    lab.finish(1, score=0.857142857142857)
    lab.arena.crash_task("Error code: 429 - rate limit")
    assert lab.observer.next("progress", since=since, vm=VM, tasks_completed=3)["current_index"] == 4
    lab.finish(1, score=0.0)
    run_id = progress["run_id"]
    lab.observer.next("task_complete", since=since, run_id=run_id, task_id="told-4")

    told = lab.observer.all("task_complete", since=since, run_id=run_id)
    assert names(told) == tasks(4, "told")
    assert [data["success"] for data in told] == [True, False, None, False]
    assert [data["status"] for data in told] == ["passed", "failed", "error", "failed"]
    assert [data["score"] for data in told] == [1.0, 0.86, None, 0.0]
    assert {data["vm"] for data in told} == {VM}

    run = wait_for(lambda: _settled_run(lab, 3), what="result.txt settles the scores")
    assert [task["score"] for task in run["tasks"]] == [1.0, 0.857142857142857, None, 0.0]
    assert (run["status"], run["total_tasks"], run["tasks_completed"]) == ("finished", 4, 4)
    assert names(lab.observer.all("task_complete", run_id=run_id)) == tasks(4, "told")


def _settled_run(lab: Lab, count: int) -> dict[str, Any] | None:
    run: dict[str, Any] = lab.server.get(f"/api/current-run?vm={VM}")["run"]
    return run if sum(not task["provisional"] for task in run["tasks"]) >= count else None


def test_a_killed_runner_interrupts_its_run_after_the_grace(lab: Lab) -> None:
    lab.make_ready()
    since = lab.observer.mark
    lab.arena.start_run(tasks(3, "cut"))
    run_id = lab.observer.next("progress", since=since, vm=VM, current_task="cut-1")["run_id"]
    lab.wait_for_runner(VM)
    lab.finish(1)
    lab.arena.step("computer.mouse.move(0, 0)")
    lab.arena.kill_run()
    progress = lab.observer.next("progress", since=since, run_id=run_id, status="interrupted")
    assert progress["current_task"] is None
    told = lab.observer.all("task_complete", since=since, run_id=run_id)
    assert [(data["task_id"], data["success"], data["status"]) for data in told] == [("cut-1", True, "passed"), ("cut-2", None, "unknown")]
    run = lab.server.get(f"/api/current-run?run_id={run_id}")["run"]
    assert run["end_reason"]


def test_the_container_may_restart_between_two_tasks(lab: Lab, tmp_path: Path) -> None:
    """As a launcher does that runs each task in a container and a process of its own, and writes one log on the host."""
    lab.make_ready()
    log = tmp_path / "benchmark.log"
    plan = tasks(3, "launched")
    log.write_text("=== Instance 1 Run 1 Log Started at Sat Nov 21 02:42:49 UTC 2026 ===\n")
    lab.register("launched", log_side="host", log_path=str(log))
    since = lab.observer.mark
    for task in plan:
        head = log.read_text() + "Restart the container and run the next task for instance 1\n"
        with log.open("a") as file:
            file.write(head[len(log.read_text()) :])
        lab.arena.restart()
        lab.arena.set_ready(True)
        lab.arena.start_run([task])
        _copy(lab, log, head)
        lab.finish(1)
        _copy(lab, log, head)
        lab.observer.next("task_complete", since=since, vm="launched", task_id=task[1])
    told = lab.observer.all("task_complete", since=since, vm="launched", domain="launched")
    assert names(told) == plan
    runs = {data["run_id"] for data in told}
    assert not [data for data in lab.observer.all("progress", since=since, status="interrupted") if data["run_id"] in runs]
    lab.remove("launched")


def test_a_log_that_is_rotated_or_truncated_loses_and_doubles_nothing(lab: Lab) -> None:
    lab.make_ready()
    since = lab.observer.mark
    lab.arena.start_run(tasks(5, "rotated"))
    run_id = lab.observer.next("progress", since=since, vm=VM, current_task="rotated-1")["run_id"]
    lab.finish(2)
    lab.observer.next("task_complete", since=since, run_id=run_id, task_id="rotated-2")
    lab.arena.truncate_log()  # what follows is shorter than what was there
    lab.finish(1)
    lab.observer.next("task_complete", since=since, run_id=run_id, task_id="rotated-3")
    lab.arena.rotate_log()
    lab.arena.step("computer.mouse.move(0, 0)")
    lab.observer.next("progress", since=since, run_id=run_id, current_task="rotated-4", current_step=1)
    lab.arena.rotate_log()
    lab.finish(2)
    lab.observer.next("progress", since=since, run_id=run_id, status="finished")
    assert names(lab.observer.all("task_complete", run_id=run_id)) == tasks(5, "rotated")


def _copy(lab: Lab, log: Path, head: str) -> None:
    """Append what the process that was started last has written since the last copy, as ``tee`` does."""
    text = lab.arena.exec("cat", lab.arena.log_path)
    newest = text[text.rindex("Waiting for the server to start...") :]
    with log.open("a") as file:
        file.write((head + newest)[len(log.read_text()) :])
