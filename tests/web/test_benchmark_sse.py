"""The benchmark stream for programs, as the contract says it (requirements A1 to A9)."""

from pathlib import Path
from urllib.parse import quote

import pytest

from tests.core.builders import FILE, T0, task_facts
from tests.web.house import House, Listener, Message, house, until
from waa.core.error import Failure
from waa.core.logs import fact as f
from waa.core.observation import Container, GuestProbe, LinkFailed, Machine, ScoreFound, StatusSeen, TroubleMet
from waa.core.port import Store
from waa.core.status import ContainerStatus, Reason
from waa.store.memory import MemoryStore
from waa.store.sql import SqlStore

CLOSED = Failure(reason=Reason.TIMEOUT, message="Nothing answers.", remedy="Start it.")


async def settled(listener: Listener, built: House) -> list[Message]:
    """Everything that was sent up to now: an error is sent at once, and told to be the last."""
    await built.record(TroubleMet(vm="vm-1", at=T0, failure=CLOSED))
    before = len(listener.seen)
    await listener.until("error")
    return listener.seen[before:-1]


def named(messages: list[Message], event: str) -> list[Message]:
    return [message for message in messages if message.event == event]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", 5),
        ("?interval=", 5),
        ("?interval=1", 1),
        ("?interval=60", 60),
        ("?interval=7", 7),
        ("?interval=inf", 60),
        ("?interval=1e999", 60),
        ("?interval=-inf", 1),
        ("?interval=nan", 5),
        ("?interval=-1", 1),
        ("?interval=0", 1),
        ("?interval=0.4", 1),
        ("?interval=61", 60),
        ("?interval=5abc", 5),
        ("?interval=%00", 5),
        ("?interval=0x10", 5),
    ],
)
async def test_a1_the_interval_is_clamped_and_a2_connected_comes_first(given: str, expected: int) -> None:
    async with house() as built:
        listener = await built.listen(f"/api/benchmark-sse{given}")
        first = await listener.next()
        assert (first.event, first.id) == ("connected", None)
        assert first.data == {"timestamp": built.clock(), "interval": expected, "version": "1.0"}


async def test_a1_an_interval_given_twice_is_refused_by_name() -> None:
    async with house() as built:
        answer = await built.ask("/api/benchmark-sse?interval=5&interval=6")
        assert answer.code == 422
        assert b'"field":"interval"' in answer.body


async def test_a8_the_headers_are_exact() -> None:
    async with house() as built:
        headers = (await built.listen()).headers
        assert headers["Content-Type"] == "text/event-stream"
        assert headers["Cache-Control"] == "no-cache, no-transform"
        assert headers["Connection"] == "keep-alive"
        assert headers["X-Accel-Buffering"] == "no"
        assert "Set-Cookie" not in headers
        head = await built.ask("/api/benchmark-sse", "HEAD")
        assert (head.code, head.headers["Content-Type"]) == (200, "text/event-stream")


async def test_a3_one_status_per_vm_on_connect_then_only_on_change() -> None:
    async with house() as built:
        await built.name("vm-1")
        await built.name("vm-2")
        listener = await built.listen("/api/benchmark-sse?interval=1")
        _connected, *statuses = await listener.take(3)
        assert [(message.event, message.data["vm"]) for message in statuses] == [("status", "vm-1"), ("status", "vm-2")]
        assert statuses[0].data == {
            "type": "vm_status",
            "vm": "vm-1",
            "connected": True,
            "phase": statuses[0].data["phase"],
            "phase_detail": statuses[0].data["phase_detail"],
            "waa_ready": False,
            "probe": {"status": None, "vnc_url": "http://127.0.0.1:8006/"},
            "observed_at": T0,
        }
        # A disk that fills is a change of the VM, but none that a status tells.
        await built.record(StatusSeen(vm="vm-1", at=T0, machine=Machine(disk_used_percent=71.0)))
        await built.record(
            StatusSeen(
                vm="vm-2",
                at=T0,
                container=Container(status=ContainerStatus.RUNNING),
                probe=GuestProbe(ready=True, status="Probe successful"),
            )
        )
        message = await listener.next()
        assert (message.event, message.data["vm"], message.data["waa_ready"]) == ("status", "vm-2", True)
        assert message.data["probe"]["status"] == "Probe successful"
        await built.record(LinkFailed(vm="vm-2", at=T0 + 1, failure=CLOSED))
        lost = await listener.next()
        assert (lost.data["connected"], lost.data["waa_ready"], lost.data["phase"]) == (False, False, "unreachable")


