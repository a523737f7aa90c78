"""First process of the stand-in container: the guest's server, the status page, and the runner's parent.

It does only what it is told over a Unix socket, one JSON object per line, and answers each with one: nothing here
depends on time.
"""

import argparse
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = dict[str, Any]


def picture() -> bytes:
    """A small grey PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\x80" * 16 for _ in range(9))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 9, 8, 0, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


class Pages(BaseHTTPRequestHandler):
    """Serves ``server.pages``: path -> (content type, body)."""

    def do_GET(self) -> None:
        pages: dict[str, tuple[str, bytes]] = self.server.pages  # type: ignore[attr-defined]
        kind, body = pages.get(self.path, ("text/plain", b"not found\n"))
        self.send_response(200 if self.path in pages else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the container's log belongs to the test."""


class Server:
    """One HTTP server that can be there or not."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._server: ThreadingHTTPServer | None = None

    def show(self, pages: dict[str, tuple[str, bytes]] | None) -> None:
        """Serve these pages; None: nothing listens."""
        if pages is None and self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        if pages is not None:
            if self._server is None:
                self._server = ThreadingHTTPServer(self._address, Pages)
                threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
            self._server.pages = pages  # type: ignore[attr-defined]


class Entry:
    """Carries out the commands."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._guest = Server((options.guest_ip, options.waa_port))
        self._viewer = Server(("127.0.0.1", options.vnc_port))
        self._runner: subprocess.Popen[str] | None = None
        self._answers: Any = None

    def do(self, request: Answer) -> Answer:
        """One command. Raises what goes wrong."""
        action = getattr(self, f"do_{request.pop('do')}")
        result: Answer | None = action(**request)
        return result or {}

    def do_say(self, text: str, error: bool = False) -> None:
        stream = sys.stderr if error else sys.stdout
        stream.write(text)
        stream.flush()

    def do_ready(self, ready: bool) -> None:
        body = b'{"message":"Service is operational","status":"Probe successful"}\n'
        pages = {"/probe": ("application/json", body), "/screenshot": ("image/png", picture())}
        self._guest.show(pages if ready else None)

    def do_broken(self) -> None:
        self._guest.show({})

    def do_page(self, text: str | None) -> None:
        self._viewer.show({"/msg.html": ("text/html", text.encode())} if text is not None else {})

    def do_run(self, tasks: list[list[str]], arguments: list[str]) -> Answer:
        read_end, write_end = os.pipe()
        self._runner = subprocess.Popen(
            ["python3", "./run.py", *arguments, "--log", self._options.log, "--answers", str(write_end), "--tasks", json.dumps(tasks)],
            executable=sys.executable,
            cwd="/client",
            stdin=subprocess.PIPE,
            pass_fds=(write_end,),
            text=True,
        )
        os.close(write_end)
        self._answers = os.fdopen(read_end)
        return self._runner_says()

    def do_runner(self, command: Answer) -> Answer:
        if self._runner is None or self._runner.stdin is None:
            raise RuntimeError("no run was started")
        self._runner.stdin.write(json.dumps(command) + "\n")
        self._runner.stdin.flush()
        return self._runner_says()

    def do_signal_runner(self, number: int) -> None:
        if self._runner is None:
            raise RuntimeError("no run was started")
        self._runner.send_signal(number)
        self._runner.wait()
        self._runner = None

    def do_rename(self, old: str, new: str) -> None:
        os.rename(old, new)

    def do_truncate(self, path: str) -> None:
        os.truncate(path, 0)

    def do_write(self, path: str, text: str, mode: str = "a") -> None:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, mode) as file:
            file.write(text)

    def _runner_says(self) -> Answer:
        line = self._answers.readline()
        if not line:
            raise RuntimeError("the runner ended")
        answer: Answer = json.loads(line)
        if answer.get("over") and self._runner is not None:
            self._runner.wait()
            self._runner = None
        return answer


def serve(entry: Entry, path: str) -> None:
    """Answer commands for ever, one connection at a time."""
    with socket.socket(socket.AF_UNIX) as listener:
        if os.path.exists(path):
            os.unlink(path)
        listener.bind(path)
        listener.listen()
        while True:
            connection, _ = listener.accept()
            with connection, connection.makefile("rw") as stream:
                for line in stream:
                    try:
                        answer = entry.do(json.loads(line))
                    except (OSError, RuntimeError, TypeError, AttributeError, ValueError, KeyError) as error:
                        answer = {"error": f"{type(error).__name__}: {error}"}
                    stream.write(json.dumps(answer) + "\n")
                    stream.flush()


def main() -> None:
    """Begin as the real scripts do: some lines, then wait."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", required=True)
    parser.add_argument("--guest-ip", required=True)
    parser.add_argument("--waa-port", type=int, required=True)
    parser.add_argument("--vnc-port", type=int, required=True)
    parser.add_argument("--log", required=True)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    print("Starting WinArena...", "Starting VM...", "Starting WinArena VM...", sep="\n", flush=True)
    serve(Entry(options), options.socket)


if __name__ == "__main__":
    main()
