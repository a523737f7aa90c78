"""Loopback ports: one that accepts in a thread, and one that stays ours while nothing listens on it."""

import contextlib
import logging
import selectors
import socket
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
_BACKLOG = 32


class Listener:
    """Accepts connections in a thread of its own and hands each to ``serve`` (called on that thread) until closed."""

    def __init__(self, name: str, listening: socket.socket, serve: Callable[[socket.socket], None]) -> None:
        """Begin. ``listening`` is bound; it is closed with this object."""
        self._listening = listening
        self._serve = serve
        self._listening.setblocking(False)
        self._listening.listen(_BACKLOG)
        self._woken, self._waker = socket.socketpair()
        self._thread = threading.Thread(target=self._accept, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop accepting; what was handed over is not touched. May be called twice."""
        self._waker.close()
        self._thread.join()
        self._woken.close()
        self._listening.close()

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listening, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while all(key.fileobj is self._listening for key, _ in selector.select()):
                try:
                    connection, _ = self._listening.accept()
                except OSError as error:  # it went away before we came, or there are no descriptors left
                    logger.debug("demo accept failed: error=%s", error)
                    continue
                connection.setblocking(True)
                self._serve(connection)


class HeldPort:
    """A free loopback port that refuses connections until ``listen``, and stays ours in between.

    A socket that is bound but does not listen holds it; the kernel refuses who knocks.
    """

    def __init__(self) -> None:
        """Take a free port. Raises OSError."""
        self._holder = _bound_socket(0)
        self.port: int = self._holder.getsockname()[1]

    def listen(self, name: str, serve: Callable[[socket.socket], None]) -> Listener:
        """Accept on it until the listener is closed. Raises OSError."""
        return Listener(name, _bound_socket(self.port), serve)

    def close(self) -> None:
        """Give the port back. May be called twice."""
        self._holder.close()


def _bound_socket(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # the holder and the listener share the port
        bound.bind((LOOPBACK, port))
    except OSError:
        with contextlib.suppress(OSError):
            bound.close()
        raise
    return bound
