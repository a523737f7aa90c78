"""Tar streams read strictly: what is not plain files and folders, or not whole, is an error.

The standard library's reader takes damage in the middle for the end, holds headers of any length in memory, and knows links and
sparse files; for archives of strangers that is too kind.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

BLOCK = 512
MAX_EXTENSION_BYTES = 64 * 1024
"""Of a header that carries a long name."""
MAX_TIME = 2**33

_FILES = (b"0", b"\0", b"7")
_LINKS = (b"1", b"2", b"K")
_DEVICES = (b"3", b"4", b"6")
_OCTAL = re.compile(rb"[ \0]*([0-7]*)[ \0]*")


class TarError(Exception):
    """Why a stream is refused, in words that follow "the archive"."""


@dataclass(frozen=True, slots=True)
class TarMember:
    """A file or a folder; ``modified_at`` in epoch seconds, 0 where the archive does not say."""

    name: str
    size: int
    modified_at: float
    is_folder: bool


def is_header(block: bytes) -> bool:
    """Whether it begins as a tar does."""
    return len(block) >= BLOCK and any(block[:BLOCK]) and _is_summed(block[:BLOCK])


class TarReader:
    """Gives the members one after the other; ``read`` gives the bytes of the one that was given last. ``source`` reads up to so many
    bytes, none at its end. Raises TarError."""

    def __init__(self, source: Callable[[int], bytes]) -> None:
        self._source = source
        self._left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[TarMember]:
        extended: dict[str, str] = {}
        while (block := self._block()) is not None:
            kind, size = block[156:157], _number(block[124:136])
            if kind in (b"x", b"g", b"L"):
                found = self._extension(kind, size)
                extended |= {} if kind == b"g" else found
                continue
            _check_kind(kind)
            size = int(extended["size"]) if "size" in extended else size
            self._begin(size)
            name = extended.get("path", _name(block))
            is_folder = kind == b"5" or (kind == b"\0" and name.endswith("/"))
            if kind != b"V":  # a label
                yield TarMember(name, size, _time(extended.get("mtime"), block), is_folder)
            extended = {}
            while self.read(BLOCK * 128):
                pass
            self._exactly(self._padding)
        self._end()

    def read(self, max_bytes: int) -> bytes:
        """The next bytes of the member, none at its end."""
        if not self._left:
            return b""
        data = self._source(min(max_bytes, self._left))
        if not data:
            raise TarError("ends in the middle of a file")
        self._left -= len(data)
        return data

    def _begin(self, size: int) -> None:
        self._left = size
        self._padding = -size % BLOCK

    def _block(self) -> bytes | None:
        """The next header; None at the block of zeros that ends the archive."""
        block = self._exactly(BLOCK)
        if not any(block):
            return None
        if not _is_summed(block):
            raise TarError("is damaged (a header's checksum is wrong)")
        return block

    def _end(self) -> None:
        """After the first block of zeros comes another one, and then zeros at most."""
        self._exactly(BLOCK)
        while data := self._source(BLOCK * 128):
            if any(data):
                raise TarError("goes on after its end")

    def _extension(self, kind: bytes, size: int) -> dict[str, str]:
        if size > MAX_EXTENSION_BYTES:
            raise TarError("holds a name that is too long")
        data = self._exactly(size)
        self._exactly(-size % BLOCK)
        if kind == b"L":
            return {"path": _text(data.rstrip(b"\0"))}
        return _records(data)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._source(size - len(data))
            if not more:
                raise TarError("is cut off")
            data += more
        return data


def _check_kind(kind: bytes) -> None:
    if kind in _LINKS:
        raise TarError("holds a link")
    if kind in _DEVICES:
        raise TarError("holds a device")
    if kind not in (*_FILES, b"5", b"V"):
        raise TarError("holds something that is neither a file nor a folder")


def _records(data: bytes) -> dict[str, str]:
    """The records of an extended header: ``<length> <key>=<value>`` and a line's end."""
    found: dict[str, str] = {}
    while data:
        length, _, _ = data[:20].partition(b" ")
        if not length.isdigit() or not len(length) + 2 < int(length) <= len(data) or data[int(length) - 1 : int(length)] != b"\n":
            raise TarError("is damaged (an extended header makes no sense)")
        key, _, value = data[len(length) + 1 : int(length) - 1].partition(b"=")
        if key.startswith(b"GNU.sparse"):
            raise TarError("holds a sparse file")
        if key == b"size" and not (value.isdigit() and len(value) < 19):
            raise TarError("is damaged (a size makes no sense)")
        if key in (b"path", b"size", b"mtime"):
            found[key.decode()] = _text(value)
        data = data[int(length) :]
    return found


def _is_summed(block: bytes) -> bool:
    match = _OCTAL.fullmatch(block[148:156])
    return match is not None and match[1] != b"" and int(match[1], 8) == sum(block[:148]) + 8 * 32 + sum(block[156:])


def _number(field: bytes) -> int:
    if field[0] == 0x80:
        number = int.from_bytes(field[1:], "big")
        if number >= 2**63:
            raise TarError("is damaged (a size makes no sense)")
        return number
    match = _OCTAL.fullmatch(field)
    if match is None:
        raise TarError("is damaged (a number makes no sense)")
    return int(match[1] or b"0", 8)


def _time(extended: str | None, block: bytes) -> float:
    try:
        at = float(extended) if extended is not None else float(_number(block[136:148]))
    except (ValueError, TarError):  # before 1970
        return 0.0
    return float(int(at)) if 0 < at < MAX_TIME else 0.0


def _name(block: bytes) -> str:
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return _text(prefix + b"/" + name if prefix else name)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
