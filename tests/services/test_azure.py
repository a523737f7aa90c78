"""Azure as all who look share it: discovery, watched machines, jobs, their logs and runs; and how politely it is asked."""

import asyncio
import functools
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.core.builders import T0, a_spec
from tests.core.test_azure import a_job
from tests.support.azure import GROUP, SUBSCRIPTION, WORKSPACE, FakeAzure, FakeJob, Fault, Machine
from tests.web.house import ShutOpener, until
from waa.core.azure import Scope, TagFilter, Workspace
from waa.core.azure_pace import Pace
from waa.core.cloud import CloudJob, JobStatus, Power, PowerState
from waa.core.entity import Vm
from waa.core.error import Conflict, Failure, Invalid, LinkError, NotFound
from waa.core.observation import LinkFailed, LogSource, VmNamed
from waa.core.port import Store
from waa.core.price import Placement
from waa.core.results.folder import FolderLacking
from waa.core.spec import Origin, VmOs, VmSpec
from waa.core.state import State
from waa.core.status import Phase, Reason, RunStatus
from waa.core.transition import Rules
from waa.probes.azure import AzureRest
from waa.probes.host import HostWatch
from waa.services.azure import Azure
from waa.services.azure_cost import AzureCost
from waa.services.azure_log import JobLogSeen
from waa.services.monitor import Monitor
from waa.services.recorder import Recorder
from waa.services.supervise import Supervisor
from waa.store.memory import MemoryStore

ROOT = Path(__file__).parents[1]
RUN_LOG = (ROOT / "corpus" / "generated" / "waa_up_normal.plain.log").read_bytes()
HOME = Workspace(subscription=SUBSCRIPTION, resource_group=GROUP, name=WORKSPACE)
SCOPE = Scope(subscriptions=(SUBSCRIPTION,), workspaces=(HOME,))
QUICK = Pace(
    vms_s=0.02,
    moving_s=0.02,
    addresses_s=0.05,
    jobs_s=0.02,
    quiet_s=0.02,
    details_s=0.03,
    log_s=0.01,
    silent_s=0.02,
    followed_s=0.02,
    linger_s=60.0,
    min_wait_s=0.02,
)
SLOW = Pace()
"""As in life: within a test everything is asked once."""


class Tokens:
    """Always the one that counts."""

    async def token(self, claims: str | None = None) -> str:
        return "token-1"

    def forget(self) -> None:
        """It is the same one."""

    async def close(self) -> None:
        """Nothing to give back."""


@dataclass
class Site:
    """The service at work on a recorder of its own."""

    cloud: FakeAzure
    azure: Azure
    recorder: Recorder
    supervisor: Supervisor
    clock: "Wall"
    logs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    seen_at: dict[str, float] = field(default_factory=dict)
    power_at: dict[str, float] = field(default_factory=dict)

    async def name(self, spec: VmSpec) -> None:
        """As the monitor does."""
        await self.recorder.record(VmNamed(vm=spec.name, at=self.clock(), spec=spec), wait=True)

    async def watch(self, name: str) -> str:
        """As the button does; gives its name here."""
        vm = next(vm for vm in self.recorder.state.cloud_vms.values() if vm.name == name)
        spec = self.azure.spec_of(vm.resource_id)
        await self.name(spec)
        return spec.name

    async def look(self, condition: Callable[[], object], what: str) -> None:
        """Look at everything until it is so."""

        def found() -> object:
            self.azure.look_at_vms()
            self.azure.look_at_jobs()
            return condition()

        await until(found, what)

    def powers(self) -> dict[str, PowerState]:
        return {vm.name: vm.power for vm in self.recorder.state.cloud_vms.values()}

    def job(self, name: str) -> CloudJob:
        return self.azure.find_job(name)

    def statuses(self) -> dict[str, JobStatus]:
        return {job.name: job.status for job in self.recorder.state.cloud_jobs.values()}

    async def read(self, name: str, condition: Callable[[JobLogSeen], object], what: str) -> JobLogSeen:
        """Look at the log of a job until it is so."""
        await until(lambda: condition(self.azure.look_at_log(self.job(name))), what)
        return self.azure.look_at_log(self.job(name))

    def log(self, name: str, log: str = "user_logs/std_log.txt") -> bytes:
        """What of a job's log came through."""
        return self.logs.get((self.azure.source_of(self.job(name)), f"job:{log}"), b"")


class Wall:
    """A clock that goes as the loop does, and can be moved on."""

    def __init__(self) -> None:
        self._start = asyncio.get_running_loop().time()
        self.ahead = 0.0

    def __call__(self) -> float:
        return T0 + 7200 + asyncio.get_running_loop().time() - self._start + self.ahead


