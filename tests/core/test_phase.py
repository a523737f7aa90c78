"""Every phase, in order of precedence: each row adds what beats the row before."""

import pytest

from tests.core.builders import T0, a_run, a_spec, a_task, a_vm
from waa.core.entity import Boot, Connection, Run, Task, Vm
from waa.core.error import Failure
from waa.core.logs.fact import Dialect
from waa.core.observation import Container, GuestProbe, Reading, Runner, SetupPage
from waa.core.phase import phase_of
from waa.core.status import BootStage, ContainerStatus, Phase, Reason, RunStatus

UP = Connection(connected=True)
DOWN = Connection(connected=False, failure=Failure(reason=Reason.REFUSED, message="refused"))
BROKEN = Failure(reason=Reason.COMMAND, message="docker: permission denied")
RUNS = Reading(value=Container(status=ContainerStatus.RUNNING, started_at=T0), since_at=T0)
EXITED = Reading(value=Container(status=ContainerStatus.EXITED, exit_code=127), since_at=T0)
READY = Reading(value=GuestProbe(ready=True, status="ok"), since_at=T0 + 60)
NOT_READY = Reading(value=GuestProbe(ready=False, status="refused"), since_at=T0 + 60)
RUNNER = Reading(value=Runner(pid=7), since_at=T0)
NO_RUNNER = Reading(value=Runner(), since_at=T0)
RUNNING, OVER = a_run(), a_run(status=RunStatus.FINISHED, ended_at=T0)
LAUNCHER = a_run(launcher=True, dialect=Dialect.WAA_V2)
HOST_ONLY = a_spec(container="")


def stage(stage: BootStage, *, error: str = "", stopped: str = "") -> Boot:
    return Boot(stage=stage, stage_at=T0, detail=f"{stage}...", error=error, stopped=stopped)


