"""The wire itself: identities, gaps, heartbeats, and the polling twins."""

import re

import httpx
import pytest

from tests.e2e.lab import HUNG, VM, Lab, tasks
from tests.support.observer import Observer
from tests.support.wait import wait_for

pytestmark = [pytest.mark.sshd, pytest.mark.container]

TWINS = (
    "/api/tasks",
    "/api/background-tasks",
    "/api/benchmark-live",
    "/api/benchmark-progress",
    "/api/current-run",
    "/api/azure-jobs",
    "/api/azure-job-logs?job_id=x",
    "/api/vms",
    "/api/probe-vm",
)


def test_every_event_but_connected_and_heartbeat_has_an_id(lab: Lab) -> None:
    lab.make_ready()
    with httpx.stream("GET", f"{lab.server.url}/api/benchmark-sse?interval=0", trust_env=False) as answer:
        assert answer.headers["content-type"].partition(";")[0] == "text/event-stream"
        assert answer.headers["cache-control"] == "no-cache, no-transform"
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["connection"] == "keep-alive"
        text = ""
        for piece in answer.iter_text():
            text += piece
            if "event: status\n" in text and text.endswith("\n\n"):
                break
    messages = [message for message in text.split("\n\n") if "event: " in message]
    for message in messages:
        name = re.search(r"^event: (.*)$", message, re.MULTILINE)
        assert name is not None
        assert ("\nid: " in f"\n{message}") == (name[1] not in ("connected", "heartbeat")), message
    assert '"interval":1,' in messages[0].replace(" ", "")


@pytest.mark.parametrize("last_id", ["0123456789ab-1", "nonsense", "-", "0-0"])
def test_an_id_that_is_not_of_this_store_gives_a_gap_and_a_snapshot(lab: Lab, last_id: str) -> None:
    lab.make_ready()
    with Observer(lambda: lab.server.url, last_id=last_id) as client:
        client.next("status", vm=VM)
        order = [seen.name for seen in client.events]
        assert order[:2] == ["connected", "gap"]
        assert "task_complete" not in order


def test_an_id_from_the_future_is_a_gap_too(lab: Lab) -> None:
    lab.make_ready()
    store, _, number = lab.observer.events[-1].last_id.rpartition("-")
    with Observer(lambda: lab.server.url, last_id=f"{store}-{int(number) + 10_000}") as client:
        client.next("gap")


def test_the_polling_twins_agree_with_the_stream(lab: Lab) -> None:
    lab.make_ready()
    since = lab.observer.mark
    lab.arena.start_run(tasks(3, "twin"))
    lab.finish(1)
    lab.arena.step("computer.mouse.move(0, 0)")
    progress = lab.observer.next("progress", since=since, vm=VM, tasks_completed=1, current_step=1)
    live = lab.server.get(f"/api/benchmark-live?vm={VM}")
    assert (live["status"], live["total_tasks"], live["tasks_completed"]) == ("running", progress["total_tasks"], 1)
    assert (live["current_task"]["task_id"], live["current_task"]["domain"]) == (progress["current_task"], "twin")
    assert [step["step_idx"] + 1 for step in live["current_task"]["steps"]] == [progress["current_step"]]  # counted from 0
    file = lab.server.get(f"/api/benchmark-progress?run_id={progress['run_id']}")
    assert (file["status"], file["tasks_complete"], file["tasks_total"]) == ("running", 1, 3)
    run = lab.server.get(f"/api/current-run?vm={VM}")["run"]
    (told,) = lab.observer.all("task_complete", since=since, vm=VM)
    assert told.items() <= run["tasks"][0].items()
    status = lab.observer.next("status", since=since, vm=VM, phase="running")
    twin = lab.server.get(f"/api/probe-vm?vm={VM}")
    assert {**twin, "observed_at": 0, "phase_detail": ""} == {**status, "observed_at": 0, "phase_detail": ""}
    (row,) = [row for row in lab.server.get("/api/tasks") if row["status"] == "running" and row["metadata"].get("run_id") == told["run_id"]]
    assert (row["task_type"], round(row["progress_percent"])) == ("benchmark_run", 33)
    lab.finish(2)
    lab.observer.next("progress", since=since, vm=VM, status="finished")
    assert lab.server.get(f"/api/benchmark-live?vm={VM}")["status"] == "complete"


@pytest.mark.parametrize("path", TWINS)
def test_every_twin_answers_304(lab: Lab, path: str) -> None:
    with httpx.Client(base_url=lab.server.url, trust_env=False) as client:

        def unchanged() -> bool:
            first = client.get(path)
            assert first.status_code == 200
            again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
            return again.status_code == 304 and not again.content

        wait_for(unchanged, what=f"{path}: 304")  # it may have changed between the two


def test_an_engine_that_hangs_does_not_silence_the_stream(lab: Lab) -> None:
    vm = wait_for(lambda: (found := lab.server.vm(HUNG))["container"]["failure"] and found, what="the engine is named")
    assert vm["container"]["failure"]["reason"] == "timeout"
    assert vm["connected"] is True
    lab.observer.next("heartbeat")
    seen_at = lab.server.vm(HUNG)["observed_at"]
    wait_for(lambda: lab.server.vm(HUNG)["observed_at"] > seen_at, what="it is still heard")
    assert not lab.observer.all("status", vm=HUNG, phase="unreachable")
