"""The spool: append-only files of the records that a server has not taken yet.

In a folder per server and job each batch has a lock file, which it holds by ``flock`` as long as it lives, and segments with one record a
line. A segment goes when all its records are settled. Files whose lock is free were left behind; whoever locks them first sends them.
Where the disk cannot be used, records are in memory only, and ``trouble`` says why.
"""

import contextlib
import dataclasses
import errno
import fcntl
import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

SEGMENT_BYTES = 1024 * 1024
"""After a crash what was sent of a segment is sent again: the server knows it by its ids."""
FREEZE_S = 1.0
"""How long a fork waits at most for a file that is just being opened."""


@dataclasses.dataclass(slots=True, eq=False)
class Lease:
    """A lock file that is held, and how many segments are under it."""

    path: str
    fd: int
    segments: int = 0


@dataclasses.dataclass(slots=True, eq=False)
class Segment:
    """A file of records, ``left`` of which are not settled. ``fd`` -1: nothing is added to it."""

    lease: Lease
    path: str
    fd: int = -1
    size: int = 0
    left: int = 0


class Spool:
    """For two threads: one recovers, then writes; the other tells what is done, and closes."""

    def __init__(self, folder: str) -> None:
        self.trouble = ""
        self._folder = folder
        self._lock = threading.Lock()
        self._opening, self._is_frozen = threading.Lock(), False
        self._own: Lease | None = None
        self._active: Segment | None = None
        self._leases: list[Lease] = []
        self._number = 0

    def recover(self, has_room: Callable[[int], bool]) -> Iterator[tuple[Segment, list[bytes], int]]:
        """What others left, oldest first, while there is room for its bytes: a segment, its records, and how many were torn (0, 1)."""
        try:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            for name in sorted(name for name in os.listdir(self._folder) if name.endswith(".lock")):
                lease = self._locked(name)
                if lease is not None:
                    yield from self._left_under(lease, has_room)
        except OSError as error:
            self.trouble = str(error)

    def write(self, records: Sequence[bytes], *, is_synced: bool) -> Segment | None:
        """Add them to a segment, None where the disk does not take them; with ``is_synced`` they are on the disk itself."""
        data = b"".join(record + b"\n" for record in records)
        with self._lock:
            try:
                segment = self._open()
                if os.write(segment.fd, data) != len(data):
                    os.ftruncate(segment.fd, segment.size)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), segment.path)
            except OSError as error:
                self.trouble = str(error)
                return None
            segment.size += len(data)
            segment.left += len(records)
            self.trouble = ""
            if is_synced or segment.size >= SEGMENT_BYTES:
                self._sync(segment)
            if segment.size >= SEGMENT_BYTES:
                self._end(segment)
            return segment

    def done(self, segments: Iterable[Segment | None]) -> None:
        """One record of each is settled."""
        with self._lock:
            for segment, count in Counter(segments).items():
                if segment is not None:
                    segment.left -= count
                    if segment.left == 0:
                        self._empty(segment)

    def close(self) -> None:
        """What is not settled stays, for the next to recover."""
        with self._lock:
            if self._active is not None:
                segment = self._active
                if segment.left:
                    self._sync(segment)
                self._end(segment)
                if not segment.left:
                    self._empty(segment)
            for lease in list(self._leases):
                if lease.segments == 0:
                    _unlink(lease.path)
                self._release(lease)

    def freeze(self) -> None:
        """Before a fork: no file is just being opened. The child would have it without knowing, and hold its lock as long as it lives."""
        self._is_frozen = self._opening.acquire(timeout=FREEZE_S) or self._is_frozen

    def thaw(self) -> None:
        """After the fork, in the parent."""
        if self._is_frozen:
            self._is_frozen = False
            self._opening.release()

    def forget(self) -> None:
        """In a forked child, whatever the parent's threads were at: the files are the parent's, and so are its locks."""
        self._lock = threading.Lock()
        self._opening, self._is_frozen = threading.Lock(), False
        if self._active is not None:
            self._end(self._active)
        while self._leases:
            _close(self._leases.pop().fd)

    def _locked(self, name: str) -> Lease | None:
        path = os.path.join(self._folder, name)
        with self._opening:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_same = os.path.exists(path) and os.path.samestat(os.stat(path), os.fstat(fd))
            except BlockingIOError:
                is_same = False
            except OSError:
                os.close(fd)
                raise
            if not is_same:  # Another batch holds it, or has just ended and taken it away.
                os.close(fd)
                return None
            lease = Lease(path, fd)
            self._leases.append(lease)
            return lease

    def _left_under(self, lease: Lease, has_room: Callable[[int], bool]) -> Iterator[tuple[Segment, list[bytes], int]]:
        stem = os.path.basename(lease.path).removesuffix("lock")
        names = sorted(name for name in os.listdir(self._folder) if name.startswith(stem) and name.endswith(".jsonl"))
        lease.segments = len(names)
        for name in names:
            path = os.path.join(self._folder, name)
            if not has_room(os.path.getsize(path)):
                return
            with open(path, "rb") as file:
                *lines, rest = file.read().split(b"\n")
            records = [line for line in lines if line]
            segment = Segment(lease, path, left=len(records))
            if records or rest:
                yield segment, records, bool(rest)
            if not records:
                with self._lock:
                    self._empty(segment)
        if not names:
            with self._lock:
                _unlink(lease.path)
                self._release(lease)

    def _open(self) -> Segment:
        if self._active is None:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            while self._own is None:
                self._own = self._locked(f"{time.time_ns():020}-{uuid.uuid4().hex[:8]}.lock")
            self._number += 1
            path = f"{self._own.path.removesuffix('lock')}{self._number:06}.jsonl"
            with self._opening:
                fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                self._active = Segment(self._own, path, fd)
            self._own.segments += 1
        return self._active

    def _end(self, segment: Segment) -> None:
        """Nothing more is added to it."""
        fd, segment.fd = segment.fd, -1
        if self._active is segment:
            self._active = None
        _close(fd)

    def _sync(self, segment: Segment) -> None:
        try:
            os.fsync(segment.fd)
        except OSError as error:
            self.trouble = str(error)

    def _empty(self, segment: Segment) -> None:
        """All of it is settled."""
        if segment is self._active:
            try:
                os.ftruncate(segment.fd, 0)
                segment.size = 0
            except OSError as error:
                self.trouble = str(error)
            return
        _unlink(segment.path)
        segment.lease.segments -= 1
        if segment.lease.segments == 0 and segment.lease is not self._own:
            _unlink(segment.lease.path)
            self._release(segment.lease)

    def _release(self, lease: Lease) -> None:
        self._leases.remove(lease)
        _close(lease.fd)


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _close(fd: int) -> None:
    with contextlib.suppress(OSError):
        os.close(fd)
