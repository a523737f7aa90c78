"""The live tail of a log as a terminal shows it: colours, and progress bars that overwrite themselves.

Escape sequences are decoded by Rich; this module keeps the lines. Log text is not an event: it is a bounded window per
log, filled by the monitor and fetched again from the machine after a restart.
"""

import codecs
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup, escape
from rich.ansi import AnsiDecoder
from rich.color import ColorType
from rich.style import Style
from rich.text import Text

from waa.core.logs.mask import KeyLines, mask, mask_unfinished
from waa.core.observation import LogKind, LogSource

MAX_LINES = 400
"""What a tail holds; a screen shows 30, the rest is for scrolling back."""
MAX_LINE_CHARS = 2000
MAX_OPEN_CHARS = 16 * 1024
"""Of a row that has no end yet: a progress bar writes it anew again and again."""
MAX_TAILS = 256
"""Logs that have a tail, in all: several per VM of a large fleet."""

_CURSOR = re.compile(r"\x1b\[[0-9;?]*[A-HJKSTfhlnsu]|\x1b[()][A-Z0-9]|\x1b[=>78DEHM]")
_CUT_OFF = re.compile(r"\x1b(?:\[[0-9;?]*)?\Z")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x0c\x0e-\x1a\x1c-\x1f\x7f]")
_PALETTE = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line of a tail; ``number`` counts from the tail's beginning and names its element. ``text``: without its colours."""

    number: int
    html: Markup
    text: str = ""


class LogTail:
    """The last lines of one log. ``generation`` rises when it begins anew. Lines become HTML when somebody looks."""

    def __init__(self) -> None:
        self.generation = 0
        self._rows: OrderedDict[int, str] = OrderedDict()
        self._shown: dict[int, LogLine] = {}
        self._open = ""
        self._next = 1
        self._decoder = _utf8()
        self._keys = KeyLines()

    @property
    def lines(self) -> tuple[LogLine, ...]:
        """Oldest first."""
        return self.lines_from(0)

    def lines_from(self, number: int) -> tuple[LogLine, ...]:
        """The lines from one number on, oldest first."""
        return tuple(self._line(known) for known in self._rows if known >= number)

    @property
    def first_number(self) -> int:
        """Of the oldest line held; of the next line where there is none."""
        return next(iter(self._rows), self._next)

    def feed(self, data: bytes) -> int:
        """Take bytes in any pieces; gives the number of the first line that changed."""
        changed = self._next
        rows = (self._open + self._decoder.decode(data)).split("\n")
        if len(rows) > MAX_LINES:
            for row in rows[: -MAX_LINES - 1]:
                self._keys.take(row)
            self._next += len(rows) - MAX_LINES - 1
            rows = rows[-MAX_LINES - 1 :]
        for row in rows[:-1]:
            self._put(self._keys.take(row))
            self._next += 1
        self._open = _overwritten(rows[-1])
        if self._open.strip():
            self._put(self._keys.peek(self._open))
        while len(self._rows) > MAX_LINES:
            number, _row = self._rows.popitem(last=False)
            self._shown.pop(number, None)
        return changed

    def begin_anew(self) -> None:
        """The log was truncated, or is another one. Numbers go on: an element's name is never used twice."""
        self.generation += 1
        self._next += self._next in self._rows
        self._rows.clear()
        self._shown.clear()
        self._open, self._decoder, self._keys = "", _utf8(), KeyLines()

    def _put(self, row: str) -> None:
        self._rows[self._next] = _folded(row)[: MAX_LINE_CHARS * 8]
        self._shown.pop(self._next, None)

    def _line(self, number: int) -> LogLine:
        line = self._shown.get(number)
        if line is None:
            html, text = _html(self._rows[number], is_open=number == self._next)
            line = self._shown[number] = LogLine(number=number, html=html, text=text)
        return line