TABLE: list[tuple[str, Vm, Run | None, Task | None, Phase, str]] = [
    ("nothing tried", a_vm(), None, None, Phase.UNKNOWN, "not looked at yet"),
    ("no look yet", a_vm(connection=UP), None, None, Phase.UNKNOWN, "not looked at yet"),
    ("container not readable", a_vm(connection=UP, container=Reading(failure=BROKEN)), None, None, Phase.UNKNOWN, BROKEN.message),
    ("container", a_vm(connection=UP, container=RUNS), None, None, Phase.BOOTING, "the container runs, the guest does not answer yet"),
    ("page", a_vm(connection=UP, container=RUNS, setup_page=Reading(value=SetupPage(text="12 %"))), None, None, Phase.BOOTING, "12 %"),
    *(
        (str(each), a_vm(connection=UP, container=RUNS, probe=NOT_READY, boot=stage(each)), None, None, phase, detail)
        for each, phase, detail in (
            (BootStage.STARTING, Phase.BOOTING, "starting..."),
            (BootStage.DOWNLOADING, Phase.DOWNLOADING, "downloading..."),
            (BootStage.EXTRACTING, Phase.EXTRACTING, "extracting..."),
            (BootStage.CONFIGURING, Phase.CONFIGURING, "configuring..."),
            (BootStage.BUILDING, Phase.BUILDING, "building..."),
            (BootStage.BOOTING, Phase.BOOTING, "booting..."),
            (BootStage.INSTALLING, Phase.OOBE, "Windows installs itself from the medium; the guest does not answer yet"),
            (BootStage.WINDOWS, Phase.OOBE, "Windows starts from its disk; the guest does not answer yet"),
        )
    ),
    (
        "set-up error",
        a_vm(connection=UP, container=RUNS, boot=stage(BootStage.BOOTING, error="no KVM")),
        None,
        None,
        Phase.BOOTING,
        "no KVM",
    ),
    (
        "machine stopped",
        a_vm(connection=UP, container=RUNS, boot=stage(BootStage.WINDOWS, stopped="Shutdown")),
        OVER,
        None,
        Phase.OFF,
        "Shutdown",
    ),
    ("ready", a_vm(connection=UP, container=RUNS, probe=READY), None, None, Phase.READY, "the guest answers, nothing has run yet"),
    (
        "ready beats set-up",
        a_vm(connection=UP, container=RUNS, probe=READY, boot=stage(BootStage.WINDOWS)),
        None,
        None,
        Phase.READY,
        "the guest answers, nothing has run yet",
    ),
    ("idle", a_vm(connection=UP, container=RUNS, probe=READY), OVER, None, Phase.IDLE, "the guest is ready and nothing runs"),
    (
        "probe not readable now",
        a_vm(connection=UP, container=RUNS, probe=Reading(value=READY.value, since_at=T0 + 60, failure=BROKEN)),
        OVER,
        None,
        Phase.IDLE,
        "the guest is ready and nothing runs",
    ),
    (
        "probe not readable since the container started",
        a_vm(connection=UP, container=RUNS, probe=Reading(value=READY.value, since_at=T0 - 60, failure=BROKEN)),
        OVER,
        None,
        Phase.BOOTING,
        "the container runs, the guest does not answer yet",
    ),
    (
        "runner",
        a_vm(connection=UP, container=RUNS, probe=READY, runner=RUNNER),
        OVER,
        None,
        Phase.RUNNING,
        "the runner has started, no task yet",
    ),
    (
        "runner waits for the guest",
        a_vm(connection=UP, container=RUNS, probe=NOT_READY, runner=RUNNER),
        None,
        None,
        Phase.BOOTING,
        "the container runs, the guest does not answer yet",
    ),
    (
        "without container",
        a_vm(connection=UP, spec=HOST_ONLY, runner=NO_RUNNER),
        OVER,
        None,
        Phase.IDLE,
        "the guest is ready and nothing runs",
    ),
    ("exited", a_vm(connection=UP, container=EXITED, probe=READY), OVER, None, Phase.OFF, "container winarena exited with status 127"),
    ("exited during a run", a_vm(connection=UP, container=EXITED), RUNNING, None, Phase.OFF, "container winarena exited with status 127"),
    (
        "restarting",
        a_vm(connection=UP, container=Reading(value=Container(status=ContainerStatus.RESTARTING))),
        None,
        None,
        Phase.OFF,
        "container winarena is restarting",
    ),
    (
        "absent",
        a_vm(connection=UP, container=Reading(value=Container(status=ContainerStatus.ABSENT))),
        None,
        None,
        Phase.OFF,
        "there is no container winarena",
    ),
    (
        "exited, yet a runner",
        a_vm(connection=UP, container=EXITED, runner=RUNNER),
        None,
        None,
        Phase.RUNNING,
        "the runner has started, no task yet",
    ),
    ("exited, yet a run's runner", a_vm(connection=UP, container=EXITED, runner=RUNNER), RUNNING, None, Phase.RUNNING, "between two tasks"),
    (
        "paused in a run",
        a_vm(connection=UP, container=Reading(value=Container(status=ContainerStatus.PAUSED)), runner=RUNNER),
        RUNNING,
        a_task(),
        Phase.OFF,
        "container winarena is paused",
    ),
    ("exited between two of a launcher", a_vm(connection=UP, container=EXITED), LAUNCHER, None, Phase.RUNNING, "between two tasks"),
    ("run", a_vm(connection=UP), RUNNING, a_task(), Phase.RUNNING, "preparing a task of notepad"),
    (
        "run beats set-up",
        a_vm(connection=UP, container=RUNS, boot=stage(BootStage.WINDOWS)),
        RUNNING,
        None,
        Phase.RUNNING,
        "between two tasks",
    ),
    ("step", a_vm(connection=UP, container=RUNS, probe=NOT_READY), RUNNING, a_task(step=3), Phase.RUNNING, "a task of notepad"),
    (
        "unreachable beats all",
        a_vm(connection=DOWN, container=RUNS, probe=READY, runner=RUNNER),
        RUNNING,
        a_task(),
        Phase.UNREACHABLE,
        "refused",
    ),
]


@pytest.mark.parametrize(("vm", "run", "task", "phase", "detail"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_phase(vm: Vm, run: Run | None, task: Task | None, phase: Phase, detail: str) -> None:
    assert phase_of(vm, run, task) == (phase, detail)


def test_every_phase_can_be_reached() -> None:
    assert {row[4] for row in TABLE} == set(Phase)


@pytest.mark.parametrize("status", ContainerStatus)
def test_every_container_status_but_running_is_off(status: ContainerStatus) -> None:
    vm = a_vm(connection=UP, container=Reading(value=Container(status=status)), probe=READY)
    assert phase_of(vm, OVER, None)[0] is (Phase.IDLE if status is ContainerStatus.RUNNING else Phase.OFF)
