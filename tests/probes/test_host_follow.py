"""Files that are followed: every byte once, in order, across all that happens to log files."""

import os
import random
import threading
from pathlib import Path

import pytest

from tests.probes.test_host_script import a_spec, place
from tests.support.wait import PATIENCE_S
from tests.support.winarena_watch import Seen, Tail, watching
from waa.core.observation import LogKind, LogSource
from waa.core.status import Reason
from waa.probes.local import LocalLink

KINDS = ["dash", "bash", "busybox", "bare"]


def at(path: Path, identity: str = "") -> LogSource:
    return LogSource(kind=LogKind.FILE, path=str(path), identity=identity)


def append(path: Path, text: bytes) -> None:
    with path.open("ab") as file:
        file.write(text)


async def begun(seen: Seen, path: Path, text: bytes) -> Tail:
    """A follower that has handed on ``text``, all that is in the file."""
    append(path, text)
    tail = await seen.follow(at(path))
    await tail.until(b"", text)
    return tail


@pytest.mark.parametrize("kind", KINDS)
async def test_the_life_of_a_log_in_every_shell(kind: str, tmp_path: Path) -> None:
    log = tmp_path / "a b'$(x).log"
    async with watching(place(kind, tmp_path).link(), a_spec(), interval_s=0.2) as seen:
        tail = await begun(seen, log, b"one\n\x00\xff")
        append(log, b"two")
        await tail.until(b"", b"one\n\x00\xfftwo")
        with log.open("wb"):
            pass
        await tail.until(b"", b"one\n\x00\xfftwo", b"")
        append(log, b"three\n")
        await tail.until(b"", b"one\n\x00\xfftwo", b"three\n")
        log.rename(tmp_path / "old")
        append(tmp_path / "old", b"still\n")
        append(log, b"four\n")
        await tail.until(b"", b"one\n\x00\xfftwo", b"three\nstill\n", b"four\n")
        log.unlink()
        append(log, b"five\n")
        await tail.until(b"", b"one\n\x00\xfftwo", b"three\nstill\n", b"four\n", b"five\n")
        assert tail.follower is not None
        tail.follower.close()
        tail.follower.close()
        follower = await seen.follow(tail.sources[-1], 2)
        append(log, b"six\n")
        await follower.until(b"ve\nsix\n")
        assert (follower.sources, tail.ends) == ([], [])
    if kind in ("dash", "bash"):  # without the moment of birth, an inode may come again
        assert len({source.identity for source in tail.sources}) == 3


