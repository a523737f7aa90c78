"""A real container: what is seen of it, of the guest, of the runner and of the logs inside."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.wait import PATIENCE_S
from tests.support.winarena import RESULTS_DIR, WinArena, is_available
from tests.support.winarena_watch import Seen, watching
from waa.core.observation import Container, GuestProbe, LogKind, LogSource, Runner, SetupPage
from waa.core.spec import VmSpec
from waa.core.status import ContainerStatus
from waa.probes import script
from waa.probes.local import LocalLink

pytestmark = [pytest.mark.container, pytest.mark.skipif(not is_available(), reason="needs root, podman, runc and busybox")]

PATTERN = r"^python3 .*run\.py"
"""As the stand-in's runner looks; other runners on this machine are started by a full path."""


@pytest.fixture(scope="module")
def arena() -> Iterator[WinArena]:
    with WinArena() as arena:
        yield arena


def a_spec(arena: WinArena, **fields: object) -> VmSpec:
    return VmSpec(**{"name": "vm", "process": PATTERN, **arena.spec_fields(), **fields})  # type: ignore[arg-type]


def inner(arena: WinArena, identity: str = "") -> LogSource:
    return LogSource(kind=LogKind.INNER, path=arena.log_path, identity=identity)


def own_log(arena: WinArena, identity: str = "") -> LogSource:
    return LogSource(kind=LogKind.CONTAINER, path=arena.name, identity=identity)


def kinds(seen: Seen) -> list[LogKind]:
    return [found.source.kind for found in seen.logs]


async def looked_inside(seen: Seen) -> None:
    await seen.until(lambda: isinstance(seen.probe, GuestProbe) and seen.probe.status == "no connection", "look inside")


async def test_the_life_of_a_container(arena: WinArena) -> None:
    arena.remove()
    async with watching(LocalLink("here"), a_spec(arena)) as seen:
        await seen.until(lambda: seen.container_status is ContainerStatus.ABSENT)
        container_id = await asyncio.to_thread(arena.start)
        await looked_inside(seen)
        first = seen.container
        assert isinstance(first, Container)
        assert (first.container_id, first.exit_code) == (container_id, None)
        assert first.started_at is not None
        await asyncio.to_thread(arena.restart)
        await seen.until(lambda: seen.container_status is ContainerStatus.RUNNING and seen.container != first, "restart")
        assert isinstance(seen.container, Container)
        assert seen.container.container_id == container_id
        assert seen.container.started_at is not None
        assert seen.container.started_at > first.started_at
        await asyncio.to_thread(arena.pause)
        await seen.until(lambda: seen.container_status is ContainerStatus.PAUSED, "pause")
        await asyncio.to_thread(arena.unpause)
        await seen.until(lambda: seen.container_status is ContainerStatus.RUNNING, "going on")
        await asyncio.to_thread(arena.kill)
        await seen.until(lambda: seen.container_status is ContainerStatus.EXITED, "end")
        assert isinstance(seen.container, Container)
        assert seen.container.exit_code == 137
        await asyncio.to_thread(arena.remove)
        await seen.until(lambda: seen.container_status is ContainerStatus.ABSENT and seen.logs == (), "removal")


async def test_guest_page_and_runner_come_and_go(arena: WinArena) -> None:
    arena.start()
    async with watching(LocalLink("here"), a_spec(arena)) as seen:
        await looked_inside(seen)
        arena.set_page('<p class="loading">Downloading Windows 11 (12.3%)</p>')
        await seen.until(lambda: seen.setup_page == SetupPage(text="Downloading Windows 11 (12.3%)"), "page")
        arena.set_broken()
        await seen.until(lambda: isinstance(seen.probe, GuestProbe) and seen.probe.status == "HTTP 404", "broken guest")
        arena.set_ready(True)
        await seen.until(lambda: seen.probe == GuestProbe(ready=True, status="Probe successful"), "guest")
        await seen.until(lambda: seen.setup_page == SetupPage() and seen.runner == Runner(), "no page, no runner")
        arena.start_run([("notepad", "a-WOS")])
        await seen.until(lambda: seen.pid is not None, "runner")
        assert isinstance(seen.runner, Runner)
        assert seen.runner.where == "container"
        assert "./run.py" in seen.runner.command
        await seen.until(lambda: LogKind.INNER in kinds(seen), "run log")
        told = len(seen.statuses)
        await seen.beats(4)
        assert len(seen.statuses) == told
        arena.kill_run()
        await seen.until(lambda: seen.runner == Runner(), "end of the runner")
        arena.set_ready(False)
        await seen.until(lambda: not seen.is_ready, "guest gone")


