"""Screenshots and their thumbnails in a folder on this disk, within a bound: those that were not used for longest go first."""

import contextlib
import logging
import os
import re
import tempfile
import threading
from pathlib import Path

from waa.core.results.picture import is_whole_png, is_whole_webp

log = logging.getLogger(__name__)

_KEY = re.compile(r"[0-9a-f]{16,64}")
_KINDS = {".png": is_whole_png, ".webp": is_whole_webp}
_PARTIAL = ".part"


class PictureFolder:
    """See ``PictureStore``. Keys are hexadecimal digests of what a picture is. The folder is made with the first picture.

    A file appears under its name only when it is whole; one that a power cut damaged is not given. ``max_bytes``: of all.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._total: int | None = None

    def get(self, key: str) -> bytes | None:
        """The picture, which counts as used now; None where it is not kept."""
        for suffix, is_whole in _KINDS.items():
            path = self._path(key, suffix)
            try:
                data = path.read_bytes()
            except OSError:
                continue
            if not is_whole(data):
                path.unlink(missing_ok=True)
                continue
            with contextlib.suppress(OSError):  # it went meanwhile, or the disk is read-only: it was still read
                os.utime(path)
            return data
        return None

    def put(self, key: str, data: bytes) -> None:
        """Keep a PNG or a WebP; what the disk refuses is logged and not kept."""
        path = self._path(key, ".webp" if is_whole_webp(data) else ".png")
        if len(data) > self._max_bytes:
            return
        try:
            with self._lock:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                if self._total is None:
                    self._total = self._tidy()
                before = path.stat().st_size if path.exists() else 0
                self._write(path, data)
                self._total += len(data) - before
                if self._total > self._max_bytes:
                    self._total = self._evict(path)
        except OSError as error:
            log.warning("screenshot not kept folder=%s reason=%s", self._folder, error)

    def _path(self, key: str, suffix: str) -> Path:
        if _KEY.fullmatch(key) is None:
            raise ValueError(f"{key!r} is not a digest")
        return self._folder / f"{key}{suffix}"

    def _write(self, path: Path, data: bytes) -> None:
        number, name = tempfile.mkstemp(suffix=_PARTIAL, dir=self._folder)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(data)
            Path(name).replace(path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise

    def _tidy(self) -> int:
        """Remove what an earlier server left half; gives the bytes that are kept."""
        for left in self._folder.glob(f"*{_PARTIAL}"):
            left.unlink(missing_ok=True)
        return sum(size for _, size, _ in self._kept())

    def _evict(self, newest: Path) -> int:
        """Down to nine tenths, so that it is not done for each picture."""
        kept = sorted(self._kept())
        total = sum(size for _, size, _ in kept)
        for _, size, path in kept:
            if total <= self._max_bytes * 9 // 10:
                break
            if path != newest:
                path.unlink(missing_ok=True)
                total -= size
        return total

    def _kept(self) -> list[tuple[float, int, Path]]:
        found = []
        for path in (path for path in self._folder.glob("*") if path.suffix in _KINDS):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        return found
