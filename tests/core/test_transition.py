"""Which changes an observation causes: each kind of observation, each kind of fact."""

from dataclasses import replace

import pytest

from tests.core.builders import CONTAINER, FILE, INNER, T0, a_log_read, a_run, a_spec, a_task, a_vm, task_facts
from waa.core.entity import Connection, Run, Task, Vm
from waa.core.error import Failure
from waa.core.event import Change, EventType
from waa.core.logs import fact as f
from waa.core.observation import (
    AnyObservation,
    Container,
    GuestProbe,
    LinkFailed,
    LinkOpened,
    LinkSought,
    LogSource,
    Machine,
    Reading,
    Runner,
    ScoreFound,
    SetupPage,
    StatusSeen,
    TimePassed,
    TroubleMet,
    VmForgotten,
    VmNamed,
)
from waa.core.state import Progress, State
from waa.core.status import BootStage, ContainerStatus, Phase, Reason, RunStatus, TaskStatus
from waa.core.transition import Rules, decide
from waa.core.verdict import judge

NO_ANSWER = Failure(reason=Reason.TIMEOUT, message="no answer")
RUNS = Container(status=ContainerStatus.RUNNING)
READY = GuestProbe(ready=True, status="Probe successful")
RUN = f.RunStarted(at=T0, dialect=f.Dialect.WAA)


class House:
    """A state with one connected VM, and what was told since the last look."""

    def __init__(self, *, rules: Rules | None = None, **spec: str) -> None:
        self.state = State()
        self.rules = rules or Rules()
        self.see(VmNamed(vm="vm-1", at=T0, spec=a_spec(**spec)), LinkOpened(vm="vm-1", at=T0))

    def see(self, *observations: AnyObservation) -> list[Change]:
        told = []
        for observation in observations:
            for change in decide(self.state, observation, self.rules):
                self.state.evolve(change)
                told.append(change)
        return told

    def read(self, *facts: f.AnyFact, source: LogSource = FILE, at: float = T0 + 3600) -> list[Change]:
        return self.see(a_log_read(*facts, source=source, at=at))

    @property
    def vm(self) -> Vm:
        return self.state.vms["vm-1"]

    @property
    def run(self) -> Run:
        (run,) = self.state.runs.values()
        return run

    @property
    def tasks(self) -> list[Task]:
        return [task for tasks in self.state.tasks.values() for task in tasks.values()]

    @property
    def task(self) -> Task:
        return self.tasks[-1]


def types(told: list[Change]) -> list[EventType]:
    return [change.type for change in told]


def of(told: list[Change], type_: EventType) -> list[Change]:
    return [change for change in told if change.type is type_]


def seen(at: float = T0, **parts: object) -> StatusSeen:
    return replace(StatusSeen(vm="vm-1", at=at), **parts)  # type: ignore[arg-type]


# --- the VM ---


def test_a_named_vm_is_added_changed_or_nothing() -> None:
    state = State()
    (added,) = decide(state, VmNamed(vm="vm-1", at=T0, spec=a_spec()), Rules())
    assert (added.type, added.topic) == (EventType.VM_ADDED, "vms/vm-1")
    state.evolve(added)
    assert decide(state, VmNamed(vm="vm-1", at=T0, spec=a_spec()), Rules()) == []
    (changed,) = decide(state, VmNamed(vm="vm-1", at=T0, spec=a_spec(vnc_port=9999)), Rules())
    assert (changed.type, changed.previous) == (EventType.VM_CHANGED, None)


def test_a_vm_that_moved_is_no_longer_what_was_seen_at_the_old_place() -> None:
    house = House()
    house.see(seen(container=RUNS, probe=READY))
    assert house.vm.phase is Phase.READY
    house.see(VmNamed(vm="vm-1", at=T0, spec=a_spec(vnc_url="http://x/")))
    assert house.vm.phase is Phase.READY
    (told,) = house.see(VmNamed(vm="vm-1", at=T0, spec=a_spec(ssh_host="10.0.0.9")))
    assert told.previous == "ready"
    assert (house.vm.phase, house.vm.container, house.vm.connection) == (Phase.UNKNOWN, Reading(), Connection())


def test_a_forgotten_vm_leaves_its_history_and_its_run_is_told_no_further() -> None:
    house = House()
    house.read(RUN, *task_facts("a", at=T0))
    assert types(house.see(VmForgotten(vm="vm-1", at=T0))) == [EventType.RUN_INTERRUPTED, EventType.VM_REMOVED]
    assert not house.state.vms
    assert [run.status for run in house.state.runs.values()] == [RunStatus.INTERRUPTED]
    assert [len(tasks) for tasks in house.state.tasks.values()] == [1]


