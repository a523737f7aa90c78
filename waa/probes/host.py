"""What is asked of one VM over one open link: a status channel and one channel per followed log."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from math import ceil
from typing import NamedTuple

from waa.core.error import Failure, LinkError
from waa.core.logs.excerpt import Excerpt
from waa.core.observation import LogFound, LogKind, LogSource, StatusSeen
from waa.core.port import CommandResult, Link, RemoteProcess
from waa.core.results.folder import FolderFound, is_file_name
from waa.core.results.picture import is_whole_png
from waa.core.results.tree import FileListed
from waa.core.spec import VmSpec
from waa.core.status import Reason
from waa.probes import fetch, log_range, script, task_folder
from waa.probes.follow import FollowedLog, MarkSplitter
from waa.probes.frame import Frame, FrameDecoder
from waa.probes.picture import Picture
from waa.probes.screens import read_sums, sums_command
from waa.probes.section import engine_failure

SILENCE_S = 8.0
"""No frame for this long: the link is dead, whatever TCP says (only frames count, not log bytes)."""

CHECK_S = 1.0
PING_S = 15.0
"""How often the programs on the machine are told that somebody listens; they end by themselves after DEAD_S."""

MAX_TICK_S = 2.0
"""Time between two heartbeats, whatever the interval of the looks."""

SLOW_LOOKS = 5
"""A running container is inspected at every so many-th look: its end is noticed at once by the look inside."""

MAX_COMPLAINT_BYTES = 2000
RESULT_TIMEOUT_S = 15.0
FOLDER_TIMEOUT_S = 30.0
LOG_TIMEOUT_S = 30.0
MAX_SCREENSHOT_BYTES = 8 * 1024 * 1024
"""A full-screen PNG is one to three megabytes."""


class _Places(NamedTuple):
    """Where to look for a task's files, and the words of the command to look by."""

    folders: tuple[str, ...]
    prefix: tuple[str, ...]


