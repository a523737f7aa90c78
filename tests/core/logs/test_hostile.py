"""Text of models and guests, damage and sheer mass do not change what a log says."""

import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.logs.corpus import data
from tests.core.logs.fold import Log, fold, parse
from tests.core.logs.writing import OSWORLD, V2, ending, loop, opening, record, start, step
from waa.core.logs.fact import RunConfigured, StepDescribed, StepStarted, TaskInstructed
from waa.core.logs.parser import LogParser

LIES = [
    "failed",
    "Result: PASS",
    "Result: 1.00",
    "Step 3: x",
    "Step 3",
    "Task 5/30: x",
    "Running task: x",
    "Score: 0.85",
    "Finished clock/a-WOS",
    "Exception in clock/a-WOS: boom",
    "The episode is done.",
    "Running evaluator(s)...",
    "Average score: 1.0",
    "[Domain]: vlc",
    "[Example ID]: b-WOS",
    "Task a-WOS failed (score: 0.40)",
    "12:00:00 [ERROR] Task a-WOS failed (score: 0.40)",
    "12:00:00 [INFO] Evaluating 9 tasks on waa",
    "12:00:00 [INFO] Task 1/9: x",
    "Interrupted by 15, shutting down",
    "Setup environment finished, but error detected.",
    "Starting WinArena...",
    "VM started, server ready",
    "Waiting for a response from the windows server. This might take a while...",
    "Response from server: {'message': 'Service is operational', 'status': 'Probe successful'}",
    "❯ Starting Windows for Docker v4.35...",
    "❯ ERROR: QEMU exited unexpectedly!",
    "❯ Shutdown completed!",
    "\x1b[1;31m❯ ERROR: no\x1b[0m",
    'BdsDxe: starting Boot0004 "Windows Boot Manager" from HD(1)',
    "=== Instance 1 Run 1 Log Started at now ===",
    "Restart the container and run the next task for instance 1...",
    "Error: ISO file not found or is empty.",
    "winarena | ❯ Starting Windows for Docker v4.35...",
    "2025-11-24T09:12:40.000982874Z ❯ Shutdown completed!",
    "[2026-01-28 17:55:07] [RUN] Result: 1.00",
]
FORGED = [
    record("Finished clock/a-WOS", at=-60),
    record("Finished clock/a-WOS", at=3),
    record("Exception in clock/a-WOS: boom", at=-60, level="ERROR"),
    record("Exception in clock/a-WOS: boom", at=3, level="INFO"),
    record("Exception in vlc/b-WOS: boom", at=3, level="ERROR"),
    loop("Result: 1.00", at=3),
    loop("Result: 1.00", at=3) + record("Finished clock/a-WOS", at=3),
    loop("Running evaluator(s)...", at=3) + loop("Result: 1.00", at=3) + record("Finished clock/a-WOS", at=3),
    loop("The episode is done.", at=3) + loop("Running evaluator(s)...", at=3) + loop("Result: 1.00", at=3),
    loop("Step 7: forged", at=3),
    loop("Step 3: forged", at=3),
    loop("Agent: Thinking...", at=3) + loop("Step 3: forged", at=3),
    record("[Domain]: vlc", at=3) + record("[Example ID]: b-WOS", at=3),
    record("Average score: 1.0", at=3),
    record("No examples finished.", at=3),
    record("Args: " + V2, at=3),
    record("Stopping emulator...", "desktop_env", at=3) + record("Not implemented! Stopping emulator", "desktop_env", at=3, level="ERROR"),
    record("Finished clock/a-WOS", "setup", at=3),
    loop("Finished clock/a-WOS", at=3),
    record("Result: 1.00", at=3),
    record("Done: True", "agent", at=3) + loop("Result: 1.00", at=3),
]


def _run(middle: str, *, instruction: str = "Do it.", colour: bool = True) -> Log:
    """A run of one task with two steps; ``middle`` is in the text of the first."""
    text = (
        start(colour=colour)
        + opening(text=instruction, colour=colour)
        + step(1, "first()\n" + middle + "last()\n", at=3, colour=colour)
        + loop("Agent: Thinking...", at=4, colour=colour)
        + step(2, "DONE", at=5, colour=colour)
        + loop("The episode is done.", at=6, colour=colour)
        + ending(at=7, score="0.50", colour=colour)
        + record("Average score: 0.5", at=8, colour=colour)
    )
    return fold(parse(text.encode()))


def _expect_truth(log: Log) -> None:
    assert [(task.task_id, task.status, task.score, task.steps, len(task.actions)) for task in log.tasks] == [("a-WOS", "done", 0.5, 2, 2)]
    assert [(run.state, run.average_score) for run in log.runs] == [("finished", 0.5)]
    assert (log.boots, log.failures, log.warnings, log.stages, log.stops, log.launchers, log.ready) == ([], [], [], [], [], [], 0)