def test_of_a_vm_that_is_not_on_the_list_nothing_is_told() -> None:
    state = State()
    for observation in (
        VmForgotten(vm="vm-1", at=T0),
        LinkOpened(vm="vm-1", at=T0),
        LinkFailed(vm="vm-1", at=T0, failure=NO_ANSWER),
        seen(container=RUNS),
        a_log_read(RUN),
        TimePassed(vm="vm-1", at=T0),
        TroubleMet(vm="vm-1", at=T0, failure=NO_ANSWER),
        ScoreFound(vm="vm-1", at=T0, run_id="r", domain="d", task_id="t", score=1.0),
    ):
        assert decide(state, observation, Rules()) == []


def test_a_link_that_opens_fails_and_opens_again() -> None:
    house = House()
    assert house.vm.connection == Connection(connected=True, since_at=T0)
    assert house.see(LinkOpened(vm="vm-1", at=T0 + 1)) == []
    (down,) = house.see(LinkFailed(vm="vm-1", at=T0 + 5, failure=NO_ANSWER))
    assert (down.type, down.previous) == (EventType.VM_DISCONNECTED, "unknown")
    assert (house.vm.phase, house.vm.phase_detail, house.vm.phase_at) == (Phase.UNREACHABLE, "no answer", T0 + 5)
    assert house.see(LinkFailed(vm="vm-1", at=T0 + 7, failure=NO_ANSWER)) == []
    refused = Failure(reason=Reason.REFUSED, message="refused")
    assert types(house.see(LinkFailed(vm="vm-1", at=T0 + 9, failure=refused))) == [EventType.VM_CHANGED]
    assert (house.vm.connection.since_at, house.vm.phase_at) == (T0 + 5, T0 + 5)
    (up,) = house.see(LinkOpened(vm="vm-1", at=T0 + 10))
    assert (up.type, up.previous, house.vm.connection.failure) == (EventType.VM_CONNECTED, "unreachable", None)


def test_while_a_link_is_sought_the_last_known_phase_stays() -> None:
    house = House()
    house.see(seen(container=RUNS, probe=READY))
    house.see(LinkSought(vm="vm-1", at=T0 + 9))
    assert (house.vm.connection, house.vm.phase) == (Connection(since_at=T0 + 9), Phase.READY)
    assert house.see(LinkSought(vm="vm-1", at=T0 + 10)) == []
    house.see(LinkFailed(vm="vm-1", at=T0 + 11, failure=NO_ANSWER))
    assert house.see(LinkSought(vm="vm-1", at=T0 + 12)) == []


def test_what_was_seen_keeps_its_time_and_outlives_a_failure() -> None:
    house = House()
    assert types(house.see(seen(T0 + 1, container=RUNS))) == [EventType.VM_PHASE_CHANGED]
    assert house.see(seen(T0 + 2, container=RUNS)) == []
    assert house.see(seen(T0 + 2)) == []
    house.see(seen(T0 + 3, container=NO_ANSWER))
    house.see(seen(T0 + 4, container=NO_ANSWER))
    assert house.vm.container == Reading(value=RUNS, since_at=T0 + 1, failure=NO_ANSWER, failed_at=T0 + 3)
    house.see(seen(T0 + 5, container=RUNS))
    assert house.vm.container == Reading(value=RUNS, since_at=T0 + 1)
    parts = {"machine": Machine(boot_id="x"), "setup_page": SetupPage(text="Extracting"), "runner": Runner(pid=7)}
    house.see(seen(T0 + 6, **parts))
    assert [getattr(house.vm, name).value for name in parts] == list(parts.values())
    assert house.vm.seen_at == T0 + 6


def test_trouble_is_told() -> None:
    house = House()
    assert types(house.see(TroubleMet(vm="vm-1", at=T0, failure=NO_ANSWER))) == [EventType.TROUBLE_MET]
    assert [trouble.failure for trouble in house.state.troubles] == [NO_ANSWER]


# --- Windows set-up ---


