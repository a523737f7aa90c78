"""Result trees in archives: unpacked into a folder, whatever the archive says. Blocking: for a thread of an executor.

Only plain files that matter to results are written, under names that lead nowhere else. What no honest archive of results holds
refuses the whole archive: links, devices, absolute names, names with ``..``, encrypted entries, files that are there twice and
differ. What is written is counted as it is written; no header is believed. Archives in archives are not opened.
"""

import lzma
import os
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from calendar import timegm
from collections.abc import Callable, Container
from glob import escape
from io import RawIOBase
from pathlib import Path
from typing import BinaryIO

from waa.core.error import Cancelled, Invalid, Unavailable
from waa.core.results.tree import ExtractLimits, ExtractReport, matters
from waa.probes.packed import CHUNK, DECOMPRESSORS, PackedFile, Source, Unpacking
from waa.probes.tar import BLOCK, TarError, TarReader, is_header

DEFAULT_LIMITS = ExtractLimits()
RATIO_FROM_BYTES = 64 * 1024**2
"""A small tree of one-colour pictures may well be packed a thousand times."""
MAX_STREAM = 4
"""Times ``max_bytes``: as much of a packed tar is looked through, with what is passed over."""
MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 2_000
ZIP_ENTRY_BYTES = 512
"""Of the directory at a zip's end, on average; it is read as a whole."""

_BROKEN = (TarError, zipfile.BadZipFile, EOFError, OSError, zlib.error, lzma.LZMAError, struct.error, NotImplementedError, ValueError)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PARTIAL = ".part"
_MAGIC = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\0": "xz", b"PK\x03\x04": "zip", b"PK\x05\x06": "zip"}
_WHAT = "a zip or a tar (plain, gzip, bzip2 or xz)"


