"""What we can log in with: private key files, certificates and the agent's keys, in the order they are offered."""

import base64
import binascii
import errno
import io
import os
import socket
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from paramiko.agent import AgentKey, AgentSSH
from paramiko.ecdsakey import ECDSAKey
from paramiko.ed25519key import Ed25519Key
from paramiko.message import Message
from paramiko.pkey import PKey
from paramiko.rsakey import RSAKey
from paramiko.ssh_exception import SSHException

from waa.core.error import Failure, LinkError
from waa.core.status import Reason
from waa.probes.ssh_config import Hop

AGENT_TIMEOUT_S = 4.0
"""An agent that asks its owner for consent must not hold a thread for longer."""
MAX_KEY_FILE_BYTES = 1_000_000
FOREVER = 2**64 - 1
CERTIFICATE_SUFFIX = "-cert-v01@openssh.com"

_BAD_KEY = (SSHException, ValueError, TypeError, IndexError, AssertionError, struct.error, binascii.Error)
"""What paramiko raises on damaged key files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A key to try; ``label`` names it in messages."""

    label: str
    key: PKey


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFile:
    """What a key file turned out to be. ``public`` is its public part where it could be told, ``key`` the private one
    where it can be used; ``problem`` and ``remedy`` say why it cannot."""

    path: Path
    missing: bool = False
    public: bytes | None = None
    key: PKey | None = None
    problem: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A user certificate; the moments are epoch seconds, ``FOREVER`` as OpenSSH has it."""

    path: Path
    subject: bytes
    valid_from: int
    valid_until: int


class Agent(AgentSSH):
    """The keys of the agent at a socket; none where it does not answer."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(AGENT_TIMEOUT_S)
        self.problem = ""
        try:
            self._socket.connect(address)
            self._connect(self._socket)  # type: ignore[attr-defined]  # paramiko's public way takes no socket of the caller's
        except (OSError, SSHException, struct.error) as error:
            self.problem = f"the agent at {address} does not answer ({error})"

    def close(self) -> None:
        """May be called twice."""
        self._socket.close()


class KeyRing:
    """The keys for one server. ``problems`` fills while the offers are taken. Close it after the login."""

    def __init__(self, hop: Hop, *, now: float) -> None:
        self._hop = hop
        self._agent = Agent(hop.agent) if hop.agent else None
        self.problems: list[str] = [self._agent.problem] if self._agent and self._agent.problem else []
        self.remedies: list[str] = []
        self._certificates = self._read_certificates(hop.certificates, now)
        self._now = now

    def close(self) -> None:
        """Give the agent's socket back."""
        if self._agent:
            self._agent.close()

    def offers(self) -> Iterator[Offer]:
        """Keys to try, in order: named files (from the agent where it holds them), the agent's others, default files.

        Raises LinkError (key_file) where the one key that was asked for cannot be used.
        """
        hop = self._hop
        if hop.only_key:
            yield from self._only(hop.only_key)
            return
        files = [inspect(path) for path in hop.identities]
        listed = {file.public for file in files}
        others = [] if hop.identities_only else [key for key in self._agent_keys() if key.blob not in listed]
        first, last = ([], files) if hop.default_identities else (files, [])
        for file in first:
            yield from self._from_file(file, note_missing=True)
        for key in others:
            yield from self._from_agent(key)
        for file in last:
            yield from self._from_file(file, note_missing=False)

    def _only(self, path: Path) -> Iterator[Offer]:
        file = inspect(path)
        offers = list(self._from_file(file, note_missing=True))
        if not offers:
            raise LinkError(Failure(reason=Reason.KEY_FILE, message="; ".join(self.problems), remedy="; ".join(self.remedies)))
        yield from offers

    def _from_file(self, file: KeyFile, *, note_missing: bool) -> Iterator[Offer]:
        if file.missing and not note_missing:
            return
        beside = file.path.with_name(file.path.name + "-cert.pub")
        certificates = [*self._certificates, *(self._read_certificates((beside,), self._now) if beside.exists() else [])]
        fitting = [certificate for certificate in certificates if certificate.subject == file.public]
        key: PKey | None = next((key for key in self._agent_keys() if key.blob == file.public), None) or file.key
        if key is None:
            self._note(file.problem, file.remedy)
            return
        for certificate in fitting:
            certified = inspect(file.path).key if key is file.key else AgentKey(key.agent, key.blob) if isinstance(key, AgentKey) else None
            if certified:
                certified.load_certificate(str(certificate.path))
                yield Offer(label=str(certificate.path), key=certified)
        yield Offer(label=str(file.path), key=key)

    def _from_agent(self, key: AgentKey) -> Iterator[Offer]:
        for certificate in self._certificates:
            if certificate.subject == key.blob:
                certified = AgentKey(key.agent, key.blob)
                certified.load_certificate(str(certificate.path))
                yield Offer(label=str(certificate.path), key=certified)
        yield Offer(label=f"{key.comment or key.get_name()} of the agent", key=key)

    def _agent_keys(self) -> tuple[AgentKey, ...]:
        return self._agent.get_keys() if self._agent else ()

    def _read_certificates(self, paths: tuple[Path, ...], now: float) -> list[Certificate]:
        usable = []
        for path in paths:
            try:
                certificate = read_certificate(path)
            except OSError as error:
                self._note(f"{path} cannot be read ({error.strerror})", "")
                continue
            except _BAD_KEY:
                self._note(f"{path} is no user certificate", "")
                continue
            if now >= certificate.valid_until:
                self._note(f"the certificate {path} expired at {_moment(certificate.valid_until)}", "have the certificate renewed")
            elif now < certificate.valid_from:
                self._note(
                    f"the certificate {path} is valid from {_moment(certificate.valid_from)} only", "check the clock of this machine"
                )
            else:
                usable.append(certificate)
        return usable

    def _note(self, problem: str, remedy: str) -> None:
        if problem and problem not in self.problems:
            self.problems.append(problem)
        if remedy and remedy not in self.remedies:
            self.remedies.append(remedy)