class HostWatch:
    """Watches one VM over one open link. Callbacks come on the loop's thread.

    ``on_status`` gets only the parts that changed; ``on_alive`` every heartbeat (each 2 to 3 s) with ``clock()``; ``on_logs`` the
    run logs that exist, when one comes, goes, is another file, shrinks, or (once a minute) has grown.
    ``interval_s`` is the time between two looks; ``silence_s`` and ``dead_s`` are for tests.
    """

    def __init__(
        self,
        link: Link,
        spec: VmSpec,
        *,
        clock: Callable[[], float],
        interval_s: float = 2.0,
        on_status: Callable[[StatusSeen], None],
        on_alive: Callable[[float], None],
        on_logs: Callable[[tuple[LogFound, ...]], None],
        silence_s: float = SILENCE_S,
        dead_s: int = script.DEAD_S,
    ) -> None:
        self._link = link
        self._spec = spec
        self._clock = clock
        self._interval_s = interval_s
        self._every = max(1, ceil(interval_s / MAX_TICK_S))
        self._tick_s = interval_s / self._every
        self._on_status = on_status
        self._on_alive = on_alive
        self._on_logs = on_logs
        self._silence_s = silence_s
        self._dead_s = dead_s
        self._picture = Picture(spec)
        self._decoder = FrameDecoder(first="hello")
        self._told_logs: tuple[LogFound, ...] | None = None
        self._heard_s = 0.0
        self._has_begun = False
        self._complaint = b""
        self._followed: set[FollowedLog] = set()

    async def run(self) -> None:
        """Report until the link ends or is silent: always ends by raising LinkError, and everything started on the
        machine ends with it. To be called once."""
        loop = asyncio.get_running_loop()
        self._heard_s = loop.time()
        ended: asyncio.Future[LinkError] = loop.create_future()
        closed = asyncio.ensure_future(self._link.wait_closed())
        process: RemoteProcess | None = None
        try:
            process = await self._start_status(ended)
            pinged_s = loop.time()
            while not (ended.done() or closed.done()):
                await asyncio.wait({ended, closed}, timeout=CHECK_S, return_when=asyncio.FIRST_COMPLETED)
                self._check_silence(loop.time())
                if loop.time() - pinged_s >= min(PING_S, self._dead_s / 3):
                    pinged_s = loop.time()
                    self._ping(process)
            raise ended.result() if ended.done() else closed.result()
        finally:
            closed.cancel()
            for followed in list(self._followed):
                followed.close()
            if process is not None:
                process.close()

    async def follow(
        self,
        source: LogSource,
        offset: int,
        *,
        on_data: Callable[[bytes], None],
        on_reset: Callable[[LogSource], None],
        on_end: Callable[[Failure | None], None],
    ) -> FollowedLog:
        """Give the log's bytes from ``offset`` on, as they are written; waits for a file that is not there yet.

        ``on_reset`` comes first where another file than ``source.identity`` lies there or it is shorter than ``offset``, and
        whenever it is truncated or replaced: what follows begins at byte 0 of the source given. ``on_end`` comes once: None when
        the container ended (a CONTAINER log), else why. Raises LinkError where the channel cannot be opened.
        """
        nonce = secrets.token_hex(16)
        followed = FollowedLog(
            source,
            MarkSplitter(nonce),
            engine=self._spec.engine.rsplit("/", 1)[-1],
            on_data=on_data,
            on_reset=on_reset,
            on_end=on_end,
            on_closed=self._followed.discard,
        )
        prefix = (self._spec.engine, "exec", "-i", self._spec.container) if source.kind is LogKind.INNER else ()
        process = await self._link.start(
            script.launch_command(prefix), on_stdout=followed.take_stdout, on_stderr=followed.take_stderr, on_end=followed.take_end
        )
        self._followed.add(followed)
        followed.attach(process)
        process.write(self._follow_input(source, offset, nonce))
        return followed

    async def read_result(self, *, domain: str, task_id: str, roots: Sequence[str], inner: bool) -> bytes | None:
        """The newest ``<domain>/<task_id>/result.txt`` at any depth below the roots (absolute folders), on the host or
        inside the container; at most 4096 bytes, None where there is none. Raises LinkError."""
        places = self._places(domain, task_id, roots, inner=inner)
        if places is None:
            return None
        command = script.result_command(domain=domain, task_id=task_id, roots=places.folders, prefix=places.prefix)
        return await self._read_newest(command, max_bytes=16_384, inner=inner)

    async def read_screenshot(self, *, domain: str, task_id: str, roots: Sequence[str], inner: bool) -> bytes | None:
        """The newest screenshot (PNG) of a task below the roots; None where there is none, or none that is whole and of at
        most MAX_SCREENSHOT_BYTES. Raises LinkError."""
        places = self._places(domain, task_id, roots, inner=inner)
        if places is None:
            return None
        command = script.screenshot_command(
            domain=domain, task_id=task_id, roots=places.folders, max_bytes=MAX_SCREENSHOT_BYTES, prefix=places.prefix
        )
        data = await self._read_newest(command, max_bytes=MAX_SCREENSHOT_BYTES + 1, inner=inner)
        return data if data is not None and is_whole_png(data) else None

    async def read_screen_sums(self, *, domain: str, task_id: str, roots: Sequence[str], inner: bool, newest: int) -> tuple[str, ...]:
        """Checksums of the ``newest`` so many screenshots of a task below the roots, the newest first. Raises LinkError."""
        places = self._places(domain, task_id, roots, inner=inner)
        if places is None:
            return ()
        command = sums_command(domain=domain, task_id=task_id, roots=places.folders, newest=newest, prefix=places.prefix)
        result = await self._link.run(command, timeout_s=RESULT_TIMEOUT_S, max_bytes=16_384)
        self._check_end(result, inner=inner)
        return read_sums(result.stdout, newest=newest)

    async def read_task(self, *, domain: str, task_id: str, roots: Sequence[str], inner: bool, within: str = "") -> FolderFound | None:
        """The newest folder of a task below the roots with its listing, trajectory, result, thoughts; of several one below a folder
        named ``within``, where there is one. None where there is none. Raises LinkError."""
        places = self._places(domain, task_id, roots, inner=inner)
        if places is None or not (within == "" or _is_name(within)):
            return None
        nonce = secrets.token_hex(16)
        command = task_folder.folder_command(
            nonce=nonce, domain=domain, task_id=task_id, within=within, roots=places.folders, prefix=places.prefix
        )
        result = await self._link.run(command, timeout_s=FOLDER_TIMEOUT_S, max_bytes=task_folder.MAX_OUTPUT_BYTES)
        if not result.truncated:
            self._check_end(result, inner=inner)
        return task_folder.read_folder(result.stdout, nonce=nonce, inner=inner, is_cut=result.truncated)

    async def read_log_range(self, source: LogSource, *, from_at: float, until_at: float, max_bytes: int) -> Excerpt | None:
        """The lines of a log from a moment until before another one, by the times that stand in it; at most ``max_bytes`` bytes, whole
        lines. None where there is no such log. Raises LinkError."""
        if source.kind is LogKind.CONTAINER:
            command = log_range.container_command(
                engine=self._spec.engine, container=self._spec.container, from_at=from_at, until_at=until_at, max_bytes=max_bytes + 1
            )
        else:
            prefix = self._inside if source.kind is LogKind.INNER else ()
            command = log_range.file_command(path=source.path, from_at=from_at, until_at=until_at, max_bytes=max_bytes + 1, prefix=prefix)
        result = await self._link.run(command, timeout_s=LOG_TIMEOUT_S, max_bytes=max_bytes + 2)
        self._check_end(result, inner=source.kind is not LogKind.FILE)
        return log_range.read_range(result.stdout, max_bytes=max_bytes)

    async def read_first(self, paths: Sequence[str], *, inner: bool, max_bytes: int) -> tuple[str, bytes] | None:
        """The first of these plain files (absolute paths) that is there, with at most ``max_bytes`` bytes of it; None where none is.
        Raises LinkError."""
        known = [path for path in paths if path.startswith("/") and "\0" not in path]
        if not known:
            return None
        command = task_folder.first_command(paths=known, max_bytes=max_bytes, prefix=self._inside if inner else ())
        result = await self._link.run(command, timeout_s=RESULT_TIMEOUT_S, max_bytes=max_bytes + 10)
        self._check_end(result, inner=inner)
        number, mark, data = result.stdout.partition(b"=")
        return (known[int(number)], data) if mark and number.isdigit() and int(number) < len(known) else None

    async def read_task_file(self, *, folder: str, name: str, inner: bool, max_bytes: int) -> bytes | None:
        """A plain file of a task's folder, as ``read_task`` named both; None where there is none, or a longer one. Raises LinkError."""
        if not folder.startswith("/") or "\0" in folder or not is_file_name(name):
            return None
        command = task_folder.file_command(folder=folder, name=name, max_bytes=max_bytes + 1, prefix=self._inside if inner else ())
        data = await self._read_newest(command, max_bytes=max_bytes + 2, inner=inner)
        return data if data is not None and len(data) <= max_bytes else None

    async def list_results(self, path: str, *, inner: bool) -> list[FileListed]:
        """See ``fetch.list_results``: below a folder on the host or inside the container."""
        return await fetch.list_results(self._link, path, prefix=self._prefix(inner=inner))

    async def fetch_results(
        self, path: str, files: Sequence[FileListed], *, inner: bool, into: str, on_progress: Callable[[int, int], None]
    ) -> None:
        """See ``fetch.fetch_results``."""
        await fetch.fetch_results(self._link, path, files, prefix=self._prefix(inner=inner), into=into, on_progress=on_progress)

    def _prefix(self, *, inner: bool) -> tuple[str, ...]:
        return (self._spec.engine, "exec", self._spec.container) if inner else ()

    def _places(self, domain: str, task_id: str, roots: Sequence[str], *, inner: bool) -> "_Places | None":
        folders = tuple(root for root in roots if root.startswith("/") and "\0" not in root)
        if not folders or not _is_name(domain) or not _is_name(task_id):
            return None
        return _Places(folders, self._inside if inner else ())

    @property
    def _inside(self) -> tuple[str, ...]:
        """The words of a command that runs another one in the container."""
        return self._spec.engine, "exec", self._spec.container

    async def _read_newest(self, command: str, *, max_bytes: int, inner: bool) -> bytes | None:
        result = await self._link.run(command, timeout_s=RESULT_TIMEOUT_S, max_bytes=max_bytes)
        self._check_end(result, inner=inner)
        return result.stdout[1:] if result.stdout.startswith(b"=") else None

    def _check_end(self, result: CommandResult, *, inner: bool) -> None:
        if result.exit_status != 0:
            said = result.stderr.decode(errors="replace").strip()[-500:]
            raise LinkError(
                engine_failure(result.exit_status, said, self._spec.engine)
                if inner
                else Failure(reason=Reason.COMMAND, message=f"the search on the VM failed ({result.exit_status}): {said}")
            )

    def _follow_input(self, source: LogSource, offset: int, nonce: str) -> bytes:
        if source.kind is LogKind.CONTAINER:
            return script.container_log_input(
                self._spec, nonce=nonce, identity=source.identity, offset=offset, tick_s=self._tick_s, dead_s=self._dead_s
            )
        return script.follow_input(
            nonce=nonce, path=source.path, identity=source.identity, offset=offset, tick_s=self._tick_s, dead_s=self._dead_s
        )

    async def _start_status(self, ended: "asyncio.Future[LinkError]") -> RemoteProcess:
        def fail(error: LinkError) -> None:
            if not ended.done():
                ended.set_result(error)

        def take(data: bytes) -> None:
            if ended.done():
                return
            try:
                for frame in self._decoder.feed(data):
                    self._take_frame(frame)
            except LinkError as error:
                fail(error)

        def complain(data: bytes) -> None:
            self._complaint = (self._complaint + data)[-MAX_COMPLAINT_BYTES:]

        process = await self._link.start(
            script.launch_command(), on_stdout=take, on_stderr=complain, on_end=lambda status: fail(self._why_ended(status))
        )
        process.write(
            script.status_input(
                self._spec,
                tick_s=self._tick_s,
                every=self._every,
                slow_s=self._interval_s * SLOW_LOOKS,
                host_logs=self._picture.host_paths,
                inner_log=self._picture.inner_path,
                dead_s=self._dead_s,
            )
        )
        return process

    def _take_frame(self, frame: Frame) -> None:
        now_s = asyncio.get_running_loop().time()
        self._heard_s = now_s
        self._has_begun = True
        if frame.name == "hello":
            return
        at = self._clock()
        self._tell(self._picture.hear(frame, at=at, now_s=now_s))
        if frame.name == "beat":
            self._on_alive(at)
        elif frame.name in ("logs", "inner", "container"):
            self._tell_logs()

    def _tell(self, seen: StatusSeen | None) -> None:
        if seen is not None:
            self._on_status(seen)

    def _tell_logs(self) -> None:
        logs = self._picture.logs
        if logs != self._told_logs:
            self._told_logs = logs
            self._on_logs(logs)

    def _check_silence(self, now_s: float) -> None:
        self._tell(self._picture.wait(at=self._clock(), now_s=now_s))
        if now_s - self._heard_s > self._silence_s:
            raise LinkError(
                Failure(
                    reason=Reason.SILENT,
                    message=f"nothing was heard from the VM for {self._silence_s:g} s",
                    remedy="The connection is opened anew by itself. If this repeats, look for overload or packet loss.",
                )
            )

    def _ping(self, process: RemoteProcess) -> None:
        if self._has_begun:
            process.write(b"\n")
        for followed in self._followed:
            followed.ping()

    def _why_ended(self, status: int | None) -> LinkError:
        said = self._complaint.decode(errors="replace").strip()
        return LinkError(
            Failure(
                reason=Reason.CLOSED if self._has_begun or status is None else Reason.COMMAND,
                message="the status program on the VM ended" + (f": {said}" if said else ""),
                remedy="It is started again by itself." if self._has_begun else "The VM needs a POSIX shell, /proc, and setsid.",
            )
        )


def _is_name(text: str) -> bool:
    """Whether it can be one folder's name."""
    return text not in ("", ".", "..") and "/" not in text and all(ord(letter) >= 32 for letter in text)
