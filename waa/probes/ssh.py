"""Links to machines by SSH.

Connecting waits in the event loop (``ssh_dial``); only a server that talks gets a thread (``ssh_wire``), from pools of
their own for direct ways, ways through jump hosts, and commands, so that none can starve the others. Afterwards a
link costs one thread of paramiko's and no other: output wakes the loop, which reads what is there, a bounded amount per
turn and per second; what is not read is held back on the remote side by the channel's window.

Ending is always the same: the socket is shut down, and the session's thread, everybody who waits in it, and all that
goes through it end by themselves.
"""

import asyncio
import contextlib
import select
import shlex
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from paramiko.channel import Channel
from paramiko.ssh_exception import SSHException

from waa.core.destination import Destinations
from waa.core.error import Failure, LinkError
from waa.core.port import CommandResult, Link
from waa.core.spec import VmSpec
from waa.core.status import Reason
from waa.probes import command as commands
from waa.probes.known_hosts import HostKeyMemory
from waa.probes.ssh_config import Hop, Route, SshConfig
from waa.probes.ssh_dial import Judge, ProxyProcess, dial, wait_for_banner
from waa.probes.ssh_wire import Limits, Wire

Value = TypeVar("Value")

READ_BYTES = 32768
"""As much as one packet brings."""
SEND_BYTES = 8192
"""Fits into any socket that says it has room, so that sending does not wait."""
MAX_UNSENT_BYTES = 1_000_000
"""A command that leaves so much input (and the window of 2 MB) unread hangs."""
BUSY_S = 0.02
"""How soon to try again what would block: a full socket, an exchange of new keys."""
CLOSE_S = 3.0
"""A session's thread ends within milliseconds of the shutdown of its socket; longer is not waited for."""


class SshOpener:
    """Opens SSH links; see ``LinkOpener``. For the thread of one event loop.

    ``data_dir`` holds ``known_hosts``, the keys that ``trust_first`` accepted. ``max_threads`` bounds each pool.
    ``clock`` gives epoch seconds, against which certificates are judged. ``home`` replaces the account's home folder,
    where ``.ssh`` is looked for. ``destinations`` is what the operator allows.
    """

    def __init__(
        self,
        *,
        data_dir: Path,
        max_threads: int = 8,
        clock: Callable[[], float] = time.time,
        home: Path | None = None,
        limits: Limits | None = None,
        destinations: Destinations | None = None,
    ) -> None:
        self._destinations = destinations or Destinations()
        self._memory = HostKeyMemory(data_dir / "known_hosts")
        self._config = SshConfig.of_this_machine(home)
        self._clock = clock
        self._limits = limits or Limits()
        self._direct = _Pool("ssh-open", max_threads)
        self._jumping = _Pool("ssh-jump", max_threads)
        self._commands = _Pool("ssh-exec", max_threads)
        self._resolver = ThreadPoolExecutor(max_threads, thread_name_prefix="ssh-dns")
        self._opening: set[asyncio.Task[Link]] = set()
        self._closed = False

    async def open(self, spec: VmSpec) -> Link:
        """Connect and log in. Raises LinkError with the reason and a remedy."""
        if self._closed:
            raise LinkError(_shut(spec.name))
        task = asyncio.create_task(self._open(spec), name=f"open {spec.name}")
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        try:
            return await task
        except asyncio.CancelledError:
            if self._closed and task.cancelled():
                raise LinkError(_shut(spec.name)) from None
            raise

    async def close(self) -> None:
        """Abort what is being opened and give the threads back. Open links belong to whoever opened them."""
        self._closed = True
        opening = list(self._opening)
        for task in opening:
            task.cancel()
        if opening:
            await asyncio.wait(opening, timeout=2 * CLOSE_S)
        for pool in (self._direct, self._jumping, self._commands):
            pool.close()
        self._resolver.shutdown(wait=False, cancel_futures=True)

    async def _open(self, spec: VmSpec) -> Link:
        route = await self._direct.call(partial(self._config.route, spec), deadline_s=None, abort=_nothing)
        judge = Judge(destinations=self._destinations, origin=spec.origin)
        judge.check(route)
        line = _Line()
        try:
            await self._reach(route[0], line, judge)
            for hop in route:
                await self._log_in(hop, line, self._pool_for(route))
        except BaseException:
            await line.close()
            raise
        return SshLink(line, self._commands, self._limits)

    def _pool_for(self, route: Route) -> "_Pool":
        return self._direct if len(route) == 1 else self._jumping

    async def _reach(self, hop: Hop, line: "_Line", judge: Judge) -> None:
        """Give ``line`` its socket, with a greeting waiting in it."""
        if hop.proxy_command is None:
            line.base = await dial(hop, self._limits, self._resolver, judge)
            await wait_for_banner(line.base, hop, self._limits)
            return
        try:
            line.proxy = ProxyProcess(hop.proxy_command)
        except OSError as error:
            failure = Failure(reason=Reason.CONFIG, message=f"ProxyCommand cannot be started: {error}", remedy=f"try `{hop.command}`")
            raise LinkError(failure) from error
        line.base = line.proxy.sock
        try:
            await wait_for_banner(line.base, hop, self._limits)
        except LinkError as error:
            line.proxy.close()
            said = line.proxy.said or "nothing"
            message = f"{error.failure.message}; its ProxyCommand `{hop.proxy_command}` said: {said}"
            raise LinkError(replace(error.failure, message=message)) from error

    async def _log_in(self, hop: Hop, line: "_Line", pool: "_Pool") -> None:
        call = partial(pool.call, deadline_s=self._limits.deadline_s, abort=line.abort)
        try:
            sock: socket.socket | Channel | None = line.base
            if line.wires:
                sock = await call(partial(line.wires[-1].open_way, hop))
            if sock is None:
                raise RuntimeError("a line is reached before anybody logs in on it")
            wire = Wire(sock, hop, self._limits)
            line.wires.append(wire)
            await call(partial(wire.log_in, self._memory, self._clock()))
        except TimeoutError as error:
            failure = Failure(
                reason=Reason.TIMEOUT,
                message=f"{hop.where} did not let us in within {self._limits.deadline_s:g} s",
                remedy=f"its SSH server may hang or be overloaded; try `{hop.command}`",
            )
            raise LinkError(failure) from error


