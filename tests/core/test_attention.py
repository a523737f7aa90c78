"""What needs a person: each cause by its own name, and none twice (requirements B3, B4, B7)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.core.builders import T0, a_run, a_task, a_vm
from waa.core.attention import Attention, Limits, attention_of
from waa.core.entity import Boot, Connection, Run, RunId, Task, Vm
from waa.core.error import Failure
from waa.core.incident import Concern, Severity
from waa.core.logs.fact import Activity
from waa.core.observation import Container, GuestProbe, Machine, Reading, Runner
from waa.core.state import State
from waa.core.status import BootStage, ContainerStatus, Phase, Reason, RunStatus, TaskStatus

NOW = T0 + 3600
LIMITS = Limits()
RUNS = Reading(value=Container(status=ContainerStatus.RUNNING, started_at=T0 - 900), since_at=T0 - 900)
EXITED = Reading(value=Container(status=ContainerStatus.EXITED, exit_code=137), since_at=NOW - 30)
ANSWERS = Reading(value=GuestProbe(ready=True, status="ok"), since_at=T0)
SILENT = Reading(value=GuestProbe(ready=False, status="no answer"), since_at=NOW - 120)
RUNNER = Reading(value=Runner(pid=7), since_at=T0)
NO_RUNNER = Reading(value=Runner(), since_at=NOW - 40)
FULL = Reading(value=Machine(disk_used_percent=97.0), since_at=NOW - 300)
AWAY = Connection(
    connected=False, since_at=NOW - 60, failure=Failure(reason=Reason.TIMEOUT, message="no answer within 10 s", remedy="Is it started?")
)


def working(**fields: Any) -> Vm:
    """A VM on which a run goes on."""
    fine: dict[str, Any] = {
        "connection": Connection(connected=True),
        "phase": Phase.RUNNING,
        "phase_at": T0,
        "container": RUNS,
        "probe": ANSWERS,
        "runner": RUNNER,
        "run_id": a_run().run_id,
    }
    return a_vm(**{**fine, **fields})


def setting_up(phase: Phase, *, since_s: float = 60.0, **fields: Any) -> Vm:
    """A VM on which Windows is set up."""
    return working(phase=phase, phase_at=NOW - since_s, probe=SILENT, runner=Reading(value=Runner()), run_id=None, **fields)


def busy(**fields: Any) -> Task:
    """A task that got on 20 s ago."""
    return a_task(**{"step": 4, "activity": Activity.THINKING, "changed_at": NOW - 20, **fields})


def seen(vm: Vm, run: Run | None = None, *tasks: Task, limits: Limits = LIMITS, **known: Any) -> list[Attention]:
    """What is told of it."""
    state = State()
    for entity in (vm, run, *tasks):
        if entity is not None:
            state.put(entity)
    return attention_of(state, now=NOW, limits=limits, **known)


def concerns(*given: Any, **known: Any) -> list[Concern]:
    return [item.concern for item in seen(*given, **known)]


RUN = a_run(runner_pid=7, total=30)
LAUNCHED = replace(RUN, launcher=True, total=None)


def test_a_run_that_gets_on_needs_nobody() -> None:
    assert seen(working(), RUN, busy()) == []


ROWS: list[tuple[Concern, dict[str, Any], dict[str, Any]]] = [
    (Concern.LOOPING, {}, {"repeats": 6}),
    (Concern.STALLED, {}, {"activity": Activity.ACTING, "changed_at": NOW - 1000}),
    (Concern.MODEL_HUNG, {}, {"changed_at": NOW - 1000}),
    (Concern.RESET_HUNG, {}, {"activity": Activity.RESETTING, "step": 0, "changed_at": NOW - 1000}),
    (Concern.EVALUATOR_HUNG, {}, {"activity": Activity.EVALUATING, "changed_at": NOW - 1000}),
    (Concern.RUNNER_GONE, {"runner": NO_RUNNER}, {"changed_at": NOW - 1000}),
    (Concern.GUEST_DOWN, {"probe": SILENT, "runner": NO_RUNNER}, {"changed_at": NOW - 1000}),
    (Concern.GUEST_OFF, {"probe": SILENT, "boot": Boot(stopped="Shutdown completed!"), "runner": NO_RUNNER}, {"changed_at": NOW - 1000}),
    (Concern.CONTAINER_OFF, {"container": EXITED, "probe": SILENT, "runner": NO_RUNNER}, {"changed_at": NOW - 1000}),
    (
        Concern.UNREACHABLE,
        {"connection": AWAY, "container": EXITED, "probe": SILENT, "runner": NO_RUNNER, "machine": FULL},
        {"changed_at": NOW - 1000},
    ),
]
"""From the weakest cause to the strongest: each VM also shows what follows from its cause."""


@pytest.mark.parametrize(("concern", "vm", "task"), ROWS, ids=[row[0].value for row in ROWS])
def test_a_stall_is_named_by_its_cause_alone(concern: Concern, vm: dict[str, Any], task: dict[str, Any]) -> None:
    (item,) = seen(working(**vm), RUN, busy(**task))
    assert item.concern is concern
    assert item.run_id == RUN.run_id
    assert item.tasks == ("notepad/task-1#1",)
    assert "notepad/task-1" in item.text or concern is Concern.UNREACHABLE
    assert item.title
    assert item.remedy
    assert item.since_at is not None


def test_the_detail_names_task_and_step_and_the_title_the_cause() -> None:
    (item,) = seen(working(), RUN, busy(changed_at=NOW - 1000))
    assert (item.title, item.text, item.since_at) == ("The model does not answer", "notepad/task-1, step 4", NOW - 1000)
    (item,) = seen(working(container=EXITED), RUN, busy())
    assert item.text == "winarena exited with status 137 (killed: out of memory, or by hand); holds up notepad/task-1, step 4"


def test_one_cause_holds_up_all_tasks_that_run_side_by_side() -> None:
    tasks = [busy(task_id=f"t{n}", worker=f"w{n}", index=n, changed_at=NOW - 1000) for n in (1, 2, 3)]
    (item,) = seen(working(probe=SILENT), RUN, *tasks)
    assert item.tasks == ("notepad/t1#1", "notepad/t2#1", "notepad/t3#1")
    assert item.text.endswith("holds up notepad/t1, step 4 and 2 more")
    assert concerns(working(), RUN, *tasks) == [Concern.MODEL_HUNG] * 3


def test_tasks_that_share_a_name_in_one_log_stall_together_only() -> None:
    """Steps of parallel workers in one file cannot be told apart: none of the tasks is seen to get on, the run is."""
    silent, lively = busy(task_id="a", changed_at=NOW - 1000), busy(task_id="b", index=2, changed_at=NOW - 1000)
    ended = busy(task_id="c", index=3, status=TaskStatus.PASSED, score=1.0, changed_at=NOW - 30, ended_at=NOW - 30)
    assert concerns(working(), RUN, silent, lively) == [Concern.MODEL_HUNG] * 2
    assert concerns(working(), RUN, silent, lively, ended) == []


@pytest.mark.parametrize("fields", [{"container": EXITED}, {"probe": SILENT}, {"runner": NO_RUNNER}])
def test_a_container_restart_between_two_tasks_is_no_stall(fields: dict[str, Any]) -> None:
    """Requirement B7: a launcher restarts the container, and Windows in it, for each task."""
    over = a_task(status=TaskStatus.PASSED, score=1.0, ended_at=NOW - 60, changed_at=NOW - 60)
    assert seen(working(**fields), LAUNCHED, over) == []


def test_a_launcher_whose_container_stays_off_is_told() -> None:
    stays = replace(EXITED, since_at=NOW - 1000)
    assert concerns(working(container=stays), LAUNCHED) == [Concern.CONTAINER_OFF]
    assert concerns(working(container=EXITED), LAUNCHED, busy()) == [Concern.CONTAINER_OFF]  # in the middle of a task


def test_a_stall_takes_no_less_than_the_limit_and_no_less_than_the_task_usually_takes() -> None:
    other = a_run("earlier", status=RunStatus.FINISHED, ended_at=T0)
    before = a_task(run_id=RunId("earlier"), status=TaskStatus.PASSED, score=1.0, started_at=T0, ended_at=T0 + 1200, changed_at=T0)
    state = State()
    for entity in (working(), RUN, busy(changed_at=NOW - 1100), other, before):
        state.put(entity)
    assert attention_of(state, now=NOW, limits=LIMITS) == []
    state.put(replace(before, ended_at=T0 + 60))
    assert [item.concern for item in attention_of(state, now=NOW, limits=LIMITS)] == [Concern.MODEL_HUNG]
    state.put(busy(changed_at=NOW - 800))
    assert attention_of(state, now=NOW, limits=LIMITS) == []


def test_the_tasks_of_the_run_tell_what_is_usual_where_the_task_was_never_run() -> None:
    ended = [
        a_task(task_id=f"e{n}", index=n, status=TaskStatus.PASSED, score=1.0, started_at=T0, ended_at=T0 + 1200, changed_at=T0 + 1200)
        for n in range(1, 4)
    ]
    stalled = busy(index=9, changed_at=NOW - 1100)
    assert concerns(working(), RUN, *ended, stalled) == []
    assert concerns(working(), RUN, *ended[:2], stalled) == [Concern.MODEL_HUNG]


def test_a_loop_is_critical_by_action_and_screen_and_none_where_the_screen_changes() -> None:
    assert seen(working(), RUN, busy(repeats=5)) == []  # its pictures are being compared
    (unsure,) = seen(working(), RUN, busy(repeats=6))
    assert (unsure.severity, unsure.title) == (Severity.WARNING, "The agent repeats itself")
    (sure,) = seen(working(), RUN, busy(repeats=5, same_screens=5))
    assert (sure.severity, sure.title) == (Severity.CRITICAL, "The agent goes in circles")
    assert sure.text == "notepad/task-1, step 4: the same action 6 times in a row, and the screen stays the same"
    assert seen(working(), RUN, busy(repeats=5, same_screens=4)) == []
    assert seen(working(), RUN, busy(repeats=4, same_screens=5)) == []


def test_a_guest_may_be_silent_for_a_moment() -> None:
    assert seen(working(probe=replace(SILENT, since_at=NOW - 30)), RUN, busy()) == []
    broken = replace(SILENT, failure=Failure(reason=Reason.COMMAND, message="no permission"), failed_at=NOW - 90)
    assert seen(working(probe=broken), RUN, busy()) == []  # nobody knows


def test_a_process_that_was_never_seen_cannot_be_gone() -> None:
    assert seen(working(runner=NO_RUNNER), replace(RUN, runner_pid=None), busy()) == []
    assert seen(working(runner=replace(NO_RUNNER, since_at=NOW - 5)), RUN, busy(changed_at=NOW - 5)) == []


CUT = a_run(status=RunStatus.INTERRUPTED, ended_at=NOW - 50, end_reason="the runner's process is gone; its log has no end", total=30)


def test_a_run_that_stopped_before_its_end_is_told_once() -> None:
    (item,) = seen(working(phase=Phase.IDLE, phase_at=NOW - 5000), CUT)
    assert (item.concern, item.text) == (Concern.RUNNER_GONE, f"{CUT.end_reason} (0 of 30 tasks done)")
    (item,) = seen(working(phase=Phase.OFF, container=EXITED), CUT)
    assert (item.concern, item.severity) == (Concern.CONTAINER_OFF, Severity.CRITICAL)
    assert item.text.endswith("(0 of 30 tasks done)")


def test_a_container_that_ended_with_its_run_is_idle_not_broken() -> None:
    finished = a_run(status=RunStatus.FINISHED, ended_at=NOW - 60)
    assert seen(working(phase=Phase.OFF, phase_at=NOW - 60, container=EXITED), finished) == []
    (item,) = seen(working(phase=Phase.OFF, phase_at=NOW - 1000, container=EXITED), finished)
    assert (item.concern, item.severity) == (Concern.IDLE, Severity.WARNING)


def test_a_container_that_is_not_there_is_not_told_to_be_started() -> None:
    absent = Reading(value=Container(status=ContainerStatus.ABSENT), since_at=NOW - 9)
    (item,) = seen(working(phase=Phase.OFF, container=absent, run_id=None))
    assert (item.text, item.remedy) == (
        "there is no container winarena",
        "Start the benchmark's container, or correct the setting container.",
    )
    paused = Reading(value=Container(status=ContainerStatus.PAUSED), since_at=NOW - 9)
    (item,) = seen(working(container=paused), RUN, busy())
    assert item.remedy == "Let it go on: docker unpause winarena"


def test_out_of_reach_is_told_after_its_limit_and_nothing_else_meanwhile() -> None:
    assert seen(working(connection=replace(AWAY, since_at=NOW - 5), probe=SILENT), RUN, busy()) == []
    (item,) = seen(working(connection=AWAY), RUN, busy())
    assert (item.title, item.text) == (
        "Out of reach: the VM does not answer",
        "no answer within 10 s; holds up notepad/task-1, step 4",
    )


def test_a_full_disk_is_one_cause_also_while_windows_is_set_up() -> None:
    failing = Boot(stage=BootStage.DOWNLOADING, error="cannot write file (disk full?)", error_at=NOW - 60, boots=1)
    assert concerns(setting_up(Phase.DOWNLOADING, boot=failing, machine=FULL)) == [Concern.DISK_FULL]
    (item,) = seen(setting_up(Phase.DOWNLOADING, boot=failing))
    assert (item.concern, item.title) == (Concern.SETUP_FAILING, "Windows cannot be set up: the disk is full")


def usual(seconds: float | None) -> Callable[[str, Phase], float | None]:
    return lambda _vm, _phase: seconds


def test_a_set_up_phase_is_slow_by_what_is_usual_else_by_the_fixed_limit() -> None:
    vm = setting_up(Phase.DOWNLOADING, since_s=1500)
    assert seen(vm) == []
    assert seen(vm, usual_s=usual(800)) == []
    (item,) = seen(vm, usual_s=usual(600))
    assert (item.concern, item.severity) == (Concern.SETUP_SLOW, Severity.WARNING)
    assert item.text == "downloading: this phase usually takes 10 min"
    (item,) = seen(setting_up(Phase.DOWNLOADING, since_s=4000))
    assert item.text == "downloading: this phase usually takes less than 60 min"
    assert seen(setting_up(Phase.EXTRACTING, since_s=200), usual_s=usual(20)) == []  # the floor


def test_an_installer_that_writes_nothing_may_wait_for_an_answer() -> None:
    boot = Boot(stage=BootStage.INSTALLING, stage_at=NOW - 4000)
    still = Reading(value=Machine(disk_free_bytes=10), since_at=NOW - 1200)
    (item,) = seen(setting_up(Phase.OOBE, since_s=4000, boot=boot, machine=still))
    assert item.title == "Windows set-up may wait for an answer"
    assert "product key" in item.remedy
    (item,) = seen(setting_up(Phase.OOBE, since_s=4000, boot=boot, machine=replace(still, since_at=NOW - 5)))
    assert item.title == "Still oobe"


def test_what_needs_a_person_most_stands_first() -> None:
    state = State()
    for vm in (
        replace(working(phase=Phase.READY, phase_at=NOW - 9000, run_id=None), name="a"),
        replace(working(connection=AWAY), name="b"),
        replace(working(connection=replace(AWAY, since_at=NOW - 600)), name="c"),
    ):
        state.put(vm)
    assert [(item.vm, item.severity) for item in attention_of(state, now=NOW, limits=LIMITS)] == [
        ("c", Severity.CRITICAL),
        ("b", Severity.CRITICAL),
        ("a", Severity.WARNING),
    ]
