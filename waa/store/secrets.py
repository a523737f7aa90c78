"""Credentials that came over the API, in one file that only its owner can read: beside the database, so that they are in no record."""

import os
import threading
from collections.abc import Mapping
from pathlib import Path

from waa.core.codec import decode, encode
from waa.core.error import Unavailable
from waa.core.pipeline import Bound


class SecretFile:
    """See ``port.SecretStore``. The file is replaced as a whole, or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def load(self) -> Mapping[str, Bound]:
        """All of them by id. Raises Unavailable; Invalid where the file is damaged."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be read: {error.strerror}") from error
        return decode(dict[str, Bound], data, name=str(self._path))

    def put(self, key: str, bound: Bound | None) -> None:
        """Keep one, or (None) forget it. Raises Unavailable."""
        with self._lock:
            known = dict(self.load())
            if known.get(key) == bound:
                return
            known.pop(key, None)
            if bound is not None:
                known[key] = bound
            self._write(encode(known))

    def _write(self, data: bytes) -> None:
        draft = self._path.with_name(f"{self._path.name}.new")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.unlink(missing_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be written: {error.strerror}") from error
