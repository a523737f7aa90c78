"""From a host's name to a socket on which an SSH server has spoken, in the event loop: no dead host holds a thread."""

import asyncio
import errno
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import chain, zip_longest

from waa.core.destination import REMEDY, Destinations
from waa.core.error import Failure, LinkError
from waa.core.spec import Origin
from waa.core.status import Reason
from waa.probes.ssh_config import Hop, Route
from waa.probes.ssh_wire import Limits

HEAD_START_S = 0.25
"""What one address gets before the next is tried beside it (RFC 8305)."""
LOOK_AGAIN_S = 0.05
"""How soon to look whether a half banner has become whole."""
REAP_S = 0.01
"""How soon to look whether a killed process is gone."""
MAX_PREAMBLE_BYTES = 8192
MAX_STDERR_BYTES = 2000

_SOCKET_OPTIONS = (
    ("IPPROTO_TCP", "TCP_NODELAY", 1),  # a command costs 40 ms more without
    ("SOL_SOCKET", "SO_KEEPALIVE", 1),
    ("IPPROTO_TCP", "TCP_KEEPIDLE", 4),  # a dead peer is noticed after 4 + 2 * 2 s
    ("IPPROTO_TCP", "TCP_KEEPINTVL", 2),
    ("IPPROTO_TCP", "TCP_KEEPCNT", 2),
    ("IPPROTO_TCP", "TCP_USER_TIMEOUT", 8000),  # ms, for what we sent and nobody acknowledged
)

_Address = tuple[socket.AddressFamily, object]
"""A family, and an address in the form that it has there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """What the operator allows who named the machine to reach."""

    destinations: Destinations
    origin: Origin

    def check(self, route: Route) -> None:
        """Judge the names on the way. Only the first server's addresses are looked up here: the others are by the one before them, a
        ``ProxyCommand``'s by that. Raises LinkError (denied)."""
        for place, hop in enumerate(route):
            is_beyond = place > 0 or hop.proxy_command is not None
            refusal = self.destinations.refusal(hop.host, origin=self.origin, alias=hop.alias, is_beyond=is_beyond)
            if refusal is not None:
                raise _denied(refusal)

    def permitted(self, hop: Hop, addresses: Sequence[_Address]) -> Sequence[_Address]:
        """Those of a host's addresses that may be connected to. Raises LinkError (denied) where none may."""
        texts = [address[0] if isinstance(address, tuple) else "" for _, address in addresses]
        verdicts, refusal = self.destinations.permitted(texts, host=hop.host, origin=self.origin, alias=hop.alias)
        if refusal is not None:
            raise _denied(refusal)
        return [address for address, may in zip(addresses, verdicts, strict=True) if may]


async def dial(hop: Hop, limits: Limits, resolver: Executor, judge: Judge) -> socket.socket:
    """Connect by TCP, the host's addresses racing, to those only that ``judge`` permits. Raises LinkError (dns, denied, refused, timeout,
    network)."""
    addresses = judge.permitted(hop, await _resolve(hop, limits, resolver))
    try:
        async with asyncio.timeout(limits.connect_s):
            sock = await _race(addresses)
    except TimeoutError as error:
        raise LinkError(_unanswered(hop, limits)) from error
    except OSError as error:
        raise LinkError(_unreachable(hop, error)) from error
    for level, name, value in _SOCKET_OPTIONS:
        if hasattr(socket, name):  # Linux has them all
            sock.setsockopt(getattr(socket, level), getattr(socket, name), value)
    return sock


