"""Random histories of a fleet: two VMs, three logs each, few tasks, so that everything collides with everything."""

from hypothesis import strategies as st

from tests.core.builders import CONTAINER, FILE, INNER, T0, a_cursor, a_spec
from waa.core.entity import RunId
from waa.core.error import Failure
from waa.core.logs import fact as f
from waa.core.observation import (
    AnyObservation,
    Container,
    GuestProbe,
    LinkFailed,
    LinkOpened,
    LinkSought,
    LogRead,
    Machine,
    Runner,
    ScoreFound,
    SetupPage,
    StatusSeen,
    TimePassed,
    TroubleMet,
    VmForgotten,
    VmNamed,
)
from waa.core.status import BootStage, ContainerStatus, Reason

VMS = st.sampled_from(["vm-1", "vm-2"])
MOMENTS = st.integers(0, 40).map(lambda number: T0 + 100 * number)
TASKS = st.sampled_from(["a", "b", "c"])
WORKERS = st.sampled_from(["", "", "", "1"])
SCORES = st.sampled_from([None, 0.0, 0.86, 1.0])
FAILURES = st.builds(Failure, reason=st.sampled_from(Reason), message=st.sampled_from(["no answer", "refused"]))

_when = {"at": st.none() | MOMENTS, "worker": WORKERS}
_task = {**_when, "domain": st.just("clock"), "task_id": TASKS}
_refs = st.lists(st.builds(f.TaskRef, domain=st.just("clock"), task_id=TASKS), max_size=3).map(tuple)

FACTS: st.SearchStrategy[f.AnyFact] = st.one_of(
    st.builds(f.TaskStarted, **_task, index=st.none() | st.integers(1, 9)),
    st.builds(f.TaskFinished, **_task),
    st.builds(f.TaskScored, **_when, score=SCORES),
    st.builds(f.StepStarted, **_when, number=st.integers(1, 3), action=st.sampled_from(["click", "type"])),
    st.builds(f.StepDescribed, **_when, number=st.integers(1, 3), action=st.sampled_from(["click", "click\nagain"])),
    st.builds(f.TaskCrashed, **_task, error=st.just("broke")),
    st.builds(f.TaskCut, **_task, reason=st.just("cut")),
    st.builds(f.TaskInstructed, **_when, instruction=st.sampled_from(["do", "do it"])),
    st.builds(f.TaskActive, **_when, activity=st.sampled_from(f.Activity)),
    st.builds(f.RunStarted, **_when, dialect=st.sampled_from(f.Dialect)),
    st.builds(f.LauncherStarted, **_when),
    st.builds(f.RunPlanned, **_when, total=st.integers(0, 5), tasks=_refs),
    st.builds(f.RunConfigured, **_when, arguments=st.just({"model": "gpt"})),
    st.builds(f.RunFinished, **_when, average_score=SCORES),
    st.builds(f.RunInterrupted, **_when, reason=st.just("a signal")),
    st.builds(f.ContainerBooted, **_when, engine=st.just("Docker"), version=st.just("v5")),
    st.builds(f.BootStaged, **_when, stage=st.sampled_from(BootStage), detail=st.just("on it")),
    st.builds(f.BootProgressed, **_when, percent=st.just(50.0)),
    st.builds(f.BootFailed, **_when, message=st.just("no KVM")),
    st.builds(f.BootStopped, **_when, detail=st.just("stopped")),
    st.builds(f.ServerReady, **_when),
)


@st.composite
def log_reads(draw: st.DrawFn) -> LogRead:
    """Some facts of one log."""
    vm, source = draw(VMS), draw(st.sampled_from([FILE, FILE, INNER, CONTAINER]))
    cursor = a_cursor(vm, source, draw(st.integers(0, 10**6)))
    return LogRead(vm=vm, at=draw(MOMENTS), source=source, facts=tuple(draw(st.lists(FACTS, max_size=8))), cursor=cursor)


_seen = {"vm": VMS, "at": MOMENTS}
STATUSES = st.builds(
    StatusSeen,
    **_seen,
    container=st.none() | FAILURES | st.builds(Container, status=st.sampled_from(ContainerStatus)),
    probe=st.none() | FAILURES | st.builds(GuestProbe, ready=st.booleans(), status=st.just("?")),
    runner=st.none() | FAILURES | st.builds(Runner, pid=st.sampled_from([None, 7, 8])),
    machine=st.none() | FAILURES | st.builds(Machine, disk_used_percent=st.just(3.0)),
    setup_page=st.none() | FAILURES | st.builds(SetupPage, text=st.just("Downloading")),
)

OBSERVATIONS: st.SearchStrategy[AnyObservation] = st.one_of(
    log_reads(),
    log_reads(),
    log_reads(),
    STATUSES,
    st.builds(TimePassed, **_seen),
    st.builds(LinkSought, **_seen),
    st.builds(LinkOpened, **_seen),
    st.builds(LinkFailed, **_seen, failure=FAILURES),
    st.builds(TroubleMet, **_seen, failure=FAILURES),
    st.builds(
        ScoreFound,
        **_seen,
        run_id=st.sampled_from(["vm-1", "vm-2"]).map(lambda vm: RunId(f"{vm}-20260204T121231")),
        domain=st.just("clock"),
        task_id=TASKS,
        score=SCORES,
    ),
    VMS.flatmap(lambda vm: st.builds(VmNamed, vm=st.just(vm), at=MOMENTS, spec=st.sampled_from([a_spec(vm), a_spec(vm, ssh_host="b")]))),
    st.builds(VmForgotten, **_seen),
)

HISTORIES = st.lists(OBSERVATIONS, max_size=30).map(
    lambda rest: [*(VmNamed(vm=vm, at=T0, spec=a_spec(vm)) for vm in ("vm-1", "vm-2")), *rest]
)
