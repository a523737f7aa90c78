"""The poller: each pipeline once, whoever watches, as fast as somebody needs it, and none held up by another."""

import asyncio
import heapq
import itertools
import stat
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.core.builders import T0
from tests.services.stores import WatchedStore
from tests.support.wait import until
from waa.core.destination import Destinations, rule
from waa.core.error import Conflict, Invalid, NotFound
from waa.core.event import Event, EventType
from waa.core.pipeline import MAX_PIPELINES, NO_CREDENTIAL, Answer, AuthKind, Credential, Pace, PipelineSpec, PipelineStatus
from waa.core.pipeline_answer import failed
from waa.core.pipeline_change import PipelineNamed
from waa.core.port import Store
from waa.core.spec import Origin
from waa.core.status import Reason
from waa.core.transition import Rules
from waa.services.pipelines import GLANCE_S, MAX_AT_ONCE, MAX_PER_BACKEND, Pipelines
from waa.services.recorder import Recorder
from waa.services.supervise import Supervisor
from waa.store.memory import MemoryStore
from waa.store.secrets import SecretFile

UP = Answer(status=PipelineStatus.UP, said="healthy")
DOWN = Answer(status=PipelineStatus.DOWN, said="down")
REFUSED = failed(Reason.REFUSED, "it refuses the connection")
TOKEN = Credential(kind=AuthKind.BEARER, secret="s3cr3t")


