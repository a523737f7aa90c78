"""One command on one SSH channel: the process, its three streams, its exit status, and its end with the channel."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from paramiko import Channel, SSHException

from waa.demo.process import Child, Guard

_GONE = (OSError, EOFError, SSHException)  # what the library raises on a channel whose other side is gone
_CHUNK_BYTES = 32768
_ANSWER_WAIT_S = 1.0  # a client that wants no answer to its request never sets the event
_SETTLE_S = 0.25  # output that follows the process's end is sent before its exit status, if it comes this soon
_GRACE_S = 0.3  # between SIGTERM and SIGKILL


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """Where and with what environment the commands run."""

    home: Path
    environment: Mapping[str, str]


class Command:
    """Runs ``command`` by ``/bin/sh -c`` and pumps its streams. ``answered`` is set once the client knows that it runs."""

    def __init__(self, channel: Channel, command: bytes, *, sandbox: Sandbox, guard: Guard) -> None:
        self.answered = threading.Event()
        self._channel = channel
        self._command = command
        self._sandbox = sandbox
        self._guard = guard
        self._thread = threading.Thread(target=self._run, name="demo-command", daemon=True)

    def start(self) -> None:
        """Begin, in threads of its own."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait until the process and the threads are gone; the channel must be closed."""
        self._thread.join(timeout_s)

    @property
    def is_over(self) -> bool:
        """Whether the process and the threads are gone."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            child = self._guard.spawn(
                ["/bin/sh", "-c", self._command],
                folder=self._sandbox.home,
                environment=self._sandbox.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except (OSError, ValueError) as error:  # ValueError: a NUL byte in the command
            self._say(f"demo: cannot run the command: {error}\n".encode())
            self._finish(126)
            return
        try:
            self._serve(child)
        finally:
            child.end()

    def _serve(self, child: Child) -> None:
        process = child.process
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise RuntimeError("the command was started without pipes")
        outputs = [
            _thread(self._drain, process.stdout.fileno(), self._channel.sendall),
            _thread(self._drain, process.stderr.fileno(), self._channel.sendall_stderr),
        ]
        feeder = _thread(self._feed, child, process.stdin, outputs)
        status = process.wait()
        for output in outputs:
            output.join(_SETTLE_S)
        if status >= 0 and not self._channel.closed:  # ended by a signal: no status, the client sees -1
            with contextlib.suppress(*_GONE):
                self._channel.send_exit_status(status)
        for output in outputs:
            output.join()  # a child left behind may still write; the channel's end frees us
        self._finish(None)
        feeder.join()

    def _feed(self, child: Child, stdin: IO[bytes], outputs: list[threading.Thread]) -> None:
        """Standard input until its end, then wait for the channel's end and end what still runs."""
        is_open = True
        while chunk := self._receive():
            while is_open and chunk:
                try:
                    chunk = chunk[os.write(stdin.fileno(), chunk) :]
                except OSError:
                    is_open = False  # it reads no more; what still comes is thrown away
        with contextlib.suppress(OSError):
            stdin.close()
        self._channel.status_event.wait()  # set by either side's close, and when the connection is gone
        process = child.process
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_S)
        if process.returncode is None or any(output.is_alive() for output in outputs):
            child.kill()

    def _drain(self, source: int, send: Callable[[bytes], None]) -> None:
        """Output until its end; ``send`` blocks while the client's window is full, and so does the process then."""
        try:
            while chunk := os.read(source, _CHUNK_BYTES):
                send(chunk)
        except _GONE:
            return  # the channel is closed; the feeder ends the process

    def _receive(self) -> bytes:
        try:
            return self._channel.recv(_CHUNK_BYTES)
        except _GONE:
            return b""

    def _say(self, text: bytes) -> None:
        with contextlib.suppress(*_GONE):
            self._channel.sendall_stderr(text)

    def _finish(self, status: int | None) -> None:
        # A close that overtakes the answer to the request would look like a refusal to the client.
        self.answered.wait(_ANSWER_WAIT_S)
        with contextlib.suppress(*_GONE):
            if status is not None:
                self._channel.send_exit_status(status)
            self._channel.close()


def _thread(target: Callable[..., None], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=target, args=arguments, name="demo-pump", daemon=True)
    thread.start()
    return thread
