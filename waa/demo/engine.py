"""The demo's container engine: one container's state and log as files, and the programs that tell of them."""

import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from waa.demo.process import SHIMS

CONTAINER = "winarena"
IMAGE = "winarena:demo"
_NEVER = "0001-01-01T00:00:00Z"  # what the engines write for a moment that has not come


class Engine:
    """State in ``folder/engine``, programs in ``folder/bin``. Written by one thread, read by any process."""

    def __init__(self, folder: Path) -> None:
        """Make the folders, install the programs, begin without a container. Raises OSError."""
        self.programs = folder / "bin"
        self._folder = folder / "engine"
        self._container: _Container | None = None
        for made in (self.programs, self._folder):
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir()
        for name in ("docker", "podman"):
            self._install(name, (SHIMS / "docker").read_text())
        if shutil.which("curl") is None and shutil.which("wget") is None:
            quoted = " ".join(f"'{part}'" for part in (sys.executable, str(SHIMS / "curl.py")))
            self._install("curl", f'#!/bin/sh\nexec {quoted} "$@"\n')
        self._write_state()

    def start_container(self) -> None:
        """A new container runs, with an empty log; an earlier one must have been removed."""
        self._container = _Container(self._folder)
        self._write_state()

    def stop_container(self, exit_code: int) -> None:
        """The container ended."""
        if self._container is not None:
            self._container.end(exit_code)
            self._write_state()

    def remove_container(self) -> None:
        """The container and its log are gone."""
        gone, self._container = self._container, None
        self._write_state()
        if gone is not None:
            gone.close()

    def log(self, line: str) -> None:
        """The container prints one line (without its newline)."""
        if self._container is not None:
            self._container.log(line)

    def close(self) -> None:
        """Close the log. May be called twice."""
        if self._container is not None:
            self._container.close()

    def _install(self, name: str, text: str) -> None:
        program = self.programs / name
        program.write_text(text)
        program.chmod(0o700)

    def _write_state(self) -> None:
        lines = self._container.describe() if self._container is not None else iter(())
        written = self._folder / "current.new"
        written.write_text("".join(f"{line}\n" for line in lines))
        written.replace(self._folder / "current")


class _Container:
    def __init__(self, folder: Path) -> None:
        self._id = secrets.token_hex(32)
        self._started_at = time.time()
        self._finished_at: float | None = None
        self._exit_code = 0
        self._paths = (folder / f"{self._id}.log", folder / f"{self._id}.stamped")
        self._files = [path.open("wb", buffering=0) for path in self._paths]

    def end(self, exit_code: int) -> None:
        self._finished_at = time.time()
        self._exit_code = exit_code

    def log(self, line: str) -> None:
        plain, stamped = self._files
        stamped.write(f"{_moment(time.time())} {line}\n".encode())
        plain.write(f"{line}\n".encode())

    def close(self) -> None:
        for file, path in zip(self._files, self._paths, strict=True):
            file.close()
            path.unlink(missing_ok=True)

    def describe(self) -> Iterator[str]:
        is_running = self._finished_at is None
        status = "running" if is_running else "exited"
        document = {
            "Id": self._id,
            "Created": _moment(self._started_at),
            "Name": f"/{CONTAINER}",
            "Path": "/usr/bin/tini",
            "Args": ["-s", "/entry.sh"],
            "State": {
                "Status": status,
                "Running": is_running,
                "Paused": False,
                "Restarting": False,
                "OOMKilled": False,
                "Dead": False,
                "Pid": os.getpid() if is_running else 0,
                "ExitCode": self._exit_code,
                "Error": "",
                "StartedAt": _moment(self._started_at),
                "FinishedAt": _NEVER if self._finished_at is None else _moment(self._finished_at),
            },
            "Image": f"sha256:{self._id[::-1]}",
            "RestartCount": 0,
            "Driver": "overlay2",
            "Config": {"Hostname": self._id[:12], "Image": IMAGE, "Tty": False},
        }
        yield from _flatten("", document)
        listed = {
            "ID": self._id[:12],
            "Names": CONTAINER,
            "Image": IMAGE,
            "State": status,
            "CreatedAt": _moment(self._started_at),
            "Command": '"/usr/bin/tini -s /entry.sh"',
            "Ports": "",
        }
        yield from (f"ps {line}" for line in _flatten("", listed))
        yield f"started={int(self._started_at)}"
        yield f"finished={int(self._finished_at or 0)}"


def _flatten(path: str, value: object) -> Iterator[str]:
    """``.A.B=text`` as a template prints it and ``json .A.B=...``, for the value and all below it."""
    key = path or "."
    document = json.dumps(value, separators=(",", ":"))
    yield f"json {key}={document}"
    yield f"{key}={value if isinstance(value, str) else document}"
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flatten(f"{path}.{name}", inner)


def _moment(at: float) -> str:
    """RFC 3339 in UTC with nanoseconds, as the engines write it."""
    seconds, fraction = divmod(at, 1)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(fraction * 1e9):09d}Z"
