"""A server that is killed at any moment goes on where its records end: nothing is lost, nothing is told twice."""

import asyncio
import multiprocessing
import random
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tests.core.builders import CONTAINER, FILE, T0, a_spec
from tests.support.wait import PATIENCE_S
from waa.core.entity import Entity, Task
from waa.core.event import EventType
from waa.core.logs.parser import LogParser
from waa.core.observation import LinkOpened, LogCursor, LogRead, LogSource, VmNamed
from waa.core.status import RunStatus, TaskStatus
from waa.core.transition import Rules
from waa.services.recorder import Recorder
from waa.store.sql import SqlStore

GENERATED = Path(__file__).resolve().parent.parent / "corpus" / "generated"
LOGS = (
    ("vm-1", FILE, "waa_up_exception.plain.log"),
    ("vm-2", FILE, "waa_up_par3.merged.log"),
    ("vm-3", CONTAINER, "waa_v2_loop_instance1_run1.log"),
)
NOW = T0 + 10 * 86400

FORK = multiprocessing.get_context("fork")
"""A fresh interpreter per kill would take most of the time of this test."""


def chunks(recorder: Recorder, vm: str, source: LogSource, data: bytes, chance: random.Random) -> Iterator[LogRead]:
    """The rest of one log from the stored cursor on."""
    cursor = recorder.state.cursors.get((vm, source.key))
    parser = LogParser.resume(cursor.parser) if cursor is not None else LogParser()
    at = cursor.offset if cursor is not None else 0
    base = at - parser.consumed
    while at < len(data):
        size = chance.randint(1, 4000)
        facts = parser.feed(data[at : at + size])
        at += size
        cursor = LogCursor(vm=vm, source=source, offset=base + parser.consumed, parser=parser.state())
        yield LogRead(vm=vm, at=NOW, source=source, facts=tuple(facts), cursor=cursor)


async def feed(database: Path, seed: int, tick: Callable[[], None]) -> None:
    """Digest all logs, mixed, and close."""
    chance = random.Random(seed)
    recorder = Recorder(store=SqlStore(f"sqlite:///{database}"), rules=Rules(), clock=lambda: NOW, cursor_delay_s=0.001)
    await recorder.open()
    for vm, _, _ in LOGS:
        await recorder.record(VmNamed(vm=vm, at=NOW, spec=a_spec(vm)))
        await recorder.record(LinkOpened(vm=vm, at=NOW))
    logs = [chunks(recorder, vm, source, (GENERATED / name).read_bytes(), chance) for vm, source, name in LOGS]
    while logs:
        log = chance.choice(logs)
        read = next(log, None)
        if read is None:
            logs.remove(log)
            continue
        await recorder.record(read, wait=chance.random() < 0.3)
        tick()
    await recorder.close()


def feed_in_child(database: Path, seed: int, pipe: Connection) -> None:
    asyncio.run(feed(database, seed, lambda: pipe.send_bytes(b".")))


def feed_until_killed(database: Path, seed: int, ticks: int) -> bool:
    """Whether it came to its end before that many chunks."""
    ours, theirs = FORK.Pipe(duplex=False)
    child = FORK.Process(target=feed_in_child, args=(database, seed, theirs), daemon=True)
    child.start()
    theirs.close()
    try:
        for _ in range(ticks):
            ours.recv_bytes()
        child.kill()
    except EOFError:
        pass
    finally:
        ours.close()
    child.join(PATIENCE_S)
    return child.exitcode == 0


def outcome(database: Path) -> tuple[list[Entity], dict[str, int], Counter[str]]:
    """All that is known, how far each log was digested, and how often the end of each task was told."""
    store = SqlStore(f"sqlite:///{database}")
    snapshot = store.load()
    ended = Counter(event.topic for event in store.events_since(0, types=[EventType.TASK_COMPLETED], limit=10_000))
    store.close()
    entities = sorted(snapshot.entities, key=str)
    return entities, {cursor.vm: cursor.offset for cursor in snapshot.cursors}, ended


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Entity], dict[str, int], Counter[str]]:
    database = tmp_path_factory.mktemp("whole") / "waa.db"
    asyncio.run(feed(database, 0, lambda: None))
    return outcome(database)


def test_the_logs_hold_what_the_test_is_about(uninterrupted: tuple[list[Entity], dict[str, int], Counter[str]]) -> None:
    entities, _, ended = uninterrupted
    tasks = [entity for entity in entities if isinstance(entity, Task)]
    assert {task.status for task in tasks} >= {TaskStatus.PASSED, TaskStatus.FAILED, TaskStatus.ERROR}
    assert len(tasks) >= 15
    assert sum(ended.values()) == sum(task.is_over for task in tasks)
    assert any(getattr(entity, "status", None) is RunStatus.FINISHED for entity in entities)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killed_again_and_again_it_ends_like_uninterrupted(
    seed: int, tmp_path: Path, uninterrupted: tuple[list[Entity], dict[str, int], Counter[str]]
) -> None:
    chance = random.Random(seed)
    database = tmp_path / "waa.db"
    kills = 0
    while not feed_until_killed(database, chance.randrange(10**6), ticks=chance.randint(1, 15) if kills < 12 else 1_000_000):
        kills += 1
        assert kills < 13
    assert kills >= 4
    assert outcome(database) == uninterrupted
    assert set(outcome(database)[2].values()) == {1}