def inspect(path: Path) -> KeyFile:
    """Read a private key file as far as it goes without a passphrase; never raises for what is in it (blocking)."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno())
            content = file.read(MAX_KEY_FILE_BYTES)
    except OSError as error:
        public = _public_beside(path) if error.errno == errno.ENOENT else None
        if public:  # the private part is in an agent only
            return KeyFile(path=path, public=public, problem=f"{path} is not here, nor does the agent hold it", remedy=f"ssh-add {path}")
        return KeyFile(
            path=path,
            missing=error.errno == errno.ENOENT,
            problem=f"the private key {path} cannot be read ({error.strerror})",
            remedy=f"check that {path} exists and belongs to the user that runs this server",
        )
    if content.startswith((b"ssh-", b"ecdsa-", b"sk-")):
        return KeyFile(
            path=path,
            public=_public_line(content),
            problem=f"{path} is a public key, and the agent does not hold it",
            remedy="name the private key",
        )
    public = _public_of(content) or _public_beside(path)
    if mode.st_uid == os.getuid() and stat.S_IMODE(mode.st_mode) & 0o077:
        return KeyFile(
            path=path,
            public=public,
            problem=f"the private key {path} is open to others (mode {stat.S_IMODE(mode.st_mode):04o})",
            remedy=f"chmod 600 {path}",
        )
    if _is_encrypted(content):
        return KeyFile(
            path=path,
            public=public,
            problem=f"the private key {path} is encrypted, and no agent holds it",
            remedy=f"run `ssh-add {path}` where the server's SSH_AUTH_SOCK points, or use a key without a passphrase",
        )
    return _load(path, content, public)


def read_certificate(path: Path) -> Certificate:
    """Raises OSError, or one of many where the file is not a user certificate."""
    blob = _public_line(path.read_bytes())
    if blob is None:
        raise ValueError("not a public key line")
    message = Message(blob)
    name = message.get_text()
    if not name.endswith(CERTIFICATE_SUFFIX):
        raise ValueError("not a certificate")
    message.get_string()  # the nonce
    parts = 1 if "ed25519" in name else 2  # rsa: e, n; ecdsa: curve, point
    subject = Message().add_string(name.removesuffix(CERTIFICATE_SUFFIX))
    for _ in range(parts):
        subject.add_string(message.get_string())
    message.get_int64()  # the serial number
    if message.get_int() != 1:
        raise ValueError("not a certificate of a user")
    message.get_string()  # the key's id
    message.get_string()  # the principals: the server judges them
    return Certificate(path=path, subject=subject.asbytes(), valid_from=message.get_int64(), valid_until=message.get_int64())


def _load(path: Path, content: bytes, public: bytes | None) -> KeyFile:
    text = content.decode(errors="replace")
    kind = Message(public).get_text() if public else ""
    key: PKey
    try:
        if kind == "ssh-ed25519":
            key = Ed25519Key.from_private_key(io.StringIO(text))
        elif kind.startswith("ecdsa-") or "BEGIN EC PRIVATE KEY" in text:
            key = ECDSAKey.from_private_key(io.StringIO(text))
        elif kind == "ssh-rsa" or "BEGIN RSA PRIVATE KEY" in text:
            key = RSAKey.from_private_key(io.StringIO(text))
        elif "BEGIN PRIVATE KEY" in text:
            return KeyFile(
                path=path, public=public, problem=f"{path} is in PKCS#8 format", remedy=f"convert it: ssh-keygen -p -N '' -f {path}"
            )
        else:
            return KeyFile(
                path=path,
                public=public,
                problem=f"{path} is not a private key that can be used here" + (f" ({kind})" if kind else ""),
                remedy="use an ed25519, RSA or ECDSA key in OpenSSH's format (ssh-keygen -t ed25519)",
            )
    except _BAD_KEY as error:
        return KeyFile(
            path=path, public=public, problem=f"the private key {path} is damaged ({error})", remedy="restore it, or make a new one"
        )
    return KeyFile(path=path, public=key.asbytes(), key=key)


def _is_encrypted(content: bytes) -> bool:
    header = _openssh_header(content)
    if header:
        return header[0] != b"none"
    return b"ENCRYPTED" in content


def _public_of(content: bytes) -> bytes | None:
    """OpenSSH's format tells the public part in the clear, even where the private one is encrypted."""
    header = _openssh_header(content)
    return header[1] if header else None


def _openssh_header(content: bytes) -> tuple[bytes, bytes] | None:
    """Cipher and public key."""
    begin, end = b"-----BEGIN OPENSSH PRIVATE KEY-----", b"-----END OPENSSH PRIVATE KEY-----"
    if begin not in content or end not in content:
        return None
    try:
        data = base64.b64decode(content.split(begin)[1].split(end)[0])
        message = Message(data.removeprefix(b"openssh-key-v1\x00"))
        cipher, _kdf, _options = (message.get_string() for _ in range(3))
        message.get_int()  # how many
        return cipher, message.get_string()
    except _BAD_KEY:
        return None


def _public_beside(path: Path) -> bytes | None:
    try:
        return _public_line(path.with_name(path.name + ".pub").read_bytes())
    except OSError:
        return None


def _public_line(content: bytes) -> bytes | None:
    fields = content.split(None, 2)
    try:
        return base64.b64decode(fields[1], validate=True) if len(fields) > 1 else None
    except binascii.Error:
        return None


def _moment(epoch: int) -> str:
    return datetime.fromtimestamp(min(epoch, 253402300799), UTC).isoformat()
