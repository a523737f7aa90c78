"""Framed records on a byte stream: ``@NAME CODE LENGTH <bytes>\\n``.

The length stands in front, so that no text inside a record can be taken for the beginning of another one. The scripts' bodies
hold no newline: bash writes its output line by line, and a record must be one write where several processes share a pipe.
"""

import re
from dataclasses import dataclass

from waa.core.error import Failure, LinkError
from waa.core.status import Reason

HEAD = re.compile(rb"@([a-z]{1,20}) (-?\d{1,5}) (\d{1,7}) ")
MAX_HEAD_BYTES = 40
MAX_BODY_BYTES = 65_536
"""The scripts stay below 4 kB (what a pipe takes in one piece); more is not ours."""

MAX_PREAMBLE_BYTES = 65_536
"""What a login shell may print before the script speaks."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One record. ``code`` is the exit status of what produced ``body`` (UTF-8, damaged bytes replaced)."""

    name: str
    code: int
    body: str


class FrameDecoder:
    """Cuts a stream, fed in any pieces, into frames.

    Everything before the first frame named ``first`` is dropped: login shells and banners print there.
    """

    def __init__(self, *, first: str) -> None:
        self._opening = b"@" + first.encode() + b" "
        self._opened = False
        self._rest = b""
        self._dropped = 0

    def feed(self, data: bytes) -> list[Frame]:
        """The frames completed by ``data``, in order. Raises LinkError (protocol) where the stream is not ours."""
        self._rest += data
        if not self._opened and not self._skip_preamble():
            return []
        frames = []
        start = 0
        while (end := self._frame_end(start)) is not None:
            frame, start = end
            frames.append(frame)
        self._rest = self._rest[start:]
        return frames

    def _skip_preamble(self) -> bool:
        place = self._rest.find(self._opening)
        if place >= 0:
            self._rest = self._rest[place:]
            self._opened = True
            return True
        keep = len(self._opening) - 1
        self._dropped += max(0, len(self._rest) - keep)
        self._rest = self._rest[-keep:]
        if self._dropped > MAX_PREAMBLE_BYTES:
            raise LinkError(
                Failure(
                    reason=Reason.PROTOCOL,
                    message="the login shell prints without end before the status script begins",
                    remedy="Let the shell's start-up files print nothing for sessions without a terminal.",
                )
            )
        return False

    def _frame_end(self, start: int) -> tuple[Frame, int] | None:
        head = HEAD.match(self._rest, start)
        if head is None:
            if len(self._rest) - start > MAX_HEAD_BYTES or b"\n" in self._rest[start:]:
                raise _broken(self._rest[start : start + MAX_HEAD_BYTES])
            return None
        length = int(head[3])
        if length > MAX_BODY_BYTES:
            raise _broken(head[0])
        end = head.end() + length
        if len(self._rest) <= end:
            return None
        if self._rest[end] != 0x0A:
            raise _broken(head[0])
        body = self._rest[head.end() : end].decode(errors="replace")
        return Frame(head[1].decode(), int(head[2]), body), end + 1


def _broken(sample: bytes) -> LinkError:
    return LinkError(
        Failure(
            reason=Reason.PROTOCOL,
            message=f"the status script sent something else than its records: {sample.decode(errors='replace')!r}",
            remedy="Look for programs that write into the SSH session (start-up files, forced commands).",
        )
    )