class SshLink:
    """One open connection; see ``Link``."""

    def __init__(self, line: "_Line", pool: "_Pool", limits: Limits) -> None:
        self._line = line
        self._wire = line.wires[-1]
        self._pool = pool
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[LinkError] = self._loop.create_future()
        self._processes: set[SshProcess] = set()
        self._allowance = limits.max_bytes_per_s
        self._allowed_at = self._loop.time()
        self._wire.ended.add_done_callback(self._wire_ended)

    async def start(
        self,
        command: str,
        *,
        on_stdout: Callable[[bytes], None],
        on_stderr: Callable[[bytes], None],
        on_end: Callable[[int | None], None],
    ) -> "SshProcess":
        """Run ``command`` by ``/bin/sh``, whatever the login shell is. Raises LinkError (command, closed, timeout, protocol).

        ``on_end`` gets -1 where a signal ended the command, None where its end is not known: connection lost, or closed here.
        """
        if self._end.done():
            raise LinkError(self._end.result().failure)
        work = partial(self._wire.open_command, f"exec /bin/sh -c {shlex.quote(command)}")
        try:
            channel = await self._pool.call(
                work, deadline_s=self._limits.deadline_s, abort=self._give_up, abandon=lambda channel: self.when_free(channel.close)
            )
        except (LinkError, TimeoutError) as error:
            if isinstance(error, TimeoutError) or error.failure.reason is Reason.TIMEOUT:
                self._give_up()
            if self._end.done():
                raise LinkError(self._end.result().failure) from error
            raise
        process = SshProcess(self, channel, self._limits, on_stdout=on_stdout, on_stderr=on_stderr, on_end=on_end)
        self._processes.add(process)
        return process

    async def run(self, command: str, *, timeout_s: float = 10.0, max_bytes: int = 1_000_000) -> CommandResult:
        """Run a short command to its end; when time or bytes are up, it is ended on the machine, too."""
        return await commands.run(self, command, where=self._wire.hop.where, timeout_s=timeout_s, max_bytes=max_bytes)

    async def wait_closed(self) -> LinkError:
        """Return when the connection is gone, with why."""
        return await asyncio.shield(self._end)

    async def close(self) -> None:
        """End everything on it at once. May be called twice."""
        self._ended(Failure(reason=Reason.CLOSED, message=f"the connection to {self._wire.hop.where} was closed here", remedy=""))
        for process in list(self._processes):
            process.abandon()
        await self._line.close()

    def forget(self, process: "SshProcess") -> None:
        """For a process that ended."""
        self._processes.discard(process)

    def reading_delay_s(self) -> float:
        """How long to leave output where it is: 0, or while new keys are exchanged, or while this machine talks too much."""
        if not self._line.is_free():
            return BUSY_S
        now = self._loop.time()
        rate = self._limits.max_bytes_per_s
        self._allowance = min(rate, self._allowance + (now - self._allowed_at) * rate)
        self._allowed_at = now
        return 0.0 if self._allowance > 0 else max(BUSY_S, -self._allowance / rate)

    def account(self, count: int) -> None:
        """Note bytes that were read."""
        self._allowance -= count

    def is_free(self) -> bool:
        """Whether a packet can be sent now without waiting."""
        return self._line.is_free()

    def when_free(self, act: Callable[[], None]) -> None:
        """Do what sends a packet when that will not block; never, if the connection ends before."""
        if self._end.done() or not self._wire.is_active():
            return
        if not self._line.is_free():
            self._loop.call_later(BUSY_S, self.when_free, act)
            return
        try:
            act()
        except (SSHException, EOFError, OSError):
            self._line.abort()  # a session that cannot send is lost; its thread tells why

    def _give_up(self) -> None:
        failure = Failure(
            reason=Reason.TIMEOUT,
            message=f"{self._wire.hop.where} no longer answers",
            remedy=f"its SSH server may hang: look at the machine's load; try `{self._wire.hop.command}`",
        )
        self._ended(failure)
        self._line.abort()

    def stuck(self) -> None:
        """For a process whose command takes no input."""
        self._give_up()

    def _wire_ended(self, _: "asyncio.Future[None]") -> None:
        self._ended(self._wire.end_failure())
        self._line.abort()  # what lies below a lost session (jump hosts, a proxy) goes as well

    def _ended(self, failure: Failure) -> None:
        if not self._end.done():
            self._end.set_result(LinkError(failure))


