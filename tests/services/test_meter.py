"""The meter of a VM: what is seen is kept, over restarts and crashes too, and what nobody saw is never billed."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.core.builders import T0, a_log_read, a_spec, task_facts
from tests.web.stream_house import Clock
from waa.core.cost import run_cost, vm_cost
from waa.core.error import Failure
from waa.core.event import EventType
from waa.core.logs import fact as f
from waa.core.meter import Meter, Span, Standing
from waa.core.observation import LinkFailed, LinkOpened, LinkSought, Machine, StatusSeen, VmForgotten, VmNamed
from waa.core.port import Store
from waa.core.price import Price, PriceEntry, PriceSource
from waa.core.spec import Origin, VmSpec
from waa.core.status import Reason
from waa.core.transition import Rules
from waa.services.meter import STORE_EVERY_S, Meters, PowerSeen
from waa.services.prices import Prices
from waa.services.recorder import Recorder
from waa.store.memory import MemoryStore
from waa.store.sql import SqlStore

HOUR = 3600.0
VM = "vm-1"
GONE = Failure(reason=Reason.TIMEOUT, message="Nothing answers.")
SPEC = a_spec(origin=Origin.API, size="Standard_D8ds_v5", region="eastus2")


def h(hours: float) -> float:
    return T0 + HOUR * hours


class Server:
    """The recorder and the meters on a clock; the machine is played by what is recorded."""

    def __init__(self, store: Store, clock: Clock, entries: Sequence[PriceEntry]) -> None:
        self.clock = clock
        self.recorder = Recorder(store=store, rules=Rules(), clock=clock)
        self.seen_at: dict[str, float] = {}
        self.machine_at: dict[str, float] = {}
        self.power: PowerSeen | None = None
        self.meters = Meters(
            recorder=self.recorder,
            prices=Prices(entries=entries, currency="USD", clock=clock),
            seen_at=self.seen_at,
            machine_at=self.machine_at,
            clock=clock,
            power_of=lambda _vm: self.power,
        )

    @property
    def meter(self) -> Meter:
        return self.recorder.state.meters[VM]

    async def look(self, at: float | None = None) -> Meter:
        """Look at a moment; what was seen is stored when this returns."""
        if at is not None:
            self.clock.now = at
        if self.recorder.state.vms[VM].connection.connected:
            self.seen_at[VM] = self.clock.now
        await self.meters.look()
        await self.recorder.flush()
        return self.meter

    async def reach(self, at: float, *, booted_at: float | None = None) -> Meter:
        """The VM answers, and says when it booted."""
        self.clock.now = at
        await self.recorder.record(LinkOpened(vm=VM, at=at))
        if booted_at is not None:
            await self.recorder.record(StatusSeen(vm=VM, at=at, machine=Machine(boot_id=f"{booted_at}", booted_at=booted_at)))
            self.machine_at[VM] = at
        await self.recorder.flush()
        return await self.look()

    async def lose(self, at: float) -> Meter:
        """It answers no more."""
        self.clock.now = at
        await self.recorder.record(LinkFailed(vm=VM, at=at, failure=GONE), wait=True)
        return await self.look()

    async def stop(self, *, killed: bool = False) -> None:
        if not killed:
            await self.meters.close()
        await self.recorder.close()


@asynccontextmanager
async def serving(
    store: Store | None = None,
    *,
    at: float = T0,
    spec: VmSpec = SPEC,
    entries: Sequence[PriceEntry] = (PriceEntry(size="Standard_D8ds_v5", per_hour=2.0),),
    killed: bool = False,
) -> AsyncIterator[Server]:
    """A server from its start to its end; ``killed``: it writes nothing more."""
    clock = Clock()
    clock.now = at
    server = Server(store or MemoryStore(), clock, entries)
    await server.recorder.open()
    try:
        await server.recorder.record(VmNamed(vm=spec.name, at=at, spec=spec), wait=True)
        await server.meters.open()
        await server.recorder.record(LinkSought(vm=spec.name, at=at), wait=True)
        yield server
    finally:
        await server.stop(killed=killed)


def events_of(store: MemoryStore) -> int:
    return len(store.events_since(0, types=[EventType.METER_CHANGED], limit=10_000))


async def test_a_vm_that_answers_is_billed_and_one_that_does_not_is_not_known() -> None:
    async with serving() as server:
        assert (await server.look()).standing is Standing.UNKNOWN
        assert (await server.reach(h(1))).standing is Standing.UP
        await server.look(h(2))
        meter = await server.lose(h(2) + 8)
        assert (meter.standing, meter.billed) == (Standing.UNKNOWN, (Span(h(1), h(2)),)), "until its last sign of life"
        cost = vm_cost(meter)
        assert cost is not None
        assert cost.spent.at(h(9)) == pytest.approx(2.0)
        assert cost.unseen.at(h(9)) == pytest.approx(14.0)


async def test_a_boot_time_of_an_earlier_link_does_not_bill_a_night_off() -> None:
    async with serving() as server:
        await server.reach(h(1), booted_at=h(-1))
        await server.lose(h(2))
        meter = await server.reach(h(12))  # it has not told anything of itself through this link yet
        assert meter.billed == (Span(h(-1), h(1)), Span(h(12), h(12)))
        await server.recorder.record(StatusSeen(vm=VM, at=h(12) + 2, machine=Machine(boot_id="2", booted_at=h(11.9))), wait=True)
        server.machine_at[VM] = h(12) + 2
        assert (await server.look(h(12) + 2)).billed == (Span(h(-1), h(1)), Span(h(11.9), h(12) + 2))


async def test_the_same_boot_fills_what_nobody_saw() -> None:
    async with serving() as server:
        await server.reach(h(1), booted_at=h(-1))
        await server.lose(h(2))
        assert (await server.reach(h(12), booted_at=h(-1))).billed == (Span(h(-1), h(12)),)


async def test_the_boot_time_is_told_by_the_machines_own_clock() -> None:
    async with serving() as server:
        await server.recorder.record(LinkOpened(vm=VM, at=h(2)))
        machine = Machine(boot_id="1", booted_at=h(1), clock_skew_s=-600.0)
        await server.recorder.record(StatusSeen(vm=VM, at=h(2), machine=machine), wait=True)
        server.machine_at[VM] = h(2)
        assert (await server.look(h(2))).billed == (Span(h(1) + 600, h(2)),)


async def test_power_tells_of_what_does_not_answer() -> None:
    async with serving() as server:
        await server.reach(h(0))
        await server.look(h(1))
        await server.lose(h(1) + 8)
        server.power = PowerSeen(at=h(1) + 60, is_billed=True)  # stopped, and still allocated
        assert (await server.look(h(1) + 60)).standing is Standing.UP
        server.power = PowerSeen(at=h(2), is_billed=True)
        await server.look(h(2))
        server.power = PowerSeen(at=h(3), is_billed=False)
        meter = await server.look(h(3))
        assert (meter.standing, meter.off) == (Standing.OFF, (Span(h(3), h(3)),))
        server.power = PowerSeen(at=h(9), is_billed=False)
        await server.look(h(9))
        cost = vm_cost(await server.reach(h(9)))
        assert cost is not None
        assert cost.spent.at(h(9)) == pytest.approx(2 * (1 + 1 - 60 / HOUR))
        assert cost.unseen.at(h(9)) == pytest.approx(2 * (1 + 60 / HOUR)), "the hour in which it was deallocated, and the minute before"


@pytest.mark.parametrize("killed", [False, True], ids=["ended", "killed"])
async def test_a_restart_takes_nothing_for_now_and_loses_nothing_that_was_seen(tmp_path: Path, killed: bool) -> None:
    url = f"sqlite:///{tmp_path / 'waa.db'}"
    async with serving(SqlStore(url), killed=killed) as server:
        await server.reach(h(0), booted_at=h(-1))
        await server.look(h(0) + STORE_EVERY_S)
        await server.look(h(0) + STORE_EVERY_S + 300)
    kept_until = h(0) + STORE_EVERY_S + (0 if killed else 300)
    async with serving(SqlStore(url), at=h(5), killed=killed) as server:
        assert (server.meter.standing, server.meter.billed) == (Standing.UNKNOWN, (Span(h(-1), kept_until),))
        assert server.meter.price == Price(per_hour=2.0, currency="USD", source=PriceSource.TABLE, label="Standard_D8ds_v5, eastus2")
        away = await server.look(h(5))
        assert away.standing is Standing.UNKNOWN
        assert (await server.reach(h(6), booted_at=h(-1))).billed == (Span(h(-1), h(6)),), "it had not booted since"
    async with serving(SqlStore(url), at=h(7), killed=killed) as server:
        assert (await server.reach(h(8), booted_at=h(7.5))).billed == (Span(h(-1), h(6)), Span(h(7.5), h(8)))


async def test_the_last_sign_of_life_that_was_stored_counts_after_a_crash(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'waa.db'}"
    async with serving(SqlStore(url), killed=True) as server:
        await server.reach(h(0))
        await server.recorder.record(StatusSeen(vm=VM, at=h(0) + 700, machine=Machine(disk_used_percent=7.0)), wait=True)
    async with serving(SqlStore(url), at=h(5)) as server:
        assert server.meter.billed == (Span(h(0), h(0) + 700),)


async def test_a_run_that_went_on_unseen_is_told_by_its_log() -> None:
    async with serving() as server:
        await server.reach(h(5))
        facts: list[f.AnyFact] = [f.RunStarted(at=h(0), dialect=f.Dialect.WAA), f.RunPlanned(at=h(0), total=3)]
        for number in range(3):
            facts += task_facts(f"task-{number}", at=h(0) + 600 * number, steps=50)
        facts.append(f.RunFinished(at=h(0) + 1800))
        await server.recorder.record(a_log_read(*facts, at=h(5)), wait=True)
        meter = await server.look(h(5))
        assert meter.billed == (Span(h(0), h(0) + 1800), Span(h(5), h(5)))
        run = next(iter(server.recorder.state.runs.values()))
        cost = run_cost(server.recorder.state, run)
        assert cost is not None
        assert (cost.spent.base, cost.unseen.base) == pytest.approx((1.0, 0.0))


async def test_a_vm_that_stays_up_is_written_now_and_then_only() -> None:
    store = MemoryStore()
    async with serving(store) as server:
        await server.reach(h(0))
        written = events_of(store)
        for number in range(1, 100):
            await server.look(h(0) + 5 * number)
        assert events_of(store) == written
        await server.look(h(0) + STORE_EVERY_S)
        assert events_of(store) == written + 1


async def test_another_price_counts_from_then_on() -> None:
    async with serving() as server:
        await server.reach(h(0))
        await server.look(h(1))
        dearer = a_spec(origin=Origin.API, size="Standard_D8ds_v5", region="eastus2", price_per_hour=10.0)
        await server.recorder.record(VmNamed(vm=VM, at=h(1), spec=dearer), wait=True)
        cost = vm_cost(await server.look(h(1)))
        assert cost is not None
        assert cost.spent.at(h(2)) == pytest.approx(2.0 + 10.0)


async def test_what_was_seen_before_a_price_was_set_has_the_first_one(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'waa.db'}"
    async with serving(SqlStore(url), entries=()) as server:
        await server.reach(h(0))
        await server.look(h(1))
        assert vm_cost(server.meter) is None
    async with serving(SqlStore(url), at=h(2)) as server:
        await server.look(h(2))
        cost = vm_cost(server.meter)
        assert cost is not None
        assert cost.spent.base == pytest.approx(2.0)


async def test_a_vm_that_is_taken_away_keeps_what_it_cost_and_costs_no_more() -> None:
    async with serving() as server:
        await server.reach(h(0))
        await server.look(h(1))
        await server.recorder.record(VmForgotten(vm=VM, at=h(1)), wait=True)
        server.clock.now = h(2)
        await server.meters.look()
        await server.recorder.flush()
        cost = vm_cost(server.meter)
        assert server.meter.ended_at == h(2)
        assert cost is not None
        assert cost.spent.at(h(9)) == pytest.approx(2.0)
        await server.recorder.record(VmNamed(vm=VM, at=h(3), spec=SPEC), wait=True)
        assert (await server.look(h(3))).ended_at is None


@pytest.mark.parametrize("origin", [Origin.DEMO, Origin.FILES])
async def test_the_demo_and_what_is_read_from_files_have_no_meter(origin: Origin) -> None:
    async with serving(spec=a_spec(origin=origin, price_per_hour=1.0)) as server:
        await server.recorder.record(LinkOpened(vm=VM, at=h(0)), wait=True)
        await server.meters.look()
        await server.recorder.flush()
        assert not server.recorder.state.meters


async def test_meters_of_vms_that_are_long_gone_are_pruned(tmp_path: Path) -> None:
    stores: tuple[Store, ...] = (MemoryStore(), SqlStore(f"sqlite:///{tmp_path / 'waa.db'}"))
    for number, store in enumerate(stores):
        async with serving(store) as server:
            await server.reach(h(0))
            await server.recorder.record(VmForgotten(vm=VM, at=h(1)), wait=True)
            server.clock.now = h(1)
            await server.meters.look()
            await server.recorder.prune(max_events=1000, runs_before=h(1))
            assert [entity.vm for entity in store.load().entities if isinstance(entity, Meter)] == [VM], number
            await server.recorder.prune(max_events=1000, runs_before=h(2))
            assert not [entity for entity in store.load().entities if isinstance(entity, Meter)], number
