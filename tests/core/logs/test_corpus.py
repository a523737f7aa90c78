"""Every recorded log says what is true about it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.core.logs.corpus import TRUTH, data, names
from tests.core.logs.fold import Log, Task, fold, parse

RUNS = names("run-log")
BOOTS = names("boot-log")
MERGED = "generated/waa_up_par3.merged.log"
DIALECTS = {
    "waa-upstream": "waa",
    "waa-container + waa-upstream": "waa",
    "waa-v1": "waa-v1",
    "waa-v2": "waa-v2",
    "waa-v2 instance log": "waa-v2",
    "osworld-multienv": "osworld",
    "openadapt-evals": "openadapt",
}


def _seen(truth: dict[str, Any]) -> list[dict[str, Any]]:
    return [task for task in truth["tasks"] if task["status"] != "pending"]


def _task(log: Log, task_id: str) -> Task:
    return next(task for task in log.tasks if task.task_id == task_id)


def test_the_corpus_is_there() -> None:
    assert len(RUNS) == 22
    assert len(BOOTS) == 25


@pytest.mark.parametrize("name", RUNS)
def test_tasks_have_their_ids_instructions_and_outcomes(name: str) -> None:
    log = fold(parse(data(name)))
    expected = _seen(TRUTH[name])
    if name != MERGED:
        assert [task.task_id for task in log.tasks] == [task["id"] for task in expected]
    assert {task.task_id for task in log.tasks} == {task["id"] for task in expected}
    assert len(log.tasks) == len(expected)
    for truth in expected:
        task = _task(log, truth["id"])
        assert task.domain == (truth["domain"] or "")
        assert task.instruction == truth["instruction"]
        assert task.score == (None if truth["result"] is None else pytest.approx(truth["result"], abs=0.0051))
        assert task.is_scored == (truth["result"] is not None)
        if truth["status"] == "error":
            assert task.error == truth["error"]
        assert (task.status if task.status != "cut" else "running") == truth["status"]


@pytest.mark.parametrize("name", [name for name in RUNS if name != MERGED])
def test_steps_and_actions_are_counted(name: str) -> None:
    log = fold(parse(data(name)))
    for truth in _seen(TRUTH[name]):
        task = _task(log, truth["id"])
        assert (task.steps, len(task.actions)) == (truth["steps"], truth["actions"])


@pytest.mark.parametrize("name", RUNS)
def test_the_run_is_told(name: str) -> None:
    truth = TRUTH[name]
    log = fold(parse(data(name)))
    run, told = truth["run"], log.runs[-1]
    assert told.dialect == DIALECTS[truth["dialect"].partition("(")[0]]
    if truth["dialect"] == "waa-v2 instance log":
        assert len(log.launchers) == 1
        assert len(log.runs) == run.get("containers_started", 1) == len(log.boots)
        assert sum(sum(each.totals.values()) for each in log.runs) == truth["totals"]["tasks_total"]
        return
    assert len(log.runs) == 1
    assert sum(told.totals.values()) == truth["totals"]["tasks_total"]
    assert told.state == {"finished": "finished", "interrupted": "interrupted", "hung": "running"}[run["state"].split()[0]]
    assert told.average_score == run.get("average_score")
    if told.planned and name != MERGED:
        assert [task_id for _, task_id in told.planned] == [task["id"] for task in truth["tasks"]]
    assert told.earlier_score == (1.0 if run.get("resumed") else None)


@pytest.mark.parametrize("name", [name for name in RUNS if "first_record" in TRUTH[name]["run"]])
def test_times_are_those_of_the_records(name: str) -> None:
    run = TRUTH[name]["run"]
    at = [each.at for each in parse(data(name)) if each.at is not None]
    first, last = (
        datetime.strptime(run[key], "%Y-%m-%d %H:%M:%S,%f").replace(tzinfo=UTC).timestamp() for key in ("first_record", "last_record")
    )
    assert fold(parse(data(name))).runs[0].started_at == pytest.approx(first, abs=20.0)
    assert max(each for each in at if each < first + 86_400) <= last + 1e-6


def test_workers_of_one_run_in_one_file_are_told_apart_by_task() -> None:
    log = fold(parse(data(MERGED)))
    truth = TRUTH[MERGED]
    assert log.runs[0].totals == {"1": 4, "0": 4, "2": 3}
    assert {task.task_id: task.worker for task in log.tasks} == {task["id"]: str(task["worker"]) for task in truth["tasks"]}


def test_steps_in_a_merged_file_are_attributed_only_while_one_task_is_open() -> None:
    log = fold(parse(data(MERGED)))
    truth = {task["id"]: task for task in TRUTH[MERGED]["tasks"]}
    for task in log.tasks:
        assert task.steps in (0, truth[task.task_id]["steps"])
        assert len(task.actions) <= truth[task.task_id]["actions"]
    assert [task.task_id for task in log.tasks if task.steps] == [
        "a7d4b6c5-569b-452e-9e1d-ffdb3d431d15-WOS",
        "02F10F89-7171-4D37-8550-A00BA8930CDF-WOS",
        "02F10F89-7171-4D37-8550-A00BA8930CDF-2-WOS",
    ]


def test_workers_of_osworld_are_told_by_the_process() -> None:
    log = fold(parse(data("generated/osworld_multienv3.plain.log")))
    assert {task.worker for task in log.tasks} == {"EnvProcess-1", "EnvProcess-2", "EnvProcess-3"}


def test_an_action_of_several_lines_is_told_whole() -> None:
    log = fold(parse(data("generated/waa_v1_sep2024.plain.log")))
    assert log.tasks[0].actions[1] == (
        "# open the File menu\ncomputer.mouse.move_id(id=3)\ncomputer.mouse.single_click()\n\n# then wait for it\n"
        'computer.mouse.scroll(dir="down")'
    )


def test_activities_follow_the_loop() -> None:
    log = fold(parse(data("generated/waa_up_wait_for_server.plain.log")))
    assert log.tasks[0].activities == ["resetting", *["thinking", "acting"] * 4, "evaluating"]


@pytest.mark.parametrize(
    "name", ["generated/waa_v2_loop_main.log", "generated/waa_v2_loop_console.log", *names("derived display", "stderr-only")]
)
def test_logs_about_logs_have_no_facts(name: str) -> None:
    assert parse(data(name)) == []


@pytest.mark.parametrize("name", [*BOOTS, "generated/waa_container_docker_logs_full_run.log"])
def test_boots_are_told(name: str) -> None:
    boot = _boot(name)
    log = fold(parse(data(name)))
    assert log.boots == boot.get("starts", [])
    assert len(log.details("CPU: ")) == boot.get("sysinfo", 0)
    errors = [error.removeprefix("Error: ").removesuffix("  (plain line, no ❯)") for error in boot.get("errors", [])]
    assert log.failures == errors
    assert [warning for warning in log.warnings if not warning.startswith("Forcefully")] == boot.get("warnings", [])
    assert max(log.percents, default=None) == boot.get("download_progress_last")
    assert len([True for stage, detail in log.stages if stage == "windows" and "Windows Boot Manager" in detail]) == boot.get(
        "windows_boot_manager_starts", 0
    )
    started = log.details("Windows started ")
    assert [detail.split()[2].rstrip(",") for detail in started] == [boot.get("started_spelling")] * boot.get("started_message", 0)


@pytest.mark.parametrize("name", BOOTS)
def test_preparations_are_told(name: str) -> None:
    boot = _boot(name)
    log = fold(parse(data(name)))
    assert [detail.split(" from ")[0] for detail in log.details("Requesting ")] == [
        f"Requesting {it}" for it in _list(boot.get("requesting"))
    ]
    assert len(log.details("Downloading ")) == len(boot.get("download_from", []))
    for source, detail in zip(boot.get("download_from", []), log.details("Downloading "), strict=True):
        assert source.removeprefix("microsoft: ") in detail
    assert list(log.details("Extracting ")) == [f"Extracting {it} image..." for it in _list(boot.get("extracting"))]
    assert len(log.details("Adding drivers ")) == int(boot.get("drivers", False))
    assert len(log.details("Building ")) == int(boot.get("building", False))
    assert len(log.details("Writing overlay ")) == int(boot.get("overlay", False))
    assert len(log.details(*(f"Adding {it} " for it in _list(boot.get("answer_file"))))) == len(
        _list(boot.get("answer_file"))
    ) or not boot.get("answer_file")
    assert [detail.split("Creating a ")[1].split(" growable")[0] for detail in log.details("Creating a ")] == [
        it.removesuffix(" raw") for it in _list(boot.get("disk_created"))
    ]
    assert [detail.split("QEMU v")[1].removesuffix("...") for detail in log.details("Booting ")] == [
        it.split()[1] for it in boot.get("booting", [])
    ]
    for info in boot.get("other_info", []):
        assert info in [detail for _, detail in log.stages]


@pytest.mark.parametrize("name", BOOTS)
def test_stops_are_told(name: str) -> None:
    boot = _boot(name)
    log = fold(parse(data(name)))
    assert len(log.details("Waiting for Windows to ")) == boot.get("shutdown_waits", 0)
    assert [detail.split()[1].rstrip(",") for detail in log.details("Received ")] == _list(boot.get("shutdown_signal"))
    stopped = [detail for detail, _ in log.stops if detail == "Shutdown completed!"]
    assert len(stopped) == boot.get("shutdown_completed", 0)
    if log.stops:
        expected = True if boot.get("shutdown_signal") else None
        if boot.get("forced") or "QEMU exited unexpectedly!" in boot.get("errors", []):
            expected = False
        assert [clean for _, clean in log.stops] == [expected]


@pytest.mark.parametrize("name", [name for name in BOOTS if "waiting_lines" in TRUTH[name]])
def test_waiting_and_readiness_are_told(name: str) -> None:
    log = fold(parse(data(name)))
    assert log.waits == TRUTH[name]["waiting_lines"]
    assert (log.ready > 0) == TRUTH[name]["server_ready"]


def test_stages_of_a_fresh_installation_come_in_order() -> None:
    log = fold(parse(data("generated/dockur_v4.35_fresh_install.log")))
    order = list(dict.fromkeys(stage for stage, _ in log.stages))
    assert order == ["starting", "downloading", "extracting", "configuring", "building", "booting", "installing", "windows"]


def test_lines_with_a_docker_time_have_that_time() -> None:
    facts = parse(data("generated/dockur_v5.14_docker_logs_timestamps.log"))
    assert facts[0].at == pytest.approx(datetime(2025, 11, 24, 9, 12, 40, 601, tzinfo=UTC).timestamp())
    assert all(each.at is not None for each in facts)


def test_a_container_is_ready_before_its_run_starts() -> None:
    log = fold(parse(data("generated/waa_container_docker_logs_full_run.log")))
    assert log.ready == 3
    assert log.runs[0].state == "finished"
    assert log.details("Starting ")[:3] == ["Starting WinArena...", "Starting VM...", "Starting WinArena VM..."]
    assert log.waits == 56 + 1


def test_secrets_among_the_arguments_are_hidden() -> None:
    told = b"".join(data(name) for name in RUNS if "osworld" in name)
    assert b"client_password=''" in told
    log = fold(parse(told.replace(b"client_password=''", b"client_password='hunter2'")))
    assert log.runs[0].arguments["client_password"] == "***"
    assert log.runs[0].arguments["max_tokens"] == "1500"
    assert log.runs[0].arguments["model"] == "gpt-4o"


def _boot(name: str) -> dict[str, Any]:
    boot: dict[str, Any] = TRUTH[name].get("boot_lines", TRUTH[name]["boot"])
    return boot


def _list(value: str | None) -> list[str]:
    return [] if value is None else [value]
