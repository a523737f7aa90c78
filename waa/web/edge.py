"""Where connections come in: how many there may be, and how long they may take to say what they want.

A connection that is one too many is told so before anything of it is read. One whose request does not come, or comes too slowly, is
closed. What the server takes to answer, and streams, have their time elsewhere.
"""

import asyncio
import functools
import logging
import resource
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPConnection, HTTPHeaders, HTTPMessageDelegate, RequestStartLine, ResponseStartLine
from tornado.iostream import IOStream, SSLIOStream
from tornado.web import Application

from waa.core.proxy import TrustedProxies
from waa.web.limit import address_key

log = logging.getLogger(__name__)

MAX_HEADER_BYTES = 32 * 1024
SPARE_FILES = 256
"""Of what the process may open: for the database, SSH, files. Connections must not use these up."""
TOLD_EVERY_S = 60.0
"""An attack is many connections: what became of them is logged together."""
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nServer: waa-live\r\nRetry-After: 30\r\nConnection: close\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 21\r\n\r\nToo many connections\n"
)
_LATE = b"HTTP/1.1 408 Request Timeout\r\nServer: waa-live\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Refusal(StrEnum):
    """Why a connection was closed."""

    FULL = "too many connections"
    ADDRESS = "too many connections of one address"
    SLOW_HEAD = "no request in time"
    SLOW_BODY = "a body too slow"


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeLimits:
    """``head_s``: until the first request of a connection has come whole, without its body; ``idle_s``: the same for each later one,
    longer than proxies keep theirs open. Of a body, ``body_bytes`` must come every ``body_s``, or its rest."""

    max_connections: int = 12_000
    max_per_address: int = 1_256
    head_s: float = 20.0
    idle_s: float = 75.0
    body_s: float = 30.0
    body_bytes: int = 16 * 1024
    user_timeout_s: float = 60.0