@asynccontextmanager
async def site(
    cloud: FakeAzure,
    *,
    scope: Scope = SCOPE,
    pace: Pace = QUICK,
    store: Store | None = None,
    check: Callable[[VmSpec], None] = lambda spec: None,
) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        clock = Wall()
        recorder = Recorder(store=store or MemoryStore(), rules=Rules(), clock=clock)
        stack.push_async_callback(recorder.close)
        await recorder.open()
        supervisor = Supervisor()
        stack.push_async_callback(supervisor.close)
        rest = AzureRest(base=cloud.url, tokens=Tokens(), clock=clock)
        stack.push_async_callback(rest.close)
        logs: dict[tuple[str, str], bytes] = {}
        seen_at: dict[str, float] = {}
        power_at: dict[str, float] = {}

        def take(vm: str, source: LogSource, data: bytes) -> None:
            logs[vm, source.key] = logs.get((vm, source.key), b"") + data if data else b""

        class Namer:
            async def name(self, spec: VmSpec) -> None:
                await built.name(spec)

        azure = Azure(
            scope=scope,
            cloud=rest,
            recorder=recorder,
            watcher=Namer(),
            check=check,
            supervisor=supervisor,
            on_log=take,
            seen_at=seen_at,
            power_at=power_at,
            clock=clock,
            pace=pace,
            spread=lambda: 0.0,
        )
        built = Site(
            cloud=cloud, azure=azure, recorder=recorder, supervisor=supervisor, clock=clock, logs=logs, seen_at=seen_at, power_at=power_at
        )
        azure.start()
        stack.push_async_callback(azure.close)
        yield built


# --- politeness ---


async def test_nothing_is_asked_while_nobody_looks() -> None:
    with FakeAzure() as cloud:
        cloud.machines = [Machine("a")]
        async with site(cloud) as built:
            for _ in range(50):
                await asyncio.sleep(0)
            await built.recorder.flush()
            assert cloud.asked == []
            await built.look(built.powers, "the machine")


async def test_asking_ends_some_time_after_the_last_look() -> None:
    with FakeAzure() as cloud:
        cloud.machines = [Machine("a")]
        async with site(cloud) as built:
            await built.look(lambda: cloud.count("statusOnly") > 2, "several looks")
            built.clock.ahead = 61.0
            before, goal = cloud.count("Compute|Network"), cloud.count("/jobs") + 9
            await until(lambda: built.azure.look_at_jobs() and cloud.count("/jobs") > goal, "others go on")
            assert cloud.count("Compute|Network") <= before + 4  # one round may have been under way
            after = cloud.count("statusOnly")
            await built.look(lambda: cloud.count("statusOnly") > after + 1, "it is asked again")


async def test_history_asks_without_anybody() -> None:
    with FakeAzure() as cloud:
        cloud.machines = [Machine("a")]
        async with site(cloud, scope=replace(SCOPE, has_history=True)) as built:
            await until(built.powers, "the machine")


async def test_any_number_of_viewers_costs_the_same() -> None:
    with FakeAzure() as cloud:
        cloud.machines = [Machine("a")]
        cloud.jobs = [FakeJob("job-1", status="Queued", started=None)]
        async with site(cloud, pace=SLOW) as built:
            for _ in range(30):
                built.azure.look_at_vms()
                built.azure.look_at_jobs()
            await built.look(lambda: built.powers() and built.statuses(), "both")
            for _ in range(30):
                built.azure.look_at_vms()
                await asyncio.sleep(0)
        assert len(cloud.asked) == 5  # four lists of the subscription, one of the workspace


async def test_too_many_requests_stop_all_requests_of_the_subscription() -> None:
    with FakeAzure() as cloud:
        cloud.machines = [Machine("a")]
        cloud.faults = [Fault("statusOnly", 429, {"Retry-After": "86400"})]
        async with site(cloud, pace=SLOW) as built:
            await built.look(lambda: built.azure.look_at_vms().parts[1].failure is not None, "the refusal")
            seen = {part.name: part for part in built.azure.look_at_vms().parts}
            assert seen["Power states"].retry_at == pytest.approx(built.clock() + 900, abs=5)
            assert cloud.count("Network") == 0
            cloud.faults.clear()
            built.clock.ahead = 800
            for _ in range(20):
                built.azure.look_at_vms()
                await asyncio.sleep(0)
            assert {part.failure.message for part in built.azure.look_at_vms().parts if part.failure} == {
                "virtualMachines at 127.0.0.1 was asked too often"
            }
            built.clock.ahead = 901
            await built.look(lambda: built.powers() == {"a": PowerState.RUNNING}, "it is asked again")
            assert cloud.count("statusOnly") == 2