def test_the_set_up_advances_and_its_errors_go_with_the_next_stage() -> None:
    house = House()
    house.see(seen(container=RUNS))
    house.read(f.ContainerBooted(engine="Docker", version="v5.14"), f.BootWarned(message="nested"), source=CONTAINER)
    assert (house.vm.boot.stage, house.vm.boot.boots, house.vm.phase) == (BootStage.STARTING, 1, Phase.BOOTING)
    download = f.BootStaged(at=T0 + 60, stage=BootStage.DOWNLOADING, detail="Downloading Windows 11...")
    house.read(download, f.BootProgressed(percent=12.5), f.BootFailed(at=T0 + 70, message="network failure"), source=CONTAINER)
    boot = house.vm.boot
    assert (boot.stage_at, boot.percent, boot.error, boot.error_at) == (T0 + 60, 12.5, "network failure", T0 + 70)
    assert (house.vm.phase, house.vm.phase_detail) == (Phase.DOWNLOADING, "network failure")
    house.read(f.BootStaged(stage=BootStage.DOWNLOADING, detail="another mirror"), source=CONTAINER)
    assert (house.vm.boot.error, house.vm.boot.detail, house.vm.boot.stage_at) == ("network failure", "another mirror", T0 + 60)
    house.read(f.BootStaged(stage=BootStage.WINDOWS, detail="Booting"), source=CONTAINER)
    assert (house.vm.boot.error, house.vm.boot.percent, house.vm.phase) == ("", None, Phase.OOBE)
    house.read(f.BootStopped(detail="Shutdown completed", clean=None), source=CONTAINER)
    assert (house.vm.phase, house.vm.phase_detail) == (Phase.OFF, "Shutdown completed")
    house.read(f.ContainerBooted(engine="Docker", version="v5.14"), source=CONTAINER)
    assert (house.vm.boot.boots, house.vm.phase) == (2, Phase.BOOTING)


def test_of_two_logs_that_tell_the_set_up_the_containers_own_counts() -> None:
    house = House()
    booted = f.ContainerBooted(engine="Docker", version="v5")
    house.read(booted, source=FILE)
    house.read(booted, booted, source=CONTAINER)
    house.read(booted, booted, f.BootFailed(message="old"), source=FILE)
    assert (house.vm.boot.boots, house.vm.boot.error, house.vm.boot.log) == (2, "", CONTAINER.key)


def test_readiness_in_the_log_is_no_readiness() -> None:
    house = House()
    house.see(seen(container=RUNS))
    assert house.read(f.ServerWaiting(), f.ServerReady()) == []


# --- runs and tasks ---


def test_a_whole_run() -> None:
    house = House()
    plan = tuple(f.TaskRef(domain="notepad", task_id=name) for name in "abc")
    facts = [
        RUN,
        f.RunPlanned(total=3, tasks=plan),
        f.RunConfigured(arguments={"model": "gpt-4o"}),
        *task_facts("a", at=T0 + 10, score=1.0),
        *task_facts("b", at=T0 + 100, score=0.86),
        f.TaskStarted(at=T0 + 200, domain="notepad", task_id="c"),
        f.TaskCrashed(at=T0 + 210, domain="notepad", task_id="c", error="TypeError"),
        f.RunFinished(at=T0 + 300, average_score=0.93),
    ]
    told = house.read(*facts)
    run = house.run
    assert (run.run_id, run.status, run.total, run.plan, run.average_score) == (
        "vm-1-20260204T121231",
        RunStatus.FINISHED,
        3,
        plan,
        0.93,
    )
    assert (run.started_at, run.ended_at, run.first_seen_at, run.arguments) == (T0, T0 + 300, T0 + 3600, {"model": "gpt-4o"})
    assert [(task.index, task.status, task.score, task.success, task.error) for task in house.tasks] == [
        (1, TaskStatus.PASSED, 1.0, True, ""),
        (2, TaskStatus.FAILED, 0.86, False, ""),
        (3, TaskStatus.ERROR, None, None, "TypeError"),
    ]
    assert [(task.started_at, task.ended_at, task.step) for task in house.tasks][:2] == [
        (T0 + 10, T0 + 36, 2),
        (T0 + 100, T0 + 126, 2),
    ]
    assert house.state.progress[run.run_id] == Progress(completed=3, passed=1, failed=1, error=1)
    assert [change.previous for change in of(told, EventType.TASK_COMPLETED)] == ["running"] * 3
    assert types(told)[0] is EventType.RUN_STARTED
    assert types(told)[-2:] == [EventType.RUN_FINISHED, EventType.VM_CHANGED]
    assert house.vm.run_id == run.run_id


def test_a_run_is_the_same_whatever_the_chunks() -> None:
    facts = [RUN, f.RunPlanned(total=2), *task_facts("a", at=T0), *task_facts("b", at=T0 + 100), f.RunFinished(at=T0 + 200)]
    whole, pieces = House(), House()
    whole.read(*facts)
    for fact in facts:
        pieces.read(fact)
    assert (whole.state.runs, whole.state.tasks, whole.state.progress) == (pieces.state.runs, pieces.state.tasks, pieces.state.progress)


def test_details_in_a_row_are_one_change() -> None:
    house = House()
    house.read(RUN, f.TaskStarted(domain="clock", task_id="a"))
    told = house.read(f.TaskInstructed(instruction="Do"), f.TaskInstructed(instruction="Do it"), f.TaskActive(activity=f.Activity.THINKING))
    assert types(told) == [EventType.TASK_CHANGED]
    assert (house.task.instruction, house.task.activity) == ("Do it", f.Activity.THINKING)