async def test_a4_task_5_of_30_runs_means_4_are_completed() -> None:
    async with house() as built:
        await built.name()
        await built.start_run(total=None)
        listener = await built.listen()
        progress = (await listener.take(3))[-1]
        assert progress.event == "progress"
        assert (progress.data["total_tasks"], progress.data["tasks_completed"], progress.data["current_task"]) == (None, 0, None)
        await listener.close()
        facts: list[f.AnyFact] = [f.RunPlanned(at=T0, total=30)]
        for number in range(1, 5):
            facts += task_facts(f"task-{number}", at=T0 + 100 * number)
        facts += [f.TaskStarted(at=T0 + 900, domain="vlc", task_id="task-5", index=5)]
        await built.tell(*facts, f.StepStarted(at=T0 + 901, number=3, action="click()"))
        progress = (await (await built.listen()).take(3))[-1]
        assert progress.data | {"run_id": ""} == {
            "vm": "vm-1",
            "run_id": "",
            "status": "running",
            "tasks_completed": 4,
            "total_tasks": 30,
            "current_task": "task-5",
            "current_step": 3,
            "current_index": 5,
        }


async def test_a5_every_task_is_told_once_in_order_with_what_is_known_of_it() -> None:
    async with house() as built:
        await built.name()
        await built.start_run()
        listener = await built.listen()
        await built.tell(*task_facts("first", at=T0 + 10, score=1.0))
        between = [*task_facts("a", at=T0 + 100, score=0.4), *task_facts("b", at=T0 + 200, score=None)]
        crashed: list[f.AnyFact] = [
            f.TaskStarted(at=T0 + 300, domain="vlc", task_id="c"),
            f.TaskCrashed(at=T0 + 301, domain="vlc", task_id="c", error="Read timed out"),
        ]
        again = task_facts("a", at=T0 + 400, score=1.0)
        await built.tell(*between, *crashed, *again)  # began and ended between two looks
        await built.tell(*task_facts("last", at=T0 + 500, score=1.0), f.RunFinished(at=T0 + 600))
        done = named(await settled(listener, built), "task_complete")
        assert [(m.data["task_id"], m.data["attempt"], m.data["success"], m.data["score"], m.data["status"]) for m in done] == [
            ("first", 1, True, 1.0, "passed"),
            ("a", 1, False, 0.4, "failed"),
            ("b", 1, None, None, "unknown"),
            ("c", 1, None, None, "error"),
            ("a", 2, True, 1.0, "passed"),
            ("last", 1, True, 1.0, "passed"),
        ]
        assert done[3].data["domain"] == "vlc"
        assert [m.number for m in done] == sorted({m.number for m in done})


async def test_a5_the_threshold_decides_on_success() -> None:
    async with house(threshold=0.5) as built:
        await built.name()
        await built.start_run()
        listener = await built.listen()
        await built.tell(*task_facts("half", at=T0 + 10, score=0.5), *task_facts("less", at=T0 + 100, score=0.49))
        done = named(await settled(listener, built), "task_complete")
        assert [(m.data["task_id"], m.data["success"]) for m in done] == [("half", True), ("less", False)]


async def test_a5_a_result_that_says_otherwise_is_told_as_settled_and_one_that_agrees_is_not() -> None:
    async with house() as built:
        await built.name()
        await built.start_run()
        await built.tell(*task_facts("a", at=T0 + 10, score=1.0), *task_facts("b", at=T0 + 100, score=1.0))
        run_id = next(iter(built.recorder.state.runs))
        listener = await built.listen()
        await built.record(
            ScoreFound(vm="vm-1", at=T0 + 200, run_id=run_id, domain="notepad", task_id="a", score=1.0),
            ScoreFound(vm="vm-1", at=T0 + 200, run_id=run_id, domain="notepad", task_id="b", score=0.96),
        )
        messages = await settled(listener, built)
        assert not named(messages, "task_complete")
        (changed,) = named(messages, "task_settled")
        assert (changed.data["task_id"], changed.data["success"], changed.data["score"]) == ("b", False, 0.96)