async def test_few_reads_left_make_it_slow() -> None:
    with FakeAzure() as cloud:
        cloud.remaining_reads = 12
        cloud.machines = [Machine("a")]
        async with site(cloud, pace=SLOW) as built:
            await built.look(lambda: built.azure.look_at_vms().parts[3].refreshed_at is not None, "all four")
            began = built.clock()
            for ahead in (61, 121, 181, 241):
                built.clock.ahead = ahead
                for _ in range(20):
                    built.azure.look_at_vms()
                    await asyncio.sleep(0)
            await built.look(lambda: cloud.count("statusOnly") == 2, "the second time")
            refreshed_at = built.azure.look_at_vms().parts[0].refreshed_at
            assert refreshed_at is not None
            assert refreshed_at > began + 239


async def test_a_part_that_may_not_be_read_leaves_the_others() -> None:
    with FakeAzure() as cloud:
        cloud.machines = [Machine("a")]
        cloud.faults = [Fault("publicIPAddresses", 403, {}, '{"error": {"code": "AuthorizationFailed", "message": "No."}}')]
        async with site(cloud) as built:
            await built.look(lambda: built.azure.look_at_vms().parts[3].failure is not None, "the refusal")
            await built.look(lambda: built.powers() == {"a": PowerState.RUNNING}, "the machine")
            (vm,) = built.recorder.state.cloud_vms.values()
            assert (vm.private_ip, vm.public_ip) == ("10.0.0.4", "")
            assert [part.name for part in built.azure.look_at_vms().parts if part.failure is not None] == ["Public addresses"]


async def test_old_data_stays_while_the_server_fails() -> None:
    with FakeAzure() as cloud:
        cloud.machines = [Machine("a")]
        cloud.jobs = [FakeJob("job-1", status="Queued")]
        async with site(cloud) as built:
            await built.look(lambda: built.powers() and built.statuses(), "both")
            cloud.faults = [Fault("/subscriptions/", 500, {}, "<html>")]
            await built.look(lambda: all(part.failure is not None for part in built.azure.look_at_vms().parts), "the failures")
            await built.look(lambda: built.azure.look_at_jobs().parts[0].failure is not None, "the failure")
            assert (built.powers(), built.statuses()) == ({"a": PowerState.RUNNING}, {"job-1": JobStatus.QUEUED})
            part = built.azure.look_at_vms().parts[0]
            assert part.refreshed_at is not None
            assert part.failed_at is not None
            assert part.refreshed_at <= part.failed_at
            cloud.faults.clear()
            await built.look(lambda: built.azure.look_at_vms().parts[0].failure is None, "it works again")


# --- discovery ---


async def test_machines_are_found_change_and_go() -> None:
    with FakeAzure() as cloud:
        cloud.machines = [Machine("a"), Machine("b", power="stopped", public_ip=""), Machine("c", group="other", priority="Spot")]
        async with site(cloud) as built:
            await built.look(lambda: len(built.powers()) == 3, "all three")
            assert built.powers() == {"a": PowerState.RUNNING, "b": PowerState.STOPPED, "c": PowerState.RUNNING}
            cloud.machines[0].power = "deallocated"
            del cloud.machines[1]
            await built.look(lambda: built.powers() == {"a": PowerState.DEALLOCATED, "c": PowerState.RUNNING}, "the change")


async def test_only_what_is_meant_is_shown() -> None:
    scope = replace(SCOPE, resource_groups=(GROUP.upper(),), tags=(TagFilter(name="purpose", value="bench"),))
    with FakeAzure() as cloud:
        cloud.machines = [
            Machine("yes", tags={"Purpose": "bench"}),
            Machine("no-tag"),
            Machine("no-group", group="other", tags={"purpose": "bench"}),
        ]
        async with site(cloud, scope=scope) as built:
            await built.look(built.powers, "one machine")
            assert list(built.powers()) == ["yes"]


async def test_addresses_are_asked_for_at_once_when_the_power_changes() -> None:
    with FakeAzure() as cloud:
        cloud.machines = [Machine("a", power="deallocated", public_ip="")]
        async with site(cloud, pace=replace(QUICK, addresses_s=3600.0)) as built:
            await built.look(built.powers, "the machine")
            cloud.machines[0].power, cloud.machines[0].public_ip = "running", "203.0.113.50"
            await built.look(lambda: [vm.public_ip for vm in built.recorder.state.cloud_vms.values()] == ["203.0.113.50"], "its address")


async def test_what_the_configuration_names_no_more_is_forgotten() -> None:
    store = MemoryStore()
    with FakeAzure() as cloud:
        cloud.machines, cloud.jobs = [Machine("a")], [FakeJob("job-1", status="Queued")]
        async with site(cloud, store=store) as built:
            await built.look(lambda: built.powers() and built.statuses(), "both")
        async with site(cloud, store=store) as built:
            assert (built.powers(), built.statuses()) == ({"a": PowerState.RUNNING}, {"job-1": JobStatus.QUEUED})
        other = Scope(subscriptions=("00000000-0000-4000-8000-000000000000",))
        async with site(cloud, store=store, scope=other) as built:
            await until(lambda: not built.powers() and not built.statuses(), "both are gone")


