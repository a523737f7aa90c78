"""The text that follows a record, as far as it matters: it is the record's own until something else surely begins.

After most records the text of a model or of the guest may go on for many lines, and it may look like anything. A
passage tells whether its lines can be believed, and keeps the text of an instruction or an action.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from waa.core.logs.dockur import STARTING
from waa.core.logs.journal import section, text
from waa.core.logs.record import BAR, MAX_TEXT, epoch, whole
from waa.core.logs.waa import AFTER_ACTION, CHATTER, Opening

MAX_REFUSED = 8
"""Records refused for their time in one passage; after that the clock has been set back."""
MAX_DISORDER_S = 5.0
"""Parallel processes write slightly out of order."""

BARE = Opening()
INTERRUPTED = "Interrupted by "
_CONFIRMED = (
    (STARTING, "Starting VM..."),
    ("❯ Starting Windows for ", "❯ For support visit https://github.com/dockur/windows"),
    ("=== Instance ", "Starting instance with concurrent_idx="),
    ("Restart the container and run the next task for instance ", "Reverting "),
)
"""Lines that count within foreign text only if the second follows the first."""


@dataclass(slots=True)
class Passage:
    """Where the text after the last record stands. ``is_open`` is False before the first record of a run."""

    is_open: bool = False
    is_trusted: bool = True
    stamp: str = ""
    refused: int = 0
    suspect: str = ""
    opening: Opening = field(default_factory=Opening)
    lines: list[str] = field(default_factory=list)
    size: int = 0
    head: list[str] = field(default_factory=list)  # stamp, level, module, process of a record whose message is still to come

    @property
    def is_doubtful(self) -> bool:
        """Whether a line may be text of a model or a guest."""
        return self.is_open and not self.is_trusted

    def begin(self, stamp: str, opening: Opening) -> None:
        """A record was read that opens this."""
        self.is_open = True
        self.is_trusted = opening.is_trusted
        self.stamp = stamp
        self.refused = 0
        self.suspect = ""
        self.opening = opening
        self.lines = [opening.text[: MAX_TEXT + 1]] if opening.kind in ("step", "instruction") else []
        self.size = len(opening.text)
        self.head = []

    def begin_bare(self, stamp: str, *, is_trusted: bool) -> None:
        """``begin`` for a record whose text is of no interest; for most records, so it does the least."""
        self.is_open = True
        self.is_trusted = is_trusted
        self.stamp = stamp
        self.opening = BARE
        if self.refused or self.suspect or self.head:
            self.refused = 0
            self.suspect = ""
            self.head = []

    def end(self) -> None:
        """Something else than a run writes now."""
        self.begin("", Opening(is_trusted=True))
        self.is_open = False

    def allows(self, stamp: str) -> bool:
        """Whether a record of this time can follow; a forged one rarely knows the time."""
        if not self.is_doubtful or stamp >= self.stamp or self.refused >= MAX_REFUSED:
            return True
        before, after = epoch(self.stamp), epoch(stamp)
        if before is not None and after is not None and before - after <= MAX_DISORDER_S:
            return True
        self.refused += 1
        return False

    def add(self, line: str) -> None:
        """Keep a line of the text, within the bound of a fact."""
        if not self.lines or self.size > MAX_TEXT:
            return
        if line in CHATTER or line.startswith(AFTER_ACTION) or BAR.match(line):
            self.size = MAX_TEXT + 1
            return
        self.lines.append(line[:MAX_TEXT])
        self.size += len(line) + 1

    def text(self) -> str | None:
        """The whole text where it has more than the record's first line, else None."""
        if len(self.lines) < 2:
            return None
        whole_text = "\n".join(self.lines).rstrip("\n")
        return whole_text if len(whole_text) > len(self.lines[0]) else None

    def confirms(self, line: str) -> bool:
        """Whether ``line`` proves the suspect line before it: then both count, and the passage has ended."""
        if self.suspect.startswith(INTERRUPTED):
            return BAR.match(line) is not None
        return any(self.suspect.startswith(first) and line.startswith(second) for first, second in _CONFIRMED)

    def suspects(self, line: str) -> bool:
        """Whether ``line`` may be the first of a pair; it is remembered."""
        if line.startswith(tuple(first for first, _ in _CONFIRMED)) or (
            line.startswith(INTERRUPTED) and line.endswith(", shutting down") and len(line) < 60
        ):
            self.suspect = line[:200]
            return True
        return False

    def state(self) -> dict[str, object]:
        """JSON-able."""
        return {**asdict(self), "opening": {**asdict(self.opening), "text": ""}}

    @classmethod
    def resume(cls, state: Mapping[str, object]) -> "Passage":
        """As it was."""
        opening = section(state, "opening")
        lines, head = state.get("lines"), state.get("head")
        return cls(
            is_open=state.get("is_open") is True,
            is_trusted=state.get("is_trusted") is not False,
            stamp=text(state, "stamp"),
            refused=whole(state.get("refused")),
            suspect=text(state, "suspect"),
            opening=Opening(
                kind=text(opening, "kind"),
                is_trusted=opening.get("is_trusted") is True,
                worker=text(opening, "worker"),
                number=whole(opening.get("number")),
            ),
            lines=[str(line) for line in lines] if isinstance(lines, list) else [],
            size=whole(state.get("size")),
            head=[str(part) for part in head] if isinstance(head, list) else [],
        )
