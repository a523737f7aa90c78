"""Which host keys we trust: OpenSSH's ``known_hosts`` files, read by ourselves.

One damaged, revoked or authority line must not make the whole file unreadable, names may be hashed, negated or
patterns, and a lookup among thousands of entries must stay cheap.
"""

import base64
import binascii
import hashlib
import hmac
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path


class Verdict(Enum):
    """KNOWN is the only one to go on with. OTHER_TYPE: only keys of another type are known for this host."""

    KNOWN = auto()
    UNKNOWN = auto()
    CHANGED = auto()
    OTHER_TYPE = auto()
    REVOKED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """``where`` is ``file:line`` of the entry that decided, "" where there is none."""

    verdict: Verdict
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One usable line. ``matches`` tells whether it speaks about a (lower-case) host name."""

    where: str
    revoked: bool
    matches: Callable[[str], bool]
    key_type: str
    blob: bytes


class KnownHosts:
    """The entries of some files, in order. Missing files are empty; ``unreadable`` names those that exist but resist."""

    def __init__(self, entries: Iterable[Entry], *, unreadable: Iterable[str] = ()) -> None:
        self._entries = tuple(entries)
        self.unreadable = tuple(unreadable)

    @classmethod
    def load(cls, paths: Iterable[Path]) -> "KnownHosts":
        """Read the files (blocking)."""
        entries: list[Entry] = []
        unreadable: list[str] = []
        for path in paths:
            try:
                text = path.read_bytes().decode(errors="replace")
            except FileNotFoundError:
                continue
            except OSError as error:
                unreadable.append(f"{path}: {error.strerror}")
                continue
            entries.extend(parse(text, file=str(path)))
        return cls(entries, unreadable=unreadable)

    def key_types(self, name: str) -> tuple[str, ...]:
        """Types of the keys known for ``name``, in order of appearance: those to ask the server for first."""
        return tuple(dict.fromkeys(entry.key_type for entry in self._about(name) if not entry.revoked))

    def judge(self, name: str, key_type: str, blob: bytes, *, plain_name: str | None = None) -> Judgement:
        """Whether this key may stand for ``name`` (``host`` or ``[host]:port``).

        A key known for ``plain_name``, the host without its port, is good as well, as in OpenSSH; a different one there
        says nothing. Any matching entry suffices, a revoked one outweighs all.
        """
        about = self._about(name)
        plain = self._about(plain_name) if plain_name and plain_name != name else []
        revoked = next((entry for entry in (*about, *plain) if entry.revoked and entry.blob == blob), None)
        if revoked:
            return Judgement(verdict=Verdict.REVOKED, where=revoked.where)
        about = [entry for entry in about if not entry.revoked]
        for entry in (*about, *plain):
            if not entry.revoked and entry.blob == blob:
                return Judgement(verdict=Verdict.KNOWN, where=entry.where)
        for entry in about:
            if entry.key_type == key_type:
                return Judgement(verdict=Verdict.CHANGED, where=entry.where)
        if about:
            return Judgement(verdict=Verdict.OTHER_TYPE, where=about[0].where)
        return Judgement(verdict=Verdict.UNKNOWN)

    def _about(self, name: str) -> list[Entry]:
        lowered = name.lower()
        return [entry for entry in self._entries if entry.matches(lowered)]


class HostKeyMemory:
    """The file of keys that were accepted at first sight. ``remember`` is for any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def remember(self, name: str, key_type: str, blob: bytes) -> Judgement:
        """Note the key, unless another one was noted for ``name`` meanwhile. Raises OSError where it cannot be written.

        The file is replaced as a whole, readable by its owner only: a crash leaves the old one or the new one.
        """
        with self._lock:
            judgement = KnownHosts.load([self.path]).judge(name, key_type, blob)
            if judgement.verdict is not Verdict.UNKNOWN:
                return judgement
            self.path.parent.mkdir(parents=True, exist_ok=True)
            old = self.path.read_bytes() if self.path.exists() else b""
            if old and not old.endswith(b"\n"):
                old += b"\n"
            _replace(self.path, old + f"{name} {key_type} {base64.b64encode(blob).decode()}\n".encode())
            return Judgement(verdict=Verdict.KNOWN, where=str(self.path))


def parse(text: str, *, file: str = "") -> list[Entry]:
    """The usable lines of a file; authorities of certificates and damaged lines are passed over."""
    numbered = ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1))
    entries = (_entry(line, f"{file}:{number}") for number, line in numbered if line and not line.startswith("#"))
    return [entry for entry in entries if entry]


def fingerprint(blob: bytes) -> str:
    """The key's fingerprint as OpenSSH prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def host_key_name(host: str, port: int) -> str:
    """The name under which a server's key is filed."""
    return host if port == 22 else f"[{host}]:{port}"


def _entry(line: str, where: str) -> Entry | None:
    fields = line.split()
    marker = fields.pop(0) if fields[0].startswith("@") else ""
    if marker not in ("", "@revoked") or len(fields) < 3:
        return None
    names, key_type, encoded = fields[:3]
    matches = _matcher(names)
    try:
        blob = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return None
    type_bytes = key_type.encode()
    if matches is None or not blob.startswith(len(type_bytes).to_bytes(4, "big") + type_bytes):
        return None
    return Entry(where=where, revoked=marker == "@revoked", matches=matches, key_type=key_type, blob=blob)


def _matcher(names: str) -> Callable[[str], bool] | None:
    """None: damaged."""
    if names.startswith("|"):
        return _hashed(names)
    wanted: list[Callable[[str], bool]] = []
    unwanted: list[Callable[[str], bool]] = []
    for name in names.lower().split(","):
        (unwanted if name.startswith("!") else wanted).append(_pattern(name.removeprefix("!")))
    return lambda host: any(match(host) for match in wanted) and not any(match(host) for match in unwanted)


def _pattern(pattern: str) -> Callable[[str], bool]:
    """Only ``*`` and ``?`` are special: brackets belong to ``[host]:port``."""
    if "*" not in pattern and "?" not in pattern:
        return pattern.__eq__
    expression = re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."))
    return lambda host: expression.fullmatch(host) is not None


def _hashed(names: str) -> Callable[[str], bool] | None:
    parts = names.split("|")
    if len(parts) != 4 or parts[1] != "1":
        return None
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in parts[2:])
    except binascii.Error:
        return None
    return lambda host: hmac.compare_digest(hmac.digest(salt, host.encode(), "sha1"), digest)


def _replace(path: Path, content: bytes) -> None:
    """Put ``content`` in the place of ``path``; ``mkstemp`` makes it mode 600 from the start."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