# --- watched machines ---


async def test_a_watched_machine_follows_its_address_and_keeps_what_is_known() -> None:
    with FakeAzure() as cloud:
        cloud.machines = [Machine("waa-1", public_ip="203.0.113.7")]
        async with site(cloud) as built:
            await built.look(lambda: [vm.public_ip for vm in built.recorder.state.cloud_vms.values()] == ["203.0.113.7"], "its address")
            name = await built.watch("waa-1")
            spec = built.recorder.state.vms[name].spec
            assert (name, spec.ssh_host, spec.ssh_user, spec.trust_first) == ("waa-1", "203.0.113.7", "azureuser", False)
            await built.recorder.record(LinkFailed(vm=name, at=built.clock(), failure=Failure(reason=Reason.TIMEOUT, message="silent")))
            cloud.machines[0].power, cloud.machines[0].public_ip = "deallocated", ""
            await built.look(lambda: built.recorder.state.vms[name].phase is Phase.OFF, "it is off")
            assert built.recorder.state.vms[name].spec.ssh_host == "203.0.113.7"
            cloud.machines[0].power, cloud.machines[0].public_ip = "running", "203.0.113.99"
            await built.look(lambda: built.recorder.state.vms[name].spec.ssh_host == "203.0.113.99", "it follows")
            await built.look(lambda: built.recorder.state.vms[name].phase is Phase.UNREACHABLE, "its power is known")
            del cloud.machines[0]
            await built.look(lambda: built.recorder.state.vms[name].phase_detail == "no longer exists in Azure", "it is gone")
            assert name in built.recorder.state.vms


async def test_a_machine_that_is_watched_from_now_on_is_told_at_once_what_is_known() -> None:
    with FakeAzure() as cloud:
        cloud.machines = [Machine("waa-1", power="deallocated")]
        async with site(cloud, pace=SLOW) as built:
            await built.look(lambda: any(vm.public_ip for vm in built.recorder.state.cloud_vms.values()), "its address")
            asked = len(cloud.asked)
            name = await built.watch("waa-1")
            await built.look(lambda: built.recorder.state.vms[name].phase is Phase.OFF, "its power")
            assert len(cloud.asked) == asked


async def test_by_its_private_address_where_that_is_wanted() -> None:
    with FakeAzure() as cloud:
        cloud.machines = [Machine("waa-1", private_ip="10.1.2.3")]
        async with site(cloud, scope=replace(SCOPE, is_private=True, trust_first=True)) as built:
            await built.look(lambda: [vm.private_ip for vm in built.recorder.state.cloud_vms.values()] == ["10.1.2.3"], "its address")
            name = await built.watch("waa-1")
            spec = built.recorder.state.vms[name].spec
            assert (spec.ssh_host, spec.trust_first) == ("10.1.2.3", True)


async def test_a_machine_without_an_address_or_watched_already_is_refused() -> None:
    with FakeAzure() as cloud:
        cloud.machines = [Machine("a"), Machine("b", public_ip="", power="deallocated")]
        async with site(cloud) as built:
            await built.look(lambda: any(vm.public_ip for vm in built.recorder.state.cloud_vms.values()), "the addresses")
            await built.watch("a")
            with pytest.raises(Conflict, match="watched already, as 'a'"):
                await built.watch("a")
            with pytest.raises(Conflict, match="has no public address now"):
                await built.watch("b")
            with pytest.raises(NotFound):
                built.azure.spec_of("/subscriptions/x")


async def test_names_that_are_taken_get_their_group() -> None:
    with FakeAzure() as cloud:
        cloud.machines = [Machine("waa-1"), Machine("waa-1", group="other", public_ip="203.0.113.8"), Machine("new")]
        async with site(cloud) as built:
            await built.look(lambda: len([vm for vm in built.recorder.state.cloud_vms.values() if vm.public_ip]) == 3, "all three")
            await built.name(a_spec("waa-1", ssh_host="192.0.2.1", origin=Origin.API))
            for vm in built.recorder.state.cloud_vms.values():
                await built.name(built.azure.spec_of(vm.resource_id))
            assert sorted(built.recorder.state.vms) == sorted([f"new-{GROUP}", "waa-1", "waa-1-other", f"waa-1-{GROUP}"])


async def test_a_tag_watches_a_machine_and_its_loss_makes_it_an_ordinary_one() -> None:
    with FakeAzure() as cloud:
        cloud.machines = [Machine("tagged", tags={"waa-live": "on"}), Machine("plain", public_ip="203.0.113.9")]
        async with site(cloud, scope=replace(SCOPE, watch_tag=TagFilter(name="waa-live"))) as built:
            await built.look(lambda: list(built.recorder.state.vms) == ["tagged"], "it is watched")
            assert built.recorder.state.vms["tagged"].spec.origin is Origin.AZURE
            cloud.machines[0].tags = {}
            await built.look(lambda: built.recorder.state.vms["tagged"].spec.origin is Origin.API, "it can be removed now")
            assert list(built.recorder.state.vms) == ["tagged"]