def extract(
    path: str,
    into: str,
    *,
    limits: ExtractLimits = DEFAULT_LIMITS,
    on_progress: Callable[[float], None] = lambda share: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> ExtractReport:
    """Unpack what matters to results from a zip or tar (plain, gzip, bzip2, xz; told by its content) into the folder ``into``.

    ``into`` appears when all of it is there (an earlier one is replaced), so that an interrupted call is simply repeated.
    ``on_progress`` gets the share of the archive that is done, 0 to 1. Raises Invalid (``archive``) for whatever is no honest archive
    or more than the limits, and leaves nothing behind; Cancelled; Unavailable where the disk refuses.
    """
    target = Path(into)
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for stale in target.parent.glob(f".{escape(target.name)}.*{_PARTIAL}"):
            shutil.rmtree(stale, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=_PARTIAL, dir=target.parent))
    except OSError as error:
        raise Unavailable(f"{target.parent} cannot be written to ({error.strerror})") from error
    try:
        report = _unpack(path, Unpacker(work / "new", limits, is_cancelled), on_progress)
        _put(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return report


def extract_tar_stream(
    source: Source,
    into: str,
    *,
    wanted: Container[str],
    limits: ExtractLimits = DEFAULT_LIMITS,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> ExtractReport:
    """Unpack a tar that comes from a machine into the folder ``into``, by the same rules; only files whose path is in ``wanted``.
    What was written before an error stays. Raises Invalid (``archive``), Cancelled, Unavailable."""
    unpacker = Unpacker(Path(into), limits, is_cancelled, wanted=wanted)
    try:
        _take_tar(source, unpacker)
    except _BROKEN as error:
        raise _refusal(error) from error
    return unpacker.report()


class Unpacker:
    """Writes files below a folder of its own; refuses names and amounts. See the module."""

    def __init__(
        self, into: Path, limits: ExtractLimits, is_cancelled: Callable[[], bool], *, wanted: Container[str] | None = None
    ) -> None:
        self.limits = limits
        self._into = into
        self._is_cancelled = is_cancelled
        self._wanted = wanted
        self._seen = self._files = self._bytes = 0
        self._folders: set[str] = set()
        self._make_folder("")

    def place(self, name: str, *, is_folder: bool) -> str | None:
        """The path at which a member is to be written, None where it is passed over. To be asked for each member. Raises Invalid for one
        that no archive of results holds, Cancelled."""
        self.check()
        self._seen += 1
        if self._seen > self.limits.max_files:
            raise Invalid("archive", f"more than {self.limits.max_files:,} entries are not unpacked")
        path = checked_path(name)
        if is_folder or not path.isprintable() or not matters(path) or not (self._wanted is None or path in self._wanted):
            return None
        return path

    def write(self, path: str, modified_at: float, read: Callable[[int], bytes]) -> None:
        """A file's content, by pieces. Raises Invalid beyond the limits, or where another file of that name is there already;
        Unavailable."""
        folder, _, name = path.rpartition("/")
        self._make_folder(folder)
        place = self._into / folder / name
        try:
            file = os.open(place, _NEW, 0o600)
        except FileExistsError:
            self._compare(place, path, read)
            return
        except OSError as error:
            raise _unwritten(error) from error
        with os.fdopen(file, "wb", buffering=0) as opened:
            self._copy(read, opened, path)
            os.utime(file, (max(0.0, modified_at), max(0.0, modified_at)))
        self._files += 1

    def check(self) -> None:
        """Raises Cancelled."""
        if self._is_cancelled():
            raise Cancelled("Unpacking was cancelled")

    def report(self) -> ExtractReport:
        """What was done so far."""
        return ExtractReport(files=self._files, bytes=self._bytes, passed_over=self._seen - self._files)

    def _copy(self, read: Callable[[int], bytes], file: RawIOBase, path: str) -> None:
        size = 0
        while data := read(CHUNK):
            size += len(data)
            self._bytes += len(data)
            if size > self.limits.max_file_bytes:
                raise Invalid("archive", f"{path} is longer than {_mega(self.limits.max_file_bytes)}")
            if self._bytes > self.limits.max_bytes:
                raise Invalid("archive", f"more than {_mega(self.limits.max_bytes)} are not unpacked")
            self.check()
            try:
                while data:
                    data = data[file.write(data) or 0 :]
            except OSError as error:
                raise _unwritten(error) from error

    def _compare(self, place: Path, path: str, read: Callable[[int], bytes]) -> None:
        is_same = place.is_file()
        if is_same:
            with place.open("rb") as there:
                while is_same and (data := read(CHUNK)):
                    is_same = there.read(len(data)) == data
                is_same = is_same and not there.read(1)
        if not is_same:
            raise Invalid("archive", f"{path} is in it twice, with different content")

    def _make_folder(self, folder: str) -> None:
        if folder in self._folders:
            return
        try:
            (self._into / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise Invalid("archive", f"{folder} is a file and a folder in it") from None
        except OSError as error:
            raise _unwritten(error) from error
        self._folders.add(folder)


def checked_path(name: str) -> str:
    """The path that a member's name means, without ``.`` and double slashes. Raises Invalid for one that leads elsewhere."""
    shown = ascii(name[:100])
    if name.startswith("/") or "\\" in name or "\0" in name or (name[1:2] == ":" and name[:1].isalpha()):
        raise Invalid("archive", f"it holds the name {shown}; only relative ones with slashes are unpacked")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Invalid("archive", f"it holds the name {shown}, which leads out of it")
    sizes = [len(part.encode("utf-8", "surrogateescape")) for part in parts]
    if max(sizes, default=0) > MAX_NAME_BYTES or sum(sizes) + len(sizes) > MAX_PATH_BYTES:
        raise Invalid("archive", f"it holds a name that is too long: {shown}…")
    return "/".join(parts)


def _unpack(path: str, unpacker: Unpacker, on_progress: Callable[[float], None]) -> ExtractReport:
    try:
        opened = Path(path).open("rb")  # noqa: SIM115
    except OSError as error:
        raise Invalid("archive", f"it cannot be read ({error.strerror})") from error
    try:
        with opened as file:
            kind = _kind(file)
            if kind == "zip":
                _take_zip(file, unpacker, on_progress)
            else:
                _take_packed(file, kind, unpacker, on_progress)
    except _BROKEN as error:
        raise _refusal(error) from error
    on_progress(1.0)
    return unpacker.report()


def _kind(file: BinaryIO) -> str:
    start = file.read(BLOCK)
    file.seek(0)
    for magic, kind in _MAGIC.items():
        if start.startswith(magic):
            return kind
    if is_header(start):
        return "tar"
    raise Invalid("archive", f"it is not {_WHAT}")


def _take_packed(file: BinaryIO, kind: str, unpacker: Unpacker, on_progress: Callable[[float], None]) -> None:
    packed = PackedFile(file, os.fstat(file.fileno()).st_size, on_progress)
    source = Unpacking(packed, DECOMPRESSORS[kind]) if kind in DECOMPRESSORS else packed
    _take_tar(_Unpacked(source, packed, unpacker), unpacker)


def _take_tar(source: Source, unpacker: Unpacker) -> None:
    reader = TarReader(source.read)
    for member in reader:
        path = unpacker.place(member.name, is_folder=member.is_folder)
        if path is not None:
            unpacker.write(path, member.modified_at, reader.read)


def _take_zip(file: BinaryIO, unpacker: Unpacker, on_progress: Callable[[float], None]) -> None:
    size = os.fstat(file.fileno()).st_size
    _check_directory(file, size, unpacker.limits)
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        for count, entry in enumerate(entries):
            _check_entry(entry)
            path = unpacker.place(entry.orig_filename, is_folder=entry.is_dir())
            if path is not None:
                with archive.open(entry) as opened:
                    unpacker.write(path, _zip_time(entry), opened.read)
            _check_ratio(unpacker.report().bytes, size, unpacker.limits)
            on_progress((count + 1) / len(entries))


def _check_entry(entry: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise Invalid("archive", "it holds a link or a device")
    if entry.flag_bits & 0x2041:
        raise Invalid("archive", "it is encrypted")
    if not entry.is_dir() and entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Invalid("archive", "it is packed by another method than deflate")


def _check_directory(file: BinaryIO, size: int, limits: ExtractLimits) -> None:
    """A zip's directory is read as a whole; its length is the one thing that must be believed before."""
    file.seek(max(0, size - 65_557))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    length = int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0
    if length == 0xFFFFFFFF and at >= 76:
        length = int.from_bytes(tail[at - 36 : at - 28], "little")
    file.seek(0)
    if length > limits.max_files * ZIP_ENTRY_BYTES:
        raise Invalid("archive", f"more than {limits.max_files:,} entries are not unpacked")


def _zip_time(entry: zipfile.ZipInfo) -> float:
    """Its local time, taken as UTC."""
    try:
        return float(max(0, timegm((*entry.date_time, 0, 1, 0))))
    except (ValueError, OverflowError):
        return 0.0


def _check_ratio(unpacked: int, packed: int, limits: ExtractLimits) -> None:
    if unpacked > RATIO_FROM_BYTES and unpacked > limits.max_ratio * packed:
        raise Invalid("archive", f"it unpacks to more than {limits.max_ratio} times its size")


class _Unpacked:
    """What comes out of a packed tar, all of which counts."""

    def __init__(self, source: Source, packed: PackedFile, unpacker: Unpacker) -> None:
        self._source = source
        self._packed = packed
        self._unpacker = unpacker
        self._done = 0

    def read(self, size: int, /) -> bytes:
        self._unpacker.check()
        data = self._source.read(size)
        self._done += len(data)
        limits = self._unpacker.limits
        _check_ratio(self._done, self._packed.done, limits)
        if self._done > MAX_STREAM * limits.max_bytes:
            raise Invalid("archive", f"more than {_mega(MAX_STREAM * limits.max_bytes)} are not looked through")
        return data


def _put(work: Path, target: Path) -> None:
    try:
        if target.exists():
            target.rename(work / "old")
        (work / "new").rename(target)
    except OSError as error:
        raise _unwritten(error) from error


def _refusal(error: Exception) -> Invalid:
    if isinstance(error, TarError):
        return Invalid("archive", f"it {error}")
    if isinstance(error, EOFError):
        return Invalid("archive", "it is cut off")
    return Invalid("archive", f"it is damaged, or not {_WHAT}")


def _unwritten(error: OSError) -> Unavailable:
    return Unavailable(f"The files cannot be written here ({error.strerror})")


def _mega(size: int) -> str:
    return f"{size / 1024**2:,.0f} MiB"
