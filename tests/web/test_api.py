"""The polling twins, their shapes, and the registration of VMs (requirements A10, A11, B1)."""

import json
from typing import Any

import pytest

from tests.core.builders import T0, task_facts
from tests.web.house import House, house
from waa.core.codec import encode
from waa.core.logs import fact as f
from waa.core.logs.files import LiveProgress, LiveStep, read_live, read_progress
from waa.core.observation import Container, StatusSeen
from waa.core.spec import Origin, VmSpec
from waa.core.status import ContainerStatus

TWINS = (
    "/api/tasks",
    "/api/background-tasks",
    "/api/benchmark-live",
    "/api/benchmark-progress",
    "/api/current-run",
    "/api/runs",
    "/api/azure-jobs",
    "/api/azure-job-logs?job_id=a",
    "/api/vms",
    "/api/vms/vm-1",
    "/api/probe-vm",
    "/api/probe-vm?vm=vm-1",
)
PAYLOAD = {
    "name": "waa-1",
    "ssh_host": "10.0.0.4",
    "ssh_user": "azureuser",
    "vnc_port": 8007,
    "waa_port": 5001,
    "docker_container": "arena",
    "internal_ip": "172.30.0.2",
}


async def running(built: House) -> None:
    """A run in its middle: one passed, one failed, one runs."""
    await built.name()
    await built.record(
        StatusSeen(vm="vm-1", at=T0, container=Container(status=ContainerStatus.RUNNING, image="windowsarena/winarena", started_at=T0))
    )
    await built.start_run(total=4)
    await built.tell(*task_facts("a", at=T0 + 10), *task_facts("b", at=T0 + 100, score=0.0))
    await built.tell(
        f.TaskStarted(at=T0 + 200, domain="vlc", task_id="c"),
        f.TaskInstructed(at=T0 + 200, instruction="Play it."),
        f.StepStarted(at=T0 + 201, number=2, action="click(1)"),
    )


@pytest.mark.parametrize("path", TWINS)
async def test_a10_every_twin_has_an_etag_answers_304_and_names_the_event_it_reflects(path: str) -> None:
    async with house() as built:
        await running(built)
        answer = await built.ask(path)
        assert answer.code == 200
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
        assert answer.headers["X-Last-Event-ID"] == built.recorder.hub.wire_id(built.recorder.hub.last_event_id)
        assert answer.headers["Cache-Control"] == "no-cache"
        again = await built.ask(path, headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.code, again.body) == (304, b"")
        head = await built.ask(path, "HEAD")
        assert (head.code, head.body, head.headers["ETag"]) == (200, b"", answer.headers["ETag"])


async def test_a10_background_tasks_have_the_shape_of_the_contract_under_both_names() -> None:
    async with house() as built:
        await running(built)
        rows = await built.json("/api/tasks")
        assert rows == await built.json("/api/background-tasks")
        assert {row["task_type"] for row in rows} == {"docker_container", "benchmark_run"}
        for row in rows:
            assert list(row) == [
                "task_id",
                "task_type",
                "title",
                "description",
                "status",
                "phase",
                "progress_percent",
                "elapsed_seconds",
                "metadata",
            ]
            assert row["status"] in ("pending", "running", "completed", "failed")
        (run,) = (row for row in rows if row["task_type"] == "benchmark_run")
        assert (run["progress_percent"], run["elapsed_seconds"]) == (50.0, 7200)


async def test_a10_the_current_run_has_its_counts_and_its_tasks() -> None:
    async with house() as built:
        assert await built.json("/api/current-run") == {"run": None}
        await running(built)
        run = (await built.json("/api/current-run"))["run"]
        assert (run["tasks_completed"], run["total_tasks"], run["passed"], run["failed"]) == (2, 4, 1, 1)
        assert (run["scored"], run["success_rate"]) == (2, 0.5)
        assert [(task["task_id"], task["success"], task["status"], task["index"]) for task in run["tasks"]] == [
            ("a", True, "passed", 1),
            ("b", False, "failed", 2),
            ("c", None, "running", 3),
        ]
        assert (await built.json(f"/api/current-run?run_id={run['run_id']}"))["run"] == run
        assert (await built.json("/api/current-run?vm=vm-1"))["run"] == run
        (listed,) = (await built.json("/api/runs?vm=vm-1"))["runs"]
        assert listed == {key: value for key, value in run.items() if key != "tasks"}


async def test_a11_the_live_twin_is_read_back_as_the_file_that_it_stands_for() -> None:
    async with house() as built:
        assert await built.json("/api/benchmark-live") == {"status": "idle"}
        await running(built)
        answer = await built.ask("/api/benchmark-live")
        live = read_live(answer.body)
        assert live is not None
        assert (live.status, live.total_tasks, live.tasks_completed) == ("running", 4, 2)
        task = live.current_task
        assert task is not None
        assert (task.task_id, task.instruction, task.domain, task.has_result) == ("c", "Play it.", "vlc", False)
        assert task.steps == (LiveStep(number=2, action="click(1)"),)
        await built.tell(f.RunInterrupted(at=T0 + 300, reason="SIGTERM"))
        assert (await built.json("/api/benchmark-live"))["status"] == "error", "an interrupted run is not complete"


