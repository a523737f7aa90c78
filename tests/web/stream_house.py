"""A real server with one stream, and clients for it down to the socket."""

import asyncio
import http.client
import io
import re
import socket
import ssl
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler, url

from waa.web import sse
from waa.web.fanout import Fanout, Subscriber
from waa.web.stream_service import StreamLimits, StreamService

LONG_TICK_S = 3600.0
"""A timer that never comes during a test."""


class Clock:
    """Monotonic seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class House:
    """The service, its one group, and what the handlers saw."""

    def __init__(self, service: StreamService, fanout: Fanout, port: int, first: Callable[[], bytes]) -> None:
        self.service = service
        self.fanout = fanout
        self.port = port
        self.first = first
        self.handlers: list[weakref.ref[RequestHandler]] = []
        self.subscribers: list[weakref.ref[Subscriber]] = []
        self.closed: list[str | None] = []
        self.sockets: list[socket.socket] = []
        self.on_close: Callable[[Subscriber], None] = lambda subscriber: None

    @property
    def only(self) -> Subscriber:
        (subscriber,) = self.fanout
        return subscriber

    def note_closed(self, subscriber: Subscriber) -> None:
        self.closed.append(subscriber.cause)
        self.on_close(subscriber)

    async def client(self, request: bytes = b"", *, receive_buffer_bytes: int | None = None) -> "Client":
        """A subscriber that has read its head."""
        client = Client(await self.connect(request, receive_buffer_bytes=receive_buffer_bytes))
        await client.read_head()
        return client

    async def connect(self, request: bytes = b"", *, receive_buffer_bytes: int | None = None) -> socket.socket:
        """A connection that has asked, nobody reading it."""
        sock = socket.socket()
        self.sockets.append(sock)
        sock.setblocking(False)
        if receive_buffer_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", self.port))
        await loop.sock_sendall(sock, request or get())
        return sock


def get(*headers: str, method: str = "GET", version: str = "HTTP/1.1") -> bytes:
    return "\r\n".join([f"{method} /events {version}", "Host: localhost", *headers, "", ""]).encode()


class Client:
    """Reads a stream from its socket, buffering no more than asked for."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.raw = b""
        self.head = ""
        self._body = b""
        self._taken = 0

    async def read_head(self) -> None:
        while b"\r\n\r\n" not in self.raw:
            assert await self.read(), "closed before the end of the head"
        head, _, rest = self.raw.partition(b"\r\n\r\n")
        self.head = head.decode()
        self._taken = len(self.raw) - len(rest)

    async def read(self, size: int = 65536) -> bytes:
        data = await asyncio.get_running_loop().sock_recv(self.sock, size)
        self.raw += data
        return data

    async def message(self) -> bytes:
        """The next message of a chunked body."""
        while b"\n\n" not in self._body:
            while not self._take_chunk():
                assert await self.read(), "closed before the end of a message"
        message, _, self._body = self._body.partition(b"\n\n")
        return message

    async def messages(self, count: int) -> list[bytes]:
        return [await self.message() for _ in range(count)]

    def _take_chunk(self) -> bool:
        line = self.raw.find(b"\r\n", self._taken)
        if line < 0:
            return False
        begin = line + 2
        end = begin + int(self.raw[self._taken : line], 16)
        if len(self.raw) < end + 2:
            return False
        assert self.raw[end : end + 2] == b"\r\n"
        self._body += self.raw[begin:end]
        self._taken = end + 2
        return True

    async def rest(self) -> bytes:
        """Read to the end of the connection and return the whole body, as http.client understands it."""
        while await self.read():
            pass
        self.close()
        return body_of(self.raw)

    def close(self) -> None:
        self.sock.close()


class _Replay(socket.socket):
    """Bytes that http.client takes for a connection: it only asks for their file."""

    def __init__(self, raw: bytes) -> None:
        super().__init__()
        self._raw = raw
        self.close()

    def makefile(self, *_args: object, **_kwargs: object) -> io.BytesIO:  # type: ignore[override]
        return io.BytesIO(self._raw)


def body_of(raw: bytes) -> bytes:
    """The body of an answer; raises http.client.IncompleteRead where it does not end cleanly."""
    response = http.client.HTTPResponse(_Replay(raw))
    response.begin()
    return response.read()


def numbers(messages: list[bytes]) -> list[int]:
    """The first number in the data of each."""
    return [int(found.group(1)) for message in messages if (found := re.search(rb"data: (\d+)", message))]


class Events(RequestHandler):
    """One stream; the test chooses key and address by headers."""

    def initialize(self, house: Callable[[], House]) -> None:
        self.house = house()

    def set_default_headers(self) -> None:
        self.set_header("X-From", "handler")

    def get(self) -> None:
        house = self.house
        house.handlers.append(weakref.ref(self))
        subscriber = house.service.adopt(
            self,
            house.fanout,
            first=house.first(),
            key=self.request.headers.get("X-Key"),
            address=self.request.headers.get("X-Address", "127.0.0.1"),
            resumed="Last-Event-ID" in self.request.headers,
            on_close=house.note_closed,
        )
        if subscriber is not None:
            house.subscribers.append(weakref.ref(subscriber))

    head = get


@asynccontextmanager
async def house(
    *,
    limits: StreamLimits | None = None,
    clock: Clock | None = None,
    tick_s: float = LONG_TICK_S,
    first: Callable[[], bytes] = lambda: sse.encode("hello"),
    chance: Callable[[], float] = lambda: 0.5,
    tls: ssl.SSLContext | None = None,
    settings: dict[str, Any] | None = None,
    **group: Any,
) -> AsyncIterator[House]:
    """A server on a free port; everything is closed in the end, the clients' sockets first."""
    service = StreamService(limits, clock=clock or Clock(), tick_s=tick_s, chance=chance)
    sock, port = bind_unused_port()
    built = House(service, service.fanout(**group), port, first)
    application = Application([url("/events", Events, {"house": lambda: built})], log_function=lambda handler: None, **(settings or {}))
    server = HTTPServer(application, ssl_options=tls)
    server.add_socket(sock)
    try:
        yield built
    finally:
        for client in built.sockets:
            client.close()
        server.stop()
        await service.close(grace_s=0.5)
        await server.close_all_connections()
