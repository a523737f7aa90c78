"""Keeps the meter of every VM: when it was seen up, when not, and what an hour of it costs."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from waa.core import meter as reading
from waa.core.cost import evidence
from waa.core.entity import Run, RunId, Task, Vm
from waa.core.event import Event
from waa.core.meter import Meter, Sight, Span, Standing
from waa.core.outside import MeterRead
from waa.core.price import Placement, placement_of
from waa.core.spec import Origin
from waa.services.news import look_at_news
from waa.services.prices import Prices, Quote
from waa.services.recorder import Recorder

LOOK_EVERY_S = 5.0
STORE_EVERY_S = 900.0
"""How long a VM that stays up may go unwritten. After a crash, its own boot time tells whether it was up meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerSeen:
    """What somebody else than SSH knows of a VM: at ``at`` it was billed (running, or stopped and still allocated), or it was not."""

    at: float
    is_billed: bool


def unknown_power(_vm: Vm) -> PowerSeen | None:
    """Nobody knows of its power."""
    return None


def placed_by_operator(vm: Vm) -> Placement | None:
    """Where the operator says that it is."""
    return placement_of(vm.spec)


class Meters:
    """Looks every few seconds, and when something is heard of a VM. What changed is recorded; a VM that stays as it is, now and then.

    ``seen_at`` are the monitor's signs of life, ``machine_at`` when each VM last told of its boot: what it told through an earlier link
    may be another boot's. ``power_of`` and ``placement_of`` are where a cloud's own knowledge comes in. The demo
    and what is read from files have no meter.
    """

    def __init__(
        self,
        *,
        recorder: Recorder,
        prices: Prices,
        seen_at: Mapping[str, float],
        machine_at: Mapping[str, float],
        clock: Callable[[], float],
        power_of: Callable[[Vm], PowerSeen | None] = unknown_power,
        placement_of: Callable[[Vm], Placement | None] = placed_by_operator,
        look_every_s: float = LOOK_EVERY_S,
        store_every_s: float = STORE_EVERY_S,
    ) -> None:
        self._recorder = recorder
        self._prices = prices
        self._seen_at = seen_at
        self._machine_at = machine_at
        self._confirmed: Mapping[str, float] = {}
        self._clock = clock
        self._power_of = power_of
        self._placement_of = placement_of
        self._look_every_s = look_every_s
        self._store_every_s = store_every_s
        self._live: dict[str, Meter] = {}
        self._read: dict[RunId, tuple[object, ...]] = {}
        self._news = asyncio.Event()
        prices.on_change = self._news.set

    async def open(self) -> None:
        """What an earlier server saw ended with its last look: nothing is taken for now before the VMs answer."""
        for name, meter in list(self._recorder.state.meters.items()):
            closed = self._out_of_sight(meter)
            self._live[name] = closed
            if closed != meter:
                await self._recorder.record(MeterRead(vm=name, at=self._clock(), meter=closed), wait=True)

    async def run(self) -> None:
        """Until it is cancelled."""
        stop = self._recorder.hub.listen(self._hear)
        try:
            await look_at_news(self.look, self._news, self._look_every_s)
        finally:
            stop()

    async def look(self) -> None:
        """Look once; what is new is recorded. Raises Unavailable where the store does not take it now."""
        confirmed = dict(self._machine_at)
        if confirmed != self._confirmed:  # what was told by then has to be in the state before it counts
            await self._recorder.flush()
            self._confirmed = confirmed
        state, now = self._recorder.state, self._clock()
        for vm in list(state.vms.values()):
            if vm.spec.origin not in (Origin.DEMO, Origin.FILES):
                known = self._live.get(vm.name) or state.meters.get(vm.name) or Meter(vm=vm.name)
                await self._keep(self._looked(vm, reading.watched(known), now), now)
        for meter in list(state.meters.values()):
            if meter.vm not in state.vms and not meter.is_over:
                await self._keep(reading.ended(self._out_of_sight(self._live.get(meter.vm, meter)), now), now)
                self._live.pop(meter.vm, None)
        self._read = {run_id: mark for run_id, mark in self._read.items() if run_id in state.runs}

    async def close(self) -> None:
        """Write what was seen last."""
        for name, meter in self._live.items():
            if name in self._recorder.state.vms:
                await self._recorder.record(MeterRead(vm=name, at=self._clock(), meter=meter))

    def quote(self, vm: Vm) -> Quote:
        """What an hour of a VM costs, or why that is not known."""
        return self._prices.quote(vm.spec, self._placement_of(vm))

    def _looked(self, vm: Vm, meter: Meter, now: float) -> Meter:
        sight = self._sight(vm, now)
        meter = reading.seen(meter, sight) if sight.standing is not Standing.UNKNOWN else self._out_of_sight(meter)
        for run in self._recorder.state.runs_of(vm.name):
            meter = reading.witnessed(meter, self._told_by(run, meter, now))
        return reading.priced(meter, self.quote(vm).price, now)

    def _sight(self, vm: Vm, now: float) -> Sight:
        """Who answers is up; else its power counts, where somebody knows it."""
        if vm.connection.connected:
            at = min(now, self._last_sign_at(vm.name) or now)
            booted_at = self._booted_at(vm)
            return Sight(at=at, standing=Standing.UP, booted_at=min(booted_at, at) if booted_at is not None else None)
        power = self._power_of(vm)
        if power is None:
            return Sight(at=now, standing=Standing.UNKNOWN)
        return Sight(at=min(now, power.at), standing=Standing.UP if power.is_billed else Standing.OFF)

    def _booted_at(self, vm: Vm) -> float | None:
        """When it booted, by our clock; None where it has not told since it was reached."""
        machine, link = vm.machine, vm.connection
        is_told = self._confirmed.get(vm.name, float("-inf")) >= (link.since_at if link.since_at is not None else float("inf"))
        if not is_told or machine.value is None or machine.failure is not None or machine.value.booted_at is None:
            return None
        return machine.value.booted_at - (machine.value.clock_skew_s or 0.0)

    def _last_sign_at(self, name: str) -> float | None:
        vm = self._recorder.state.vms.get(name)
        return self._seen_at.get(name, vm.seen_at if vm is not None else None)

    def _out_of_sight(self, meter: Meter) -> Meter:
        """The meter of a VM that is seen no longer: it was up until its last sign of life."""
        last_at = self._last_sign_at(meter.vm)
        if meter.standing is Standing.UP and last_at is not None and meter.billed and last_at > meter.billed[-1].until_at:
            meter = reading.seen(meter, Sight(at=min(last_at, self._clock()), standing=Standing.UP))
        return reading.seen(meter, Sight(at=self._clock(), standing=Standing.UNKNOWN))

    def _told_by(self, run: Run, meter: Meter, now: float) -> Sequence[Span]:
        """When a run's log saw the VM at work, where that is not known already. Read again only when tasks ended since."""
        progress = self._recorder.state.progress[run.run_id]
        mark = (run.status, run.ended_at, progress.completed, meter.standing)
        if self._read.get(run.run_id) == mark:
            return ()
        self._read[run.run_id] = mark
        billed = meter.billed
        if meter.standing is Standing.UP and billed:
            billed = (*billed[:-1], Span(billed[-1].from_at, now))
        lasted = Span(run.started_at, run.ended_at if run.ended_at is not None else now)
        tasks: Sequence[Task] = list(self._recorder.state.tasks[run.run_id].values())
        return reading.minus(evidence(run, tasks), billed) if reading.minus((lasted,), billed) else ()

    async def _keep(self, meter: Meter, now: float) -> None:
        self._live[meter.vm] = meter
        stored = self._recorder.state.meters.get(meter.vm)
        is_nothing = stored is None and meter == Meter(vm=meter.vm)
        if is_nothing or (
            stored is not None and _shape(stored) == _shape(meter) and _told_s(meter) - _told_s(stored) < self._store_every_s
        ):
            return
        await self._recorder.record(MeterRead(vm=meter.vm, at=now, meter=meter))

    def _hear(self, events: Sequence[Event]) -> None:
        if any(isinstance(event.entity, Vm | Run) for event in events):
            self._news.set()


def _shape(meter: Meter) -> tuple[object, ...]:
    """All but how far the last span has come."""
    spans = [(*part[:-1], part[-1].from_at) if part else () for part in (meter.billed, meter.off)]
    ends = tuple(part[-1].until_at for part in (meter.billed, meter.off) if part) if meter.standing is Standing.UNKNOWN else ()
    return meter.standing, meter.prices, meter.ended_at, *spans, ends


def _told_s(meter: Meter) -> float:
    return meter.known_until_at or 0.0
