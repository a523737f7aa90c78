"""Processes that end with the demo: each leads a session of its own, and a guard ends what a killed server leaves."""

import contextlib
import logging
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

logger = logging.getLogger(__name__)

SHIMS = Path(__file__).parent / "shim"
_MAX_SWEEPS = 5  # a member may fork while it is being killed; each sweep catches the newly born


class Guard:
    """A small shell that outlives a killed server just long enough to end the sessions told to it.

    It notices the end of this process by the end of its standard input. Safe for use from any thread.
    """

    def __init__(self) -> None:
        """Start it. Raises OSError where there is no shell."""
        self._process = subprocess.Popen(
            ["/bin/sh", str(SHIMS / "guard.sh")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            bufsize=0,
        )

    def watch(self, pid: int) -> None:
        """End the session that ``pid`` leads when this process is gone."""
        self._tell(f"+ {pid}\n")

    def forget(self, pid: int) -> None:
        """The session is over; its number may be given to somebody else."""
        self._tell(f"- {pid}\n")

    def close(self) -> None:
        """Let it end what it still watches, and end. May be called twice."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        if self._process.stdin is None or self._process.stdin.closed:
            return
        try:
            self._process.stdin.write(line.encode())
        except BrokenPipeError:
            logger.warning("the guard of the demo VM is gone: pid=%s", self._process.pid)


def spawn(
    arguments: Sequence[str | bytes],
    *,
    guard: Guard,
    folder: Path,
    environment: Mapping[str, str],
    stdin: int,
    stdout: int,
    stderr: int,
) -> subprocess.Popen[bytes]:
    """Start a process as leader of a new session, watched by ``guard``. Raises OSError."""
    process = subprocess.Popen(
        arguments,
        cwd=folder,
        env=dict(environment),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
        bufsize=0,
    )
    guard.watch(process.pid)
    return process


def end_session(leader: int) -> None:
    """Kill every process of the session that ``leader`` led; none left is fine.

    The members are found in ``/proc``; where there is none, only the leader's process group is ended.
    """
    for _ in range(_MAX_SWEEPS):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)
        members = list(_session_members(leader))
        for pid in members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not members:
            return


def _session_members(leader: int) -> Iterator[int]:
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            # "pid (name, which may hold anything) state ppid pgrp session ..."
            state, _parent, _group, session = entry.read_bytes().rpartition(b")")[2].split()[:4]
        except (OSError, ValueError):
            continue  # ended while we looked
        if int(session) == leader and state not in {b"Z", b"X"}:
            yield int(entry.parent.name)