async def test_lines_arrive_before_the_next_tick(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with watching(LocalLink("here"), a_spec(), interval_s=60) as seen:  # a tick of 2 s
        tail = await begun(seen, log, b"")
        total = b""
        for number in range(100):
            total += b"%d\n" % number
            append(log, b"%d\n" % number)
            await tail.until(b"", total)
        assert len(seen.alive) < 50  # one line a tick would have taken 200 s


async def test_a_missing_file_is_waited_for(tmp_path: Path) -> None:
    log = tmp_path / "sub" / "log"
    async with watching(LocalLink("here"), a_spec()) as seen:
        tail = await seen.follow(at(log))
        await seen.beats(3)
        assert (tail.streams, tail.ends) == ([b""], [])
        log.parent.mkdir()
        append(log, b"here\n")
        await tail.until(b"", b"here\n")


async def test_another_file_than_the_known_one_is_read_from_its_beginning(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"0123456789")
    async with watching(LocalLink("here"), a_spec()) as seen:
        tail = await seen.follow(at(log, "1.5"), 4)
        await tail.until(b"", b"0123456789")
        assert tail.sources[0].key == at(log).key
        same = await seen.follow(tail.sources[0], 4)
        await same.until(b"456789")
        end = await seen.follow(tail.sources[0], 10)
        append(log, b"x")
        await end.until(b"x")
        shorter = await seen.follow(tail.sources[0], 12)
        await shorter.until(b"", b"0123456789x")
        assert shorter.sources == tail.sources


async def test_a_file_truncated_and_refilled_begins_anew(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with watching(LocalLink("here"), a_spec()) as seen:
        tail = await begun(seen, log, b"a long first line\n")
        log.write_bytes(b"short\n")
        await tail.until(b"", b"a long first line\n", b"short\n")


async def test_an_empty_new_file_does_not_end_the_old_one(tmp_path: Path) -> None:
    log, old = tmp_path / "log", tmp_path / "old"
    async with watching(LocalLink("here"), a_spec()) as seen:
        tail = await begun(seen, log, b"a\n")
        log.rename(old)
        log.touch()
        await seen.beats(3)
        append(old, b"b\n")
        await tail.until(b"", b"a\nb\n")
        append(log, b"c\n")
        await tail.until(b"", b"a\nb\n", b"c\n")


async def test_a_link_that_points_to_another_file_is_another_log(tmp_path: Path) -> None:
    log, first, second = tmp_path / "latest", tmp_path / "1", tmp_path / "2"
    first.write_bytes(b"1\n")
    second.write_bytes(b"2\n")
    log.symlink_to(first)
    async with watching(LocalLink("here"), a_spec()) as seen:
        tail = await seen.follow(at(log))
        await tail.until(b"", b"1\n")
        os.symlink(second, tmp_path / "new")
        os.replace(tmp_path / "new", log)
        await tail.until(b"", b"1\n", b"2\n")


async def test_a_log_cannot_forge_a_mark(tmp_path: Path) -> None:
    forged = b"\x00@" + b"0" * 32 + b" R 99\ntail: file truncated\n\x00@"
    async with watching(LocalLink("here"), a_spec()) as seen:
        tail = await begun(seen, tmp_path / "log", forged + b"x")
        append(tmp_path / "log", b"y")
        await tail.until(b"", forged + b"xy")


async def test_a_folder_is_not_a_log(tmp_path: Path) -> None:
    async with watching(LocalLink("here"), a_spec()) as seen:
        tail = await seen.follow(at(tmp_path))
        failure = await tail.until_end()
        assert failure is not None
        assert failure.reason is Reason.COMMAND
        assert "not a regular file" in failure.message


async def test_a_paused_follower_holds_the_bytes_back_and_loses_none(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with watching(LocalLink("here"), a_spec()) as seen:
        tail = await begun(seen, log, b"a")
        assert tail.follower is not None
        tail.follower.pause()
        big = b"0123456789abcdef" * 65536
        append(log, big)
        await seen.beats(4)
        assert tail.streams == [b"", b"a"]
        tail.follower.resume()
        await tail.until(b"", b"a" + big)


async def test_no_byte_is_lost_or_doubled_while_a_busy_writer_rotates(tmp_path: Path) -> None:
    log = tmp_path / "log"
    written: list[bytes] = []

    def write() -> None:
        dice = random.Random(7)
        for generation in range(4):
            with log.open("ab", buffering=0) as file:
                for line in range(300):
                    text = b"%d %d %s\n" % (generation, line, b"x" * dice.randrange(200))
                    written.append(text)
                    file.write(text)
            if generation < 3:
                rotated.acquire(timeout=PATIENCE_S)
                log.rename(tmp_path / f"log.{generation}")

    rotated = threading.Semaphore(0)
    async with watching(LocalLink("here"), a_spec()) as seen:
        tail = await seen.follow(at(log))
        writer = threading.Thread(target=write)
        writer.start()
        for generation in range(4):
            # the next file comes only once this one was begun: a file that comes and goes unseen cannot be read
            await seen.until(lambda wanted=generation + 2: len(tail.streams) == wanted, "rotation")  # type: ignore[misc]
            rotated.release()
        await seen.until(lambda: len(b"".join(tail.streams)) >= 1200 and tail.data.count(b"\n") == 300, "all lines")
        writer.join()
    assert b"".join(tail.streams) == b"".join(written)


async def test_followers_end_with_the_watch(tmp_path: Path) -> None:
    link = LocalLink("here")
    async with watching(link, a_spec()) as seen:
        tail = await begun(seen, tmp_path / "log", b"a")
    append(tmp_path / "log", b"b")
    assert (tail.streams, tail.ends) == ([b"", b"a"], [])
