"""A program that watches the benchmark stream as any third party would: ``httpx`` and ``httpx-sse``, nothing of ours."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx
from httpx_sse import ServerSentEvent, SSEError, connect_sse

from tests.support.wait import PATIENCE_S, wait_for

RETRY_S = 0.05
"""Much sooner than any real client: the tests want to be there when the server comes back."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One event as the client got it. ``last_id`` is what the client would resume with after it; ``connection`` counts from 1."""

    name: str
    data: dict[str, Any]
    last_id: str
    connection: int


class Observer:
    """Collects every event in a thread of its own; reconnects with ``Last-Event-ID`` for as long as it is open.

    ``url`` is asked anew for each connection, so that a server may come back on another port.
    """

    def __init__(self, url: Callable[[], str], *, path: str = "/api/benchmark-sse?interval=1", last_id: str = "") -> None:
        self.events: list[Seen] = []
        self.connections = 0
        self.statuses: list[int] = []
        self._url = url
        self._path = path
        self._last_id = last_id
        self._closing = threading.Event()
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)

    def __enter__(self) -> "Observer":
        self._thread.start()
        self.next("connected")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closing.set()
        self.cut()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    @property
    def mark(self) -> int:
        """The place after all events so far, for ``since``."""
        return len(self.events)

    def cut(self) -> None:
        """The connection breaks; the client comes back by itself."""
        cut = self._socket
        if cut is not None:
            with contextlib.suppress(OSError):
                cut.shutdown(socket.SHUT_RDWR)

    def all(self, name: str, *, since: int = 0, **fields: object) -> list[dict[str, Any]]:
        """The data of the events of this name that hold these values, oldest first."""
        return [seen.data for seen in self.events[since:] if seen.name == name and fields.items() <= seen.data.items()]

    def next(self, name: str, *, since: int = 0, within_s: float = PATIENCE_S, **fields: object) -> dict[str, Any]:
        """The first such event; waits for it."""
        return wait_for(
            lambda: next(iter(self.all(name, since=since, **fields)), None),
            within_s=within_s,
            what=f"{name} {fields}",
            hint=lambda: f"the last events were {self.events[since:][-8:]}",
        )

    def _run(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(httpx.HTTPError, SSEError):
                self._listen()
            self._socket = None
            self._closing.wait(RETRY_S)

    def _listen(self) -> None:
        headers = {"Last-Event-ID": self._last_id} if self._last_id else {}
        timeout = httpx.Timeout(5.0, read=None)
        with (
            httpx.Client(timeout=timeout, trust_env=False) as client,
            connect_sse(client, "GET", self._url() + self._path, headers=headers) as source,
        ):
            self.statuses.append(source.response.status_code)
            source.response.raise_for_status()
            self.connections += 1
            self._socket = source.response.extensions["network_stream"].get_extra_info("socket")
            self._take(source.iter_sse())

    def _take(self, events: Iterator[ServerSentEvent]) -> None:
        for event in events:
            self._last_id = event.id
            self.events.append(Seen(event.event, event.json(), event.id, self.connections))
            if self._closing.is_set():
                return
