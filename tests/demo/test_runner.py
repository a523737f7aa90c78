"""The demo's benchmark client as a process."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.demo.house import facts_of, outcomes_of, planned_outcomes
from tests.support.wait import PATIENCE_S
from waa.core.logs.fact import Dialect, RunConfigured, RunFinished, RunPlanned, RunStarted, StepDescribed, TaskInstructed, TaskRef
from waa.core.results.specification import read_specification
from waa.demo import run
from waa.demo.plan import MAX_STEPS, Plan, make_plan


def a_runner(folder: Path, *, speed: float, cycle: int = 1) -> subprocess.Popen[bytes]:
    options = {"result_dir": folder / "results", "screen": folder / "screen.png", "speed": speed, "seed": 7, "cycle": cycle}
    script = str(Path(run.__file__))
    return subprocess.Popen(
        [sys.executable, script, *(f"--{name}={value}" for name, value in options.items())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(Path(run.__file__).parents[2]), "PYTHONSAFEPATH": "1"},
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, Plan]:
    """A run of the first cycle that came to its end: its folder, its log, what was planned."""
    folder = tmp_path_factory.mktemp("run")
    with a_runner(folder, speed=2000.0) as runner:
        assert runner.stdout is not None
        log = runner.stdout.read()
        assert runner.wait() == 0, log.decode()
    return folder, log, make_plan(7, 1)


def test_the_log_reads_to_exactly_the_planned_outcome(finished: tuple[Path, bytes, Plan]) -> None:
    _, log, plan = finished
    facts = facts_of(log)
    assert outcomes_of(facts) == planned_outcomes(plan)
    assert [fact.dialect for fact in facts if isinstance(fact, RunStarted)] == [Dialect.WAA]
    tasks = tuple(TaskRef(domain=planned.task.domain, task_id=planned.task.task_id) for planned in plan.tasks)
    assert [(fact.total, fact.tasks) for fact in facts if isinstance(fact, RunPlanned)][-1] == (16, tasks)
    assert [fact.average_score for fact in facts if isinstance(fact, RunFinished)] == [plan.average_score]
    (configured,) = [fact for fact in facts if isinstance(fact, RunConfigured)]
    assert configured.arguments["max_steps"] == str(MAX_STEPS)


def test_instructions_and_actions_are_in_the_log_whole(finished: tuple[Path, bytes, Plan]) -> None:
    _, log, plan = finished
    facts = facts_of(log)
    instructions = {fact.instruction for fact in facts if isinstance(fact, TaskInstructed)}
    assert {planned.task.instruction for planned in plan.tasks} <= instructions
    actions = {fact.action.strip() for fact in facts if isinstance(fact, StepDescribed)}
    several_lines = {move.action.strip() for planned in plan.tasks for move in planned.moves if "\n" in move.action.strip()}
    assert several_lines <= actions


def test_the_log_has_the_marks_of_the_real_one(finished: tuple[Path, bytes, Plan]) -> None:
    _, log, _ = finished
    prefix = rb"\x1b\[1;33m\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \x1b\[31m(INFO|ERROR) \x1b\[32m\w+/\d+-MainProcess\x1b\[1;33m\] \x1b\[0m"
    assert len(re.findall(prefix, log)) == log.count(b"\x1b[1;33m[")
    assert len(re.findall(rb"\rExample: +\d+%\|[^|]{10,60}\| \d/\d \[[^\]]*\]\x1b\[A" + prefix, log)) >= 16, "bars are glued to records"
    assert re.search(r"\rDomain: 100%\|██████████\| 6/6 \[".encode(), log)
    assert log.count(b"\nTraceback (most recent call last):") + log.count(b"\x1b[0mTraceback (most recent call last):") == 1


def test_the_result_tree_is_as_planned(finished: tuple[Path, bytes, Plan]) -> None:
    folder, _, plan = finished
    for planned in plan.tasks:
        task = folder / "results/pyautogui/a11y_tree/gpt-4o/0" / planned.task.domain / planned.task.task_id
        lines = [json.loads(line) for line in (task / "traj.jsonl").read_text().splitlines()]
        steps = [line for line in lines if "step_num" in line]
        assert [line["step_num"] for line in steps] == list(range(len(planned.moves) + 1))
        assert [line["action"] for line in steps] == [None, *(move.action for move in planned.moves)]
        assert all((task / line["screenshot"]).read_bytes().startswith(b"\x89PNG") for line in steps)
        if planned.score is None:
            assert lines[-1]["Exception"] == planned.error
            assert not (task / "result.txt").exists()
        else:
            assert (task / "result.txt").read_text() == f"{planned.score}\n"


def test_each_task_is_specified_where_the_benchmark_keeps_its_tasks(finished: tuple[Path, bytes, Plan]) -> None:
    folder, log, plan = finished
    told = re.findall(r"TESTING ON TASK CONFIG PATH: (\S+)", log.decode())
    assert len(told) == len(plan.tasks)
    for path, planned in zip(told, plan.tasks, strict=True):
        spec = read_specification((folder / path).read_bytes())
        assert spec is not None
        assert spec.instruction == planned.task.instruction
        assert spec.functions


def test_it_ends_when_the_server_is_gone(tmp_path: Path) -> None:
    with a_runner(tmp_path, speed=1.0) as runner:
        assert runner.stdout is not None
        assert runner.stdin is not None
        assert runner.stdout.readline().startswith(b"Waiting for the server")
        runner.stdin.close()
        assert runner.wait(PATIENCE_S) == 1


def test_sigterm_is_answered_as_the_real_client_does(tmp_path: Path) -> None:
    with a_runner(tmp_path, speed=1.0) as runner:
        assert runner.stdout is not None
        assert runner.stdout.readline().startswith(b"Waiting for the server")
        runner.send_signal(signal.SIGTERM)
        assert runner.stdout.read().endswith(b"Interrupted by 15, shutting down\n")
        assert runner.wait(PATIENCE_S) == 0