async def test_a11_the_progress_twin_has_the_shape_of_the_file() -> None:
    async with house() as built:
        idle = await built.json("/api/benchmark-progress")
        assert (idle["status"], idle["tasks_complete"], idle["tasks_total"]) == ("idle", 0, None)
        await running(built)
        answer = await built.ask("/api/benchmark-progress")
        progress = read_progress(answer.body)
        assert progress is not None
        assert (progress.status, progress.tasks_complete, progress.tasks_total) == ("running", 2, 4)
        await built.tell(f.RunFinished(at=T0 + 300))
        assert (await built.json("/api/benchmark-progress"))["status"] == "complete"


async def test_a11_the_progress_file_speaks_where_no_run_is_under_way_and_none_was_asked_for() -> None:
    async with house() as built:
        built.progress = LiveProgress(status="provisioning", provider="azure", tasks_total=9, message="creating the VM")
        assert await built.json("/api/benchmark-progress") == {
            "status": "provisioning",
            "provider": "azure",
            "tasks_total": 9,
            "tasks_complete": None,
            "message": "creating the VM",
        }
        await running(built)
        assert (await built.json("/api/benchmark-progress"))["tasks_total"] == 4
        await built.tell(f.RunFinished(at=T0 + 300))
        assert (await built.json("/api/benchmark-progress"))["tasks_total"] == 9
        assert (await built.json("/api/benchmark-progress?vm=vm-1"))["tasks_total"] == 4


@pytest.mark.parametrize("path", ["/api/probe-vm?vm=nobody", "/api/current-run?run_id=x", "/api/runs?vm=%20", "/api/vms/nobody"])
async def test_an_unknown_vm_or_run_is_404_with_its_name(path: str) -> None:
    async with house() as built:
        answer = await built.ask(path)
        assert answer.code == 404
        error = json.loads(answer.body)["error"]
        assert (error["status"], "no" in error["message"]) == (404, True)


async def test_a10_probe_vm_gives_what_the_stream_gives() -> None:
    async with house() as built:
        await running(built)
        listener = await built.listen()
        status = await listener.until("status")
        assert await built.json("/api/probe-vm?vm=vm-1") == status.data
        assert await built.json("/api/probe-vm") == {"vms": [status.data]}


async def test_azure_says_that_it_is_off_and_what_it_needs() -> None:
    async with house() as built:
        assert (await built.json("/api/azure-jobs"))["enabled"] is False
        assert (await built.ask("/api/azure-job-logs")).code == 422


async def test_a10_a_vm_is_registered_with_the_names_of_the_contract() -> None:
    async with house() as built:
        answer = await built.post_json("/api/vms/register", PAYLOAD)
        assert answer.code == 201
        told = json.loads(answer.body)
        assert told["status"] == "success"
        assert {name: told["vm"][name] for name in PAYLOAD} == PAYLOAD
        assert built.recorder.state.vms["waa-1"].spec == VmSpec(
            name="waa-1",
            ssh_host="10.0.0.4",
            ssh_user="azureuser",
            vnc_port=8007,
            waa_port=5001,
            container="arena",
            guest_ip="172.30.0.2",
            origin=Origin.API,
        )


async def test_b1_what_is_left_out_or_null_has_its_default() -> None:
    async with house() as built:
        minimal = {"name": "waa-1", "ssh_host": "h", "ssh_user": None, "waa_port": None}
        told = json.loads((await built.post_json("/api/vms/register", minimal)).body)["vm"]
        names = ("ssh_user", "ssh_port", "docker_container", "waa_port", "vnc_port", "internal_ip")
        assert [told[name] for name in names] == [None, None, "winarena", 5000, 8006, "20.20.20.21"]
        spec = built.recorder.state.vms["waa-1"].spec
        assert (spec.log_path, spec.log_side, spec.trust_first) == ("/tmp/waa_benchmark.log", "auto", False)


async def test_registering_again_changes_what_is_said_and_the_same_again_is_no_event() -> None:
    async with house() as built:
        await built.post_json("/api/vms/register", PAYLOAD)
        answer = await built.post_json("/api/vms/register", PAYLOAD | {"vnc_port": 9000})
        assert (answer.code, json.loads(answer.body)["vm"]["vnc_port"]) == (200, 9000)
        assert (await built.json("/api/vms/waa-1"))["vnc_port"] == 9000
        assert len((await built.json("/api/vms"))["vms"]) == 1


async def test_a_vm_of_the_configuration_can_be_neither_changed_nor_removed_here() -> None:
    async with house() as built:
        await built.name("waa-1", ssh_host="h")
        await built.monitor.name(VmSpec(name="waa-2", origin=Origin.CONFIG))
        assert (await built.post_json("/api/vms/register", PAYLOAD | {"name": "waa-2"})).code == 409
        assert (await built.ask("/api/vms/waa-2", "DELETE")).code == 409
        assert (await built.ask("/api/vms/waa-1", "DELETE")).code == 204
        assert (await built.ask("/api/vms/waa-1", "DELETE")).code == 404
        assert [vm["name"] for vm in (await built.json("/api/vms"))["vms"]] == ["waa-2"]


async def test_signs_of_life_and_figures() -> None:
    async with house() as built:
        await built.listen()
        assert await built.json("/live") == {"status": "ok"}
        assert await built.json("/ready") == {"status": "ok"}
        figures = (await built.ask("/metrics")).body.decode()
        assert "waa_streams_active 1.0" in figures
        assert "waa_streams_opened_total 1.0" in figures


def test_what_is_no_number_or_no_text_is_encoded_all_the_same() -> None:
    values: dict[str, Any] = {"nan": float("nan"), "half": "\ud800"}
    assert json.loads(encode(values)) == {"nan": None, "half": "?"}
