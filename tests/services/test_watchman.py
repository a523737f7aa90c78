"""Incidents are opened, kept and resolved as their causes come and go; what is usual is read; screens are compared."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.core.builders import FILE, T0, a_log_read, a_spec
from tests.support.wait import until
from waa.core.attention import Limits
from waa.core.entity import Task
from waa.core.error import Failure
from waa.core.event import Event, EventType
from waa.core.incident import Concern, Incident, Severity
from waa.core.logs import fact as f
from waa.core.observation import (
    AnyObservation,
    Container,
    GuestProbe,
    LinkFailed,
    LinkOpened,
    LinkSought,
    Machine,
    StatusSeen,
    VmNamed,
)
from waa.core.port import Store
from waa.core.status import BootStage, ContainerStatus, Phase, Reason
from waa.core.transition import Rules
from waa.services.dwell import DwellTimes
from waa.services.recorder import Recorder
from waa.services.screens import ScreenCheck
from waa.services.watchman import Watchman
from waa.store.memory import MemoryStore

AWAY = Failure(reason=Reason.TIMEOUT, message="no answer")
RUNS = Container(status=ContainerStatus.RUNNING, started_at=T0 - 900)
READY = GuestProbe(ready=True, status="ok")
SILENT = GuestProbe(ready=False, status="no answer")


@dataclass
class House:
    """A recorder with a watchman, on a clock of its own."""

    recorder: Recorder
    watchman: Watchman
    now: float = T0 + 100
    events: list[Event] = field(default_factory=list)

    async def record(self, *observations: AnyObservation) -> None:
        for observation in observations:
            await self.recorder.record(observation)
        await self.recorder.flush()

    async def look(self, at: float | None = None) -> list[EventType]:
        """What one look tells of incidents."""
        self.now = T0 + at if at is not None else self.now
        before = len(self.events)
        await self.watchman.look()
        await self.recorder.flush()
        return [event.type for event in self.events[before:] if isinstance(event.entity, Incident)]

    async def begin(self) -> None:
        """A task runs on vm-1."""
        await self.record(
            VmNamed(vm="vm-1", at=T0, spec=a_spec()),
            LinkOpened(vm="vm-1", at=T0),
            StatusSeen(vm="vm-1", at=T0, container=RUNS, probe=READY, machine=Machine(boot_id="one", booted_at=T0 - 9000)),
            a_log_read(f.RunStarted(at=T0, dialect=f.Dialect.WAA), f.TaskStarted(at=T0 + 90, domain="vlc", task_id="a"), at=T0 + 100),
        )

    async def probe(self, probe: GuestProbe, at: float) -> None:
        await self.record(StatusSeen(vm="vm-1", at=T0 + at, probe=probe))

    @property
    def incidents(self) -> list[Incident]:
        return list(self.recorder.state.incidents.values())


@asynccontextmanager
async def house(store: Store | None = None) -> AsyncIterator[House]:
    recorder = Recorder(store=store or MemoryStore(), rules=Rules(), clock=lambda: built.now)
    await recorder.open()
    built = House(recorder=recorder, watchman=Watchman(recorder=recorder, limits=Limits(), clock=lambda: built.now, look_every_s=0.01))
    recorder.hub.listen(built.events.extend)
    try:
        yield built
    finally:
        await recorder.close()


OPENED, CHANGED, RESOLVED = EventType.INCIDENT_OPENED, EventType.INCIDENT_CHANGED, EventType.INCIDENT_RESOLVED


async def test_a_cause_is_one_incident_from_its_beginning_to_its_end() -> None:
    async with house() as built:
        await built.begin()
        assert await built.look() == []
        await built.probe(SILENT, 110)
        assert await built.look(120) == []  # a moment only
        assert await built.look(171) == [OPENED]
        assert await built.look(172) == []
        (incident,) = built.incidents
        assert (incident.concern, incident.severity, incident.began_at) == (Concern.GUEST_DOWN, Severity.CRITICAL, T0 + 110)
        assert (incident.tasks, incident.run_id, incident.ended_at) == (("vlc/a#1",), next(iter(built.recorder.state.runs)), None)
        await built.probe(READY, 200)
        assert await built.look(201) == []
        assert await built.look(206) == [RESOLVED]
        assert await built.look(300) == []
        assert [incident.ended_at for incident in built.incidents] == [T0 + 206]


async def test_what_is_away_for_a_moment_does_not_flap() -> None:
    async with house() as built:
        await built.begin()
        await built.probe(SILENT, 110)
        assert await built.look(171) == [OPENED]
        await built.probe(READY, 172)
        assert await built.look(172) == []
        assert await built.look(175) == []
        await built.probe(SILENT, 60)
        assert await built.look(176) == []
        await built.probe(READY, 177)
        assert await built.look(180) == []  # its absence counts anew
        assert await built.look(184) == [RESOLVED]
        assert len(built.incidents) == 1


async def test_tasks_that_begin_while_it_lasts_add_up() -> None:
    async with house() as built:
        await built.begin()
        await built.probe(SILENT, 110)
        await built.look(171)
        crash = f.TaskCrashed(at=T0 + 175, domain="vlc", task_id="a", error="Connection refused")
        await built.record(a_log_read(crash, f.TaskStarted(at=T0 + 176, domain="vlc", task_id="b"), at=T0 + 177, offset=9))
        assert await built.look(178) == [CHANGED]
        assert built.incidents[0].tasks == ("vlc/a#1", "vlc/b#1")


async def test_out_of_reach_is_told_once_and_over_a_restart_of_the_server() -> None:
    store = MemoryStore()
    async with house(store) as built:
        await built.begin()
        await built.probe(SILENT, 110)
        assert await built.look(171) == [OPENED]
        await built.record(LinkFailed(vm="vm-1", at=T0 + 180, failure=AWAY))
        assert await built.look(185) == []  # nothing is known of the guest now
        assert await built.look(195) == []
        assert await built.look(201) == [OPENED]
        assert await built.look(206) == [RESOLVED]
        assert {incident.concern: incident.is_over for incident in built.incidents} == {
            Concern.GUEST_DOWN: True,
            Concern.UNREACHABLE: False,
        }
    async with house(store) as built:
        await built.record(LinkSought(vm="vm-1", at=T0 + 300))
        assert await built.look(301) == []
        await built.record(LinkFailed(vm="vm-1", at=T0 + 310, failure=AWAY))
        assert await built.look(311) == []
        assert await built.look(400) == []
        await built.record(LinkOpened(vm="vm-1", at=T0 + 401))
        await built.probe(READY, 402)
        await built.look(403)
        assert await built.look(408) == [RESOLVED]
        assert [incident.concern for incident in built.incidents if incident.is_over] == [Concern.GUEST_DOWN, Concern.UNREACHABLE]


async def test_after_a_restart_a_vm_that_was_not_asked_yet_keeps_its_incidents() -> None:
    store = MemoryStore()
    async with house(store) as built:
        await built.begin()
        await built.probe(SILENT, 110)
        assert await built.look(171) == [OPENED]
    async with house(store) as built:
        await built.record(LinkSought(vm="vm-1", at=T0 + 300))
        assert built.recorder.state.vms["vm-1"].connection.connected is None
        await built.look(301)
        assert await built.look(320) == []
        await built.record(LinkOpened(vm="vm-1", at=T0 + 321))
        assert await built.look(322) == []
        assert [incident.is_over for incident in built.incidents] == [False]


async def test_a_reboot_closes_the_incident_of_its_being_away() -> None:
    async with house() as built:
        await built.begin()
        await built.record(LinkFailed(vm="vm-1", at=T0 + 110, failure=AWAY))
        assert await built.look(131) == [OPENED]
        await built.record(
            LinkOpened(vm="vm-1", at=T0 + 200), StatusSeen(vm="vm-1", at=T0 + 200, machine=Machine(boot_id="two", booted_at=T0 + 180))
        )
        assert await built.look(201) == []
        assert await built.look(210) == []
        (incident,) = built.incidents
        assert (incident.concern, incident.began_at, incident.ended_at, incident.tasks) == (
            Concern.REBOOTED,
            T0 + 110,
            T0 + 200,
            ("vlc/a#1",),
        )


async def test_another_run_has_incidents_of_its_own() -> None:
    async with house() as built:
        await built.begin()
        await built.record(StatusSeen(vm="vm-1", at=T0 + 101, machine=Machine(boot_id="one", disk_used_percent=99.0)))
        assert await built.look(102) == [OPENED]
        again = (f.RunStarted(at=T0 + 150, dialect=f.Dialect.WAA), f.TaskStarted(at=T0 + 160, domain="vlc", task_id="a"))
        await built.record(a_log_read(*again, at=T0 + 161, offset=9))
        assert await built.look(162) == [OPENED]
        assert await built.look(167) == [RESOLVED]
        assert len({incident.run_id for incident in built.incidents}) == 2


async def test_the_watchman_looks_when_something_happens_and_when_time_passes() -> None:
    async with house() as built:
        watch = asyncio.create_task(built.watchman.run())
        try:
            await built.begin()
            await built.probe(SILENT, 100)
            built.now = T0 + 200
            await until(lambda: built.incidents)
        finally:
            watch.cancel()
            await asyncio.wait([watch])
        assert watch.cancelled()


async def test_dwell_times_are_read_from_the_store_and_go_on_with_the_hub() -> None:
    store = MemoryStore()

    async def download(built: House, at: float, seconds: float) -> None:
        stages = ((at, BootStage.STARTING), (at + 5, BootStage.DOWNLOADING), (at + 5 + seconds, BootStage.EXTRACTING))
        await built.record(StatusSeen(vm="vm-1", at=T0 + at - 1, container=Container(status=ContainerStatus.EXITED)))
        await built.record(StatusSeen(vm="vm-1", at=T0 + at, container=RUNS))
        for moment, stage in stages:
            await built.record(a_log_read(f.BootStaged(stage=stage, detail="."), at=T0 + moment, source=FILE))

    async with house(store) as built:
        await built.record(VmNamed(vm="vm-1", at=T0, spec=a_spec()), LinkOpened(vm="vm-1", at=T0))
        await download(built, 10, 100)
        await download(built, 1000, 200)
    async with house(store) as built:
        times = DwellTimes(built.recorder)
        work = asyncio.create_task(times.run())
        try:
            await download(built, 2000, 300)
            await until(lambda: times.usual_s("vm-1", Phase.DOWNLOADING) == 200.0)
        finally:
            work.cancel()
            await asyncio.wait([work])


@dataclass
class Screens:
    """Pictures of a VM; counts the questions."""

    sums: Sequence[str]
    asked: list[tuple[str, int]] = field(default_factory=list)

    async def screen_sums(self, task: Task, *, newest: int) -> tuple[str, ...]:
        self.asked.append((task.key, task.step))
        return tuple(self.sums[:newest])


async def test_screens_are_compared_once_per_so_many_repeats() -> None:
    screens = Screens(["a"] * 9)
    async with house() as built:
        check = ScreenCheck(recorder=built.recorder, reader=screens, repeats=3, clock=lambda: built.now)
        work = asyncio.create_task(check.run())
        try:
            await built.begin()

            async def step(number: int, action: str = "click(1)") -> Task:
                fact = f.StepStarted(at=T0 + 100 + number, number=number, action=action)
                await built.record(a_log_read(fact, at=T0 + 100 + number, offset=100 + number))
                await asyncio.sleep(0)
                return next(built.recorder.state.open_tasks(next(iter(built.recorder.state.runs))))

            for number in range(1, 9):
                task = await step(number)
                expected = 0 if number < 4 else 1 if number < 7 else 2
                await until(lambda: len(screens.asked) == expected)  # noqa: B023 - awaited at once
                await built.recorder.flush()
            assert [step for _, step in screens.asked] == [4, 7]
            task = next(built.recorder.state.open_tasks(task.run_id))
            assert (task.repeats, task.same_screens) == (7, 4)
            task = await step(9, "click(2)")
            assert (task.repeats, task.same_screens) == (0, None)
        finally:
            work.cancel()
            await asyncio.wait([work])
