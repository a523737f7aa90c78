"""What single lines mean in each dialect, where no recorded log shows it."""

import pytest

from tests.core.logs.fold import Log, fold, parse
from tests.core.logs.writing import NOON, OSWORLD, UP, V2, ending, loop, opening, record, start, step
from waa.core.logs.fact import (
    BootFailed,
    BootStopped,
    BootWarned,
    LauncherStarted,
    RunConfigured,
    RunFinished,
    RunInterrupted,
    RunPlanned,
    RunStarted,
    TaskCut,
    TaskFinished,
    TaskScored,
)
from waa.core.logs.parser import LogParser


def _log(*parts: str) -> Log:
    return fold(parse("".join(parts).encode()))


def _tasks(log: Log) -> list[tuple[str, str, float | None]]:
    return [(task.task_id, task.status, task.score) for task in log.tasks]


# Windows Agent Arena.


def test_a_run_is_told_by_its_arguments() -> None:
    facts = parse(start(at=5).encode())
    assert [type(fact) for fact in facts] == [RunStarted, RunPlanned, RunConfigured]
    assert facts[0].at == NOON + 5


@pytest.mark.parametrize(
    ("arguments", "path", "dialect"),
    [(UP, "JSON PATH", "waa"), (UP, "PATH", "waa-v1"), (V2, "JSON PATH", "waa-v2"), (OSWORLD, "JSON PATH", "osworld")],
)
def test_the_dialect_is_told_by_the_first_records(arguments: str, path: str, dialect: str) -> None:
    assert _log(start(arguments, path=path)).runs[0].dialect == dialect


def test_a_run_without_a_worker_line_plans_what_is_left() -> None:
    log = _log(record("Left tasks:\nclock: 3\nvlc: 14\n"), record(f"Args: {OSWORLD}"))
    assert log.runs[0].totals == {"": 17}


def test_a_restart_in_the_same_file_cuts_the_open_task() -> None:
    log = _log(start(), opening(), step(1, "x()", at=2), start(at=90), opening(at=91), step(1, "y()", at=92), ending(at=93))
    assert _tasks(log) == [("a-WOS", "cut", None), ("a-WOS", "done", 1.0)]
    assert len(log.runs) == 2


def test_a_new_task_cuts_one_that_never_ended() -> None:
    log = _log(start(), opening(), step(1, "x()", at=2), opening("vlc", "b-WOS", at=3))
    assert _tasks(log) == [("a-WOS", "cut", None), ("b-WOS", "running", None)]


def test_a_log_that_begins_inside_a_run_is_read() -> None:
    log = _log(step(4, "x()", at=1), opening("vlc", "b-WOS", at=3), step(1, "y()", at=4), ending("vlc", "b-WOS", at=5))
    assert _tasks(log) == [("b-WOS", "done", 1.0)]
    assert log.tasks[0].steps == 1


def test_the_last_result_before_the_end_counts() -> None:
    log = _log(
        start(),
        opening(),
        step(1, "x()", at=2),
        loop("Running evaluator(s)...", at=3),
        loop("Result: 0.00", at=3),
        loop("Result: 0.50", at=4),
        record("Finished clock/a-WOS", at=4),
    )
    assert _tasks(log) == [("a-WOS", "done", 0.5)]


@pytest.mark.parametrize(("printed", "score"), [("nan", None), ("0.86", 0.86), ("1", 1.0), ("-nan", None), ("inf", None)])
def test_scores_that_are_no_numbers_are_unknown(printed: str, score: float | None) -> None:
    log = _log(start(), opening(), step(1, "x()", at=2), ending(at=3, score=printed))
    assert _tasks(log) == [("a-WOS", "done", score)]
    assert log.tasks[0].is_scored


def test_a_fork_that_writes_the_score_behind_finished_is_read() -> None:
    log = _log(start(), opening(), step(1, "x()", at=2), record("Finished clock/a-WOS score=0.25", at=3))
    assert _tasks(log) == [("a-WOS", "done", 0.25)]
    log = _log(start(), opening(), step(1, "x()", at=2), ending(at=3).replace("a-WOS\n", "a-WOS score=0.999\n"))
    assert _tasks(log) == [("a-WOS", "done", 1.0)]


def test_several_actions_of_one_answer_share_a_number() -> None:
    log = _log(start(), opening(), step(1, "x()", at=2), step(1, "y()", at=3), step(2, "DONE", at=4))
    assert (log.tasks[0].steps, log.tasks[0].actions) == (2, ["x()", "y()", "DONE"])


def test_an_instruction_of_two_lines_is_told_whole() -> None:
    log = _log(start(), opening(text="Play it.\nThen stop.\n"))
    assert log.tasks[0].instruction == "Play it.\nThen stop."


