"""What the runner writes arrives at a program, once and in order."""

from pathlib import Path

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


def test_a_killed_runner_interrupts_its_run_after_the_grace(lab: Lab) -> None:
    lab.make_ready()
    since = lab.observer.mark
    lab.arena.start_run(tasks(3))
    run_id = lab.observer.next("progress", since=since, vm=VM, current_task="id-1")["run_id"]
    lab.wait_for_runner(VM)
    lab.finish(1)
    lab.arena.step("computer.mouse.move(0, 0)")
    lab.arena.kill_run()
    progress = lab.observer.next("progress", since=since, run_id=run_id, status="interrupted")
    assert progress["current_task"] is None
    told = lab.observer.all("task_complete", since=since, run_id=run_id)
    assert [(data["task_id"], data["success"], data["status"]) for data in told] == [("id-1", True, "passed"), ("id-2", None, "unknown")]
    run = lab.server.get(f"/api/current-run?run_id={run_id}")["run"]
    assert run["end_reason"]


def test_the_container_may_restart_between_two_tasks(lab: Lab) -> None:
    """As a launcher does that runs each task in a container and a process of its own, and writes one log on the host."""
    lab.make_ready()
    log = Path(lab.arena.log_path)
    log.parent.mkdir(parents=True, exist_ok=True)
    plan = tasks(3, "launched")
    try:
        log.write_text("=== Instance 1 Run 1 Log Started at Sat Nov 21 02:42:49 UTC 2026 ===\n")
        lab.register("launched", log_side="host")
        since = lab.observer.mark
        for task in plan:
            with log.open("a") as file:
                file.write("Restart the container and run the next task for instance 1\n")
            lab.arena.restart()
            lab.arena.set_ready(True)
            before = _inner_log(lab)
            lab.arena.start_run([task])
            lab.arena.step("DONE")
            lab.arena.finish_task(1.0)
            with log.open("a") as file:
                file.write(_inner_log(lab)[len(before) :])
            lab.observer.next("task_complete", since=since, vm="launched", task_id=task[1])
        told = lab.observer.all("task_complete", since=since, vm="launched")
        assert names(told) == plan
        assert len({data["run_id"] for data in told}) == 1
        assert {data["status"] for data in lab.observer.all("progress", since=since, vm="launched")} == {"running"}
        lab.remove("launched")
    finally:
        log.unlink()


def test_a_log_that_is_rotated_or_truncated_loses_and_doubles_nothing(lab: Lab) -> None:
    lab.make_ready()
    since = lab.observer.mark
    lab.arena.start_run(tasks(5))
    run_id = lab.observer.next("progress", since=since, vm=VM, current_task="id-1")["run_id"]
    lab.finish(2)
    lab.observer.next("task_complete", since=since, run_id=run_id, task_id="id-2")
    lab.arena.truncate_log()  # what follows is shorter than what was there
    lab.finish(1)
    lab.observer.next("task_complete", since=since, run_id=run_id, task_id="id-3")
    lab.arena.rotate_log()
    lab.arena.step("computer.mouse.move(0, 0)")
    lab.observer.next("progress", since=since, run_id=run_id, current_task="id-4", current_step=1)
    lab.arena.rotate_log()
    lab.finish(2)
    lab.observer.next("progress", since=since, run_id=run_id, status="finished")
    assert names(lab.observer.all("task_complete", run_id=run_id)) == tasks(5)


def _inner_log(lab: Lab) -> str:
    return lab.arena.exec("sh", "-c", f"cat {lab.arena.log_path} 2>&- || :")
