"""Reboots, evictions and container restarts, tied to the tasks that they hit."""

from typing import Any

import pytest

from tests.core.builders import T0, a_log_read, a_spec, task_facts
from waa.core.disruption import disruptions_of
from waa.core.error import Failure
from waa.core.event import Change, EventType
from waa.core.incident import Concern, Incident, Severity
from waa.core.logs import fact as f
from waa.core.observation import (
    AnyObservation,
    Container,
    IncidentsSeen,
    LinkFailed,
    LinkOpened,
    Machine,
    StatusSeen,
    VmNamed,
)
from waa.core.state import State
from waa.core.status import ContainerStatus, Reason
from waa.core.transition import Rules, decide

RUN = f.RunStarted(at=T0, dialect=f.Dialect.WAA)
TASK = f.TaskStarted(at=T0 + 10, domain="clock", task_id="t1")
KEY = "clock/t1#1"
BOOT_1 = Machine(boot_id="one", booted_at=T0 - 5000)
BOOT_2 = Machine(boot_id="two", booted_at=T0 + 290)
AWAY = Failure(reason=Reason.TIMEOUT, message="no answer")


def up(started_at: float) -> Container:
    return Container(status=ContainerStatus.RUNNING, started_at=started_at)


class House:
    """A VM that was seen, with a run on it."""

    def __init__(self, *facts: f.AnyFact) -> None:
        self.state = State()
        self.see(VmNamed(vm="vm-1", at=T0, spec=a_spec()), LinkOpened(vm="vm-1", at=T0))
        self.see(StatusSeen(vm="vm-1", at=T0, machine=BOOT_1, container=up(T0 - 900)), a_log_read(*facts, at=T0 + 200))

    def see(self, *observations: AnyObservation) -> list[Change]:
        told = []
        for observation in observations:
            for change in decide(self.state, observation, Rules()):
                self.state.evolve(change)
                told.append(change)
        return [change for change in told if isinstance(change.entity, Incident)]

    def status(self, *, at: float = T0 + 300, **parts: Any) -> list[Change]:
        return self.see(StatusSeen(vm="vm-1", at=at, **parts))

    @property
    def run_id(self) -> str:
        return next(iter(self.state.runs))


def only(changes: list[Change]) -> Incident:
    (change,) = changes
    assert isinstance(change.entity, Incident)
    return change.entity


def test_another_boot_is_an_incident_of_the_tasks_that_were_open() -> None:
    house = House(RUN, *task_facts("done", at=T0 + 1), TASK)
    incident = only(house.status(machine=BOOT_2))
    assert (incident.concern, incident.began_at, incident.ended_at) == (Concern.REBOOTED, T0 + 290, T0 + 300)
    assert (incident.run_id, incident.tasks) == (house.run_id, (KEY,))
    assert house.status(at=T0 + 310, machine=BOOT_2) == []
    assert disruptions_of(house.state, house.run_id, KEY) == [incident]
    assert disruptions_of(house.state, house.run_id, "notepad/done#1") == []
    assert disruptions_of(house.state, house.run_id) == [incident]


def test_a_task_that_failed_as_the_machine_went_down_was_hit_too() -> None:
    crash = f.TaskCrashed(at=T0 + 240, domain="clock", task_id="t1", error="Connection refused")
    house = House(RUN, TASK, crash)
    assert only(house.status(machine=BOOT_2)).tasks == (KEY,)
    early = House(RUN, TASK, f.TaskCrashed(at=T0 + 20, domain="clock", task_id="t1", error="x"))
    late_boot = Machine(boot_id="two", booted_at=T0 + 1000)
    incident = only(early.status(at=T0 + 1010, machine=late_boot))  # a run that runs is told of in any case
    assert (incident.tasks, incident.detail) == ((), "No task was open")


@pytest.mark.parametrize("facts", [(), (RUN, *task_facts("done", at=T0 + 1), f.RunFinished(at=T0 + 60))])
def test_a_reboot_that_hits_no_run_is_none(facts: tuple[f.AnyFact, ...]) -> None:
    assert House(*facts).status(machine=BOOT_2) == []


def test_the_clock_of_the_vm_is_corrected_in_the_moment_that_is_told() -> None:
    house = House(RUN, TASK)
    ahead = Machine(boot_id="two", booted_at=T0 + 3890, clock_skew_s=3600.0)
    assert only(house.status(machine=ahead)).began_at == T0 + 290


def test_out_of_reach_and_back_by_another_boot_is_one_incident() -> None:
    """A spot eviction: the incident that was open for the VM being away becomes the reboot."""
    house = House(RUN, TASK)
    away = Incident(
        incident_id="vm-1-unreachable-1",
        vm="vm-1",
        concern=Concern.UNREACHABLE,
        severity=Severity.CRITICAL,
        title="Out of reach",
        began_at=T0 + 210,
        run_id=house.run_id,
        tasks=(KEY,),
    )
    house.see(LinkFailed(vm="vm-1", at=T0 + 210, failure=AWAY), IncidentsSeen(vm="vm-1", at=T0 + 240, incidents=(away,)))
    (change,) = house.see(LinkOpened(vm="vm-1", at=T0 + 299), StatusSeen(vm="vm-1", at=T0 + 300, machine=BOOT_2))
    assert change.type is EventType.INCIDENT_RESOLVED
    incident = only([change])
    assert (incident.incident_id, incident.concern) == ("vm-1-unreachable-1", Concern.REBOOTED)
    assert (incident.began_at, incident.ended_at, incident.tasks) == (T0 + 210, T0 + 300, (KEY,))
    assert house.state.open_incidents("vm-1") == []
    late = IncidentsSeen(vm="vm-1", at=T0 + 301, incidents=(away,))  # from a look before
    assert house.see(late) == []


def test_a_container_restart_in_the_middle_of_a_task_is_an_incident() -> None:
    house = House(RUN, TASK)
    assert house.status(at=T0 + 250, container=Container(status=ContainerStatus.EXITED, started_at=T0 - 900, exit_code=137)) == []
    incident = only(house.status(container=up(T0 + 280)))
    assert (incident.concern, incident.began_at, incident.tasks) == (Concern.CONTAINER_RESTARTED, T0 + 280, (KEY,))


@pytest.mark.parametrize(
    "facts",
    [
        (RUN, *task_facts("done", at=T0 + 1)),
        (f.LauncherStarted(at=T0), RUN, TASK),
        (RUN, TASK, f.TaskCrashed(at=T0 + 275, domain="clock", task_id="t1", error="x"), f.RunFinished(at=T0 + 276)),
    ],
    ids=["between tasks", "by a launcher", "after the end"],
)
def test_a_container_restart_that_hits_nothing_is_none(facts: tuple[f.AnyFact, ...]) -> None:
    assert House(*facts).status(container=up(T0 + 280)) == []


def test_a_container_that_starts_with_the_machine_is_no_second_incident() -> None:
    house = House(RUN, TASK)
    assert only(house.status(machine=BOOT_2, container=up(T0 + 295))).concern is Concern.REBOOTED
    house = House(RUN, TASK)
    assert only(house.status(machine=BOOT_2)).concern is Concern.REBOOTED
    assert house.status(at=T0 + 301, container=up(T0 + 295)) == []


def test_a_machine_seen_for_the_first_time_was_not_rebooted() -> None:
    house = House(RUN, TASK)
    house.state.put(house.state.vms["vm-1"].__class__(name="vm-1", spec=a_spec(), run_id=house.state.vms["vm-1"].run_id))
    assert house.status(machine=BOOT_2, container=up(T0 + 280)) == []