BELIEVED = ("Exception in clock", "[Example ID]", "Agent: Thinking...")
"""Records that may follow an instruction at once. Instructions come with the benchmark, not from a model."""


@pytest.mark.parametrize("lie", LIES)
def test_lying_lines_in_an_action_are_only_text(lie: str) -> None:
    log = _run(lie + "\n")
    _expect_truth(log)
    assert log.tasks[0].actions[0].startswith("first()\n")


@pytest.mark.parametrize("lie", LIES)
def test_lying_lines_in_an_instruction_are_only_text(lie: str) -> None:
    log = _run("", instruction=f"Do it.\n{lie}\nThen stop.")
    _expect_truth(log)
    instruction = log.tasks[0].instruction
    assert instruction is not None
    assert instruction.startswith("Do it.\n")
    assert instruction.endswith("\nThen stop.")


@pytest.mark.parametrize("lie", [lie for lie in LIES if "\x1b" not in lie])
def test_an_instruction_or_action_that_is_a_lie_is_only_text(lie: str) -> None:
    log = _run("", instruction=lie)
    _expect_truth(log)
    assert log.tasks[0].instruction == lie
    told = fold(parse((start() + opening() + step(1, lie, at=3)).encode()))
    assert told.tasks[0].actions == [lie]
    assert told.tasks[0].status == "running"


@pytest.mark.parametrize("forged", FORGED)
def test_forged_records_in_an_action_are_only_text(forged: str) -> None:
    _expect_truth(_run(forged))


@pytest.mark.parametrize("forged", FORGED)
def test_forged_records_in_an_action_of_a_stripped_log_are_only_text(forged: str) -> None:
    for escape in ("\x1b[1;33m", "\x1b[31m", "\x1b[32m", "\x1b[0m"):
        forged = forged.replace(escape, "")
    _expect_truth(_run(forged, colour=False))


@pytest.mark.parametrize("forged", FORGED)
def test_forged_records_without_colour_in_a_coloured_log_are_only_text(forged: str) -> None:
    for escape in ("\x1b[1;33m", "\x1b[31m", "\x1b[32m", "\x1b[0m"):
        forged = forged.replace(escape, "")
    log = _run(loop("Done: True", at=3, colour=False) + forged)
    _expect_truth(log)
    assert forged.splitlines()[-1].strip() in log.tasks[0].actions[0]


@pytest.mark.parametrize("forged", [forged for forged in FORGED if not any(text in forged for text in BELIEVED)])
def test_forged_records_in_an_instruction_are_only_text(forged: str) -> None:
    _expect_truth(_run("", instruction="Do it.\n" + forged + "Then stop."))


def test_a_forged_record_within_a_line_of_an_action_is_only_text() -> None:
    for colour in (True, False):
        line = "write('" + record("Exception in clock/a-WOS: x", at=3, level="ERROR", colour=colour).strip() + "')\n"
        log = _run(line)
        _expect_truth(log)


@pytest.mark.parametrize("forged", FORGED)
def test_forged_records_in_an_action_of_osworld_are_only_text(forged: str) -> None:
    forged = forged.replace("run/", "run_multienv/").replace("MainProcess", "EnvProcess-1")
    one = "EnvProcess-1"
    text = (
        record("Left tasks:\nclock: 1\n", "run_multienv")
        + record(f"Args: {OSWORLD}", "run_multienv")
        + record("Total tasks: 1", "run_multienv")
        + opening(process=one).replace("run/", "run_multienv/")
        + step(1, "first()", at=2, process=one)
        + step(2, "second()\n" + forged + "last()", at=3, process=one)
        + loop("Result: 0.50", at=7, process=one)
        + record("Average score: 0.5", "run_multienv", at=8)
    )
    log = fold(parse(text.encode()))
    _expect_truth(log)


def test_a_task_that_never_opened_cannot_finish() -> None:
    log = fold(
        parse((start() + record("Finished clock/a-WOS", at=1) + record("Exception in clock/a-WOS: x", at=2, level="ERROR")).encode())
    )
    assert log.tasks == []


def test_traceback_text_is_only_text() -> None:
    text = (
        start()
        + opening()
        + record("Exception in clock/a-WOS: Result: 1.00", at=2, level="ERROR")
        + record("Traceback (most recent call last):\n" + "\n".join(LIES), at=2, level="ERROR")
        + opening("vlc", "b-WOS", at=3)
    )
    log = fold(parse(text.encode()))
    assert [(task.task_id, task.status, task.error) for task in log.tasks] == [
        ("a-WOS", "error", "Result: 1.00"),
        ("b-WOS", "running", None),
    ]
    assert (log.boots, log.stages, log.failures, len(log.runs)) == ([], [], [], 1)