async def test_nothing_of_ours_stays_inside_or_outside(arena: WinArena) -> None:
    arena.start()
    arena.set_ready(True)
    async with watching(LocalLink("here"), a_spec(arena)) as seen:
        await seen.until(lambda: seen.is_ready)
        await seen.follow(inner(arena))
        assert script.MARK in await asyncio.to_thread(arena.processes)
    async with asyncio.timeout(PATIENCE_S):
        while script.MARK in await asyncio.to_thread(arena.processes):
            await asyncio.to_thread(arena.exec, "sleep", "0.05")


async def test_logs_are_found_on_both_sides(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    with WinArena(log_path=str(log)) as arena:
        arena.start()
        log.write_text("host\n")
        arena.write(str(log), "inside!\n")
        async with watching(LocalLink("here"), a_spec(arena)) as seen:
            await seen.until(lambda: len(seen.logs) >= 3)
            found = {item.source.kind: item for item in seen.logs if item.source.path in (str(log), arena.name)}
            assert (found[LogKind.FILE].size, found[LogKind.INNER].size) == (5, 8)
            assert all(found[kind].modified_at is not None for kind in (LogKind.FILE, LogKind.INNER))
            assert isinstance(seen.container, Container)
            assert found[LogKind.CONTAINER].source.identity == seen.container.container_id


async def test_the_run_log_inside_is_followed_through_rotation_and_truncation(arena: WinArena) -> None:
    arena.start()
    arena.write(arena.log_path, "one\n", mode="w")
    async with watching(LocalLink("here"), a_spec(arena)) as seen:
        tail = await seen.follow(inner(arena))
        await tail.until(b"", b"one\n")
        arena.write(arena.log_path, "two\n")
        await tail.until(b"", b"one\ntwo\n")
        arena.rotate_log()
        arena.write(arena.log_path, "three\n")
        await tail.until(b"", b"one\ntwo\n", b"three\n")
        arena.truncate_log()
        await tail.until(b"", b"one\ntwo\n", b"three\n", b"")
        arena.write(arena.log_path, "4\n")
        await tail.until(b"", b"one\ntwo\n", b"three\n", b"4\n")
        again = await seen.follow(tail.sources[-1], 1)
        await again.until(b"\n")
        await asyncio.to_thread(arena.stop)
        assert await tail.until_end() is not None


def lines(data: bytes) -> list[bytes]:
    """Without the engine's times."""
    return [line.partition(b" ")[2] for line in data.splitlines()]


async def test_the_containers_own_log_is_continued_across_restarts(arena: WinArena) -> None:
    container_id = arena.start()
    boot = [b"Starting WinArena...", b"Starting VM...", b"Starting WinArena VM..."]
    async with watching(LocalLink("here"), a_spec(arena)) as seen:
        tail = await seen.follow(own_log(arena))
        arena.say("hello\n")
        arena.say("\x1b[1;31mERROR\x1b[0m: no KVM\n", error=True)
        await seen.until(lambda: len(lines(tail.data)) == 5, "lines")
        assert lines(tail.data) == [*boot, b"hello", b"\x1b[1;31mERROR\x1b[0m: no KVM"]
        assert tail.sources == [own_log(arena, container_id)]
        await asyncio.to_thread(arena.stop)
        assert await tail.until_end() is None
        await asyncio.to_thread(arena.resume)
        after = await seen.follow(tail.sources[0], len(tail.data))
        await seen.until(lambda: len(lines(after.data)) == 3, "lines after the restart")
        assert (lines(after.data), after.sources) == (boot, [])
        other_id = await asyncio.to_thread(arena.start)
        assert await after.until_end() is None
        fresh = await seen.follow(tail.sources[0], len(tail.data))
        await seen.until(lambda: len(lines(fresh.data)) == 3, "lines of the new container")
        assert fresh.sources == [own_log(arena, other_id)]


async def test_the_log_of_an_absent_container_is_a_failure(arena: WinArena) -> None:
    arena.remove()
    async with watching(LocalLink("here"), a_spec(arena)) as seen:
        failure = await (await seen.follow(own_log(arena))).until_end()
        assert failure is not None
        assert "no such container" in failure.message
        assert await (await seen.follow(inner(arena))).until_end() is not None


async def test_results_are_read_inside_the_container(arena: WinArena) -> None:
    arena.start()
    arena.start_run([("clock", "it's 1?"), ("clock", "b")])
    arena.finish_task(6 / 7)
    async with watching(LocalLink("here"), a_spec(arena)) as seen:
        assert seen.watch is not None
        read = seen.watch.read_result
        assert await read(domain="clock", task_id="it's 1?", roots=[RESULTS_DIR], inner=True) == b"0.8571428571428571\n"
        assert await read(domain="clock", task_id="b", roots=[RESULTS_DIR], inner=True) is None
        assert await read(domain="..", task_id="b", roots=[RESULTS_DIR], inner=True) is None
        assert await read(domain="clock", task_id="it's 1?", roots=[RESULTS_DIR], inner=False) is None