async def test_a_machine_where_the_operator_wants_none_is_not_watched() -> None:
    def check(spec: VmSpec) -> None:
        raise Invalid("ssh_host", "is in deny_hosts")

    with FakeAzure() as cloud:
        cloud.machines = [Machine("tagged", tags={"waa-live": "on"})]
        async with site(cloud, scope=replace(SCOPE, watch_tag=TagFilter(name="waa-live")), check=check) as built:
            await built.look(lambda: built.azure.look_at_vms().notes, "the note")
            assert built.recorder.state.vms == {}
            assert "deny_hosts" in built.azure.look_at_vms().notes[0][1]


async def test_a_machine_of_the_file_stays_where_the_file_says() -> None:
    with FakeAzure() as cloud:
        cloud.machines = [Machine("waa-1")]
        async with site(cloud) as built:
            await built.name(a_spec("mine", ssh_host="bastion", azure_id=cloud.machines[0].resource_id.upper()))
            await built.look(lambda: built.recorder.state.vms["mine"].power.value, "its power")
            assert built.recorder.state.vms["mine"].spec.ssh_host == "bastion"


async def test_watched_machines_say_why_their_power_is_not_known() -> None:
    with FakeAzure() as cloud:
        cloud.machines = [Machine("waa-1")]
        cloud.faults = [Fault("virtualMachines", 403, {}, "{}")]
        async with site(cloud) as built:
            await built.name(a_spec("mine", azure_id=cloud.machines[0].resource_id))
            await built.look(lambda: built.recorder.state.vms["mine"].power.failure, "the reason")
            assert built.recorder.state.vms["mine"].power.failure.reason is Reason.DENIED  # type: ignore[union-attr]


# --- what they cost ---


async def test_the_power_and_size_of_a_watched_machine_are_told_to_its_meter() -> None:
    with FakeAzure() as cloud:
        cloud.machines = [Machine("waa-1", power="stopped", priority="Spot", os="Windows")]
        async with site(cloud) as built:
            await built.look(lambda: any(vm.public_ip for vm in built.recorder.state.cloud_vms.values()), "its address")
            name = await built.watch("waa-1")
            await built.look(lambda: built.recorder.state.vms[name].power.value, "its power")
            cost = AzureCost(built.recorder.state)
            vm = built.recorder.state.vms[name]
            assert cost.power_of(vm) is None  # nothing was heard since this server began
            cost.power_at.update(built.power_at)
            seen = cost.power_of(vm)
            assert seen is not None
            assert (seen.is_billed, seen.at) == (True, built.power_at[name])
            assert cost.placement_of(vm) == Placement(size="Standard_D8ds_v5", region="eastus2", os=VmOs.WINDOWS, spot=True)
            own = replace(vm, spec=replace(vm.spec, size="Standard_B2"))
            assert cost.placement_of(own) == Placement(size="Standard_B2")
            cloud.machines[0].power = "deallocated"
            await built.look(
                lambda: built.recorder.state.vms[name].power.value == Power(state=PowerState.DEALLOCATED, is_spot=True), "it is off"
            )
            off = cost.power_of(built.recorder.state.vms[name])
            assert off is not None
            assert not off.is_billed


async def test_a_job_on_a_dedicated_node_has_a_size_and_others_have_no_price() -> None:
    state = State()
    for job in (
        a_job("dedicated", vm_size="Standard_NC6", is_low_priority=False),
        a_job("low", vm_size="Standard_NC6", is_low_priority=True),
        a_job("unknown"),
    ):
        state.put(job)
    cost = AzureCost(state)
    found = [cost.placement_of(Vm(name="x", spec=a_spec(azure_id=job.resource_id, origin=Origin.JOB))) for job in state.cloud_jobs.values()]
    assert found == [Placement(size="Standard_NC6"), None, None]
    assert cost.placement_of(Vm(name="x", spec=a_spec())) is None


# --- jobs ---


async def test_jobs_get_their_details_and_those_that_ended_no_more() -> None:
    with FakeAzure() as cloud:
        done = FakeJob("done", status="Completed")
        done.end()
        live = FakeJob("live")
        cloud.jobs = [done, live, FakeJob("queued", status="Queued", started=None)]
        async with site(cloud) as built:
            await built.look(lambda: len([job for job in built.recorder.state.cloud_jobs.values() if job.has_details]) == 2, "details")
            assert built.job("done").duration_s == pytest.approx(1230.5)
            assert built.job("live").duration_s is None
            assert built.job("live").started_at is not None
            await built.look(lambda: cloud.count("runs/live/details") > 3, "the live one is asked again")
            assert cloud.count("runs/done/details") == 1
            assert cloud.count("runs/queued/details") == 0
            live.end("Failed")
            live.error = "It broke"
            await built.look(lambda: built.job("live").is_over and built.job("live").has_details, "its end")
            assert (built.job("live").error, built.job("live").status) == ("It broke", JobStatus.FAILED)