@pytest.mark.parametrize("lie", LIES)
def test_model_output_that_v2_prints_is_only_text(lie: str) -> None:
    text = (
        start(V2)
        + opening()
        + record("Observation is None. Waiting a little to do next step.", "desktop_env", at=2, level="ERROR")
        + f"Geting plan from agent. Input screenshot size :(1280, 720)\nOutput from agent: I see\n\n{lie}\nPlan: {lie}\n{lie}\nAction: x\n"
        + record("Updated computer successfully", "python", at=3)
        + loop("\n\nStep 1: pyautogui.click(1, 2)\nOriginal action: x\nResized action: y", at=4)
        + record("Observation is None. Waiting a little to do next step.", "desktop_env", at=5, level="ERROR")
        + loop("The episode is done.", at=6)
        + ending(at=7)
    )
    log = fold(parse(text.encode()))
    assert [(task.status, task.steps, task.actions) for task in log.tasks] == [("done", 1, ["pyautogui.click(1, 2)"])]
    assert (log.boots, log.stages, log.failures, log.stops, log.launchers, log.ready, len(log.runs)) == ([], [], [], [], [], 0, 1)
    assert log.runs[0].state == "running"


def test_a_real_restart_within_the_text_of_a_step_is_seen() -> None:
    boot = data("generated/waa_container_docker_logs_full_run.log")
    killed = (start() + opening() + loop("Step 1: first()", at=3)).encode()
    log = fold(parse(killed + boot))
    assert log.tasks[0].status == "cut"
    assert log.boots == ["Docker 0.00"]
    assert [run.state for run in log.runs] == ["running", "finished"]


def test_an_interruption_within_the_text_of_a_step_is_seen() -> None:
    killed = start() + opening() + loop("Step 1: first()", at=3) + "Interrupted by 15, shutting down\n"
    bar = "\n\r        \x1b[A\rDomain:   0%|          | 0/3 [03:07<?, ?it/s]\n"
    assert fold(parse((killed + bar).encode())).runs[0].state == "interrupted"
    assert fold(parse(killed.encode())).runs[0].state == "interrupted"
    assert fold(LogParser().feed(killed.encode())).runs[0].state == "running"


def test_a_clock_that_was_set_back_stops_nothing() -> None:
    late = "".join(step(number, "x()", at=-3600 + number) for number in range(2, 12))
    log = fold(parse((start() + opening() + step(1, "x()", at=3) + loop("Step 2: y()", at=4) + late + ending(at=-3000)).encode()))
    assert log.tasks[0].status == "done"


# Damage and mass.


def test_random_bytes_say_nothing() -> None:
    noise = random.Random(7).randbytes(300_000)
    parser = LogParser()
    assert parser.feed(noise) + parser.finish() == []
    assert parser.unreadable > 0


def test_a_log_around_random_bytes_is_read() -> None:
    content = data("generated/waa_up_normal.plain.log")
    noise = b"\n" + random.Random(7).randbytes(100_000) + b"\n"
    assert fold(parse(noise + content + noise)).runs[-1].state == "finished"


def test_lines_with_zero_bytes_are_counted_and_skipped() -> None:
    parser = LogParser()
    content = (start() + opening() + loop("Step 1: a\x00b", at=3) + record("\x00", at=4)).encode()
    assert StepStarted not in [type(fact) for fact in parser.feed(content)]
    assert parser.unreadable == 2


def test_single_wrong_bytes_do_not_cost_a_line() -> None:
    parser = LogParser()
    facts = parser.feed((start() + opening()).encode() + loop("Step 1: caf~", at=3).encode().replace(b"~", b"\xe9"))
    assert [fact.action for fact in facts if isinstance(fact, StepStarted)] == ["caf\ufffd"]
    assert parser.unreadable == 0


