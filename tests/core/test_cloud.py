"""What Azure's machines and jobs change in what is known: events, phases, what needs a person."""

from dataclasses import replace
from typing import Any

import pytest

from tests.core.builders import T0, a_run, a_spec, a_vm
from tests.core.test_azure import SUBSCRIPTION, a_job
from tests.core.test_azure import a_vm as a_cloud_vm
from waa.core.attention import Limits, attention_of
from waa.core.cloud import JobStatus, Power, PowerState, job_key, source_name
from waa.core.codec import decode_entity, encode
from waa.core.entity import Connection, Vm
from waa.core.error import Failure, Invalid
from waa.core.event import Change, EventType, topic_of
from waa.core.incident import Concern
from waa.core.observation import LinkFailed, LinkOpened, PowerSeen, VmNamed
from waa.core.outside import CloudJobsSeen, CloudVmsSeen
from waa.core.spec import Origin, VmSpec
from waa.core.state import MAX_CLOUD_JOBS, State
from waa.core.status import Phase, Reason
from waa.core.transition import Rules, decide

ID = a_cloud_vm().resource_id
REFUSED = Failure(reason=Reason.REFUSED, message="refused")


def see(state: State, observation: Any) -> list[Change]:
    changes = decide(state, observation, Rules())
    for change in changes:
        state.evolve(change)
    return changes


def vms(*found: Any, subscriptions: tuple[str, ...] = (SUBSCRIPTION,)) -> CloudVmsSeen:
    return CloudVmsSeen(vm="", at=T0, subscriptions=frozenset(subscriptions), vms=found)


def jobs(*found: Any, is_whole: bool = True) -> CloudJobsSeen:
    return CloudJobsSeen(vm="", at=T0, workspace=a_job().workspace, jobs=found, is_whole=is_whole)


def types(changes: list[Change]) -> list[EventType]:
    return [change.type for change in changes]


# --- lists ---


def test_a_machine_comes_changes_and_goes() -> None:
    state = State()
    assert types(see(state, vms(a_cloud_vm(power=PowerState.RUNNING)))) == [EventType.CLOUD_VM_FOUND]
    assert see(state, vms(a_cloud_vm(power=PowerState.RUNNING))) == []
    (change,) = see(state, vms(a_cloud_vm(power=PowerState.DEALLOCATED)))
    assert (change.type, change.previous) == (EventType.CLOUD_VM_CHANGED, "running")
    assert types(see(state, vms(subscriptions=("other",)))) == []
    assert types(see(state, vms())) == [EventType.CLOUD_VM_GONE]
    assert state.cloud_vms == {}


def test_a_machine_is_the_same_one_in_whatever_case() -> None:
    state = State()
    see(state, vms(a_cloud_vm()))
    (change,) = see(state, vms(replace(a_cloud_vm(), resource_id=ID.upper())))
    assert change.type is EventType.CLOUD_VM_CHANGED
    assert topic_of(change.entity) == f"cloud/vms/{ID.lower()}"


def test_a_job_comes_changes_and_goes() -> None:
    state = State()
    assert types(see(state, jobs(a_job(status=JobStatus.RUNNING)))) == [EventType.CLOUD_JOB_FOUND]
    (change,) = see(state, jobs(a_job(status=JobStatus.FAILED)))
    assert (change.type, change.previous) == (EventType.CLOUD_JOB_CHANGED, "Running")
    assert types(see(state, jobs(is_whole=False))) == []
    assert types(see(state, jobs())) == [EventType.CLOUD_JOB_GONE]
    assert state.cloud_jobs == {}


def test_parts_of_a_listed_job_stay_though_they_are_not_listed() -> None:
    state = State()
    see(state, jobs(a_job("pipe", type="Pipeline")))
    see(state, jobs(a_job("part", parent="pipe"), is_whole=False))
    assert see(state, jobs(a_job("pipe", type="Pipeline"))) == []
    assert types(see(state, jobs())) == [EventType.CLOUD_JOB_GONE] * 2


def test_the_oldest_jobs_that_are_over_are_forgotten() -> None:
    state = State()
    for number in range(MAX_CLOUD_JOBS + 3):
        state.put(a_job(f"job-{number}", status=JobStatus.COMPLETED))
    assert len(state.cloud_jobs) == MAX_CLOUD_JOBS
    assert a_job("job-0").key not in state.cloud_jobs


def test_cloud_entities_come_back_equal() -> None:
    vm, job = a_cloud_vm(tags={"a": "b"}, power=PowerState.STOPPED), a_job(duration_s=1.5, status=JobStatus.CANCELED)
    assert decode_entity("cloud_vm", encode(vm)) == vm
    assert decode_entity("cloud_job", encode(job)) == job


def test_names_of_vms_that_stand_for_jobs() -> None:
    assert source_name(a_job("quirky_hat"), is_alone=True) == "aml-quirky_hat"
    odd = a_job("ä/b " + "x" * 90)
    for name in (source_name(a_job("quirky_hat"), is_alone=False), source_name(odd, is_alone=True)):
        assert VmSpec(name=name).name.startswith("aml-")
    assert source_name(a_job("x"), is_alone=False) != source_name(replace(a_job("x"), resource_id=a_job("y").resource_id), is_alone=False)
    assert job_key("whatever") == "whatever"


# --- a watched machine ---


