"""Processes that end with the demo: each leads a session of its own, and a guard ends what a killed server leaves."""

import contextlib
import itertools
import logging
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

logger = logging.getLogger(__name__)

SHIMS = Path(__file__).parent / "shim"
_MARK = "DEMO_VM_MARK"  # in the environment of everything that runs for the demo; survives a child's own setsid
_MAX_SWEEPS = 5  # a process may fork while it is being killed; each sweep catches the newly born


class Guard:
    """Starts the demo's processes, and a small shell that outlives a killed server just long enough to end them.

    The shell notices the end of this process by the end of its standard input. Safe for use from any thread.
    """

    def __init__(self) -> None:
        """Start the shell. Raises OSError where there is none."""
        self._token = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._shell = subprocess.Popen(
            ["/bin/sh", str(SHIMS / "guard.sh"), f"{_MARK}={self._token}."],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            bufsize=0,
        )

    def spawn(
        self,
        arguments: Sequence[str | bytes],
        *,
        folder: Path,
        environment: Mapping[str, str],
        stdin: int,
        stdout: int,
        stderr: int,
    ) -> "Child":
        """Start a process as leader of a new session; the caller ends it. Raises OSError, ValueError (a NUL byte)."""
        mark = f"{self._token}.{next(self._numbers)}."
        process = subprocess.Popen(
            arguments,
            cwd=folder,
            env={**environment, _MARK: mark},
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            bufsize=0,
        )
        self._tell(f"+ {process.pid}\n")
        return Child(self, process, mark)

    def forget(self, pid: int) -> None:
        """The session is over; its number may be given to somebody else."""
        self._tell(f"- {pid}\n")

    def close(self) -> None:
        """Let the shell end what is left, and end. May be called twice."""
        if self._shell.stdin is not None:
            self._shell.stdin.close()
        self._shell.wait()

    def _tell(self, line: str) -> None:
        if self._shell.stdin is None or self._shell.stdin.closed:
            return
        try:
            self._shell.stdin.write(line.encode())
        except BrokenPipeError:
            logger.warning("the guard of the demo VM is gone: pid=%s", self._shell.pid)


class Child:
    """One process of the demo and everything that it starts."""

    def __init__(self, guard: Guard, process: subprocess.Popen[bytes], mark: str) -> None:
        self.process = process
        self._guard = guard
        self._mark = f"{_MARK}={mark}".encode()

    def kill(self) -> None:
        """Kill it and every process that it started, whatever is left of them.

        They are found in ``/proc`` by session and by mark; where there is no ``/proc``, only its process group is ended.
        """
        for _ in range(_MAX_SWEEPS):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            found = list(self._relatives())
            for pid in found:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            if not found:
                return

    def end(self) -> int:
        """Kill what is left, wait for it, close its pipes; returns its exit status (negative: the signal)."""
        self.kill()
        status = self.process.wait()
        self._guard.forget(self.process.pid)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        return status

    def _relatives(self) -> Iterator[int]:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                # "pid (name, which may hold anything) state ppid pgrp session ..."
                state, _parent, _group, session = (folder / "stat").read_bytes().rpartition(b")")[2].split()[:4]
                if state in {b"Z", b"X"}:
                    continue
                if int(session) == self.process.pid or self._mark in (folder / "environ").read_bytes().split(b"\0"):
                    yield int(folder.name)
            except (OSError, ValueError):
                continue  # somebody else's, or ended while we looked