class LogTails:
    """The tails of all logs, by VM and log. ``on_change(vm, log_key, first_changed)``: None means all of it. ``on_job_change`` is told
    the same of the logs of jobs."""

    def __init__(self) -> None:
        self.on_change: Callable[[str, str, int | None], None] | None = None
        self.on_job_change: Callable[[str, str, int | None], None] | None = None
        self._tails: OrderedDict[tuple[str, str], LogTail] = OrderedDict()

    def take(self, vm: str, source: LogSource, data: bytes) -> None:
        """Log bytes as the monitor reads them; none: the log begins anew."""
        key = (vm, source.key)
        tail = self._tails.get(key)
        if tail is None:
            tail = self._tails[key] = LogTail()
            while len(self._tails) > MAX_TAILS:
                self._tails.popitem(last=False)
        self._tails.move_to_end(key)
        changed: int | None = None
        if data:
            changed = tail.feed(data)
        else:
            tail.begin_anew()
        if self.on_change is not None:
            self.on_change(vm, source.key, changed)
        if self.on_job_change is not None and source.kind is LogKind.JOB:
            self.on_job_change(vm, source.key, changed)

    def tail(self, vm: str, log_key: str) -> LogTail | None:
        """The tail of one log."""
        return self._tails.get((vm, log_key))

    def keys(self, vm: str) -> list[str]:
        """The logs of a VM that have a tail, the one written last at the end."""
        return [log_key for name, log_key in self._tails if name == vm]


def rendered(data: bytes) -> tuple[Markup, ...]:
    """The lines of a piece of a log, as HTML."""
    rows = data.decode("utf-8", "replace").rstrip("\n").split("\n") if data.strip() else []
    keys = KeyLines()
    return tuple(_html(_folded(keys.take(row))[: MAX_LINE_CHARS * 8])[0] for row in rows)


def _utf8() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")(errors="replace")


def _overwritten(row: str) -> str:
    """An unfinished row without what its newest parts have written over, once it is long."""
    if len(row) <= MAX_OPEN_CHARS:
        return row
    start = row.rfind("\r", 0, len(row) - MAX_OPEN_CHARS // 2)
    return row[-MAX_OPEN_CHARS // 2 :] if start < 0 or len(row) - start > MAX_OPEN_CHARS else row[start:]


def _folded(row: str) -> str:
    """What stays visible of a row after its carriage returns: the last thing written over it."""
    row = row.rstrip("\r")
    if "\r" not in row:
        return row
    return next((part for part in reversed(row.split("\r")) if _CURSOR.sub("", part).strip()), "")


def _html(row: str, *, is_open: bool = False) -> tuple[Markup, str]:
    """A row with its colours, and without."""
    text = AnsiDecoder().decode_line(_CONTROL.sub("", _CURSOR.sub("", _CUT_OFF.sub("", row))))
    hidden = (mask_unfinished if is_open else mask)(text.plain)
    if hidden != text.plain:  # colours may stand within what is hidden: none are kept
        text = Text(hidden)
    plain = text.plain[:MAX_LINE_CHARS]
    pieces: list[Markup] = []
    position = 0
    for span in sorted(text.spans, key=lambda span: span.start):
        start, end = max(span.start, position), min(span.end, len(plain))
        if start >= end:
            continue
        pieces.append(escape(plain[position:start]))
        classes = _classes(span.style) if isinstance(span.style, Style) else ""
        piece = escape(plain[start:end])
        pieces.append(Markup('<span class="{}">{}</span>').format(classes, piece) if classes else piece)
        position = end
    pieces.append(escape(plain[position:]))
    if len(text.plain) > MAX_LINE_CHARS:
        pieces.append(Markup("…"))
        plain += "…"
    return Markup("").join(pieces), plain


def _classes(style: Style) -> str:
    names = [name for name, on in (("b", style.bold), ("dim", style.dim), ("i", style.italic), ("u", style.underline)) if on]
    for prefix, color in (("fg", style.color), ("bg", style.bgcolor)):
        if color is not None and color.type is ColorType.STANDARD and color.number is not None:
            names.append(f"{prefix}-{_PALETTE[color.number % 8]}{'-bright' if color.number > 7 else ''}")
    return " ".join(f"t-{name}" for name in names)