def test_a_result_of_the_first_release_needs_no_evaluator() -> None:
    log = _log(
        start(path="PATH"),
        opening(text="Do it.\nstarting agent reset\nreset agent done"),
        step(1, "DONE\nstarting env step\nenv step done", at=2),
        loop("The episode is done.", at=3) + "starting env evaluate\n" + loop("Result: 0.00", at=4) + record("Finished clock/a-WOS", at=4),
    )
    assert _tasks(log) == [("a-WOS", "done", 0.0)]
    assert (log.tasks[0].instruction, log.tasks[0].actions) == ("Do it.", ["DONE"])


def test_an_end_without_examples_has_no_average() -> None:
    log = _log(start(), record("No examples finished.", at=1))
    assert (log.runs[0].state, log.runs[0].average_score) == ("finished", None)


def test_an_average_that_is_no_number_is_unknown() -> None:
    log = _log(start(), record("Average score: nan", at=1))
    assert (log.runs[0].state, log.runs[0].average_score) == ("finished", None)


def test_workers_one_after_the_other_in_one_file_are_runs() -> None:
    one, two = (UP.replace("worker_id=0, num_workers=1", f"worker_id={worker}, num_workers=2") for worker in (0, 1))
    first = start(one, tasks="[('clock', 'a-WOS')]") + opening() + step(1, "x()", at=2) + ending(at=3) + record("Average score: 1.0", at=4)
    second = start(two, tasks="[('vlc', 'b-WOS')]", worker=1, at=5) + opening("vlc", "b-WOS", at=6)
    log = _log(first, second)
    assert [(task.task_id, task.worker) for task in log.tasks] == [("a-WOS", "0"), ("b-WOS", "1")]
    assert [run.state for run in log.runs] == ["finished", "running"]


def _two_workers() -> str:
    one, two = (UP.replace("worker_id=0, num_workers=1", f"worker_id={worker}, num_workers=2") for worker in (0, 1))
    first = start(one, tasks="[('clock', 'a-WOS'), ('clock', 'c-WOS')]") + opening()
    return first + start(two, tasks="[('vlc', 'b-WOS')]", worker=1, at=1) + opening("vlc", "b-WOS", at=2)


def test_results_of_two_workers_that_cannot_be_told_apart_are_not_attributed() -> None:
    both = loop("Result: 1.00", at=5) + loop("Result: 0.00", at=5)
    log = _log(_two_workers(), both, record("Finished clock/a-WOS", at=5), record("Finished vlc/b-WOS", at=5))
    assert _tasks(log) == [("a-WOS", "done", None), ("b-WOS", "done", None)]
    assert not any(task.is_scored for task in log.tasks)


def test_equal_results_of_two_workers_are_attributed() -> None:
    both = loop("Result: 1.00", at=5) + loop("Result: 1.00", at=5)
    log = _log(_two_workers(), both, record("Finished clock/a-WOS", at=5), record("Finished vlc/b-WOS", at=5))
    assert _tasks(log) == [("a-WOS", "done", 1.0), ("b-WOS", "done", 1.0)]


def test_steps_of_two_workers_in_one_file_are_not_attributed() -> None:
    log = _log(_two_workers(), step(1, "x()", at=3), step(1, "y()", at=4))
    assert [task.steps for task in log.tasks] == [0, 0]


def test_a_worker_that_starts_again_in_a_merged_file_loses_only_its_own_task() -> None:
    two = UP.replace("worker_id=0, num_workers=1", "worker_id=1, num_workers=2")
    log = _log(_two_workers(), start(two, tasks="[('vlc', 'b-WOS')]", worker=1, at=8))
    assert _tasks(log) == [("a-WOS", "running", None), ("b-WOS", "cut", None)]
    assert len(log.runs) == 1


def test_a_merged_run_is_finished_when_all_its_workers_are() -> None:
    one_ended = _two_workers() + record("Average score: 1.0", at=5)
    assert _log(one_ended).runs[0].state == "running"
    log = _log(one_ended, record("Average score: 0.0", at=6))
    assert (log.runs[0].state, log.runs[0].average_score) == ("finished", None)


# WAA-V2 and its launcher.

HEADER = "=== Instance 2 Run 3 Log Started at Sat Nov 21 00:29:19 UTC 2026 ===\n"


def test_the_launcher_is_told_with_its_time() -> None:
    facts = parse(HEADER.encode())
    assert facts == [LauncherStarted(at=1_795_220_959.0, label="Instance 2 Run 3")]
    local = parse(HEADER.replace("UTC", "CET").encode())
    assert local == [LauncherStarted(at=None, label="Instance 2 Run 3")]


def test_under_a_launcher_runs_are_v2() -> None:
    assert _log(HEADER, start(UP)).runs[0].dialect == "waa-v2"


