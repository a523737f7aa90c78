"""A TCP proxy in front of a server that can turn a stream silent, as buffering or half-dead middle boxes do."""

import contextlib
import select
import socket
import threading
from types import TracebackType

STREAM = b"GET /stream"


class SilentProxy:
    """Passes everything, but not what follows the head of a stream's answer while ``is_silent``."""

    def __init__(self, port: int) -> None:
        self.is_silent = False
        self._port = port
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        """Where the server seems to be."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> "SilentProxy":
        self._start(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closing.set()
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                client, _address = self._listener.accept()
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._port)) as server, contextlib.suppress(OSError):
            is_stream = in_body = False
            while not self._closing.is_set():
                readable, _, _ = select.select([client, server], [], [], 0.1)
                for source in readable:
                    data = source.recv(65536)
                    if not data:
                        return
                    if source is client:
                        is_stream = is_stream or data.startswith(STREAM)
                        server.sendall(data)
                        continue
                    if is_stream and not in_body:
                        in_body = True
                        head, _, body = data.partition(b"\r\n\r\n")
                        client.sendall(head + b"\r\n\r\n")
                        data = body
                    if not (is_stream and self.is_silent):
                        client.sendall(data)