class EdgeServer(HTTPServer):
    """The HTTP server behind those limits. Connections of trusted proxies are many people's: only all together are counted.

    For the loop's thread. ``clock`` gives monotonic seconds; ``tick_s`` is how finely times are kept.
    """

    def initialize(  # type: ignore[override]
        self,
        application: Application,
        *,
        limits: EdgeLimits | None = None,
        proxies: TrustedProxies | None = None,
        max_body_size: int,
        clock: Callable[[], float] = time.monotonic,
        tick_s: float = 1.0,
    ) -> None:
        super().initialize(application, max_body_size=max_body_size, max_header_size=MAX_HEADER_BYTES)
        self._limits = limits or EdgeLimits()
        self._proxies = proxies or TrustedProxies()
        self._max = min(self._limits.max_connections, max(1, _open_files(self._limits.max_connections + SPARE_FILES) - SPARE_FILES))
        self._clock = clock
        self._tick_s = tick_s
        self._by_address: Counter[str] = Counter()
        self._requests: dict[IOStream, int] = {}
        self._due: dict[IOStream, tuple[float, Refusal]] = {}
        self._refused: Counter[Refusal] = Counter()
        self._latest = ""
        self._told_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        if self._max < self._limits.max_connections:
            log.info("fewer connections than max_connections, as this process may open so few files max=%d", self._max)

    @property
    def connections(self) -> int:
        """Open ones, streams too."""
        return len(self._requests)

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        """A new connection."""
        peer = str(address[0]) if address else ""
        name = address_key(peer)
        refusal = self._refusal(name, is_many=self._proxies.trusts(peer))
        if refusal is not None:
            self._refuse(stream, refusal, name)
            return
        self._by_address[name] += 1
        self._requests[stream] = 0
        # Whoever closes it, and whenever: a stream goes on long after its request is over here.
        stream.close_fd = functools.partial(self._forget, stream, name, stream.close_fd)  # type: ignore[method-assign]
        _give_up_on_the_silent(stream, self._limits.user_timeout_s)
        super().handle_stream(stream, address)

    def start_request(self, server_conn: Any, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        """The next request of a connection may come now."""
        stream: IOStream = server_conn.stream
        if stream in self._requests:
            limits, is_first = self._limits, not self._requests[stream]
            self._requests[stream] += 1
            self._expect(stream, limits.head_s if is_first else limits.idle_s, Refusal.SLOW_HEAD)
        return _Watched(super().start_request(server_conn, request_conn), self, stream)

    def body_due(self, stream: IOStream) -> None:
        """More of a body must have come by then."""
        self._expect(stream, self._limits.body_s, Refusal.SLOW_BODY)

    def all_here(self, stream: IOStream) -> None:
        """Nothing more is waited for."""
        self._due.pop(stream, None)

    @property
    def body_bytes(self) -> int:
        """So many, to be given more time."""
        return self._limits.body_bytes

    def stop(self) -> None:
        """Take no more connections."""
        super().stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._tell(self._clock(), is_last=True)

    def _refusal(self, name: str, *, is_many: bool) -> Refusal | None:
        if len(self._requests) >= self._max:
            return Refusal.FULL
        if self._by_address[name] >= self._limits.max_per_address and not is_many:
            return Refusal.ADDRESS
        return None

    def _refuse(self, stream: IOStream, refusal: Refusal, name: str) -> None:
        self._note(refusal, name)
        if not isinstance(stream, SSLIOStream):  # there was no handshake yet
            _last_words(stream, _FULL)
        stream.close()
        if not self._by_address[name]:
            del self._by_address[name]

    def _expect(self, stream: IOStream, within_s: float, refusal: Refusal) -> None:
        self._due[stream] = (self._clock() + within_s, refusal)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._tick_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._clock()
        for stream, (due_s, refusal) in list(self._due.items()):
            if due_s <= now:
                self._drop(stream, refusal)
        self._tell(now)
        if self._due or self._refused:
            self._timer = asyncio.get_running_loop().call_later(self._tick_s, self._tick)

    def _drop(self, stream: IOStream, refusal: Refusal) -> None:
        del self._due[stream]
        is_idle = refusal is Refusal.SLOW_HEAD and self._requests.get(stream, 0) > 1
        if not is_idle:
            self._note(refusal, _peer(stream))
            if not isinstance(stream, SSLIOStream):
                _last_words(stream, _LATE)
        stream.close()

    def _forget(self, stream: IOStream, name: str, close_fd: Callable[[], None]) -> None:
        del stream.close_fd  # the cycle
        del self._requests[stream]
        self._due.pop(stream, None)
        self._by_address[name] -= 1
        if not self._by_address[name]:
            del self._by_address[name]
        close_fd()

    def _note(self, refusal: Refusal, name: str) -> None:
        self._refused[refusal] += 1
        self._latest = name
        self._tell(self._clock())

    def _tell(self, now: float, *, is_last: bool = False) -> None:
        """At once, then what has come together since."""
        if not self._refused or (self._told_s is not None and now - self._told_s < TOLD_EVERY_S and not is_last):
            return
        for refusal, count in self._refused.items():
            log.warning("connections closed cause=%s count=%d open=%d latest=%s", refusal.value, count, self.connections, self._latest)
        self._refused.clear()
        self._told_s = now


class _Watched(HTTPMessageDelegate):
    """Tells the server how far a request is."""

    def __init__(self, inner: HTTPMessageDelegate, server: EdgeServer, stream: IOStream) -> None:
        self._inner = inner
        self._server = server
        self._stream = stream
        self._since_due = 0

    def headers_received(self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders) -> Any:
        self._server.body_due(self._stream)
        return self._inner.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Any:
        self._since_due += len(chunk)
        if self._since_due >= self._server.body_bytes:
            self._since_due = 0
            self._server.body_due(self._stream)
        return self._inner.data_received(chunk)

    def finish(self) -> None:
        self._server.all_here(self._stream)
        self._inner.finish()

    def on_connection_close(self) -> None:
        self._server.all_here(self._stream)
        self._inner.on_connection_close()


def _last_words(stream: IOStream, words: bytes) -> None:
    """As far as the socket takes them now."""
    with suppress(OSError):
        stream.socket.send(words)


def _peer(stream: IOStream) -> str:
    try:
        return address_key(str(stream.socket.getpeername()[0]))
    except (OSError, IndexError):
        return "gone"


def _give_up_on_the_silent(stream: IOStream, after_s: float) -> None:
    """A client that does not take its answer is cut off by the kernel."""
    sock = stream.socket
    if sock.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_USER_TIMEOUT"):
        with suppress(OSError):  # it has gone already
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(after_s * 1000))


def _open_files(wanted: int) -> int:
    """How many files this process may have open, after asking for so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):  # some systems allow less than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else soft
