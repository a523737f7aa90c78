"""A piece of a log, by the time that stands in it."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

_RECORD = re.compile(rb"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) (?:\x1b\[[0-9;]*m)?[DIWEC]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """The lines of a span of time as they were written. ``is_cut``: there are more than these. ``is_end_only``: the log is so
    long that only its end was searched."""

    data: bytes
    is_cut: bool = False
    is_end_only: bool = False


def stamp(at: float) -> str:
    """A moment as the runners print it, ``YYYY-mm-dd HH:MM:SS,mmm`` in UTC: as text these are in the order of time."""
    moment = datetime.fromtimestamp(round(at, 3), UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S},{moment.microsecond // 1000:03d}"


def excerpt_of(log: bytes, *, from_at: float, until_at: float, max_bytes: int) -> Excerpt:
    """The records of a log from a moment until before another one, with the lines that follow them."""
    first, last = stamp(from_at).encode(), stamp(until_at).encode()
    picked: list[bytes] = []
    inside, size = False, 0
    for line in log.split(b"\n"):
        match = _RECORD.search(line)
        if match is not None:
            inside = first <= match[1] < last
        if inside:
            size += len(line) + 1
            if size > max_bytes:
                return Excerpt(data=b"\n".join(picked), is_cut=True)
            picked.append(line)
    return Excerpt(data=b"\n".join(picked))