def test_a_step_is_told_once_and_no_vm_event_comes_with_it() -> None:
    house = House()
    house.read(RUN, f.TaskStarted(domain="clock", task_id="a"), f.StepStarted(number=1, action="click"))
    described = f.StepDescribed(number=2, action="import x\nx.click()")
    (told,) = house.read(f.StepStarted(at=T0 + 50, number=2, action="import x"), described)
    assert (told.type, told.entity) == (EventType.TASK_STEPPED, house.task)
    assert (house.task.step, house.task.action, house.task.activity) == (2, "import x\nx.click()", f.Activity.ACTING)
    assert house.task.changed_at == T0 + 50
    assert types(house.read(f.StepStarted(number=2, action="second of two"))) == [EventType.TASK_CHANGED]
    assert house.read(f.StepDescribed(number=1, action="late")) == []


def test_repeats_count_the_same_action_in_a_row() -> None:
    house = House()
    house.read(RUN, f.TaskStarted(domain="clock", task_id="a"))

    def step(number: int, *lines: str) -> int:
        whole = "\n".join(lines)
        house.read(f.StepStarted(number=number, action=lines[0]))
        if len(lines) > 1:
            house.read(f.StepDescribed(number=number, action=whole))
        return house.task.repeats

    assert [step(1, "click"), step(2, "click"), step(3, "click"), step(4, "type")] == [0, 1, 2, 0]
    assert [step(5, "import x", "x.a()"), step(6, "import x", "x.a()"), step(7, "import x", "x.b()")] == [0, 1, 0]


def test_a_score_decides_only_at_the_end_and_the_last_one_counts() -> None:
    house = House()
    house.read(RUN, f.TaskStarted(domain="clock", task_id="a"), f.TaskScored(score=0.0), f.TaskScored(score=1.0))
    assert (house.task.status, house.task.score, house.task.success) == (TaskStatus.RUNNING, 1.0, None)
    house.read(f.TaskFinished(domain="clock", task_id="a"))
    assert (house.task.status, house.task.provisional) == (TaskStatus.PASSED, True)
    assert house.read(f.TaskFinished(domain="clock", task_id="a"), f.TaskCrashed(domain="clock", task_id="a", error="late")) == []


def test_an_outcome_that_was_not_observed_is_never_guessed() -> None:
    house = House()
    house.read(RUN, *task_facts("nan", at=T0, score=None))
    house.read(f.TaskStarted(domain="clock", task_id="none"), f.TaskFinished(domain="clock", task_id="none"))
    house.read(f.TaskStarted(domain="clock", task_id="cut"), f.TaskCut(domain="clock", task_id="cut", reason="restarted"))
    house.read(f.TaskStarted(domain="clock", task_id="open"), f.RunInterrupted(reason="Interrupted by 15"))
    assert [(task.status, task.success, task.score) for task in house.tasks] == [(TaskStatus.UNKNOWN, None, None)] * 4
    assert [task.error for task in house.tasks] == ["", "", "restarted", "Interrupted by 15"]
    assert (house.run.status, house.run.end_reason) == (RunStatus.INTERRUPTED, "Interrupted by 15")
    assert house.state.progress[house.run.run_id] == Progress(completed=4, unknown=4)


def test_a_score_seen_before_the_cut_is_the_outcome() -> None:
    house = House()
    house.read(RUN, f.TaskStarted(domain="clock", task_id="a"), f.TaskScored(score=1.0))
    house.read(f.TaskCut(domain="clock", task_id="a", reason="killed"))
    assert (house.task.status, house.task.error) == (TaskStatus.PASSED, "")


def test_a_crash_beats_a_score() -> None:
    house = House()
    house.read(RUN, f.TaskStarted(domain="clock", task_id="a"), f.TaskScored(score=1.0))
    house.read(f.TaskCrashed(domain="clock", task_id="a", error="disk"))
    assert (house.task.status, house.task.score, house.task.error) == (TaskStatus.ERROR, None, "disk")


@pytest.mark.parametrize(("threshold", "status"), [(1.0, TaskStatus.FAILED), (0.8, TaskStatus.PASSED), (0.86, TaskStatus.PASSED)])
def test_the_threshold_of_the_start_of_the_run_holds(threshold: float, status: TaskStatus) -> None:
    house = House(rules=Rules(threshold=threshold))
    house.read(RUN, f.TaskStarted(domain="clock", task_id="a"))
    house.rules = Rules(threshold=0.0)
    house.read(f.TaskScored(score=0.86), f.TaskFinished(domain="clock", task_id="a"))
    assert (house.task.status, house.run.threshold) == (status, threshold)


