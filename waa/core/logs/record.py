"""From bytes to lines, and the record header that the WAA and OSWorld runners print."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from waa.core.logs.mask import mask

MAX_LINE_BYTES = 65_536
"""Longer lines keep their head; the rest up to the line's end is dropped (a Worker line of 154 tasks has 10 KB)."""
MAX_TEXT = 4_000
"""Characters of an instruction or an action that a fact carries."""
MAX_ERROR = 2_000
MAX_NAME = 300
"""Characters of a task id or a domain."""

ANSI = re.compile(r"\x1b\[[0-9;=?]*[A-Za-z]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_COLOUR = r"(?:\x1b?\[[0-9;]{1,8}m)?"
_LEVEL = r"(DEBUG|INFO|WARNING|ERROR|CRITICAL)"
_STAMP = r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3})"
_ORIGIN = r"([\w.<>-]{1,80})/\d{1,7}-([\w.:-]{1,80})"

COLOURED_HEADER = re.compile(rf"\x1b\[1;33m\[{_STAMP} \x1b\[31m{_LEVEL} \x1b\[32m{_ORIGIN}\x1b\[1;33m\] \x1b\[0m", re.ASCII)
"""The header as the runners write it: stamp, level, module, process."""
HEADER = re.compile(rf"({_COLOUR})\[{_STAMP} {_COLOUR}{_LEVEL} {_COLOUR}{_ORIGIN}{_COLOUR}\](?: |$){_COLOUR}", re.ASCII)
"""The header with or without its colours (group 1 is the first colour), for copies that tools have stripped."""

DOCKER_STAMP = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d):(\d\d):(\d\d)(\.\d{1,9})?Z(?: |$)", re.ASCII)
"""What ``docker logs -t`` puts before each line."""
RUN_PREFIX = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] \[RUN\](?: |$)", re.ASCII)
"""What openadapt's wrapper puts before each line."""
BAR = re.compile(r"\s*(?:[A-Za-z][\w ]{0,40}: *)?\d{1,3}%\|")
"""A progress bar of tqdm."""


@dataclass(slots=True)
class Record:
    """One log record as far as its first line tells. ``stamp`` is its time as printed."""

    stamp: str
    level: str
    module: str
    process: str
    message: str

    @property
    def at(self) -> float | None:
        """Epoch seconds, None where the stamp is no date."""
        return epoch(self.stamp)


@lru_cache(maxsize=64)
def _midnight(day: str) -> float | None:
    try:
        return (date.fromisoformat(day).toordinal() - 719_163) * 86_400.0
    except ValueError:
        return None


@lru_cache(maxsize=64)
def _minute(minute: str) -> float | None:
    midnight = _midnight(minute[:10])
    return None if midnight is None else midnight + int(minute[11:13]) * 3600 + int(minute[14:16]) * 60


def epoch(stamp: str) -> float | None:
    """Epoch seconds of ``YYYY-mm-dd HH:MM:SS,mmm`` taken as UTC; None where the day does not exist."""
    minute = _minute(stamp[:16])
    return None if minute is None else minute + int(stamp[17:19]) + int(stamp[20:23]) / 1000


def docker_epoch(match: re.Match[str]) -> float | None:
    """Epoch seconds of a match of DOCKER_STAMP."""
    midnight = _midnight(match[1])
    if midnight is None:
        return None
    return midnight + int(match[2]) * 3600 + int(match[3]) * 60 + int(match[4]) + float(match[5] or 0)


def plain(text: str) -> str:
    """``text`` without terminal control."""
    if "\x1b" in text:
        text = ANSI.sub("", text)
    return text


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """``text`` without control characters (line breaks and tabs stay), at most ``limit`` characters."""
    return _CONTROL.sub("", plain(text[: 2 * limit]))[:limit]


def shown(text: str, limit: int = MAX_TEXT) -> str:
    """``clean(text)`` without credentials."""
    return mask(clean(text, limit))[:limit]


class LineCutter:
    """Cuts a byte stream into lines of text; the same bytes give the same lines whatever the pieces.

    A line ends with ``\\n``, ``\\r\\n`` or ``\\r`` (so that the states of a progress bar are lines of their own).
    Memory is bounded by MAX_LINE_BYTES. ``consumed`` bytes are digested: what is held back begins there.
    ``unreadable`` counts lines that were binary (dropped) or too long (their head is kept).
    """

    __slots__ = ("_after_cr", "_rest", "_skipping", "consumed", "unreadable")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._skipping = False
        self._after_cr = False
        self.consumed = 0
        self.unreadable = 0

    def feed(self, data: bytes) -> list[str]:
        """The lines that end in ``data``."""
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if end == 0:
            return self._hold(data)
        block = bytes(self._rest) + data[:end]
        self._rest = bytearray()
        self.consumed += len(block)
        lines = self._split(block)
        lines += self._hold(data[end:])
        return lines

    def finish(self) -> list[str]:
        """The last line where nothing ends it, as a list of one or none."""
        rest, self._rest = bytes(self._rest), bytearray()
        self.consumed += len(rest)
        return self._decoded([rest]) if rest else []

    def state(self) -> dict[str, object]:
        """What ``resume`` needs, JSON-able."""
        return {
            "consumed": self.consumed,
            "unreadable": self.unreadable,
            "skipping": self._skipping,
            "after_cr": self._after_cr,
        }

    @classmethod
    def resume(cls, state: Mapping[str, object]) -> "LineCutter":
        """A cutter that goes on at ``consumed``."""
        cutter = cls()
        cutter.consumed = whole(state.get("consumed"))
        cutter.unreadable = whole(state.get("unreadable"))
        cutter._skipping = state.get("skipping") is True
        cutter._after_cr = state.get("after_cr") is True
        return cutter

    def _hold(self, data: bytes) -> list[str]:
        if self._skipping:
            self.consumed += len(data)
            return []
        self._rest += data
        if len(self._rest) <= MAX_LINE_BYTES:
            return []
        # The line is too long already: what it says is said, the rest is skipped. An after_cr has no say any more.
        self.consumed += len(self._rest)
        self._skipping = True
        self._after_cr = False
        self.unreadable += 1
        head, self._rest = bytes(self._rest[:MAX_LINE_BYTES]), bytearray()
        return self._decoded([head], counted=True)

    def _split(self, block: bytes) -> list[str]:
        ends_with_cr = block.endswith(b"\r")
        if self._after_cr and block.startswith(b"\n"):
            block = block[1:]
        self._after_cr = ends_with_cr
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if self._skipping and block:
            block = block[block.index(b"\n") + 1 :]
            self._skipping = False
        if not block:
            return []
        text = block[:-1].decode("utf-8", "replace")
        lines = text.split("\n")
        is_long = len(block) > MAX_LINE_BYTES // 4 and max(map(len, lines)) > MAX_LINE_BYTES // 4
        if is_long or "\x00" in text or "\ufffd" in text:
            return self._decoded(block[:-1].split(b"\n"))
        return lines

    def _decoded(self, lines: list[bytes], *, counted: bool = False) -> list[str]:
        readable = []
        for line in lines:
            is_long = len(line) > MAX_LINE_BYTES
            text = line[:MAX_LINE_BYTES].decode("utf-8", "replace")
            is_binary = "\x00" in text or text.count("\ufffd") * 4 > len(text)
            if (is_long or is_binary) and not counted:
                self.unreadable += 1
            if not is_binary:
                readable.append(text)
        return readable


def whole(value: object) -> int:
    """``value`` if it is an int, else 0 (states come from storage)."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