async def wait_for_banner(sock: socket.socket, hop: Hop, limits: Limits) -> None:
    """Wait until a whole SSH greeting lies unread in ``sock``. Raises LinkError (timeout, closed, protocol, network)."""
    try:
        async with asyncio.timeout(limits.banner_s):
            while not _has_greeting(sock, hop):
                await asyncio.sleep(LOOK_AGAIN_S) if await _readable(sock) else None
    except TimeoutError as error:
        raise LinkError(
            Failure(
                reason=Reason.TIMEOUT,
                message=f"{hop.where} accepts the connection, but says nothing for {limits.banner_s:g} s",
                remedy=f"its SSH server may hang: restart it, or the machine; try `{hop.command}`",
            )
        ) from error
    except OSError as error:
        raise LinkError(_unreachable(hop, error)) from error


class ProxyProcess:
    """A running ``ProxyCommand``. ``sock`` is our end of its standard input and output. ``gone`` is done soon after ``close``."""

    def __init__(self, command: str) -> None:
        """Start it by ``/bin/sh``. Raises OSError."""
        self.sock, theirs = socket.socketpair()
        self._said = bytearray()
        self._loop = asyncio.get_running_loop()
        self._errors, errors = os.pipe()
        os.set_blocking(self._errors, False)
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"], stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=errors, start_new_session=True
            )
        except OSError:
            os.close(self._errors)
            self.sock.close()
            raise
        finally:
            theirs.close()
            os.close(errors)
        self.sock.setblocking(False)
        self._closed = False
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(self._errors, self._listen)

    @property
    def said(self) -> str:
        """The end of what it wrote to its standard error, on one line."""
        return " ".join(self._said.decode(errors="replace").split())

    def close(self) -> None:
        """End it and all that it started. May be called twice. Its socket belongs to whoever uses it."""
        if self._closed:
            return
        self._closed = True
        self._hear()
        self._loop.remove_reader(self._errors)
        os.close(self._errors)
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._reap()

    def _reap(self) -> None:
        if self._process.poll() is None:
            self._loop.call_later(REAP_S, self._reap)
        elif not self.gone.done():
            self.gone.set_result(None)

    def _listen(self) -> None:
        if not self._hear():
            self._loop.remove_reader(self._errors)

    def _hear(self) -> bool:
        try:
            data = os.read(self._errors, 4096)
        except BlockingIOError:
            return True
        self._said += data
        del self._said[:-MAX_STDERR_BYTES]
        return bool(data)


async def _resolve(hop: Hop, limits: Limits, resolver: Executor) -> Sequence[_Address]:
    """Addresses by turns of their families, the resolver's favourite first."""
    try:
        found = _look_up(hop.host, hop.port, hop.family, socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await _ask_dns(hop, limits, resolver)
    same = [each for each in found if each[0] == found[0][0]]
    other = [each for each in found if each[0] != found[0][0]]
    return [each for each in chain.from_iterable(zip_longest(same, other)) if each is not None]


async def _ask_dns(hop: Hop, limits: Limits, resolver: Executor) -> list[_Address]:
    remedy = f"check ssh_host, or name it in /etc/hosts or ~/.ssh/config; try `getent hosts {hop.host}`"
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(limits.dns_s):
            return await loop.run_in_executor(resolver, _look_up, hop.host, hop.port, hop.family, 0)
    except TimeoutError as error:
        message = f"the name {hop.host} was not resolved in {limits.dns_s:g} s"
        raise LinkError(Failure(reason=Reason.DNS, message=message, remedy=remedy)) from error
    except (socket.gaierror, UnicodeError) as error:
        message = f"the name {hop.host} cannot be resolved ({error.strerror if isinstance(error, OSError) else 'not a host name'})"
        raise LinkError(Failure(reason=Reason.DNS, message=message, remedy=remedy)) from error


def _look_up(host: str, port: int, family: int, flags: int) -> list[_Address]:
    return [(kind, address) for kind, _, _, _, address in socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=flags)]


