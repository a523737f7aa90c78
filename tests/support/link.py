"""What tests of links share: a recorder of a command's output, and waiting for a condition in the loop."""

import threading
from pathlib import Path

from waa.core.port import Link, RemoteProcess


class Recorder:
    """The callbacks of ``Link.start``; remembers all of it. ``ends`` holds each call of ``on_end``."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.err = bytearray()
        self.ends: list[int | None] = []
        self.threads: set[int] = set()

    async def start(self, link: Link, command: str) -> RemoteProcess:
        """Start ``command`` with these callbacks."""
        return await link.start(command, on_stdout=self.on_stdout, on_stderr=self.on_stderr, on_end=self.on_end)

    def on_stdout(self, data: bytes) -> None:
        self.threads.add(threading.get_ident())
        self.out += data

    def on_stderr(self, data: bytes) -> None:
        self.threads.add(threading.get_ident())
        self.err += data

    def on_end(self, status: int | None) -> None:
        self.threads.add(threading.get_ident())
        self.ends.append(status)


def open_files() -> int:
    """How many file descriptors this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))