class SshProcess:
    """A command on its channel; see ``RemoteProcess``."""

    def __init__(
        self,
        link: SshLink,
        channel: Channel,
        limits: Limits,
        *,
        on_stdout: Callable[[bytes], None],
        on_stderr: Callable[[bytes], None],
        on_end: Callable[[int | None], None],
    ) -> None:
        self._link = link
        self._channel = channel
        self._turn_bytes = limits.turn_bytes
        self._on_stdout, self._on_stderr, self._on_end = on_stdout, on_stderr, on_end
        self._loop = asyncio.get_running_loop()
        self._paused = self._over = False
        self._due: asyncio.Handle | None = None
        self._unsent = bytearray()
        channel.settimeout(0.0)
        wake = _Wake(self._loop, self._drain)
        channel.in_buffer.set_event(wake)
        channel.in_stderr_buffer.set_event(wake)

    def write(self, data: bytes) -> None:
        """Send a few bytes; kept for a moment where the connection is busy."""
        if self._over:
            return
        waiting = bool(self._unsent)
        self._unsent += data
        if len(self._unsent) > MAX_UNSENT_BYTES:
            self._link.stuck()
        elif not waiting:
            self._flush()

    def pause(self) -> None:
        """Stop reading; up to 2 MB more are taken off the machine and held."""
        self._paused = True

    def resume(self) -> None:
        """Read on."""
        if self._paused:
            self._paused = False
            self._plan(0)

    def close(self) -> None:
        """Close its standard input and forget its output. ``on_end(None)`` follows."""
        if not self._over:
            self._finish(None)
            self._link.when_free(self._channel.close)

    def abandon(self) -> None:
        """As ``close``, for a connection that is ended anyway."""
        if not self._over:
            self._finish(None)

    def _drain(self) -> None:
        """Deliver what is there, up to a turn's worth."""
        if self._over or self._paused:
            return
        closed = self._channel.closed  # before looking for data: none comes after
        delay_s = self._link.reading_delay_s()
        if delay_s:
            self._plan(delay_s)
            return
        more = True
        try:
            more = self._deliver()
        finally:
            if more and not self._paused:
                self._plan(0)
        if closed and not more and not self._over:
            self._finish(self._status())

    def _deliver(self) -> bool:
        """Standard error first: it is thin, and must not wait behind a flood. True where something is left."""
        left = self._turn_bytes
        channel = self._channel
        for ready, receive, sink in (
            (channel.recv_stderr_ready, channel.recv_stderr, self._on_stderr),
            (channel.recv_ready, channel.recv, self._on_stdout),
        ):
            while ready():
                if left <= 0 or self._paused or self._over:
                    return True
                data = receive(min(READ_BYTES, left))
                left -= len(data)
                self._link.account(len(data))
                sink(data)
        return False

    def _plan(self, delay_s: float) -> None:
        """Drain again, once."""
        if self._due is None and not self._over:
            self._due = self._loop.call_later(delay_s, self._again) if delay_s else self._loop.call_soon(self._again)

    def _again(self) -> None:
        self._due = None
        self._drain()

    def _status(self) -> int | None:
        if self._channel.exit_status >= 0:
            return self._channel.exit_status
        return -1 if self._channel.eof_received else None

    def _finish(self, status: int | None) -> None:
        self._over = True
        self._unsent.clear()
        if self._due:
            self._due.cancel()
        self._link.forget(self)
        self._loop.call_soon(self._on_end, status)

    def _flush(self) -> None:
        self._link.when_free(self._send)

    def _send(self) -> None:
        while self._unsent and not self._over and not self._channel.closed:
            if not self._link.is_free() or not self._channel.send_ready():
                self._loop.call_later(BUSY_S, self._flush)
                return
            try:
                sent = self._channel.send(bytes(self._unsent[:SEND_BYTES]))
            except OSError:
                if self._channel.closed:  # the command has just ended
                    break
                raise
            del self._unsent[:sent]
        if self._channel.closed:
            self._unsent.clear()


