"""Discovery: the VMs of the subscriptions, with power and addresses; and what that means for those that are watched."""

import logging
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Protocol

from waa.core.azure import Answers, Interface, Scope, VmListed, join
from waa.core.azure_pace import Pace
from waa.core.cloud import MOVING, CloudVm, Power, PowerState
from waa.core.entity import Vm
from waa.core.error import Conflict, Invalid, NotFound
from waa.core.event import Event, EventType
from waa.core.observation import PowerSeen
from waa.core.outside import CloudVmsSeen
from waa.core.port import Cloud
from waa.core.spec import Origin, VmSpec
from waa.services.azure_part import Interest, Lane, Part, PartSeen
from waa.services.recorder import Recorder

log = logging.getLogger(__name__)
MIN_SLEEP_S = 0.05
MAX_VMS = 2000
"""That are shown of all subscriptions; the first by name."""


class Watcher(Protocol):
    """Watches VMs (the monitor)."""

    async def name(self, spec: VmSpec) -> None:
        """Add a VM, or replace what is said about it."""


class _Subscription:
    """What was answered of one subscription."""

    def __init__(self, subscription: str, make: Callable[[str, str], Part]) -> None:
        self.id = subscription
        self.vms = make("VMs", subscription)
        self.powers = make("Power states", subscription)
        self.interfaces = make("Private addresses", subscription)
        self.addresses = make("Public addresses", subscription)
        self.listed: Sequence[VmListed] | None = None
        self.known_powers: Mapping[str, PowerState] | None = None
        self.known_interfaces: Sequence[Interface] | None = None
        self.known_addresses: Mapping[str, str] | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        return self.vms, self.powers, self.interfaces, self.addresses

    @property
    def is_moving(self) -> bool:
        """Whether a VM is on the way to another power state."""
        return any(power in MOVING for power in (self.known_powers or {}).values())

    @property
    def answers(self) -> Answers | None:
        if self.listed is None:
            return None
        return Answers(vms=self.listed, powers=self.known_powers, interfaces=self.known_interfaces, addresses=self.known_addresses)


