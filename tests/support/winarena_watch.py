"""A ``HostWatch`` that runs, for tests: collects what it says and waits for conditions.

    async with watching(link, spec) as seen:
        await seen.until(lambda: seen.container_status == "running")

Whatever the test does not end is ended with the block.
"""

import asyncio
import contextlib
import shlex
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from tests.support.wait import PATIENCE_S
from waa.core.error import Failure, LinkError
from waa.core.observation import Container, GuestProbe, LogFound, LogSource, Machine, Runner, SetupPage, StatusSeen
from waa.core.port import CommandResult, Link, LogFollower, RemoteProcess
from waa.core.spec import VmSpec
from waa.core.status import ContainerStatus
from waa.probes.host import HostWatch

INTERVAL_S = 0.2


class Seen:
    """What a watch has said so far: the newest of each part."""

    def __init__(self) -> None:
        self.watch: HostWatch | None = None
        self.error: LinkError | None = None
        self.statuses: list[StatusSeen] = []
        self.alive: list[float] = []
        self.log_calls: list[tuple[LogFound, ...]] = []
        self.container: Container | Failure | None = None
        self.probe: GuestProbe | Failure | None = None
        self.runner: Runner | Failure | None = None
        self.machine: Machine | Failure | None = None
        self.setup_page: SetupPage | Failure | None = None
        self._news = asyncio.Event()

    @property
    def logs(self) -> tuple[LogFound, ...]:
        """The logs that exist."""
        return self.log_calls[-1] if self.log_calls else ()

    @property
    def container_status(self) -> ContainerStatus | None:
        """State of the container, None where it is not known."""
        return self.container.status if isinstance(self.container, Container) else None

    @property
    def is_ready(self) -> bool:
        """Whether the guest's server answers."""
        return isinstance(self.probe, GuestProbe) and self.probe.ready

    @property
    def pid(self) -> int | None:
        """The runner's process."""
        return self.runner.pid if isinstance(self.runner, Runner) else None

    def take_status(self, status: StatusSeen) -> None:
        """For the watch."""
        self.statuses.append(status)
        for part in ("container", "probe", "runner", "machine", "setup_page"):
            value = getattr(status, part)
            if value is not None:
                setattr(self, part, value)
        self._news.set()

    def take_alive(self, at: float) -> None:
        """For the watch."""
        self.alive.append(at)
        self._news.set()

    def take_logs(self, logs: tuple[LogFound, ...]) -> None:
        """For the watch."""
        self.log_calls.append(logs)
        self._news.set()

    def wake(self) -> None:
        """Something else changed that a condition may ask for."""
        self._news.set()

    async def until(self, condition: Callable[[], bool], what: str = "") -> None:
        """Return once the condition holds. Raises AssertionError after a generous while, with what was seen."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    await self._news.wait()
                    self._news.clear()
        except TimeoutError:
            state = {part: getattr(self, part) for part in ("container", "probe", "runner", "setup_page", "logs", "error")}
            raise AssertionError(f"never came: {what} {state}; {len(self.alive)} heartbeats, told: {self.statuses}") from None

    async def beats(self, count: int) -> None:
        """Wait for so many further heartbeats."""
        target = len(self.alive) + count
        await self.until(lambda: len(self.alive) >= target, "heartbeats")

    async def follow(self, source: LogSource, offset: int = 0) -> "Tail":
        """Follow a log."""
        assert self.watch is not None
        tail = Tail(self)
        tail.follower = await self.watch.follow(source, offset, on_data=tail.take_data, on_reset=tail.take_reset, on_end=tail.take_end)
        return tail


class Tail:
    """What a follower has said: ``streams`` holds the bytes since each reset, the first those before any."""

    def __init__(self, seen: Seen) -> None:
        self.streams = [b""]
        self.sources: list[LogSource] = []
        self.ends: list[Failure | None] = []
        self.follower: LogFollower | None = None
        self._seen = seen

    @property
    def data(self) -> bytes:
        """The bytes of the newest stream."""
        return self.streams[-1]

    def take_data(self, data: bytes) -> None:
        """For the watch."""
        self.streams[-1] += data
        self._seen.wake()

    def take_reset(self, source: LogSource) -> None:
        """For the watch."""
        self.streams.append(b"")
        self.sources.append(source)
        self._seen.wake()

    def take_end(self, failure: Failure | None) -> None:
        """For the watch."""
        self.ends.append(failure)
        self._seen.wake()

    async def until(self, *streams: bytes) -> None:
        """Wait until the streams are exactly these (the one before the first reset included)."""
        try:
            await self._seen.until(lambda: tuple(self.streams) == streams, "log bytes")
        except AssertionError:
            raise AssertionError(f"expected {streams!r}, got {self.streams!r}, ends {self.ends!r}") from None

    async def until_end(self) -> Failure | None:
        """Wait for the end, give its reason."""
        await self._seen.until(lambda: bool(self.ends), "end of the log")
        return self.ends[0]


@contextlib.asynccontextmanager
async def watching(
    link: Link, spec: VmSpec, *, interval_s: float = INTERVAL_S, silence_s: float = 8.0, dead_s: int = 60
) -> AsyncIterator[Seen]:
    """Run a watch on this link for the time of the block."""
    seen = Seen()
    seen.watch = HostWatch(
        link,
        spec,
        clock=time.time,
        interval_s=interval_s,
        on_status=seen.take_status,
        on_alive=seen.take_alive,
        on_logs=seen.take_logs,
        silence_s=silence_s,
        dead_s=dead_s,
    )

    async def run(watch: HostWatch) -> None:
        try:
            await watch.run()
        except LinkError as error:
            seen.error = error
            seen.wake()

    task = asyncio.create_task(run(seen.watch))
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.wait({task})
        await link.close()


class ShellLink:
    """A link on which another shell is ``/bin/sh`` and other programs are found; else the one it wraps."""

    def __init__(self, link: Link, *, shell: str, path: str) -> None:
        self._link = link
        self._shell = shell
        self._path = path
        self.sessions: list[int] = []

    async def start(
        self,
        command: str,
        *,
        on_stdout: Callable[[bytes], None],
        on_stderr: Callable[[bytes], None],
        on_end: Callable[[int | None], None],
    ) -> RemoteProcess:
        """As the link does."""
        return await self._link.start(self._other(command), on_stdout=on_stdout, on_stderr=on_stderr, on_end=on_end)

    async def run(self, command: str, *, timeout_s: float = 10.0, max_bytes: int = 1_000_000) -> CommandResult:
        """As the link does."""
        return await self._link.run(self._other(command), timeout_s=timeout_s, max_bytes=max_bytes)

    async def wait_closed(self) -> LinkError:
        """As the link does."""
        return await self._link.wait_closed()

    async def close(self) -> None:
        """As the link does."""
        await self._link.close()

    def _other(self, command: str) -> str:
        return f"export PATH={shlex.quote(self._path)}; {command.replace('/bin/sh', self._shell)}"


def busybox_folder(folder: Path, *, without: tuple[str, ...] = ()) -> Path:
    """A folder with busybox's programs only, for a PATH."""
    programs = folder / "busybox"
    programs.mkdir()
    busybox = shutil.which("busybox")
    assert busybox is not None
    listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for name in listed:
        if name not in without and "/" not in name:
            (programs / name).symlink_to(busybox)
    return programs


def session_members(session: int) -> list[str]:
    """Command lines of what lives in a session (zombies left out)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            fields = (entry / "stat").read_text().rpartition(") ")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200])
    return found