def test_judge() -> None:
    assert [judge(score, 1.0) for score in (None, 0.999, 1.0)] == [TaskStatus.UNKNOWN, TaskStatus.FAILED, TaskStatus.PASSED]


def test_result_txt_settles_the_rounded_score_once() -> None:
    house = House()
    house.read(RUN, *task_facts("a", at=T0, score=1.0))
    found = ScoreFound(vm="vm-1", at=T0 + 60, run_id=house.run.run_id, domain="notepad", task_id="a", score=0.9960)
    (settled,) = house.see(found)
    assert (settled.type, settled.previous) == (EventType.TASK_SETTLED, "passed")
    assert (house.task.status, house.task.score, house.task.provisional) == (TaskStatus.FAILED, 0.996, False)
    assert house.state.progress[house.run.run_id] == Progress(completed=1, failed=1)
    assert house.see(found, replace(found, score=0.0)) == []


def test_result_txt_tells_the_outcome_that_the_log_did_not() -> None:
    house = House()
    house.read(RUN, f.TaskStarted(domain="clock", task_id="a"), f.TaskCut(domain="clock", task_id="a", reason="killed"))
    found = ScoreFound(vm="vm-1", at=T0, run_id=house.run.run_id, domain="clock", task_id="a", score=1.0)
    assert house.see(replace(found, score=None)) == []
    assert types(house.see(found)) == [EventType.TASK_SETTLED]
    assert (house.task.status, house.task.error) == (TaskStatus.PASSED, "")


def test_result_txt_of_something_else_changes_nothing() -> None:
    house = House()
    house.read(RUN, f.TaskStarted(domain="clock", task_id="runs"))
    house.read(f.TaskStarted(domain="clock", task_id="broke", worker="1"), f.TaskCrashed(domain="clock", task_id="broke", error="x"))
    found = ScoreFound(vm="vm-1", at=T0, run_id=house.run.run_id, domain="clock", task_id="runs", score=1.0)
    assert house.see(found, replace(found, task_id="broke"), replace(found, task_id="who"), replace(found, run_id="who")) == []


def test_a_task_that_starts_again_is_a_new_attempt_and_counts_once() -> None:
    house = House()
    house.read(RUN, *task_facts("a", at=T0, score=0.0), *task_facts("b", at=T0 + 100))
    house.read(f.TaskStarted(at=T0 + 200, domain="notepad", task_id="a"))
    assert [(task.key, task.index) for task in house.tasks] == [("notepad/a#1", 1), ("notepad/b#1", 2), ("notepad/a#2", 1)]
    assert house.state.progress[house.run.run_id] == Progress(completed=1, passed=1, running=1)
    told = house.read(f.TaskStarted(at=T0 + 300, domain="notepad", task_id="a"))
    assert [change.topic for change in of(told, EventType.TASK_COMPLETED)] == [f"runs/{house.run.run_id}/tasks/notepad/a#2"]
    house.read(f.TaskScored(score=1.0), f.TaskFinished(domain="notepad", task_id="a"))
    assert [task.status for task in house.tasks] == [TaskStatus.FAILED, TaskStatus.PASSED, TaskStatus.UNKNOWN, TaskStatus.PASSED]
    assert house.state.progress[house.run.run_id] == Progress(completed=2, passed=2)


def test_the_place_that_the_log_prints_is_the_index() -> None:
    house = House()
    house.read(RUN, f.TaskStarted(domain="d", task_id="a", index=5), f.TaskStarted(domain="d", task_id="b", worker="1"))
    assert [task.index for task in house.tasks] == [5, 2]


def test_workers_in_one_file_are_told_apart_by_name() -> None:
    house = House()
    house.read(RUN, f.RunPlanned(total=1, tasks=(f.TaskRef(domain="d", task_id="a"),)))
    house.read(f.RunPlanned(worker="1", total=1, tasks=(f.TaskRef(domain="d", task_id="b"),)))
    house.read(
        f.TaskStarted(domain="d", task_id="a", worker="0"),
        f.TaskStarted(domain="d", task_id="b", worker="1"),
        f.StepStarted(number=3, action="x", worker="0"),
        f.TaskScored(score=0.0, worker="1"),
        f.TaskScored(score=1.0, worker="0"),
        f.TaskFinished(domain="d", task_id="b", worker="1"),
        f.TaskFinished(domain="d", task_id="a"),
    )
    assert [(task.task_id, task.step, task.status) for task in house.tasks] == [
        ("a", 3, TaskStatus.PASSED),
        ("b", 0, TaskStatus.FAILED),
    ]
    assert house.run.total == 2