def watched(**fields: Any) -> tuple[State, Vm]:
    vm = a_vm(spec=a_spec("vm-1", ssh_host="203.0.113.7", azure_id=ID, origin=Origin.API), **fields)
    state = State()
    state.put(vm)
    return state, vm


def power(state: State, seen: PowerState, *, is_spot: bool = False, at: float = T0) -> Vm:
    see(state, PowerSeen(vm="vm-1", at=at, power=Power(state=seen, is_spot=is_spot)))
    return state.vms["vm-1"]


@pytest.mark.parametrize(
    ("seen", "phase", "words"),
    [
        (PowerState.DEALLOCATED, Phase.OFF, "deallocated in Azure"),
        (PowerState.STOPPED, Phase.OFF, "stopped in Azure, and still billed"),
        (PowerState.STOPPING, Phase.OFF, "Azure stops the VM"),
        (PowerState.DEALLOCATING, Phase.OFF, "Azure deallocates the VM"),
        (PowerState.GONE, Phase.OFF, "no longer exists in Azure"),
        (PowerState.STARTING, Phase.BOOTING, "Azure starts the VM"),
        (PowerState.RUNNING, Phase.UNREACHABLE, "refused"),
        (PowerState.UNKNOWN, Phase.UNREACHABLE, "refused"),
    ],
)
def test_the_power_explains_why_a_machine_cannot_be_reached(seen: PowerState, phase: Phase, words: str) -> None:
    state, _ = watched()
    see(state, LinkFailed(vm="vm-1", at=T0, failure=REFUSED))
    vm = power(state, seen)
    assert (vm.phase, words in vm.phase_detail) == (phase, True)


def test_a_spot_machine_may_have_been_evicted() -> None:
    state, _ = watched()
    see(state, LinkFailed(vm="vm-1", at=T0, failure=REFUSED))
    assert "evicted" in power(state, PowerState.DEALLOCATED, is_spot=True).phase_detail


def test_what_answers_is_not_off_whatever_the_cloud_says() -> None:
    state, _ = watched()
    assert power(state, PowerState.DEALLOCATED).phase is Phase.OFF
    see(state, LinkOpened(vm="vm-1", at=T0 + 1))
    assert state.vms["vm-1"].phase is Phase.UNKNOWN
    see(state, LinkFailed(vm="vm-1", at=T0 + 2, failure=REFUSED))
    assert power(state, PowerState.RUNNING, at=T0 + 3).phase is Phase.UNREACHABLE


def test_a_power_that_cannot_be_read_keeps_the_last_one_with_its_reason() -> None:
    state, _ = watched()
    power(state, PowerState.DEALLOCATED)
    see(state, PowerSeen(vm="vm-1", at=T0 + 9, power=Failure(reason=Reason.DENIED, message="no")))
    reading = state.vms["vm-1"].power
    assert reading.value == Power(state=PowerState.DEALLOCATED)
    assert (reading.failed_at, state.vms["vm-1"].phase) == (T0 + 9, Phase.OFF)


def test_a_machine_keeps_what_is_known_of_it_when_its_address_changes() -> None:
    state, vm = watched(connection=Connection(connected=True, since_at=T0))
    power(state, PowerState.RUNNING)
    known = state.vms["vm-1"]
    moved = replace(vm.spec, ssh_host="203.0.113.99")
    see(state, VmNamed(vm="vm-1", at=T0 + 5, spec=moved))
    assert state.vms["vm-1"] == replace(known, spec=moved)
    see(state, VmNamed(vm="vm-1", at=T0 + 6, spec=replace(moved, azure_id=None)))
    see(state, VmNamed(vm="vm-1", at=T0 + 7, spec=replace(moved, azure_id=None, ssh_host="10.0.0.9")))
    assert state.vms["vm-1"].power.value is None


def test_an_id_of_azure_is_one() -> None:
    for wrong in ("/subscriptions/x", f"{ID}/extensions/y", "x" * 2000, ""):
        with pytest.raises(Invalid, match="azure_id"):
            a_spec(azure_id=wrong)
    assert a_spec(azure_id=ID.upper()).azure_id == ID.upper()


# --- what needs a person ---


def concerns(state: State, now: float) -> list[tuple[Concern, str]]:
    return [(item.concern, item.title) for item in attention_of(state, now=now, limits=Limits())]


def test_a_machine_that_is_off_is_no_outage() -> None:
    state, _ = watched()
    see(state, LinkFailed(vm="vm-1", at=T0, failure=REFUSED))
    assert concerns(state, T0 + 60) == [(Concern.UNREACHABLE, "Out of reach: SSH is refused")]
    power(state, PowerState.DEALLOCATED)
    assert concerns(state, T0 + 90000) == []


def test_stopped_and_billed_needs_somebody_after_a_while() -> None:
    state, _ = watched()
    see(state, LinkFailed(vm="vm-1", at=T0, failure=REFUSED))
    power(state, PowerState.STOPPED)
    assert concerns(state, T0 + 60) == []
    assert concerns(state, T0 + 1000) == [(Concern.IDLE, "Stopped and costing")]


def test_a_run_whose_machine_was_taken_away_needs_somebody() -> None:
    state, _ = watched()
    state.put(a_run())
    see(state, LinkFailed(vm="vm-1", at=T0, failure=REFUSED))
    power(state, PowerState.DEALLOCATED, is_spot=True)
    assert concerns(state, T0 + 1) == [(Concern.UNREACHABLE, "The VM is off in the middle of a run")]