def a_store(kind: str, folder: Path) -> Store:
    return MemoryStore() if kind == "memory" else SqlStore(f"sqlite:///{folder / 'waa.db'}")


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("capacity", [2000, 3])
@pytest.mark.parametrize("way", ["header", "query"])
async def test_a5_a9_tasks_that_ended_while_the_client_was_away_come_when_it_resumes(
    kind: str, capacity: int, way: str, tmp_path: Path
) -> None:
    async with house(store=a_store(kind, tmp_path), capacity=capacity) as built:
        await built.name()
        await built.start_run()
        listener = await built.listen()
        await built.tell(*task_facts("seen", at=T0 + 10))
        last = await listener.until("task_complete")
        await listener.close()
        for number in range(10):
            await built.tell(*task_facts(f"missed-{number}", at=T0 + 100 * (number + 1)))
        assert last.id is not None
        if way == "header":
            listener = await built.listen(headers={"Last-Event-ID": last.id})
        else:
            listener = await built.listen(f"/api/benchmark-sse?lastEventId={quote(last.id)}")
        messages = await settled(listener, built)
        assert messages[0].event == "connected"
        assert not named(messages, "gap")
        assert [m.data["task_id"] for m in named(messages, "task_complete")] == [f"missed-{number}" for number in range(10)]
        assert [m.event for m in messages[1:]].index("status") == 10, "what was missed comes before the snapshot"


@pytest.mark.parametrize("capacity", [2000, 3])
async def test_a5_a9_a_client_resumes_across_a_restart_of_the_server(capacity: int, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'waa.db'}"
    async with house(store=SqlStore(url)) as built:
        await built.name()
        await built.start_run()
        listener = await built.listen()
        await built.tell(*task_facts("seen", at=T0 + 10))
        last = await listener.until("task_complete")
        await listener.close()
        await built.tell(*task_facts("before", at=T0 + 100))
    async with house(store=SqlStore(url), capacity=capacity) as built:
        await built.tell(*task_facts("after", at=T0 + 200), *task_facts("more", at=T0 + 300))
        assert last.id is not None
        listener = await built.listen(headers={"Last-Event-ID": last.id})
        messages = await settled(listener, built)
        assert not named(messages, "gap")
        assert [m.data["task_id"] for m in named(messages, "task_complete")] == ["before", "after", "more"]


async def test_a6_the_heartbeat_comes_from_a_timer_of_its_own() -> None:
    async with house() as built:
        listener = await built.listen()
        await listener.next()
        for _ in range(3):
            built.stream_clock.now += 30
            beat = await listener.next()
            assert (beat.event, beat.id, beat.data) == ("heartbeat", None, {"timestamp": built.clock()})
        built.stream_clock.now += 29
        await built.name()
        assert (await listener.next()).event == "status"


async def test_a7_an_error_of_the_servers_side_names_its_vm() -> None:
    async with house() as built:
        await built.name()
        listener = await built.listen()
        await built.record(TroubleMet(vm="vm-1", at=T0, failure=CLOSED))
        error = await listener.until("error")
        assert error.data == {"message": "Nothing answers.", "vm": "vm-1", "reason": "timeout"}
        assert error.id is not None


@pytest.mark.parametrize("last", ["other-1", "nonsense", "0", "%", "x" * 900, "{store}-999999", "{store}-01", "{store}--1", "{store}-1e3"])
async def test_a9_an_id_that_is_not_ours_gives_a_gap_and_then_a_snapshot(last: str) -> None:
    async with house() as built:
        await built.name()
        listener = await built.listen(headers={"Last-Event-ID": last.format(store=built.recorder.hub.store_id)})
        connected, gap, status = await listener.take(3)
        assert [connected.event, gap.event, status.event] == ["connected", "gap", "status"]
        assert gap.id == status.id == built.recorder.hub.wire_id(built.recorder.hub.last_event_id)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a9_an_id_that_is_too_old_gives_a_gap(kind: str, tmp_path: Path) -> None:
    async with house(store=a_store(kind, tmp_path)) as built:
        await built.name()
        await built.start_run()
        for number in range(4):
            await built.tell(*task_facts(f"task-{number}", at=T0 + 100 * number))
        await built.recorder.prune(max_events=3, runs_before=0)
        listener = await built.listen(headers={"Last-Event-ID": built.recorder.hub.wire_id(2)})
        assert [message.event for message in await listener.take(4)] == ["connected", "gap", "status", "progress"]