def test_what_cannot_be_attributed_to_one_of_several_open_tasks_goes_to_none() -> None:
    house = House()
    house.read(RUN, f.TaskStarted(domain="d", task_id="a"), f.TaskStarted(domain="d", task_id="b"), f.TaskScored(score=1.0))
    house.read(f.TaskFinished(domain="d", task_id="a"), f.TaskScored(score=1.0), f.TaskFinished(domain="d", task_id="b"))
    assert [(task.task_id, task.status) for task in house.tasks] == [("a", TaskStatus.UNKNOWN), ("b", TaskStatus.PASSED)]


def test_facts_without_a_run_or_a_task_tell_nothing() -> None:
    house = House()
    lost: list[f.AnyFact] = [
        f.RunPlanned(total=3),
        f.RunFinished(),
        f.RunInterrupted(reason="x"),
        f.TaskFinished(domain="d", task_id="a"),
        f.StepStarted(number=1, action="x"),
        f.TaskScored(score=1.0),
        f.RunResumed(earlier_score=0.5),
    ]
    assert house.read(*lost) == []
    house.read(RUN)
    assert house.read(*lost[3:]) == []


def test_a_task_whose_run_was_not_seen_to_start_opens_one() -> None:
    house = House()
    assert types(house.read(f.TaskStarted(at=T0, domain="d", task_id="a")))[:2] == [EventType.RUN_STARTED, EventType.TASK_STARTED]


def test_a_runner_that_starts_again_ends_the_run_before_it() -> None:
    house = House()
    house.read(RUN, f.TaskStarted(at=T0 + 10, domain="d", task_id="a"))
    told = house.read(replace(RUN, at=T0 + 60))
    assert types(told)[:3] == [EventType.TASK_COMPLETED, EventType.RUN_INTERRUPTED, EventType.RUN_STARTED]
    assert [run.end_reason for run in house.state.runs_of("vm-1")] == ["", "the runner was started again"]
    assert house.vm.run_id == "vm-1-20260204T121331"


def test_two_runs_that_begin_in_one_second_have_names_of_their_own() -> None:
    house = House()
    house.read(RUN, f.RunFinished(at=T0), replace(RUN, at=T0 + 0.5))
    assert list(house.state.runs) == ["vm-1-20260204T121231", "vm-1-20260204T121231-2"]


def test_a_time_ahead_of_ours_is_not_believed() -> None:
    house = House()
    house.read(replace(RUN, at=T0 + 99), at=T0 + 5)
    assert house.run.started_at == T0 + 5


def test_an_interrupted_run_goes_on_with_its_next_task() -> None:
    house = House()
    house.read(RUN, f.RunInterrupted(at=T0 + 10, reason="Interrupted by 15"))
    told = house.read(f.TaskStarted(at=T0 + 20, domain="d", task_id="a"))
    (reopened,) = of(told, EventType.RUN_CHANGED)
    assert reopened.previous == "interrupted"
    assert (house.run.status, house.run.ended_at, house.run.end_reason) == (RunStatus.RUNNING, None, "")


def test_a_finished_run_does_not_go_on() -> None:
    house = House()
    house.read(RUN, f.RunFinished(at=T0 + 10), f.RunFinished(at=T0 + 11), f.RunInterrupted(reason="late"))
    house.read(f.TaskStarted(at=T0 + 20, domain="d", task_id="a"))
    assert [run.status for run in house.state.runs_of("vm-1")] == [RunStatus.RUNNING, RunStatus.FINISHED]


# --- runs whose process is gone ---


def running_house(**facts: f.AnyFact) -> House:
    house = House()
    house.see(seen(T0, container=RUNS, probe=READY, runner=Runner(pid=7)))
    house.read(RUN, f.TaskStarted(at=T0 + 10, domain="d", task_id="a"), at=T0 + 10)
    return house


def test_a_run_takes_the_process_that_is_seen() -> None:
    assert running_house().run.runner_pid == 7
    house = House()
    house.read(RUN)
    told = house.see(seen(runner=Runner(pid=8)))
    assert types(told) == [EventType.RUN_CHANGED, EventType.VM_CHANGED]
    assert house.run.runner_pid == 8
    assert house.see(seen(T0 + 1, runner=Runner(pid=8))) == []


def test_a_run_whose_process_stays_gone_is_interrupted() -> None:
    house = running_house()
    house.see(seen(T0 + 100, runner=Runner()))
    assert house.see(TimePassed(vm="vm-1", at=T0 + 159)) == []
    told = house.see(TimePassed(vm="vm-1", at=T0 + 160))
    assert types(told) == [EventType.TASK_COMPLETED, EventType.RUN_INTERRUPTED, EventType.VM_PHASE_CHANGED]
    assert (house.run.status, house.run.ended_at, house.task.status) == (RunStatus.INTERRUPTED, T0 + 100, TaskStatus.UNKNOWN)
    assert (house.vm.phase, told[-1].previous) == (Phase.IDLE, "running")


