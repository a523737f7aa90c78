"""The demo's guest: the server that answers ``/probe`` while Windows is up, and the screen page of the container."""

import html
import http.server
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from waa.demo.listener import HeldPort, Listener

_IDLE_S = 1.0  # a client that connects and says nothing is dropped
_JOIN_S = 1.5
_PROBE = {"message": "Service is operational", "status": "Probe successful"}


@dataclass(frozen=True, slots=True)
class Page:
    """One answer."""

    kind: str
    body: bytes


class WebPort:
    """A loopback port that answers GET by ``answer`` (None: 404), while it is up; else it refuses."""

    def __init__(self, name: str, answer: Callable[[str], Page | None]) -> None:
        """Take a free port. Raises OSError."""
        self._name = name
        self._held = HeldPort()
        self._answer = answer
        self._listener: Listener | None = None
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return self._held.port

    def up(self) -> None:
        """Answer from now on."""
        if self._listener is None:
            self._listener = self._held.listen(self._name, self._welcome)

    def down(self) -> None:
        """Refuse from now on."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def close(self) -> None:
        """Give the port back. May be called twice."""
        self.down()
        self._held.close()
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(_JOIN_S)

    def _welcome(self, client: socket.socket) -> None:
        thread = threading.Thread(target=self._serve, args=(client,), name=f"{self._name}-request", daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client:
                _Request(client, self._answer)
        except OSError:
            return  # the client went away; nobody is left to be told
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())


class _Request(http.server.BaseHTTPRequestHandler):
    timeout = _IDLE_S
    server_version = "demo"
    sys_version = ""

    def __init__(self, client: socket.socket, answer: Callable[[str], Page | None]) -> None:
        self._answer = answer
        super().__init__(client, client.getpeername(), None)  # type: ignore[arg-type] # no server object is needed

    def do_GET(self) -> None:
        """Answer the page at the path, without its query."""
        page = self._answer(self.path.partition("?")[0])
        if page is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", page.kind)
        self.send_header("Content-Length", str(len(page.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(page.body)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""


class Guest:
    """Windows in the container: ``server`` is the benchmark's server in it, ``display`` the container's web page."""

    def __init__(self, screen: Path) -> None:
        """Take two free ports; ``screen`` is the PNG file that shows the desktop. Raises OSError."""
        self._screen = screen
        self._setup = ""
        self.server = WebPort("demo-guest", self._answer_server)
        self.display = WebPort("demo-display", self._answer_display)

    def show_setup(self, text: str) -> None:
        """What the status page says while Windows is prepared; "" when the display shows the desktop."""
        self._setup = text

    def close(self) -> None:
        """Give the ports back. May be called twice."""
        self.server.close()
        self.display.close()

    def _answer_server(self, path: str) -> Page | None:
        if path == "/probe":
            return Page("application/json", json.dumps(_PROBE, separators=(",", ":")).encode() + b"\n")
        if path == "/screenshot":
            return self._picture()
        return None

    def _answer_display(self, path: str) -> Page | None:
        text = self._setup
        if path == "/msg.html":
            return Page("text/html", f'<p class="loading">{html.escape(text)}</p>'.encode()) if text else None
        if path == "/screen.png" and not text:
            return self._picture()
        if path == "/":
            shown = f"<p>{html.escape(text)}</p>" if text else _DESKTOP
            return Page("text/html; charset=utf-8", _DISPLAY.format(shown=shown).encode())
        return None

    def _picture(self) -> Page | None:
        try:
            return Page("image/png", self._screen.read_bytes())
        except FileNotFoundError:
            return None


_DESKTOP = '<img src="screen.png" alt="Desktop of the demo VM" width="960" height="600">'
_DISPLAY = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="2"><title>Screen of the demo VM</title>
<body style="margin:0;min-height:100vh;display:grid;place-items:center;background:#10141c;color:#dfe6f0;font:16px system-ui">
{shown}</body></html>
"""