def test_v2_ends_without_an_average() -> None:
    end = record("Stopping emulator...", "desktop_env", at=8) + record(
        "Not implemented! Stopping emulator is not", "desktop_env", at=8, level="ERROR"
    )
    facts = parse((start(V2) + end).encode())
    assert facts[-1] == RunFinished(at=NOON + 8, average_score=None)
    assert RunFinished not in [type(fact) for fact in parse((start(UP) + end).encode())]


@pytest.mark.parametrize("line", ["Setup environment finished, but error detected.", "Fail to setup environment: no route to host"])
def test_a_failed_set_up_check_cuts_the_task_and_ends_the_process(line: str) -> None:
    text = start(V2) + opening() + record("Observation is None. Waiting", "desktop_env", at=2, level="ERROR") + line + "\n"
    facts = parse(text.encode())
    assert [type(fact) for fact in facts[-2:]] == [TaskCut, RunInterrupted]
    assert facts[-1] == RunInterrupted(reason=line)


def test_the_launcher_going_on_cuts_the_open_task() -> None:
    text = HEADER + start(V2) + opening() + record("Updated computer successfully", "python", at=2)
    going_on = "Restart the container and run the next task for instance 1...\nReverting ../src/win-arena-container/vm/storage_1...\n"
    assert _tasks(_log(text, going_on)) == [("a-WOS", "cut", None)]


# OSWorld.


def _osworld(*parts: str) -> Log:
    head = (
        record("Left tasks:\nclock: 1\nvlc: 1\n", "run_multienv")
        + "New experiment, no result yet.\n"
        + record(f"Args: {OSWORLD}", "run_multienv")
        + record("Total tasks: 2", "run_multienv")
    )
    return _log(head, *parts)


def _environment(number: int, domain: str, task_id: str, at: float) -> str:
    name = f"EnvProcess-{number}"
    tagged = opening(domain, task_id, at=at, process=name).replace("run/", "run_multienv/")
    for field in ("Domain", "Example ID", "Instruction"):
        tagged = tagged.replace(f"[{field}]: ", f"[{name}][{field}]: ")
    return tagged


def test_a_result_of_osworld_ends_the_task() -> None:
    log = _osworld(
        _environment(1, "clock", "a", 1), step(1, "x()", at=2, process="EnvProcess-1"), loop("Result: 0.50", at=3, process="EnvProcess-1")
    )
    assert _tasks(log) == [("a", "done", 0.5)]
    assert log.runs[0].totals == {"": 2}


def test_a_worker_of_osworld_that_dies_loses_its_task() -> None:
    died = record("Process EnvProcess-1 died, restarting...", "run_multienv", at=4, level="WARNING")
    again = record("Restarted process EnvProcess-Restart-1 with PID 7", "run_multienv", at=4)
    log = _osworld(_environment(1, "clock", "a", 1), _environment(2, "vlc", "b", 1), died, again)
    assert _tasks(log) == [("a", "cut", None), ("b", "running", None)]


def test_the_end_of_osworld_cuts_what_is_still_open() -> None:
    log = _osworld(
        _environment(1, "clock", "a", 1),
        record("All tasks finished.", "run_multienv", at=2),
        record("Average score: 0.25", "run_multienv", at=9),
    )
    assert _tasks(log) == [("a", "cut", None)]
    assert (log.runs[0].state, log.runs[0].average_score) == ("finished", 0.25)


def test_the_single_runner_of_osworld_is_read() -> None:
    log = _log(
        record("Left tasks:\nclock: 2\n"),
        record(f"Args: {OSWORLD}"),
        opening("clock", "a", at=1),
        step(1, "x()", at=2),
        loop("Result: 1.00", at=3),
        opening("clock", "b", at=4),
        record("Exception in clock/b: boom", at=5, level="ERROR"),
    )
    assert _tasks(log) == [("a", "done", 1.0), ("b", "error", None)]


# openadapt-evals and the plain dialect.


def test_a_parallel_run_of_openadapt_tells_only_the_ends() -> None:
    log = _log(
        "10:00:00 [INFO] Evaluating 2 tasks on waa\n",
        "10:00:01 [INFO] Step 0: Executing action in environment\n",
        "10:00:05 [INFO] Task t1: SUCCESS\n",
        "10:00:06 [INFO] Task t2: FAIL\n",
        "10:00:07 [INFO] Evaluation complete: 1/2 (50.0%) success, 1.0 avg steps\n",
    )
    assert _tasks(log) == [("t1", "done", 1.0), ("t2", "done", 0.0)]
    assert (log.runs[0].state, log.runs[0].totals) == ("finished", {"": 2})


