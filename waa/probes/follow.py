r"""One followed log: the program's output is the log's own bytes with marks between them.

A mark is ``\0@<nonce> <letter> <text>\n``. The nonce is random, made here for this one channel, handed over by standard input and
never on a command line: nothing that stands in a log can be taken for a mark. Letters: H it can be pinged from now on; B what follows
begins at the byte asked for; R what follows is byte 0 of the file named; E the end, with exit status and text.

Exactness. The program holds the file open, and reads only from that descriptor: bytes are neither lost nor doubled by appending,
renaming, deleting and creating anew; an inode cannot be given to another file while it is open. What can be lost:
bytes written to the old file after something was written to the new one; and the beginning of a file that was truncated and
grew beyond its old size between two looks (a look follows each write by milliseconds where ``tail`` has inotify, else within a
tick). A container's own log is its engine's: rotation by the engine is not noticed, and an error text of the engine itself,
when its daemon dies, counts as log bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from waa.core.error import Failure
from waa.core.observation import LogKind, LogSource
from waa.core.port import RemoteProcess
from waa.core.status import Reason
from waa.probes.section import engine_failure

MAX_MARK_BYTES = 2048
MAX_COMPLAINT_BYTES = 2000

_FAILURES = {
    "denied": ("cannot be read by the SSH user", "Let the SSH user read the file (chmod, group)."),
    "kind": ("is not a regular file", "Name the run log itself, not a folder or a pipe."),
    "stat": ("cannot be examined", "Install stat or ls where the log lies."),
}


@dataclass(frozen=True, slots=True)
class Mark:
    """A word of the program between the bytes of the log."""

    letter: str
    text: str


class MarkSplitter:
    """Parts the log's bytes from the marks, fed in any pieces. What precedes the first mark is dropped."""

    def __init__(self, nonce: str) -> None:
        self._opening = b"\x00@" + nonce.encode() + b" "
        self._rest = b""
        self._begun = False

    def feed(self, data: bytes) -> list[bytes | Mark]:
        """Bytes and marks, in order. Bytes that may be the beginning of a mark are held until that is known."""
        rest = self._rest + data
        found: list[bytes | Mark] = []
        while (place := rest.find(self._opening)) >= 0:
            self._add(found, rest[:place])
            end = rest.find(b"\n", place, place + MAX_MARK_BYTES)
            if end < 0:
                self._rest = rest[place:]
                return found
            letter, _, text = rest[place + len(self._opening) : end].decode(errors="replace").partition(" ")
            found.append(Mark(letter, text))
            self._begun = True
            rest = rest[end + 1 :]
        held = self._held(rest)
        self._add(found, rest[: len(rest) - held])
        self._rest = rest[len(rest) - held :]
        return found

    def finish(self) -> bytes:
        """The bytes still held, when the stream has ended."""
        rest, self._rest = self._rest, b""
        return rest if self._begun else b""

    def _add(self, found: list[bytes | Mark], data: bytes) -> None:
        if data and self._begun:
            found.append(data)

    def _held(self, rest: bytes) -> int:
        for length in range(min(len(self._opening) - 1, len(rest)), 0, -1):
            if rest.endswith(self._opening[:length]):
                return length
        return 0


class FollowedLog:
    """A log that is followed. Callbacks come on the loop's thread, in the order of the bytes; none after ``close``."""

    def __init__(
        self,
        source: LogSource,
        splitter: MarkSplitter,
        *,
        engine: str,
        on_data: Callable[[bytes], None],
        on_reset: Callable[[LogSource], None],
        on_end: Callable[[Failure | None], None],
        on_closed: Callable[["FollowedLog"], None],
    ) -> None:
        self._source = source
        self._splitter = splitter
        self._engine = engine
        self._on_data = on_data
        self._on_reset = on_reset
        self._on_end = on_end
        self._on_closed = on_closed
        self._process: RemoteProcess | None = None
        self._is_over = False
        self._is_begun = False
        self._complaint = b""

    def attach(self, process: RemoteProcess) -> None:
        """The process whose output arrives here."""
        self._process = process
        if self._is_over:
            process.close()

    def ping(self) -> None:
        """Tell the program that somebody still listens (it has to have begun: before that a ping would end it)."""
        if self._process is not None and self._is_begun and not self._is_over:
            self._process.write(b"\n")

    def pause(self) -> None:
        """Stop reading; the machine is pushed back."""
        if self._process is not None and not self._is_over:
            self._process.pause()

    def resume(self) -> None:
        """Read on."""
        if self._process is not None and not self._is_over:
            self._process.resume()

    def close(self) -> None:
        """Stop following. May be called twice."""
        if not self._is_over:
            self._is_over = True
            self._on_closed(self)
        if self._process is not None:
            self._process.close()

    def take_stdout(self, data: bytes) -> None:
        """Bytes of the process."""
        for piece in self._splitter.feed(data):
            if self._is_over:
                return
            if isinstance(piece, bytes):
                self._on_data(piece)
            else:
                self._take_mark(piece)

    def take_stderr(self, data: bytes) -> None:
        """What the shells complain about; it becomes the reason if the process ends early."""
        self._complaint = (self._complaint + data)[-MAX_COMPLAINT_BYTES:]

    def take_end(self, _status: int | None) -> None:
        """The process is gone without having said why."""
        if self._is_over:
            return
        rest = self._splitter.finish()
        if rest:
            self._on_data(rest)
        said = self._complaint.decode(errors="replace").strip()
        if self._source.kind is not LogKind.FILE and said:
            self._end(engine_failure(1, said, self._engine))
        else:
            self._end(
                Failure(
                    reason=Reason.CLOSED,
                    message=f"the program that follows {self._source.path} ended" + (f": {said}" if said else ""),
                    remedy="It is started again by itself.",
                )
            )

    def _take_mark(self, mark: Mark) -> None:
        self._is_begun = True
        if mark.letter == "R":
            self._source = replace(self._source, identity=mark.text)
            self._on_reset(self._source)
        elif mark.letter == "E":
            self._end(self._failure(mark.text))

    def _failure(self, text: str) -> Failure | None:
        code, _, said = text.partition(" ")
        if code in _FAILURES:
            trouble, remedy = _FAILURES[code]
            return Failure(reason=Reason.COMMAND, message=f"the log {self._source.path} {trouble}", remedy=remedy)
        if code == "0":
            return None
        return engine_failure(int(code) if code.isdigit() else 1, said, self._engine)

    def _end(self, failure: Failure | None) -> None:
        if not self._is_over:
            self.close()
            self._on_end(failure)