async def test_details_of_ended_jobs_survive_a_restart() -> None:
    store = MemoryStore()
    with FakeAzure() as cloud:
        done = FakeJob("done")
        done.end()
        cloud.jobs = [done]
        async with site(cloud, store=store) as built:
            await built.look(lambda: built.statuses() and built.job("done").has_details, "details")
        async with site(cloud, store=store) as built:
            await built.look(lambda: cloud.count("/jobs") > 1, "it is listed again")
        assert cloud.count("/details") == 1


async def test_a_job_that_is_archived_goes() -> None:
    with FakeAzure() as cloud:
        cloud.jobs = [FakeJob("a", status="Queued"), FakeJob("b", status="Queued")]
        async with site(cloud) as built:
            await built.look(lambda: len(built.statuses()) == 2, "both")
            del cloud.jobs[0]
            await built.look(lambda: list(built.statuses()) == ["b"], "one is gone")
            with pytest.raises(NotFound):
                built.job("a")


async def test_a_job_is_found_by_name_key_and_id_unless_several_have_the_name() -> None:
    other = Workspace(subscription=SUBSCRIPTION, resource_group=GROUP, name="other-ws")
    with FakeAzure() as cloud:
        cloud.jobs = [FakeJob("job-1", status="Queued")]
        async with site(cloud, scope=replace(SCOPE, workspaces=(HOME, other))) as built:
            await built.look(built.statuses, "the job")
            job = built.job("job-1")
            assert built.job(job.key) == built.job(job.resource_id.upper()) == job
            built.recorder.state.put(replace(job, resource_id=job.resource_id.replace(WORKSPACE, "other-ws"), workspace=other.path))
            with pytest.raises(Conflict, match="ask by one of"):
                built.job("job-1")
            names = {built.azure.source_of(each) for each in built.recorder.state.cloud_jobs.values()}
            assert len(names) == 2


async def test_a_parent_shows_its_parts_when_it_is_opened() -> None:
    with FakeAzure() as cloud:
        part = FakeJob("part", logs={"user_logs/std_log.txt": bytearray(b"hello\n")})
        part.end()
        pipe = FakeJob("pipe", type="Pipeline", children=[part])
        pipe.end()
        cloud.jobs = [pipe]
        async with site(cloud) as built:
            await built.look(built.statuses, "the parent")
            await built.read("pipe", lambda seen: seen.is_whole, "it has no log of its own")
            assert built.job("part").parent == "pipe"
            seen = await built.read("part", lambda seen: seen.is_whole, "the log of the part")
            assert (seen.logs, built.log("part")) == (("user_logs/std_log.txt",), b"hello\n")


# --- logs ---


def blobs(cloud: FakeAzure) -> list[str]:
    return [asked.range or "" for asked in cloud.asked if "/blobs/" in asked.path]


async def test_a_growing_log_of_megabytes_is_read_once() -> None:
    with FakeAzure() as cloud:
        job = FakeJob("train")
        line = b"epoch 1 loss 0.123456789 " * 4 + b"\n"
        job.write(line * 22_000)
        cloud.jobs = [job]
        async with site(cloud) as built:
            await built.look(built.statuses, "the job")
            await built.read("train", lambda _: len(built.log("train")) == len(line) * 22_000, "the first part")
            for _ in range(5):
                job.write(line)
                await built.read("train", lambda _: built.log("train") == bytes(job.logs["user_logs/std_log.txt"]), "what was written")
            assert built.log("train") == bytes(job.logs["user_logs/std_log.txt"])
            starts = [int(re.findall(r"\d+", asked)[0]) for asked in blobs(cloud)]
            assert starts == sorted(starts)
            assert built.recorder.state.vms == {}  # it runs no benchmark


async def test_an_expired_signature_is_renewed_and_the_log_read_on() -> None:
    with FakeAzure() as cloud:
        job = FakeJob("train")
        job.write(b"one\n")
        cloud.jobs = [job]
        async with site(cloud) as built:
            await built.look(built.statuses, "the job")
            await built.read("train", lambda _: built.log("train") == b"one\n", "the first line")
            cloud.expire_signatures()
            job.write(b"two\n")
            seen = await built.read("train", lambda _: built.log("train") == b"one\ntwo\n", "the second line")
            assert seen.failure is None