def test_a_process_that_comes_back_or_a_log_that_goes_on_keeps_the_run() -> None:
    house = running_house()
    house.see(seen(T0 + 100, runner=Runner()), seen(T0 + 150, runner=Runner(pid=9)), TimePassed(vm="vm-1", at=T0 + 500))
    assert (house.run.status, house.run.runner_pid) == (RunStatus.RUNNING, 9)
    house.see(seen(T0 + 600, runner=Runner()))
    house.read(f.StepStarted(at=T0 + 650, number=1, action="x"), at=T0 + 650)
    house.see(TimePassed(vm="vm-1", at=T0 + 709))
    assert house.run.status is RunStatus.RUNNING
    house.see(TimePassed(vm="vm-1", at=T0 + 710))
    assert (house.run.status, house.run.ended_at) == (RunStatus.INTERRUPTED, T0 + 650)


def test_a_process_that_cannot_be_looked_for_is_not_gone() -> None:
    house = running_house()
    house.see(seen(T0 + 100, runner=Runner()), seen(T0 + 110, runner=NO_ANSWER), TimePassed(vm="vm-1", at=T0 + 900))
    assert house.run.status is RunStatus.RUNNING
    house.see(seen(T0 + 910, runner=Runner(pid=7)), seen(T0 + 920, runner=Runner()))
    house.see(LinkFailed(vm="vm-1", at=T0 + 930, failure=NO_ANSWER), TimePassed(vm="vm-1", at=T0 + 2000))
    assert house.run.status is RunStatus.RUNNING


def test_where_no_process_was_ever_seen_silence_must_last_longer() -> None:
    house = House()
    house.see(seen(T0, runner=Runner()))
    house.read(RUN, at=T0)
    assert house.see(TimePassed(vm="vm-1", at=T0 + 1799)) == []
    assert EventType.RUN_INTERRUPTED in types(house.see(TimePassed(vm="vm-1", at=T0 + 1800)))


def test_a_run_given_up_is_finished_after_all_where_its_log_says_so() -> None:
    house = running_house()
    house.see(seen(T0 + 100, runner=Runner()), TimePassed(vm="vm-1", at=T0 + 200))
    (finished, *_) = house.read(f.RunFinished(at=T0 + 90, average_score=0.5))
    assert (finished.type, finished.previous) == (EventType.RUN_FINISHED, "interrupted")
    assert house.run.average_score == 0.5


# --- launchers ---


def launched(number: int, *, started_at: float) -> list[f.AnyFact]:
    """One process of a launcher: one task, and no word of the end of the run."""
    planned = f.RunPlanned(at=started_at, total=1, tasks=(f.TaskRef(domain="notepad", task_id=f"t{number}"),))
    begin: list[f.AnyFact] = [f.RunStarted(at=started_at, dialect=f.Dialect.WAA_V2), planned]
    return [*begin, *task_facts(f"t{number}", at=started_at + 5), f.RunFinished(at=started_at + 50)]


def test_a_launchers_processes_are_one_run() -> None:
    house = House()
    house.read(f.LauncherStarted(at=T0, label="Instance 1 Run 1"), *launched(1, started_at=T0 + 60), *launched(2, started_at=T0 + 400))
    assert (house.run.launcher, house.run.dialect, house.run.status, house.run.total) == (
        True,
        f.Dialect.WAA_V2,
        RunStatus.RUNNING,
        None,
    )
    assert [task.index for task in house.tasks] == [1, 2]
    house.read(f.RunInterrupted(reason="the set-up check failed"))
    assert house.run.status is RunStatus.RUNNING


def test_between_two_processes_a_launchers_run_goes_on_though_nothing_is_seen() -> None:
    house = House()
    house.see(seen(T0, container=RUNS, runner=Runner(pid=7)))
    house.read(f.LauncherStarted(at=T0), *launched(1, started_at=T0 + 60), at=T0 + 200)
    house.see(seen(T0 + 200, container=Container(status=ContainerStatus.EXITED, exit_code=127), runner=Runner()))
    house.see(TimePassed(vm="vm-1", at=T0 + 1900))
    assert (house.vm.phase, house.run.status) == (Phase.RUNNING, RunStatus.RUNNING)
    house.see(TimePassed(vm="vm-1", at=T0 + 2000))
    assert (house.vm.phase, house.run.status) == (Phase.OFF, RunStatus.INTERRUPTED)
    house.read(*launched(2, started_at=T0 + 3000))
    assert house.run.status is RunStatus.RUNNING
    house.read(f.LauncherStarted(at=T0 + 3500))
    assert [run.launcher for run in house.state.runs_of("vm-1")] == [True, True]


