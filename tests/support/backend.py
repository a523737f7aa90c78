"""A backend of pipelines: a real Tornado server that answers health checks as a test says."""

import asyncio
import ssl
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from tests.support.wait import PATIENCE_S


@dataclass
class Reply:
    """What is answered; ``is_held``: nothing, until ``Backend.release``."""

    body: str | bytes = ""
    code: int = 200
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    is_held: bool = False


@dataclass
class Backend:
    """``replies`` by id; others are healthy. ``asked`` counts the requests of each, ``requests`` keeps them, ``peers`` are the other ends
    of its connections."""

    port: int = 0
    replies: dict[str, Reply] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    requests: list[HTTPServerRequest] = field(default_factory=list)
    peers: set[object] = field(default_factory=set)
    scheme: str = "http"
    held: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        """Its base address."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def say(self, pipeline_id: str, word: str) -> None:
        """From now on it answers with this status. For any thread."""
        self.replies[pipeline_id] = Reply(f'{{"status": "{word}"}}')


class _Health(RequestHandler):
    def initialize(self, backend: Backend) -> None:
        self.backend = backend

    async def get(self, pipeline_id: str) -> None:
        backend = self.backend
        backend.asked[pipeline_id] += 1
        backend.requests.append(self.request)
        backend.peers.add(getattr(self.request.connection, "context").address)  # noqa: B009 - Tornado does not type it
        reply = backend.replies.get(pipeline_id, Reply('{"status": "healthy"}'))
        if reply.is_held:
            await backend.held.wait()
        self.set_status(reply.code)
        self.set_header("Content-Type", reply.content_type)
        for name, value in reply.headers.items():
            self.set_header(name, value)
        if reply.code not in (204, 304):
            self.write(reply.body)


@asynccontextmanager
async def backend(tls: ssl.SSLContext | None = None) -> AsyncIterator[Backend]:
    """One in this loop, on a free port."""
    sock, port = bind_unused_port()
    built = Backend(port=port, scheme="http" if tls is None else "https")
    app = Application([(r"/pipeline/([^/]+)/health", _Health, {"backend": built})], log_function=lambda handler: None)
    server = HTTPServer(app, ssl_options=tls)
    server.add_socket(sock)
    try:
        yield built
    finally:
        built.held.set()
        server.stop()
        await server.close_all_connections()


@contextmanager
def backend_apart() -> Iterator[Backend]:
    """One in a thread of its own, for tests of whole processes."""
    started: list[Backend] = []
    is_up, loops = threading.Event(), []

    async def serve() -> None:
        ended = asyncio.Event()
        async with backend() as built:
            started.append(built)
            loops.append((asyncio.get_running_loop(), ended))
            is_up.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="backend", daemon=True)
    thread.start()
    assert is_up.wait(PATIENCE_S)
    try:
        yield started[0]
    finally:
        loop, ended = loops[0]
        loop.call_soon_threadsafe(ended.set)
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
