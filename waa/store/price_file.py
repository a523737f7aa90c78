"""Prices in a file on this disk."""

import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from waa.core.codec import decode, encode
from waa.core.error import Invalid
from waa.core.price import KnownPrice

log = logging.getLogger(__name__)


class PriceFile:
    """See ``port.PriceCache``. The file appears under its name only when it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> dict[str, KnownPrice]:
        """What is kept."""
        try:
            return decode(dict[str, KnownPrice], self._path.read_bytes(), name=self._path.name)
        except FileNotFoundError:
            return {}
        except (OSError, Invalid) as error:
            log.warning("prices not read file=%s reason=%s", self._path, error)
            return {}

    def save(self, known: Mapping[str, KnownPrice]) -> None:
        """Keep this."""
        name = ""
        try:
            number, name = tempfile.mkstemp(suffix=".part", dir=self._path.parent)
            with os.fdopen(number, "wb") as file:
                file.write(encode(dict(known)))
            Path(name).replace(self._path)
        except OSError as error:
            log.warning("prices not kept file=%s reason=%s", self._path, error)
            if name:
                Path(name).unlink(missing_ok=True)
