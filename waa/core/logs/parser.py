"""The one entry to the log grammars: bytes of any log that a benchmark VM writes, in any pieces, to facts."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from waa.core.logs import osworld, waa
from waa.core.logs.dockur import MARK, STARTING, Boot
from waa.core.logs.fact import AnyFact, ContainerBooted, LauncherStarted
from waa.core.logs.journal import Journal, section
from waa.core.logs.openadapt import LINE, OpenadaptRun, SeedRun
from waa.core.logs.passage import INTERRUPTED, Passage
from waa.core.logs.record import (
    BAR,
    COLOURED_HEADER,
    DOCKER_STAMP,
    HEADER,
    RUN_PREFIX,
    LineCutter,
    Record,
    docker_epoch,
    plain,
)
from waa.core.logs.waa import FOREIGN, Handler, Opening

MAX_SERVICES = 8
"""Services of a compose file whose prefix is stripped."""

_FIRST = "\x1b[1;33m["
_COMPOSE = re.compile(r"(?:\x1b\[[0-9;]{0,12}m)?([A-Za-z0-9][\w.-]{0,62}) {1,40}\|(?:\x1b\[[0-9;]{0,12}m)? ?", re.ASCII)
_INSTANCE = re.compile(r"=== (Instance \d{1,6} Run \d{1,6}) Log Started at (.{0,60}?) ===", re.ASCII)
_DATE = re.compile(r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) {1,2}(\d{1,2}) (\d\d:\d\d:\d\d) UTC (\d{4})", re.ASCII)
_NEXT = "Restart the container and run the next task for instance "
_MODEL_TEXT = ("Output from agent: ", "Plan: ", "Action: ")
_GLUED = "Waiting for the server to start..."
_READERS: dict[str, tuple[tuple[str, Handler], ...]] = {**waa.READERS, **osworld.READERS}
_OPENADAPT = Opening(kind="openadapt")
_HEADS = {"run": "TESTING ON TASK ", "lib_run_single": "Step "}


class LogParser:
    """Facts of one log, in the order of its bytes, whatever the chunking.

    A fact is returned when the line that tells it has ended. The text of an instruction or action that goes on for
    more lines comes once more, whole, when the next record begins. Not thread-safe.
    """

    def __init__(self) -> None:
        self._lines = LineCutter()
        self._journal = Journal()
        self._passage = Passage()
        self._boot = Boot()
        self._openadapt = OpenadaptRun()
        self._seed = SeedRun()
        self._is_seed_possible = True
        self._is_coloured = False
        self._services: list[str] = []
        self._out: list[AnyFact] = []

    def feed(self, data: bytes) -> list[AnyFact]:
        """The facts that ``data`` completes."""
        for line in self._lines.feed(data):
            if line.startswith(_FIRST) and (match := COLOURED_HEADER.match(line)):
                self._record(match, line, is_coloured=True)
            else:
                self._line(line)
        return self._take()

    def finish(self) -> list[AnyFact]:
        """The stream is over: what its unterminated last line says, and what waited for a line to follow."""
        for line in self._lines.finish():
            self._line(line)
        suspect = self._passage.suspect
        self._describe()
        self._passage.end()
        if suspect.startswith(INTERRUPTED):
            self._told(suspect, None)
        return self._take()

    @property
    def consumed(self) -> int:
        """Bytes from the start of the stream that are digested; a resumed parser wants those after them."""
        return self._lines.consumed

    @property
    def unreadable(self) -> int:
        """Lines that were binary (skipped) or longer than 64 KB (only their head was read)."""
        return self._lines.unreadable

    def state(self) -> dict[str, object]:
        """JSON-able and small; together with ``consumed`` it continues exactly."""
        return {
            "lines": self._lines.state(),
            "journal": self._journal.state(),
            "passage": self._passage.state(),
            "boot": self._boot.state(),
            "openadapt": self._openadapt.state(),
            "seed": self._seed.state(),
            "is_seed_possible": self._is_seed_possible,
            "is_coloured": self._is_coloured,
            "services": list(self._services),
        }

    @classmethod
    def resume(cls, state: Mapping[str, object]) -> "LogParser":
        """A parser that goes on at ``consumed``; an empty state begins anew."""
        parser = cls()
        parser._lines = LineCutter.resume(section(state, "lines"))
        parser._journal = Journal.resume(section(state, "journal"))
        parser._passage = Passage.resume(section(state, "passage"))
        parser._boot = Boot.resume(section(state, "boot"))
        parser._openadapt = OpenadaptRun.resume(section(state, "openadapt"))
        parser._seed = SeedRun.resume(section(state, "seed"))
        parser._is_seed_possible = state.get("is_seed_possible") is not False
        parser._is_coloured = state.get("is_coloured") is True
        services = state.get("services")
        parser._services = [str(service) for service in services] if isinstance(services, list) else []
        return parser

    def _take(self) -> list[AnyFact]:
        out, self._out = self._out, []
        return out

    # A line: what readers put before it, then a record's header or none.

    def _line(self, line: str) -> None:
        at: float | None = None
        if "|" in line or line.startswith(("20", "19", "[")):
            line, at = self._unprefixed(line)
        match = HEADER.search(line) if "[20" in line or "[19" in line else None
        if match is not None and match.start() > 0:
            before = plain(line[: match.start()]).strip()
            if before and self._passage.is_doubtful and before != _GLUED and BAR.match(before) is None:
                match = None
            elif before:
                self._text(before, at)
        if match is not None:
            self._record(match, line, is_coloured=bool(match[1]))
        else:
            self._text(plain(line), at)

    def _unprefixed(self, line: str) -> tuple[str, float | None]:
        at = None
        if "|" in line[:120]:
            line = self._without_service(line)
        if line.startswith(("20", "19")):
            stamp = DOCKER_STAMP.match(line)
            if stamp is not None:
                at, line = docker_epoch(stamp), line[stamp.end() :]
        if line.startswith("[") and (prefix := RUN_PREFIX.match(line)):
            line = line[prefix.end() :]
        return line, at

    def _without_service(self, line: str) -> str:
        """Strip the prefix of ``docker compose logs``, known by a line of its container that follows it."""
        match = _COMPOSE.match(line)
        if match is None:
            return line
        rest = line[match.end() :]
        if match[1] not in self._services:
            stamp = DOCKER_STAMP.match(rest)
            told = plain(rest[stamp.end() :] if stamp is not None else rest)
            is_ours = told.startswith(MARK) or told == STARTING or HEADER.match(told) is not None
            if self._passage.is_doubtful or not is_ours or len(self._services) >= MAX_SERVICES:
                return line
            self._services.append(match[1])
        return rest

    # A record.

    def _record(self, match: re.Match[str], line: str, *, is_coloured: bool) -> None:
        stamp, level, module, process = match.groups()[-4:]
        passage = self._passage
        if passage.is_doubtful and ((self._is_coloured and not is_coloured) or not passage.allows(stamp)):
            self._text(plain(line), None)
            return
        handlers = _READERS.get(module)
        if handlers is None:
            self._journal.settle(process)
            if passage.lines:
                self._describe()
            passage.begin_bare(stamp, is_trusted=False)
        else:
            message = plain(line[match.end() :])
            if message and not message.isspace():
                if not self._read(Record(stamp, level, module, process, message), handlers):
                    self._text(plain(line), None)
                    return
            else:
                if passage.lines:
                    self._describe()
                passage.begin_bare(stamp, is_trusted=False)
                passage.head = [stamp, level, module, process] if module in _HEADS else []
        self._is_coloured = is_coloured
        if self._is_seed_possible:
            self._claim()

    def _read(self, record: Record, handlers: tuple[tuple[str, Handler], ...]) -> bool:
        """Whether the runner can have written this record here."""
        facts: list[AnyFact] = []
        opening: Opening | None = FOREIGN
        for prefix, handler in handlers:
            if record.message.startswith(prefix):
                opening = handler(self._journal, record, record.message[len(prefix) :], facts)
                break
        if opening is None:
            return False
        if self._passage.lines:
            self._describe()
        self._out += facts
        if opening.kind:
            self._passage.begin(record.stamp, opening)
        else:
            self._passage.begin_bare(record.stamp, is_trusted=opening.is_trusted)
        return True

    def _describe(self) -> None:
        """The record before is complete: tell its whole text if there was more than its first line."""
        passage = self._passage
        whole_text = passage.text()
        if whole_text is not None:
            stamp = Record(passage.stamp, "", "", "", "").at if passage.stamp else None
            self._out.append(waa.described(passage.opening, whole_text, stamp))
        passage.lines = []

    # A line without a header.

    def _text(self, line: str, at: float | None) -> None:
        passage = self._passage
        if not line or line.isspace():
            passage.add("")
        elif passage.head:
            self._message(line)
        elif passage.is_doubtful:
            self._doubt(line, at)
        else:
            self._told(line, at)

    def _message(self, line: str) -> None:
        """The message of a record that began with an empty line."""
        passage = self._passage
        stamp, level, module, process = passage.head
        passage.head = []
        if line.startswith(_HEADS[module]):
            self._read(Record(stamp, level, module, process, line), _READERS[module])

    def _doubt(self, line: str, at: float | None) -> None:
        """A line within foreign text: it counts only if a second one confirms it."""
        passage = self._passage
        if passage.opening.kind == "left" and waa.count_left(self._journal, line):
            return
        if passage.opening.kind == "openadapt" and self._tell_openadapt(line, at):
            return
        if passage.suspect and passage.confirms(line):
            suspect = passage.suspect
            self._describe()
            passage.end()
            self._told(suspect, at)
            self._told(line, at)
            return
        if line == _GLUED:
            passage.stamp = ""
        if not passage.suspects(line) and BAR.match(line) is None and not line.startswith("Waiting for a response from "):
            passage.suspect = ""
        passage.add(line)

    def _told(self, line: str, at: float | None) -> None:
        """A line that is what it says."""
        if self._passage.opening.kind == "left" and waa.count_left(self._journal, line):
            return
        is_known = any(tell(line, at) for tell in self._tellers) or BAR.match(line) is not None
        if not is_known:
            # Unknown text after a record: whatever follows may be a model's.
            self._passage.is_trusted = not self._passage.is_open

    @property
    def _tellers(self) -> tuple[Callable[[str, float | None], bool], ...]:
        return (self._tell_openadapt, self._tell_launcher, self._tell_boot, self._tell_print, self._tell_seed)

    def _tell_openadapt(self, line: str, at: float | None) -> bool:
        match = LINE.match(line)
        if match is None:
            return False
        self._claim()
        self._openadapt.read(match[1], line[match.end() :], self._out)
        if self._openadapt.is_running:
            self._passage.begin("", _OPENADAPT)
        else:
            self._passage.end()
        return True

    def _tell_launcher(self, line: str, at: float | None) -> bool:
        if line.startswith(_NEXT):
            self._journal.cut_all("the launcher went on", at, self._out)
        elif instance := _INSTANCE.fullmatch(line.strip()):
            self._journal.cut_all("the launcher was started again", at, self._out)
            self._journal.is_launched = True
            self._out.append(LauncherStarted(at=_when(instance[2]) if at is None else at, label=instance[1]))
        else:
            return False
        self._claim()
        self._passage.end()
        return True

    def _tell_boot(self, line: str, at: float | None) -> bool:
        facts: list[AnyFact] = []
        if not self._boot.read(line.strip() if line.startswith((MARK, "BdsDxe")) else line, at, facts):
            return False
        self._claim()
        if line == STARTING or any(isinstance(fact, ContainerBooted) for fact in facts):
            self._journal.cut_all("the container was started again", at, self._out)
            self._passage.end()
        self._out += facts
        return True

    def _tell_print(self, line: str, at: float | None) -> bool:
        if line.startswith(_MODEL_TEXT):
            return False
        return waa.printed(self._journal, line, at, self._out)

    def _tell_seed(self, line: str, at: float | None) -> bool:
        return self._is_seed_possible and not self._passage.is_open and self._seed.read(line, self._out)

    def _claim(self) -> None:
        """Another dialect than the plain one writes here."""
        if self._is_seed_possible:
            self._is_seed_possible = False
            self._seed.stop(self._out)


def _when(date: str) -> float | None:
    """Epoch seconds of what ``date`` prints in UTC, None for other formats."""
    match = _DATE.fullmatch(date)
    if match is None:
        return None
    try:
        moment = datetime.strptime(" ".join(match.groups()), "%b %d %H:%M:%S %Y")
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC).timestamp()