class AzureVms:
    """Refreshes while somebody looks. ``power_at``: when Azure said last how the power of a watched VM is.

    ``check`` raises Invalid for a VM that the operator does not want to be reached."""

    def __init__(
        self,
        *,
        scope: Scope,
        cloud: Cloud,
        recorder: Recorder,
        watcher: Watcher,
        check: Callable[[VmSpec], None],
        interest: Interest,
        lanes: Mapping[str, Lane],
        power_at: MutableMapping[str, float],
        pace: Pace,
        clock: Callable[[], float],
        spread: Callable[[], float],
    ) -> None:
        self.notes: dict[str, str] = {}
        self._has_new = False
        self._scope = scope
        self._cloud = cloud
        self._recorder = recorder
        self._watcher = watcher
        self._check = check
        self._interest = interest
        self._power_at = power_at
        self._pace = pace
        self._clock = clock
        several = len(scope.subscriptions) > 1

        def make(name: str, subscription: str) -> Part:
            label = f"{name} of {subscription[:8]}…" if several else name
            return Part(label, lane=lanes[subscription], pace=pace, clock=clock, spread=spread)

        self._subscriptions = [_Subscription(each, make) for each in scope.subscriptions]

    @property
    def seen(self) -> tuple[PartSeen, ...]:
        """How the parts stand."""
        return tuple(part.seen for subscription in self._subscriptions for part in subscription.parts)

    async def run(self) -> None:
        """Until it is cancelled."""
        stop = self._recorder.hub.listen(self._hear)
        try:
            await self._forget_others()
            await self._work()
        finally:
            stop()

    async def _work(self) -> None:
        while self._subscriptions:
            await self._interest.wait()
            for subscription in self._subscriptions:
                await self._refresh(subscription)
            if self._has_new:
                self._has_new = False
                for subscription in self._subscriptions:
                    await self._take(subscription)
            due_at = min(part.opens_at for subscription in self._subscriptions for part in subscription.parts)
            await self._interest.pause(max(due_at - self._clock(), MIN_SLEEP_S))

    def spec_of(self, resource_id: str, *, origin: Origin = Origin.API) -> VmSpec:
        """A VM to watch, under a name that is free. Raises NotFound, Conflict where it has no address or is watched."""
        vm = self._recorder.state.cloud_vms.get(resource_id.lower())
        if vm is None:
            raise NotFound("Azure lists no such VM (any more)")
        watched = watched_as(self._recorder.state.vms.values(), vm.key)
        if watched is not None:
            raise Conflict(f"id: {vm.name} is watched already, as {watched.name!r}")
        host = vm.host(is_private=self._scope.is_private)
        if not host:
            kind = "private" if self._scope.is_private else "public"
            raise Conflict(f"id: {vm.name} has no {kind} address now: start it first")
        name = self._free_name(vm)
        spec = VmSpec(name=name, ssh_host=host, trust_first=self._scope.trust_first, azure_id=vm.resource_id, origin=origin)
        try:
            return replace(spec, ssh_user=vm.admin_user) if vm.os == "linux" and vm.admin_user else spec
        except Invalid:
            return spec

    def _free_name(self, vm: CloudVm) -> str:
        taken = self._recorder.state.vms
        for name in (vm.name, f"{vm.name}-{vm.resource_group}", f"{vm.name}-{vm.subscription[:8]}"):
            if len(name) <= 63 and name not in taken and name not in ("new", "register"):
                return name
        raise Conflict(f"id: the names for {vm.name} are taken: add it by its address")

    async def _forget_others(self) -> None:
        """What the configuration names no more is not shown either."""
        others = {vm.subscription for vm in self._recorder.state.cloud_vms.values()} - set(self._scope.subscriptions)
        if others:
            await self._recorder.record(CloudVmsSeen(vm="", at=self._clock(), subscriptions=frozenset(others), vms=()))

    def _hear(self, events: Sequence[Event]) -> None:
        """A machine that is watched from now on is told at once what is known of it."""
        if any(event.type is EventType.VM_ADDED and isinstance(event.entity, Vm) and event.entity.spec.azure_id for event in events):
            self._has_new = True
            self._interest.wake()

    # --- one subscription ---

    async def _refresh(self, subscription: _Subscription) -> None:
        if not any(part.is_due for part in subscription.parts):
            return
        cloud, every_s = self._cloud, self._pace.moving_s if subscription.is_moving else self._pace.vms_s

        def remaining() -> int | None:
            return cloud.remaining_reads(subscription.id)

        listed = await subscription.vms.ask(lambda: cloud.vms(subscription.id), every_s=every_s, remaining=remaining)
        subscription.listed = listed if listed is not None else subscription.listed
        powers = await subscription.powers.ask(lambda: cloud.powers(subscription.id), every_s=every_s, remaining=remaining)
        if powers is not None:
            if subscription.known_powers is not None and powers != subscription.known_powers:
                self._hurry(subscription)
            subscription.known_powers = powers
        if subscription.is_moving:
            for part in (subscription.vms, subscription.powers):
                part.due_at = min(part.due_at, self._clock() + self._pace.moving_s) if part.fault is None else part.due_at
        slow_s = self._pace.addresses_s
        interfaces = await subscription.interfaces.ask(lambda: cloud.interfaces(subscription.id), every_s=slow_s, remaining=remaining)
        subscription.known_interfaces = interfaces if interfaces is not None else subscription.known_interfaces
        addresses = await subscription.addresses.ask(lambda: cloud.addresses(subscription.id), every_s=slow_s, remaining=remaining)
        subscription.known_addresses = addresses if addresses is not None else subscription.known_addresses
        await self._take(subscription)

    def _hurry(self, subscription: _Subscription) -> None:
        """Addresses come and go with the power."""
        for part in (subscription.interfaces, subscription.addresses):
            if part.fault is None:
                part.due_at = self._clock()

    async def _take(self, subscription: _Subscription) -> None:
        answers = subscription.answers
        if answers is None:
            await self._tell_failure(subscription)
            return
        found = join(answers, self._recorder.state.cloud_vms)
        meant = tuple(vm for vm in found if self._scope.holds(vm))[:MAX_VMS]
        seen = CloudVmsSeen(vm="", at=self._clock(), subscriptions=frozenset({subscription.id}), vms=meant)
        await self._recorder.record(seen, wait=True)
        await self._apply(subscription, {vm.key: vm for vm in found})
        for vm in meant:
            if self._scope.is_watched(vm):
                await self._watch_tagged(vm)

    async def _tell_failure(self, subscription: _Subscription) -> None:
        """Nothing is known of the VMs (yet): the watched ones say why."""
        failure = subscription.vms.seen.failure
        for vm in self._watched(subscription) if failure is not None else ():
            if failure is not None:
                await self._recorder.record(PowerSeen(vm=vm.name, at=self._clock(), power=failure))

    async def _apply(self, subscription: _Subscription, found: Mapping[str, CloudVm]) -> None:
        """Power and address of the watched ones."""
        failure = subscription.powers.seen.failure or subscription.vms.seen.failure
        told_at = subscription.powers.refreshed_at
        for vm in self._watched(subscription):
            if told_at is not None:
                self._power_at[vm.name] = told_at
            there = found.get((vm.spec.azure_id or "").lower())
            if there is None:
                power: Power | None = Power(state=PowerState.GONE) if subscription.vms.fault is None else None
            else:
                power = Power(state=there.power, is_spot=there.is_spot) if there.power is not PowerState.UNKNOWN else None
            if power is not None or failure is not None:
                await self._recorder.record(
                    PowerSeen(vm=vm.name, at=self._clock(), power=failure or power or Power(state=PowerState.UNKNOWN))
                )
            if there is not None:
                await self._follow(vm, there)

    async def _follow(self, vm: Vm, there: CloudVm) -> None:
        """The VM is where its address leads now. One that the configuration file names stays where that says."""
        spec, host = vm.spec, there.host(is_private=self._scope.is_private)
        if spec.origin is Origin.CONFIG:
            return
        changed = spec
        if host and host != spec.ssh_host:
            changed = replace(changed, ssh_host=host)
        if spec.origin is Origin.AZURE and not self._scope.is_watched(there):
            changed = replace(changed, origin=Origin.API)  # without its tag it is like one that somebody added, and can be removed
        if changed != spec and self._is_permitted(changed, there):
            log.info("azure vm follows vm=%s host=%s", vm.name, changed.ssh_host)
            await self._watcher.name(changed)

    async def _watch_tagged(self, vm: CloudVm) -> None:
        try:
            spec = self.spec_of(vm.key, origin=Origin.AZURE)
        except (Conflict, NotFound):
            return  # it is watched already, or has no address yet
        if self._is_permitted(spec, vm):
            log.info("azure vm watched by its tag vm=%s", spec.name)
            await self._watcher.name(spec)

    def _is_permitted(self, spec: VmSpec, vm: CloudVm) -> bool:
        try:
            self._check(spec)
        except Invalid as error:
            if self.notes.get(vm.key) != str(error):
                log.warning("azure vm not reached vm=%s reason=%s", spec.name, error)
                self.notes[vm.key] = str(error)
            return False
        self.notes.pop(vm.key, None)
        return True

    def _watched(self, subscription: _Subscription) -> list[Vm]:
        place = f"/subscriptions/{subscription.id}/"
        vms = self._recorder.state.vms.values()
        return [vm for vm in vms if vm.spec.origin is not Origin.JOB and (vm.spec.azure_id or "").lower().startswith(place)]


def watched_as(vms: Iterable[Vm], key: str) -> Vm | None:
    """The watched VM that is this one of Azure."""
    return next((vm for vm in vms if (vm.spec.azure_id or "").lower() == key and vm.spec.origin is not Origin.JOB), None)
