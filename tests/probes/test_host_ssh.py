"""The same over a real OpenSSH server: status, logs, and nothing left on the machine when the connection dies."""

import asyncio
import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sshd import PROGRAM, Sshd
from tests.support.wait import PATIENCE_S
from tests.support.winarena import WinArena, is_available
from tests.support.winarena_watch import watching
from waa.core.observation import LogKind, LogSource
from waa.core.spec import VmSpec
from waa.core.status import Reason
from waa.probes import script
from waa.probes.ssh import SshOpener

pytestmark = [
    pytest.mark.container,
    pytest.mark.sshd,
    pytest.mark.skipif(not is_available() or shutil.which(PROGRAM) is None, reason="needs root, sshd, podman, runc and busybox"),
]


@pytest.fixture
def arena() -> Iterator[WinArena]:
    with WinArena() as arena:
        arena.start()
        yield arena


def ours(log: Path) -> set[int]:
    """The sessions of our programs on this machine that follow or watch for this test: they have ``log`` open, or come from it."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            is_ours = script.MARK.encode() in (entry / "cmdline").read_bytes()
            if is_ours and f"WAA_TEST={log}".encode() in (entry / "environ").read_bytes():
                found.add(int((entry / "stat").read_text().rpartition(") ")[2].split()[3]))
    return found


async def test_watch_and_follow_over_ssh_leave_nothing_behind(arena: WinArena, tmp_path: Path) -> None:
    log = tmp_path / "host.log"
    with log.open("wb") as file:
        file.write(b"one\n")
    with Sshd(tmp_path / "sshd", options=[f"SetEnv WAA_TEST={log}"]) as server:
        spec = VmSpec(name="vm", **server.spec_fields(), **arena.spec_fields())
        opener = SshOpener(data_dir=tmp_path / "data", home=tmp_path)
        try:
            async with watching(await opener.open(spec), spec) as seen:
                arena.set_ready(True)
                arena.write(arena.log_path, "inside\n")
                await seen.until(lambda: seen.is_ready and seen.machine is not None)
                outside = await seen.follow(LogSource(kind=LogKind.FILE, path=str(log)))
                inside = await seen.follow(LogSource(kind=LogKind.INNER, path=arena.log_path))
                boot = await seen.follow(LogSource(kind=LogKind.CONTAINER, path=arena.name))
                await outside.until(b"", b"one\n")
                await inside.until(b"", b"inside\n")
                await seen.until(lambda: boot.data.count(b"\n") == 3, "container log")
                assert len(ours(log)) == 4
                server.kill_sessions()
                await seen.until(lambda: seen.error is not None, "end of the link")
                assert seen.error is not None
                assert seen.error.failure.reason in (Reason.CLOSED, Reason.NETWORK)
            async with asyncio.timeout(PATIENCE_S):
                while ours(log) or script.MARK in await asyncio.to_thread(arena.processes):
                    await asyncio.to_thread(arena.exec, "sleep", "0.05")
        finally:
            await opener.close()