async def _race(addresses: Sequence[_Address]) -> socket.socket:
    """The first address to answer. Raises the most telling OSError if none does."""
    waiting = list(addresses)
    running: set[asyncio.Task[socket.socket]] = set()
    errors: list[OSError] = []
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.create_task(_connect(*waiting.pop(0))))
            done, running = await asyncio.wait(running, timeout=HEAD_START_S if waiting else None, return_when=asyncio.FIRST_COMPLETED)
            winners = [task.result() for task in done if not task.exception()]
            for late in winners[1:]:
                late.close()
            if winners:
                return winners[0]
            errors += [error for task in done if isinstance(error := task.exception(), OSError)]
        raise min(errors, key=_rank)
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_drop)


def _drop(task: asyncio.Task[socket.socket]) -> None:
    """A connection that won too late is closed."""
    if not task.cancelled() and not task.exception():
        task.result().close()


def _rank(error: OSError) -> int:
    """Who refused was there, and silence says more than a missing route (of the address family that is not set up)."""
    return next((rank for rank, kind in enumerate((ConnectionRefusedError, TimeoutError)) if isinstance(error, kind)), 2)


async def _connect(family: socket.AddressFamily, address: object) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)  # type: ignore[arg-type]  # as getaddrinfo gave it
    except BaseException:
        sock.close()
        raise
    return sock


def _has_greeting(sock: socket.socket, hop: Hop) -> bool:
    """Look without taking: paramiko reads it again."""
    try:
        seen = sock.recv(MAX_PREAMBLE_BYTES, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    if not seen:
        raise LinkError(
            Failure(
                reason=Reason.CLOSED,
                message=f"{hop.where} closed the connection before it said anything",
                remedy=f"it may have too many connections (MaxStartups), or a firewall cuts them; try `{hop.command}`",
            )
        )
    lines = seen.split(b"\n")
    if any(line.startswith(b"SSH-") for line in lines[:-1]):
        return True
    if len(seen) >= MAX_PREAMBLE_BYTES or seen.startswith((b"HTTP/", b"RFB ", b"220 ", b"\x15\x03", b"<")):
        raise LinkError(
            Failure(
                reason=Reason.PROTOCOL,
                message=f"{hop.where} answers, but not with SSH: {seen[:60].decode(errors='replace').strip()!r}",
                remedy=f"check the port: SSH is usually on 22; try `{hop.command}`",
            )
        )
    return False


async def _readable(sock: socket.socket) -> bool:
    """Wait for anything to read. False if it had to be waited for."""
    loop = asyncio.get_running_loop()
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_reader(sock, _settle, ready)
        try:
            await ready
        finally:
            loop.remove_reader(sock)
        return False
    return True


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _denied(refusal: str) -> LinkError:
    return LinkError(Failure(reason=Reason.DENIED, message=refusal, remedy=REMEDY))


def _unanswered(hop: Hop, limits: Limits) -> Failure:
    return Failure(
        reason=Reason.TIMEOUT,
        message=f"{hop.where} did not answer in {limits.connect_s:g} s",
        remedy=f"check that the machine is on and that its firewall lets port {hop.port} in from here; try `{hop.command}`",
    )


def _unreachable(hop: Hop, error: OSError) -> Failure:
    said = error.strerror or str(error)
    if isinstance(error, ConnectionRefusedError):
        return Failure(
            reason=Reason.REFUSED,
            message=f"{hop.where} refuses the connection",
            remedy=f"the machine is up, but no SSH server listens there: check ssh_port, or start sshd; try `{hop.command}`",
        )
    if isinstance(error, TimeoutError):
        return Failure(
            reason=Reason.TIMEOUT, message=f"{hop.where} did not answer ({said})", remedy=f"check that it is on; try `{hop.command}`"
        )
    if isinstance(error, ConnectionError) and error.errno != errno.ECONNREFUSED:
        return Failure(reason=Reason.CLOSED, message=f"{hop.where} closed the connection ({said})", remedy=f"try `{hop.command}`")
    return Failure(
        reason=Reason.NETWORK,
        message=f"{hop.where} cannot be reached ({said})",
        remedy=f"check this machine's network, VPN and routes; try `{hop.command}`",
    )
