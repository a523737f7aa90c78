"""A piece of a log, by the time that stands in it."""

from dataclasses import dataclass
from datetime import UTC, datetime


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