async def test_a_storage_that_refuses_for_good_is_told_and_asked_less() -> None:
    with FakeAzure() as cloud:
        job = FakeJob("train", logs={"user_logs/std_log.txt": bytearray(b"x")})
        cloud.jobs = [job]
        cloud.faults = [Fault("/blobs/", 403)]
        async with site(cloud) as built:
            await built.look(built.statuses, "the job")
            seen = await built.read("train", lambda seen: seen.failure, "the refusal")
            assert seen.failure is not None
            assert "refuses this network" in seen.failure.message
            cloud.faults.clear()
            await built.read("train", lambda seen: seen.failure is None and built.log("train"), "it is read at last")


async def test_a_log_that_begins_anew_is_read_anew() -> None:
    with FakeAzure() as cloud:
        job = FakeJob("train")
        job.write(b"a long first attempt\n")
        cloud.jobs = [job]
        async with site(cloud) as built:
            await built.look(built.statuses, "the job")
            await built.read("train", lambda _: built.log("train"), "the first attempt")
            job.logs["user_logs/std_log.txt"][:] = b"again\n"
            await built.read("train", lambda _: built.log("train") == b"again\n", "the second attempt")


async def test_a_finished_job_shows_its_log_and_is_asked_no_more() -> None:
    with FakeAzure() as cloud:
        job = FakeJob("done")
        job.write(b"all of it\n")
        job.end()
        cloud.jobs = [job]
        async with site(cloud) as built:
            await built.look(built.statuses, "the job")
            await built.read("done", lambda seen: seen.is_whole, "its end")
            asked, goal = len(blobs(cloud)), cloud.count("/jobs") + 9
            await built.read("done", lambda _: built.azure.look_at_jobs() and cloud.count("/jobs") > goal, "others go on")
            assert (built.log("done"), len(blobs(cloud))) == (b"all of it\n", asked)


async def test_each_process_of_a_job_has_its_log() -> None:
    with FakeAzure() as cloud:
        job = FakeJob("many")
        for number in range(3):
            job.write(f"process {number}\n".encode(), f"user_logs/std_log_process_{number}.txt")
        cloud.jobs = [job]
        async with site(cloud) as built:
            await built.look(built.statuses, "the job")
            seen = await built.read("many", lambda seen: len(seen.logs) == 3 and not seen.is_reading, "three logs")
            assert [built.log("many", name) for name in seen.logs] == [b"process 0\n", b"process 1\n", b"process 2\n"]


async def test_a_log_that_is_far_too_long_shows_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waa.services.azure_log.MAX_WHOLE_BYTES", 200_000)
    with FakeAzure() as cloud:
        job = FakeJob("long")
        job.write(b"x" * 99 + b"\n")
        job.write((b"y" * 99 + b"\n") * 4000)
        job.end()
        cloud.jobs = [job]
        async with site(cloud) as built:
            await built.look(built.statuses, "the job")
            seen = await built.read("long", lambda seen: seen.is_whole, "its end")
            assert seen.is_cut
            assert len(built.log("long")) == 64 * 1024


# --- runs ---


async def test_a_job_that_runs_the_benchmark_is_a_run_while_it_runs() -> None:
    with FakeAzure() as cloud:
        job = FakeJob("quirky_hat")
        job.write(RUN_LOG[:9000])
        cloud.jobs = [job]
        async with site(cloud) as built:
            await built.look(lambda: built.recorder.state.runs, "the run")
            (run,) = built.recorder.state.runs.values()
            vm = built.recorder.state.vms["aml-quirky_hat"]
            assert (run.vm, run.status, vm.spec.origin) == ("aml-quirky_hat", RunStatus.RUNNING, Origin.JOB)
            await built.look(lambda: built.recorder.state.runs[run.run_id].total == 5, "its plan")
            assert run.log.identity == built.job("quirky_hat").key
            await built.look(lambda: built.recorder.state.vms["aml-quirky_hat"].phase is Phase.RUNNING, "its phase")
            job.write(RUN_LOG[9000:])
            await built.look(lambda: built.recorder.state.runs[run.run_id].status is RunStatus.FINISHED, "the run's own end")
            progress = built.recorder.state.progress[run.run_id]
            job.end()
            await built.look(lambda: built.recorder.state.vms == {}, "the job stands for nothing any more")
            assert built.recorder.state.runs[run.run_id].status is RunStatus.FINISHED
            assert (progress.completed, built.recorder.state.progress[run.run_id]) == (5, progress)