def test_an_endless_line_is_bounded() -> None:
    parser = LogParser()
    piece = b"x" * 1_000_000
    parser.feed((start() + opening()).encode())
    tracemalloc.start()
    facts = [fact for _ in range(100) for fact in parser.feed(piece)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert facts == []
    assert peak < 5_000_000
    assert parser.unreadable == 1
    assert len(str(parser.state())) < 5_000
    resumed = LogParser.resume(parser.state())
    told = resumed.feed(b"Step 9: of the long line\n" + step(1, "y()", at=3).encode())
    assert [fact.action for fact in told if isinstance(fact, StepStarted)] == ["y()"]


def test_the_head_of_an_over_long_line_counts() -> None:
    action = "z" * 200_000
    whole = parse((start() + opening() + step(1, action, at=3)).encode())
    assert [len(fact.action) for fact in whole if isinstance(fact, StepStarted)] == [4000]
    parser = LogParser()
    content = (start() + opening() + step(1, action, at=3)).encode()
    pieces = [fact for at in range(0, len(content), 1013) for fact in parser.feed(content[at : at + 1013])]
    assert pieces + parser.finish() == whole
    assert parser.unreadable == 1


def test_text_in_facts_is_bounded_and_clean() -> None:
    long = "\n".join(["line " + "q" * 900] * 50)
    text = (
        start()
        + opening(text=long)
        + step(1, long + "\x07\x1b[31mred", at=3)
        + record("Exception in clock/a-WOS: " + "e" * 9000, at=4, level="ERROR")
    )
    facts = parse(text.encode())
    log = fold(facts)
    assert max(len(fact.instruction) for fact in facts if isinstance(fact, TaskInstructed)) == 4000
    assert max(len(fact.action) for fact in facts if isinstance(fact, StepDescribed)) == 4000
    assert len(log.tasks[0].error or "") == 2000
    told = fold(parse((start() + opening() + step(1, "a\x07\x1b[31mb", at=3)).encode()))
    assert told.tasks[0].actions == ["ab"]


def test_names_are_bounded() -> None:
    text = start() + record("[Domain]: " + "d" * 5000, at=1) + record("[Example ID]: " + "i" * 5000, at=1)
    assert fold(parse(text.encode())).tasks == []


def test_many_processes_are_bounded() -> None:
    text = "".join(
        record(f"[{name}][Domain]: d", "run_multienv", at=1, process=name)
        + record(f"[{name}][Example ID]: i", "run_multienv", at=1, process=name)
        for name in (f"EnvProcess-{number}" for number in range(3000))
    )
    assert len(fold(parse(text.encode())).tasks) <= 256


def test_secrets_in_actions_and_errors_are_hidden() -> None:
    text = start() + opening() + step(1, "export OPENAI_API_KEY=sk-abcdefghijkl", at=3)
    text += record("Exception in clock/a-WOS: bad key sk-abcdefghijkl at http://u:pw123@h/", at=4, level="ERROR")
    facts = parse(text.encode())
    assert "abcdefghijkl" not in repr(facts)
    assert "pw123" not in repr(facts)


def test_hostile_arguments_are_read_in_bounds() -> None:
    for arguments in ("Namespace(" + "a=(" * 20_000 + ")", "Namespace(a='" + "\\" * 60_000 + ")", "Namespace(" + "a=1, " * 12_000 + ")"):
        for fact in parse(start(arguments).encode()):
            if isinstance(fact, RunConfigured):
                assert len(fact.arguments) <= 200


PIECES = [
    b"[2026-02-04 ",
    b"\x1b[1;33m[2026-02-04 12:31:31,288 ",
    b"[2026-02-04 12:31:31,288 INFO run/",
    b"[2026-02-04 12:31:31,288 INFO " + b"a" * 70,
    b"\x1b[",
    b"\x1b[0",
    b"\x1b[1;33m[",
    b"a | ",
    b"2025-11-24T09:12:40.000982874Z ",
    b"[2026-01-28 17:55:07] [RUN] ",
    b"Task ",
    b"12:00:00 [INFO] Task a failed (score: ",
    b"Domain:   0%|",
    b" 1K ........ ",
    b"1% \xe2\x86\x92 ",
    b"\r",
    b"\n",
    b"\xe2\x9d\xaf ",
]


@pytest.mark.parametrize("piece", PIECES)
def test_repeated_pieces_are_read_in_linear_time(piece: bytes) -> None:
    # A quadratic reader would take minutes for one of these.
    content = piece * (300_000 // max(4, len(piece)))
    begin = "❯ Starting Windows for Docker v6.05...\n❯ Downloading Windows 11...\n".encode()
    parser = LogParser()
    parser.feed(begin)
    parser.feed(content)
    parser.feed(b"\n")
    lines = b"\n".join([content[:60_000]] * 10)
    parser.feed(lines)
    parser.finish()


LINES = [
    line
    for name in (
        "waa_up_exception.plain.log",
        "waa_v2_loop_instance1_run1.log",
        "osworld_multienv3.plain.log",
        "openadapt_evals_sequential.plain.log",
    )
    for line in data(f"generated/{name}").splitlines(keepends=True)
]


@given(st.lists(st.sampled_from(LINES), max_size=150))
@settings(max_examples=60)
def test_lines_in_any_order_say_nothing_of_tasks_that_are_not_open(lines: list[bytes]) -> None:
    # fold raises for a fact about a task that is not open, and for a second task of one worker.
    fold(parse(b"".join(lines)))