class _Line:
    """All that lies below a link: the socket, perhaps a proxy process behind it, and the sessions through it in order."""

    def __init__(self) -> None:
        self.base: socket.socket | None = None
        self.proxy: ProxyProcess | None = None
        self.wires: list[Wire] = []

    def abort(self) -> None:
        """End it all, from below: each session's thread meets the end of its input, and cleans up. May be called twice."""
        if self.base:
            with contextlib.suppress(OSError):  # not connected (any more)
                self.base.shutdown(socket.SHUT_RDWR)
            if not self._started():
                self.base.close()
        if self.proxy:
            self.proxy.close()

    async def close(self) -> None:
        """Abort, and wait for the threads and the process."""
        self.abort()
        ends = {wire.ended for wire in self._started()} | ({self.proxy.gone} if self.proxy else set())
        if ends:
            await asyncio.wait(ends, timeout=CLOSE_S)

    def is_free(self) -> bool:
        """Whether a small packet can be sent without waiting; also where the connection is gone, since nothing is sent then."""
        for wire in self.wires:
            if wire.is_active() and not wire.clear_to_send.is_set():
                return False
            if isinstance(wire.sock, Channel) and not wire.sock.send_ready():
                return False
        if self.base is None or self.base.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(self.base, select.POLLOUT)
        return bool(poll.poll(0))

    def _started(self) -> list[Wire]:
        """The last session to be started closes the socket itself: closing it here would free its number under a reader."""
        return [wire for wire in self.wires if wire.ident is not None]


class _Wake(threading.Event):
    """What a channel's buffer sets, in the session's thread, when there is something: one call on the loop per burst."""

    def __init__(self, loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
        super().__init__()
        self._loop = loop
        self._act = act
        self._called = False

    def set(self) -> None:
        """Called with the buffer's lock held: the loop, which needs it, sees what is being added."""
        if self._called:
            return
        self._called = True
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            self._called = True  # the loop is closed: nobody is left to wake

    def clear(self) -> None:
        """The buffer is empty."""

    def _wake(self) -> None:
        self._called = False
        self._act()


class _Pool:
    """A bounded number of named threads. Time counts from when a thread is there, not from standing in line."""

    def __init__(self, name: str, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._slots = asyncio.Semaphore(threads)

    async def call(
        self,
        work: Callable[[], Value],
        *,
        deadline_s: float | None,
        abort: Callable[[], None],
        abandon: Callable[[Value], None] | None = None,
    ) -> Value:
        """What ``work`` returns or raises. ``abort`` frees it where the deadline passes, which raises TimeoutError.

        If the caller is cancelled, ``abort`` is called as well; or ``abandon``, if given, with the value that still comes.
        Raises LinkError (closed) after ``close``.
        """
        await self._slots.acquire()
        loop = asyncio.get_running_loop()
        try:
            future = loop.run_in_executor(self._executor, work)
        except RuntimeError as error:
            self._slots.release()
            raise LinkError(Failure(reason=Reason.CLOSED, message="the server is shutting down")) from error
        future.add_done_callback(self._release)
        try:
            done, _ = await asyncio.wait({future}, timeout=deadline_s)
        except asyncio.CancelledError:
            if abandon is None:
                abort()
            else:
                _leave(future, abandon, abort, deadline_s)
            raise
        if not done:
            abort()
            await asyncio.wait({future}, timeout=CLOSE_S)
            raise TimeoutError
        return future.result()

    def close(self) -> None:
        """Take no more work; the threads end with what they do."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _release(self, future: "asyncio.Future[Value]") -> None:
        self._slots.release()
        if not future.cancelled():
            future.exception()  # nobody may be left to ask for it


def _leave(future: "asyncio.Future[Value]", abandon: Callable[[Value], None], abort: Callable[[], None], deadline_s: float | None) -> None:
    """See to the end of work that nobody waits for any more."""
    timer = asyncio.get_running_loop().call_later(deadline_s, abort) if deadline_s is not None else None

    def settle(ended: "asyncio.Future[Value]") -> None:
        if timer:
            timer.cancel()
        if not ended.cancelled() and not ended.exception():
            abandon(ended.result())

    future.add_done_callback(settle)


def _shut(name: str) -> Failure:
    return Failure(reason=Reason.CLOSED, message=f"the connection to {name} was not opened: the server is shutting down")


def _nothing() -> None:
    """Nothing holds this work but its own limits."""
