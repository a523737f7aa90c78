"""Packed files read as streams with bounded memory: gzip, bzip2, xz, also several in a row."""

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import BinaryIO, Protocol

CHUNK = 64 * 1024
MAX_XZ_MEMORY = 256 * 1024**2
"""xz -9 needs 65 MiB; a header can ask for 4 GiB."""


class Source(Protocol):
    """Something to read bytes from."""

    def read(self, size: int, /) -> bytes:
        """Up to so many bytes, none at the end."""


class PackedFile:
    """The archive's file; tells how much of it was read."""

    def __init__(self, file: BinaryIO, size: int, on_progress: Callable[[float], None]) -> None:
        self.done = 0
        self._file = file
        self._size = max(1, size)
        self._on_progress = on_progress

    def read(self, size: int, /) -> bytes:
        """See ``Source``."""
        data = self._file.read(size)
        self.done += len(data)
        self._on_progress(min(1.0, self.done / self._size))
        return data


class _Decompressor(Protocol):
    """What bzip2's and xz's have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gunzip:
    """gzip's as a ``_Decompressor``."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)
        self._is_full = False

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._is_full

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        found = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self._is_full = len(found) == max_length
        return found


def _xz() -> _Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_MEMORY)


DECOMPRESSORS: dict[str, Callable[[], _Decompressor]] = {"gz": _Gunzip, "bz2": bz2.BZ2Decompressor, "xz": _xz}


class Unpacking:
    """The content of a packed file, which may be several packed ones in a row. Raises EOFError where it is cut off."""

    def __init__(self, packed: PackedFile, make: Callable[[], _Decompressor]) -> None:
        self._packed = packed
        self._make = make
        self._inner = make()
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        """See ``Source``."""
        while True:
            if self._inner.eof:
                rest = self._inner.unused_data.lstrip(b"\0") or self._packed.read(CHUNK).lstrip(b"\0")
                if not rest:
                    return b""
                self._inner, self._rest = self._make(), rest
            elif self._inner.needs_input and not self._rest:
                self._rest = self._packed.read(CHUNK)
                if not self._rest:
                    raise EOFError
            data, self._rest = self._inner.decompress(self._rest, size), b""
            if data:
                return data