async def test_a9_a_client_that_has_everything_gets_no_gap_and_nothing_twice() -> None:
    async with house() as built:
        await built.name()
        await built.start_run()
        await built.tell(*task_facts("a", at=T0 + 10))
        last = built.recorder.hub.wire_id(built.recorder.hub.last_event_id)
        listener = await built.listen(headers={"Last-Event-ID": last})
        messages = await settled(listener, built)
        assert [message.event for message in messages] == ["connected", "status", "progress"]


async def test_a9_every_event_has_an_id_and_ids_never_go_back_within_a_connection() -> None:
    async with house(capacity=5) as built:
        await built.name()
        await built.start_run()
        await built.tell(*task_facts("before", at=T0 + 10))
        listener = await built.listen("/api/benchmark-sse?interval=1", headers={"Last-Event-ID": built.recorder.hub.wire_id(1)})
        for number in range(20):
            await built.tell(*task_facts(f"task-{number}", at=T0 + 100 * (number + 1)))
            if number == 10:
                built.stream_clock.now += 30
                await listener.until("heartbeat")
        await listener.until("progress")
        await settled(listener, built)
        ids = [message.number for message in listener.seen if message.event not in ("connected", "heartbeat")]
        assert ids == sorted(ids)
        assert {message.event for message in listener.seen if message.id is None} == {"connected", "heartbeat"}


async def test_a1_a_burst_gives_one_progress_at_once_and_tasks_do_not_wait() -> None:
    async with house() as built:
        await built.name()
        await built.start_run()
        await built.tell(f.TaskStarted(at=T0 + 1, domain="vlc", task_id="a"))
        listener = await built.listen("/api/benchmark-sse?interval=60")
        await listener.take(3)
        await built.tell(f.StepStarted(at=T0 + 2, number=1, action="click()"))
        assert {m.event: m.data.get("current_step") for m in await listener.take(2)} == {"status": None, "progress": 1}
        for number in range(2, 51):
            await built.tell(f.StepStarted(at=T0 + 1 + number, number=number, action=f"click({number})"))
        await built.tell(f.TaskFinished(at=T0 + 100, domain="vlc", task_id="a"))
        message = await listener.next()
        assert (message.event, message.data["task_id"]) == ("task_complete", "a")
        assert not await settled(listener, built)


async def test_a1_after_the_interval_the_newest_progress_comes_once() -> None:
    async with house() as built:
        await built.name()
        await built.start_run()
        await built.tell(f.TaskStarted(at=T0 + 1, domain="vlc", task_id="a"))
        listener = await built.listen("/api/benchmark-sse?interval=1")
        await built.tell(f.StepStarted(at=T0 + 2, number=1, action="click()"))
        await listener.until("progress")
        assert (await listener.until("progress")).data["current_step"] == 1
        await built.tell(*(f.StepStarted(at=T0 + 1 + number, number=number, action="click()") for number in range(2, 51)))
        assert (await listener.until("progress")).data["current_step"] == 50


async def test_clients_of_one_interval_share_what_is_sent() -> None:
    async with house() as built:
        await built.name()
        await built.start_run()
        listeners = [await built.listen() for _ in range(5)]
        published = built.streams.counts.published
        await built.tell(*task_facts("a", at=T0 + 10))
        for listener in listeners:
            await listener.until("task_complete")
        await until(lambda: built.streams.counts.published >= published + 2, "the progress of the group")
        assert built.streams.counts.published - published <= 3, "task_complete, progress and status, once each"


async def test_a_source_with_a_run_of_its_own_does_not_disturb_the_others() -> None:
    async with house() as built:
        for name in ("vm-1", "vm-2"):
            await built.name(name)
            await built.start_run(vm=name)
        listener = await built.listen()
        await built.tell(*task_facts("a", at=T0 + 10), vm="vm-2", source=FILE)
        done = await listener.until("task_complete")
        assert (done.data["vm"], done.data["run_id"].startswith("vm-2-")) == ("vm-2", True)