async def test_the_files_of_a_jobs_tasks_are_not_read_and_that_is_said() -> None:
    with FakeAzure() as cloud:
        job = FakeJob("past")
        job.write(RUN_LOG)
        job.end()
        cloud.jobs = [job]
        async with site(cloud) as built:
            await built.look(built.statuses, "the job")
            await built.read("past", lambda seen: seen.is_whole, "its end")
            (run,) = built.recorder.state.runs.values()
            monitor = Monitor(
                recorder=built.recorder,
                opener=ShutOpener(),
                make_watch=functools.partial(HostWatch, clock=built.clock),
                supervisor=built.supervisor,
                on_log=lambda vm, source, data: None,
                clock=built.clock,
            )
            task = next(iter(built.recorder.state.tasks[run.run_id].values()))
            found = await monitor.task_record(run.run_id, task.domain, task.task_id)
            assert isinstance(found, FolderLacking)
            assert "a job of Azure ML" in found.message
            with pytest.raises(LinkError, match="a job of Azure ML"):
                await monitor.task_log(run.run_id, task.domain, task.task_id, from_at=0, until_at=T0, max_bytes=9)


async def test_a_job_that_is_canceled_cuts_its_run_with_the_jobs_word() -> None:
    with FakeAzure() as cloud:
        job = FakeJob("quirky_hat")
        job.write(RUN_LOG[:9000])
        cloud.jobs = [job]
        async with site(cloud) as built:
            await built.look(lambda: built.recorder.state.runs, "the run")
            job.end("Canceled")
            await built.look(lambda: built.recorder.state.vms == {}, "the job is over")
            (run,) = built.recorder.state.runs.values()
            assert (run.status, run.end_reason) == (RunStatus.INTERRUPTED, "the job ended: Canceled")


async def test_the_run_of_a_job_goes_on_after_a_restart_without_repeating_anything() -> None:
    store = MemoryStore()
    with FakeAzure() as cloud:
        job = FakeJob("quirky_hat")
        job.write(RUN_LOG[:20_000])
        cloud.jobs = [job]
        async with site(cloud, store=store) as built:
            await built.look(lambda: built.recorder.state.runs and built.seen_at, "the run")
            source = built.azure.source_of(built.job("quirky_hat"))
            await built.look(lambda: built.log("quirky_hat") == RUN_LOG[:20_000], "the first part")
        job.write(RUN_LOG[20_000:])
        job.end()
        async with site(cloud, store=store) as built:
            await built.look(lambda: built.recorder.state.vms == {}, "it is read to its end")
            (run,) = built.recorder.state.runs.values()
            assert (run.vm, run.status) == (source, RunStatus.FINISHED)
            tasks = built.recorder.state.tasks[run.run_id].values()
            assert (len(tasks), all(task.attempt == 1 and task.is_over for task in tasks)) == (5, True)


async def test_a_finished_job_that_is_opened_becomes_a_run_of_the_past_once() -> None:
    store = MemoryStore()
    with FakeAzure() as cloud:
        job = FakeJob("past")
        job.write(RUN_LOG)
        job.end()
        cloud.jobs = [job]
        async with site(cloud, store=store) as built:
            await built.look(built.statuses, "the job")
            assert built.recorder.state.runs == {}
            await built.read("past", lambda seen: seen.is_whole, "its end")
            (run,) = built.recorder.state.runs.values()
            assert (run.status, built.recorder.state.vms) == (RunStatus.FINISHED, {})
        async with site(cloud, store=store) as built:
            await built.look(built.statuses, "the job")
            last = built.recorder.state.last_event_id
            await built.read("past", lambda seen: seen.is_whole, "its end again")
            assert built.recorder.state.last_event_id == last
            assert 0 < len(built.log("past")) <= 64 * 1024


async def test_a_job_whose_storage_fails_is_out_of_reach() -> None:
    with FakeAzure() as cloud:
        job = FakeJob("quirky_hat")
        job.write(RUN_LOG[:9000])
        cloud.jobs = [job]
        async with site(cloud) as built:
            await built.look(lambda: "aml-quirky_hat" in built.recorder.state.vms, "the run")
            cloud.faults = [Fault("/blobs/", 500)]
            await built.look(lambda: built.recorder.state.vms["aml-quirky_hat"].phase is Phase.UNREACHABLE, "it is out of reach")
            cloud.faults.clear()
            await built.look(lambda: built.recorder.state.vms["aml-quirky_hat"].phase is Phase.RUNNING, "it is back")


async def test_nothing_that_is_secret_is_recorded_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    store = MemoryStore()
    with FakeAzure() as cloud:
        job = FakeJob("quirky_hat")
        job.write(RUN_LOG[:9000])
        cloud.jobs, cloud.machines = [job], [Machine("a")]
        async with site(cloud, store=store) as built:
            await built.look(lambda: built.recorder.state.runs and built.powers(), "everything")
            cloud.expire_signatures()
            cloud.faults = [Fault("/blobs/", 403, times=3), Fault("/history/", 500, times=2)]
            job.end()
            await built.look(lambda: built.recorder.state.vms == {}, "its end")
        events: list[Any] = store.events_since(0, limit=100_000)
    told = repr(events) + "".join(record.getMessage() for record in caplog.records if not record.name.startswith("tornado"))
    for secret in ("sig-", "sig=", "token-1"):
        assert secret not in told