class FakeTime:
    """Seconds that pass when the test says so; who waits for a moment is woken in its turn."""

    def __init__(self) -> None:
        self.now = 0.0
        self.flush: Callable[[], Awaitable[None]]
        self._waiting: list[tuple[float, int, asyncio.Event]] = []
        self._numbers = itertools.count()

    def __call__(self) -> float:
        return self.now

    def wall(self) -> float:
        return T0 + self.now

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> None:
        due = asyncio.Event()
        if timeout_s is not None:
            heapq.heappush(self._waiting, (self.now + timeout_s, next(self._numbers), due))
        waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(due.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()

    async def forward(self, seconds: float) -> None:
        """Let so much time pass, moment by moment."""
        until_s = self.now + seconds
        await self._settle()
        while self._waiting and self._waiting[0][0] <= until_s:
            self.now, _, due = heapq.heappop(self._waiting)
            due.set()
            await self._settle()
        self.now = until_s

    async def _settle(self) -> None:
        """Everything goes on that can without time, and what it recorded is stored."""
        for _ in range(3):
            for _ in range(5):
                await asyncio.sleep(0)
            await self.flush()


@dataclass
class Probe:
    """Answers what a test says; one that is in ``hung`` does not."""

    time: FakeTime
    answers: dict[str, Answer] = field(default_factory=dict)
    looks: list[tuple[str, float]] = field(default_factory=list)
    credentials: dict[str, Credential] = field(default_factory=dict)
    hung: set[str] = field(default_factory=set)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    in_flight: Counter[str] = field(default_factory=Counter)
    most: int = 0
    forgotten: list[str] = field(default_factory=list)
    is_closed: bool = False

    async def look(self, spec: PipelineSpec, credential: Credential) -> Answer:
        key = spec.pipeline_id
        self.looks.append((key, self.time.now))
        self.credentials[key] = credential
        self.in_flight[key] += 1
        assert self.in_flight[key] == 1, "two looks at once at one pipeline"
        self.most = max(self.most, self.in_flight.total())
        try:
            if key in self.hung:
                await self.released.wait()
            return self.answers.get(key, UP)
        finally:
            self.in_flight[key] -= 1

    def forget(self, pipeline_id: str) -> None:
        self.forgotten.append(pipeline_id)

    async def close(self) -> None:
        self.is_closed = True

    def moments(self, key: str = "train") -> list[float]:
        return [at for each, at in self.looks if each == key]

    def gaps(self, key: str = "train") -> list[float]:
        return [round(later - earlier, 3) for earlier, later in itertools.pairwise(self.moments(key))]


@dataclass
class Desk:
    recorder: Recorder
    pipelines: Pipelines
    probe: Probe
    time: FakeTime
    folder: Path
    watched: set[str] = field(default_factory=set)

    def watch(self, *keys: str) -> None:
        """Streams that show these are open, and only those."""
        self.watched = set(keys)
        self.pipelines.glance(keys)

    def status(self, key: str = "train") -> str:
        return self.recorder.state.pipelines[key].status.value


@asynccontextmanager
async def desk(
    tmp_path: Path,
    *names: str,
    pace: Pace | None = None,
    store: Store | None = None,
    destinations: Destinations | None = None,
    chance: float = 0.5,
    given: dict[str, Credential] | None = None,
    hung: set[str] | None = None,
) -> AsyncIterator[Desk]:
    time = FakeTime()
    recorder = Recorder(store=store or MemoryStore(), rules=Rules(), clock=time.wall)
    await recorder.open()
    time.flush = recorder.flush
    supervisor = Supervisor()
    probe = Probe(time, hung=hung or set())
    pipelines = Pipelines(
        recorder=recorder,
        probe=probe,
        supervisor=supervisor,
        secrets=SecretFile(tmp_path / "secrets.json"),
        destinations=destinations or Destinations(),
        clock=time.wall,
        given=given,
        pace=pace,
        pace_clock=time,
        wait=time.wait,
        chance=lambda: chance,
    )
    built = Desk(recorder, pipelines, probe, time, tmp_path)
    pipelines.watch(lambda: built.watched)
    try:
        await pipelines.start([a_spec(name) for name in names])
        yield built
    finally:
        await pipelines.close()
        await supervisor.close()
        await recorder.close()


def a_spec(pipeline_id: str = "train", *, origin: Origin = Origin.CONFIG, backend: str = "http://10.0.0.9") -> PipelineSpec:
    return PipelineSpec(pipeline_id=pipeline_id, backend=backend, origin=origin)


# --- cadence ---


async def test_d2_a_watched_pipeline_is_looked_at_every_2_s_and_slower_when_nothing_changes(tmp_path: Path) -> None:
    async with desk(tmp_path, "train") as built:
        built.watch("train")
        await built.time.forward(59)
        assert set(built.probe.gaps()) == {2}
        await built.time.forward(60)
        assert built.probe.gaps()[-1] == 4
        await built.time.forward(120)
        assert built.probe.gaps()[-1] == 10


@pytest.mark.parametrize("news", [DOWN, REFUSED])
async def test_d2_a_change_or_a_failed_look_brings_it_back_to_2_s(tmp_path: Path, news: Answer) -> None:
    async with desk(tmp_path, "train") as built:
        built.watch("train")
        await built.time.forward(300)
        assert built.probe.gaps()[-1] == 10
        built.probe.answers["train"] = news
        await built.time.forward(20)
        assert built.probe.gaps()[-1] == 2


async def test_d2_unwatched_it_is_looked_at_every_30_s_and_fast_again_when_somebody_comes(tmp_path: Path) -> None:
    async with desk(tmp_path, "train") as built:
        await built.time.forward(100)
        assert set(built.probe.gaps()) == {30}
        await built.time.forward(5)
        built.watch("train")
        await built.time.forward(1)
        assert built.time.now - built.probe.moments()[-1] <= 1  # at once: the last look is older than 2 s
        await built.time.forward(60)
        assert max(built.probe.gaps()[-5:]) <= 10
        built.watched = set()
        await built.time.forward(GLANCE_S + 100)
        assert built.probe.gaps()[-1] == 30


async def test_d2_without_history_nobody_looks_where_nobody_watches(tmp_path: Path) -> None:
    async with desk(tmp_path, "train", "other", pace=Pace(has_history=False)) as built:
        await built.time.forward(10_000)
        assert built.probe.looks == []
        built.watch("train")
        await built.time.forward(60)
        assert len(built.probe.moments()) >= 29
        assert built.probe.moments("other") == []
        built.watched = set()
        await built.time.forward(GLANCE_S + 5)
        before = len(built.probe.looks)
        await built.time.forward(10_000)
        assert len(built.probe.looks) == before


async def test_a_page_that_polls_counts_as_a_watcher_for_a_while(tmp_path: Path) -> None:
    async with desk(tmp_path, "train", pace=Pace(has_history=False)) as built:
        built.pipelines.glance(["train", "unknown"])
        await built.time.forward(GLANCE_S + 100)
        assert set(built.probe.gaps()) == {2}
        assert GLANCE_S - 3 <= built.probe.moments()[-1] - built.probe.moments()[0] <= GLANCE_S


async def test_whether_it_is_down_is_found_out_fast_although_nobody_watches(tmp_path: Path) -> None:
    async with desk(tmp_path, "train") as built:
        built.probe.answers["train"] = REFUSED
        await built.time.forward(6)
        assert (built.probe.gaps(), built.status()) == ([2, 2], "down")
        await built.time.forward(60)
        assert set(built.probe.gaps()[2:]) == {30}


async def test_d2_it_is_looked_at_once_whoever_watches(tmp_path: Path) -> None:
    async with desk(tmp_path, "train") as built:
        for _ in range(50):
            built.pipelines.watch(lambda: ["train"])
            built.pipelines.glance(["train"])
        await built.time.forward(20)
        assert set(built.probe.gaps()) == {2}


async def test_the_time_between_two_looks_varies(tmp_path: Path) -> None:
    found = []
    for chance in (0.0, 1.0):
        async with desk(tmp_path / str(chance), "train", chance=chance) as built:
            built.watch("train")
            await built.time.forward(20)
            found.append(built.probe.gaps()[-1])
    assert found == [1.8, 2.2]


# --- slow backends ---


async def test_a_backend_that_hangs_holds_up_nobody_else(tmp_path: Path) -> None:
    names = [f"hung-{number}" for number in range(20)]
    async with desk(tmp_path, *names, "train", hung=set(names)) as built:
        await built.pipelines.add(a_spec("apart", origin=Origin.API, backend="http://10.0.0.10"), NO_CREDENTIAL)
        built.watch("apart", *names)
        await built.time.forward(30)
        assert set(built.probe.gaps("apart")) == {2}
        assert built.probe.in_flight.total() == MAX_PER_BACKEND


async def test_looks_in_flight_are_bounded(tmp_path: Path) -> None:
    async with desk(tmp_path) as built:
        count = MAX_AT_ONCE // MAX_PER_BACKEND + 4
        for backend in range(count):
            for number in range(MAX_PER_BACKEND):
                name = f"p-{backend}-{number}"
                built.probe.hung.add(name)
                await built.pipelines.add(a_spec(name, origin=Origin.API, backend=f"http://10.0.1.{backend}"), NO_CREDENTIAL)
        await built.time.forward(5)
        assert built.probe.in_flight.total() == built.probe.most == MAX_AT_ONCE


async def test_late_looks_are_left_out_not_made_up_for(tmp_path: Path) -> None:
    async with desk(tmp_path, "train", hung={"train"}) as built:
        built.watch("train")
        await built.time.forward(100)
        assert len(built.probe.looks) == 1
        built.probe.hung.clear()
        built.probe.released.set()
        await built.time.forward(9)
        assert built.probe.moments() == [0.5, 100, 102, 104, 106, 108]


# --- events ---


async def test_looks_that_say_the_same_write_nothing(tmp_path: Path) -> None:
    async with desk(tmp_path, "train") as built:
        built.watch("train")
        await built.time.forward(10)
        before = built.recorder.hub.last_event_id
        await built.time.forward(200)
        assert len(built.probe.looks) > 30
        assert built.recorder.hub.last_event_id == before
        assert built.pipelines.seen_at("train") == T0 + built.probe.moments()[-1]


async def test_statuses_become_events(tmp_path: Path) -> None:
    async with desk(tmp_path, "train") as built:
        events: list[Event] = []
        built.recorder.hub.listen(events.extend)
        built.watch("train")
        await built.time.forward(5)
        built.probe.answers["train"] = REFUSED
        await built.time.forward(10)
        built.probe.answers["train"] = UP
        await built.time.forward(3)
        told = [(event.previous, event.type) for event in events]
        assert told == [(previous, EventType.PIPELINE_STATUS_CHANGED) for previous in ("unknown", "up", "unknown", "down")]


# --- naming ---


async def test_what_the_file_no_longer_names_goes_and_the_rest_stays(tmp_path: Path) -> None:
    store = MemoryStore()
    async with desk(tmp_path, "train", "old", store=store) as built:
        await built.pipelines.add(a_spec("mine", origin=Origin.API), TOKEN)
    async with desk(tmp_path, "train", store=store, given={"train": TOKEN}) as built:
        assert sorted(built.recorder.state.pipelines) == ["mine", "train"]
        await built.time.forward(3)
        assert built.probe.credentials == {"mine": TOKEN, "train": TOKEN}


async def test_a_credential_of_the_api_is_kept_in_a_file_of_its_own_and_nowhere_else(tmp_path: Path) -> None:
    store = MemoryStore()
    async with desk(tmp_path, store=store) as built:
        await built.pipelines.add(a_spec("mine", origin=Origin.API), TOKEN)
        file = tmp_path / "secrets.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert "s3cr3t" in file.read_text()
        assert "s3cr3t" not in repr(store.load()) + repr(store.events_since(0))
        await built.pipelines.add(a_spec("mine", origin=Origin.API), NO_CREDENTIAL)
        assert "s3cr3t" not in file.read_text()
        await built.pipelines.add(a_spec("mine", origin=Origin.API), TOKEN)
        await built.pipelines.remove("mine")
        assert "s3cr3t" not in file.read_text()


async def test_another_backend_does_not_get_the_old_ones_credential(tmp_path: Path) -> None:
    async with desk(tmp_path) as built:
        await built.pipelines.add(a_spec("mine", origin=Origin.API), TOKEN)
        await built.time.forward(3)
        await built.pipelines.add(a_spec("mine", origin=Origin.API, backend="http://10.0.0.66"), NO_CREDENTIAL)
        await built.time.forward(3)
        assert built.probe.credentials["mine"] == NO_CREDENTIAL
        assert "mine" in built.probe.forgotten


async def test_while_a_backend_is_replaced_the_old_one_does_not_get_the_new_ones_credential(tmp_path: Path) -> None:
    inner = MemoryStore()
    store = WatchedStore(inner)
    async with desk(tmp_path, store=store) as built:
        await built.pipelines.add(a_spec("mine", origin=Origin.API), NO_CREDENTIAL)
        await built.time.forward(3)
        store.gate.clear()
        replacing = asyncio.ensure_future(built.pipelines.add(a_spec("mine", origin=Origin.API, backend="http://10.0.0.66"), TOKEN))
        file = tmp_path / "secrets.json"
        await until(lambda: file.exists() and "s3cr3t" in file.read_text())
        await asyncio.sleep(0)
        before = len(built.probe.looks)
        built.time.now += 100
        built.pipelines.glance(["mine"])
        await until(lambda: len(built.probe.looks) > before)
        assert built.probe.credentials["mine"] == NO_CREDENTIAL
        store.gate.set()
        await replacing
        await built.time.forward(3)
        assert built.probe.credentials["mine"] == TOKEN


async def test_what_may_not_be_named_or_removed(tmp_path: Path) -> None:
    async with desk(tmp_path, "train", destinations=Destinations(deny=(rule("10.9.0.0/16"),))) as built:
        with pytest.raises(Conflict):
            await built.pipelines.add(a_spec("train", origin=Origin.API), NO_CREDENTIAL)
        with pytest.raises(Invalid, match="backend"):
            await built.pipelines.add(a_spec("mine", origin=Origin.API, backend="http://10.9.0.1"), NO_CREDENTIAL)
        with pytest.raises(Conflict):
            await built.pipelines.remove("train")
        with pytest.raises(NotFound):
            await built.pipelines.remove("mine")


async def test_their_number_is_bounded(tmp_path: Path) -> None:
    async with desk(tmp_path, pace=Pace(has_history=False)) as built:
        for number in range(MAX_PIPELINES):
            await built.recorder.record(PipelineNamed(vm="", at=T0, spec=a_spec(f"p-{number}")))
        await built.recorder.flush()
        with pytest.raises(Conflict):
            await built.pipelines.add(a_spec("mine", origin=Origin.API), NO_CREDENTIAL)


async def test_a_removed_one_is_looked_at_no_more(tmp_path: Path) -> None:
    async with desk(tmp_path) as built:
        await built.pipelines.add(a_spec("mine", origin=Origin.API), NO_CREDENTIAL)
        await built.time.forward(5)
        await built.pipelines.remove("mine")
        before = len(built.probe.looks)
        await built.time.forward(100)
        assert len(built.probe.looks) == before
        assert built.recorder.state.pipelines == {}
        assert await built.pipelines.add(a_spec("mine", origin=Origin.API), NO_CREDENTIAL)


# --- restarts ---


async def test_a_clean_stop_writes_down_when_it_looked_last(tmp_path: Path) -> None:
    store = MemoryStore()
    async with desk(tmp_path, "train", store=store) as built:
        built.watch("train")
        await built.time.forward(41)
        last = built.probe.moments()[-1]
    assert built.probe.is_closed
    async with desk(tmp_path, "train", store=store) as built:
        assert built.pipelines.seen_at("train") == T0 + last
        built.time.now = 1000.0
        built.watch("train")
        await built.time.forward(3)
        first, second = built.recorder.state.pipelines["train"].spells
        assert first.until_at == T0 + last
        assert second.from_at >= T0 + 1000


async def test_a_check_is_one_event_for_all(tmp_path: Path) -> None:
    async with desk(tmp_path, *(f"p-{number}" for number in range(30))) as built:
        await built.time.forward(3)
        before = built.recorder.hub.last_event_id
        await built.pipelines.check_in()
        await built.recorder.flush()
        assert built.recorder.hub.last_event_id == before + 1
        await built.pipelines.check_in()
        await built.recorder.flush()
        assert built.recorder.hub.last_event_id == before + 1


async def test_an_unexpected_error_of_one_look_does_not_end_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with desk(tmp_path, "train", "broken") as built:
        original = built.probe.look

        async def look(spec: PipelineSpec, credential: Credential) -> Answer:
            if spec.pipeline_id == "broken":
                raise RuntimeError("ours")
            return await original(spec, credential)

        built.probe.look = look  # type: ignore[method-assign]
        built.watch("train", "broken")
        await built.time.forward(10)
        assert set(built.probe.gaps()) == {2}
        assert any("pipeline broken" in record.getMessage() for record in caplog.records)


async def test_a_damaged_file_of_secrets_says_so(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text("{")
    with pytest.raises(Invalid, match=r"secrets\.json"):
        SecretFile(tmp_path / "secrets.json").load()


async def test_real_time_passes_too(tmp_path: Path) -> None:
    """The same with the loop's own clock."""
    recorder = Recorder(store=MemoryStore(), rules=Rules(), clock=lambda: T0)
    await recorder.open()
    supervisor = Supervisor()
    probe = Probe(FakeTime())
    pipelines = Pipelines(
        recorder=recorder,
        probe=probe,
        supervisor=supervisor,
        secrets=SecretFile(tmp_path / "secrets.json"),
        destinations=Destinations(),
        clock=lambda: T0,
        pace=Pace(interval_s=0.01, background_s=0.01),
    )
    await pipelines.start([a_spec()])
    await until(lambda: len(probe.looks) > 5)
    await pipelines.close()
    await pipelines.close()
    await supervisor.close()
    await recorder.close()