# --- a second log that tells the same ---


def told_twice(house: House, facts: list[f.AnyFact], first: LogSource, second: LogSource, size: int) -> None:
    for start in range(0, len(facts), size):
        house.read(*facts[start : start + size], source=first)
        house.read(*facts[start : start + size], source=second)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_run_told_by_two_logs_is_one_run(size: int) -> None:
    facts = [RUN, f.RunPlanned(total=2), *task_facts("a", at=T0 + 5), *task_facts("b", at=T0 + 100), f.RunFinished(at=T0 + 200)]
    house = House()
    told_twice(house, facts, FILE, INNER, size)
    assert [(task.task_id, task.attempt, task.status) for task in house.tasks] == [
        ("a", 1, TaskStatus.PASSED),
        ("b", 1, TaskStatus.PASSED),
    ]
    assert (house.run.status, house.run.log, house.run.echoes) == (RunStatus.FINISHED, FILE, (INNER.key,))


def test_the_next_run_is_told_by_whichever_log_is_first() -> None:
    house = House()
    first = [RUN, *task_facts("a", at=T0 + 5), f.RunFinished(at=T0 + 100)]
    told_twice(house, first, FILE, INNER, 2)
    again = [replace(RUN, at=T0 + 500), *task_facts("a", at=T0 + 505), f.RunInterrupted(at=T0 + 600, reason="x")]
    told_twice(house, again, INNER, FILE, 2)
    third = [replace(RUN, at=T0 + 1000), *task_facts("a", at=T0 + 1005)]
    told_twice(house, third, FILE, INNER, 2)
    assert [(run.log.kind, run.status) for run in house.state.runs_of("vm-1")] == [
        (FILE.kind, RunStatus.RUNNING),
        (INNER.kind, RunStatus.INTERRUPTED),
        (FILE.kind, RunStatus.FINISHED),
    ]
    assert [len(tasks) for tasks in house.state.tasks.values()] == [1, 1, 1]


def test_a_copy_that_begins_with_another_time_is_known_by_its_first_task() -> None:
    house = House()
    facts = [RUN, *task_facts("a", at=T0 + 60), *task_facts("b", at=T0 + 200)]
    house.read(*facts)
    house.read(replace(RUN, at=T0 + 30), *facts[1:], source=INNER)
    assert [task.task_id for task in house.tasks] == ["a", "b"]
    assert [(run.status, run.end_reason) for run in house.state.runs_of("vm-1")] == [
        (RunStatus.INTERRUPTED, "another log tells of this run"),
        (RunStatus.RUNNING, ""),
    ]
    assert house.read(f.TaskStarted(at=T0 + 300, domain="d", task_id="c"), source=INNER) == []


def test_another_run_in_another_log_is_no_copy() -> None:
    house = House()
    house.read(RUN, *task_facts("a", at=T0 + 5))
    house.read(replace(RUN, at=T0 + 50), *task_facts("a", at=T0 + 60), source=INNER)
    assert [len(tasks) for tasks in house.state.tasks.values()] == [1, 1]


@pytest.mark.parametrize("file_first", [True, False])
def test_a_launchers_file_and_the_log_of_its_containers_tell_each_task_once(file_first: bool) -> None:
    house = House()
    house.read(f.LauncherStarted(at=T0))
    order = [FILE, CONTAINER] if file_first else [CONTAINER, FILE]
    for number in range(1, 5):
        for source in order:
            house.read(*launched(number, started_at=T0 + 300 * number), source=source)
    assert sorted(task.task_id for task in house.tasks) == ["t1", "t2", "t3", "t4"]
    assert len(house.state.runs) == 2
    (launcher,) = (run for run in house.state.runs.values() if run.launcher)
    assert len(house.state.tasks[launcher.run_id]) == (4 if file_first else 3)


def test_of_two_runs_said_to_run_the_one_without_process_ends() -> None:
    house = running_house()
    house.read(replace(RUN, at=T0 + 100), source=INNER, at=T0 + 100)
    house.see(seen(T0 + 101, runner=Runner(pid=8)))
    house.see(TimePassed(vm="vm-1", at=T0 + 300))
    assert [(run.log.kind, run.status) for run in house.state.runs_of("vm-1")] == [
        (INNER.kind, RunStatus.RUNNING),
        (FILE.kind, RunStatus.INTERRUPTED),
    ]


def test_builders_make_what_the_transitions_make() -> None:
    house = House()
    house.read(RUN, f.TaskStarted(at=T0 + 1, domain="notepad", task_id="task-1"), at=T0 + 1)
    assert house.run == a_run(first_seen_at=T0 + 1)
    assert house.task == a_task(activity=f.Activity.RESETTING)
    assert a_vm().spec == house.vm.spec