def test_a_task_of_openadapt_that_never_ended_is_cut() -> None:
    log = _log("10:00:00 [INFO] Evaluating 2 tasks on waa\n", "10:00:01 [INFO] Task 1/2: t1\n", "10:00:02 [INFO] Task 2/2: t2\n")
    assert _tasks(log) == [("t1", "cut", None), ("t2", "running", None)]
    assert [task.index for task in log.tasks] == [1, 2]


def test_text_between_the_lines_of_openadapt_is_only_text() -> None:
    log = _log(
        "10:00:00 [INFO] Evaluating 2 tasks on waa\n10:00:01 [INFO] Task 1/2: t1\n10:00:01 [INFO] Step 0: Agent reasoning: it\n",
        "❯ Starting Windows for Docker v4.35...\nStarting WinArena...\nTask 2/2: x\nResult: PASS\n",
        "10:00:02 [INFO] Task 2/9: t2\n10:00:02 [INFO] Task t1 failed (score: 0.00)\n10:00:02 [ERROR] Task t9 failed (score: 0.00)\n",
        "10:00:03 [ERROR] Task t1 failed (score: 0.40)\n",
    )
    assert _tasks(log) == [("t1", "done", 0.4)]
    assert (log.boots, log.stages, len(log.runs)) == ([], [], 1)


def test_the_plain_dialect_is_read() -> None:
    log = _log(
        "Task 5/30: notepad_1\nStep 1: click(1, 2)\nStep 2: type('x')\nScore: 0.85\nResult: PASS\n",
        "Task 6/30: notepad_2\nStep 1: done\nTask notepad_2 failed (score: 0.40)\n",
        "Task 7/30: notepad_3\nTask notepad_3 completed successfully\n",
        "Task 8/30: notepad_4\nResult: FAIL\n",
        "Running task: notepad_5\nStep 12: x\n",
    )
    assert _tasks(log) == [
        ("notepad_1", "done", 0.85),
        ("notepad_2", "done", 0.4),
        ("notepad_3", "done", 1.0),
        ("notepad_4", "done", 0.0),
        ("notepad_5", "running", None),
    ]
    assert [task.index for task in log.tasks] == [5, 6, 7, 8, None]
    assert (log.tasks[0].steps, log.tasks[-1].steps) == (2, 12)
    assert (log.runs[0].dialect, log.runs[0].totals) == ("seed", {"": 30})


def test_the_plain_dialect_ends_where_another_begins() -> None:
    log = _log("Task 1/2: x\n", start(), "Task 2/2: y\n", opening())
    assert _tasks(log) == [("x", "cut", None), ("a-WOS", "running", None)]


def test_the_plain_dialect_cannot_begin_in_another() -> None:
    assert _log("Starting WinArena...\nTask 1/2: x\n").tasks == []


# The container.


def test_a_container_that_starts_again_cuts_the_open_task() -> None:
    log = _log(start(), opening(), "Starting WinArena...\n")
    assert _tasks(log) == [("a-WOS", "cut", None)]


@pytest.mark.parametrize(
    ("lines", "clean"),
    [
        (["❯ Received SIGTERM, sending ACPI shutdown signal..."], True),
        ([], None),
        (["❯ Received SIGTERM, sending ACPI shutdown signal...", "❯ ERROR: Forcefully terminating Windows, reason: 143..."], False),
        (["❯ ERROR: Shutdown timeout reached, aborting..."], False),
        (["❯ ERROR: Timeout while waiting for QEMU to boot the machine!"], False),
        (["❯ Windows is still running, sending SIGTERM... (1/3)"], False),
        (["❯ Windows could not boot, terminating..."], False),
    ],
)
def test_how_a_machine_stopped_is_told_by_the_way_down(lines: list[str], clean: bool | None) -> None:
    text = "\n".join(["❯ Starting Windows for Docker v5.14...", *lines, "❯ Shutdown completed!", ""])
    facts = parse(text.encode())
    assert facts[-1] == BootStopped(detail="Shutdown completed!", clean=clean)


def test_errors_and_warnings_of_the_container_are_told_apart() -> None:
    facts = parse("❯ ERROR: Status 1 while: wget (line 3/4)\n❯ Warning: slow\nFailed to shut down the Windows VM. Exiting...\n".encode())
    assert facts == [
        BootFailed(message="Status 1 while: wget (line 3/4)"),
        BootWarned(message="slow"),
        BootFailed(message="Failed to shut down the Windows VM. Exiting..."),
    ]


def test_facts_of_one_line_come_together() -> None:
    parser = LogParser()
    parser.feed((start() + opening() + step(1, "x()", at=2) + loop("Running evaluator(s)...", at=3)).encode())
    assert [type(fact) for fact in parser.feed(loop("Result: 1.00", at=3).encode())] == [TaskScored]
    assert [type(fact) for fact in parser.feed(record("Finished clock/a-WOS", at=3).encode())] == [TaskFinished]
