"""HTTPS without a proxy: the certificate and its key, checked at the start and taken anew when they are renewed.

Connections that are open go on under the certificate they began with; new ones get the newest pair in order. For ``server.py`` only.
"""

import asyncio
import logging
import os
import ssl
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from waa.core.error import WaaError

log = logging.getLogger(__name__)

LOOK_S = 3.0
"""How often to look whether the files have changed; a renewal by the usual clients comes weeks before the end."""
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption only. Those of 1.3 are all such."""
MAX_FILE_BYTES = 1_000_000

_Stamp = tuple[tuple[int, int, int], ...]


class TlsError(WaaError):
    """The certificate or its key cannot be used; the text names the setting and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and its key, ready for use; the moments are epoch seconds."""

    context: ssl.SSLContext
    subject: str
    valid_from: float
    valid_until: float


class Tls:
    """The pair in use. Made at the start; raises TlsError where the files are not in order.

    A pair that has expired is served all the same, with an error in the log: a dashboard behind a warning is better than none. It never
    takes the place of another one, though.
    """

    def __init__(self, certificate: str, key: str, *, clock: Callable[[], float]) -> None:
        self._certificate = Path(certificate).expanduser().absolute()
        self._key = Path(key).expanduser().absolute()
        self._clock = clock
        self._stamp = _stamp(self._certificate, self._key)
        self.pair = read_pair(self._certificate, self._key)
        trouble = self._trouble(self.pair)
        if trouble is not None:
            log.error("certificate %s file=%s", trouble, self._certificate)

    def refresh(self) -> bool:
        """Look at the files (blocking); True where ``pair`` is a new one. What is not in order is logged once, and the old pair stays."""
        try:
            stamp = _stamp(self._certificate, self._key)
        except TlsError as error:
            return self._keep((), str(error))
        if stamp == self._stamp:
            return False
        try:
            pair = read_pair(self._certificate, self._key)
        except TlsError as error:
            return self._keep(stamp, str(error))
        trouble = self._trouble(pair)
        if trouble is not None:
            return self._keep(stamp, f"the new certificate {trouble}")
        self._stamp, self.pair = stamp, pair
        log.info("certificate renewed subject=%s days_left=%d", pair.subject, (pair.valid_until - self._clock()) / 86400)
        return True

    async def watch(self, use: Callable[[ssl.SSLContext], None]) -> None:
        """Hand each new pair to ``use``, for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            if await asyncio.to_thread(self.refresh):
                use(self.pair.context)

    def _keep(self, stamp: _Stamp, reason: str) -> bool:
        if stamp != self._stamp:
            self._stamp = stamp
            log.error("certificate not renewed, the one in use stays: %s", reason)
        return False

    def _trouble(self, pair: Pair) -> str | None:
        now = self._clock()
        if now >= pair.valid_until:
            return "has expired"
        return "is not valid yet: check the clock of this machine" if now < pair.valid_from else None


def read_pair(certificate: Path, key: Path) -> Pair:
    """Read both files (blocking). Raises TlsError."""
    _check_key(key)
    chain = _read("tls_cert", certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    try:
        leaf, *_ = x509.load_pem_x509_certificates(chain)
    except ValueError as error:
        raise TlsError(f"tls_cert: {certificate} holds no certificate in PEM format") from error
    try:
        context.load_cert_chain(certificate, key, password=_refuse_passphrase)
    except _Encrypted as error:
        raise TlsError(f"tls_key: {key} is encrypted; write it without a passphrase: openssl pkey -in {key} -out NEW_FILE") from error
    except ssl.SSLError as error:
        fits_not = error.reason == "KEY_VALUES_MISMATCH"
        raise TlsError(
            f"tls_key: {key} is not the key of {certificate}" if fits_not else f"tls_cert, tls_key: cannot be used ({error.reason})"
        ) from error
    except OSError as error:
        raise TlsError(f"tls_cert, tls_key: cannot be read: {error.strerror}") from error
    return Pair(
        context=context,
        subject=leaf.subject.rfc4514_string(),
        valid_from=leaf.not_valid_before_utc.timestamp(),
        valid_until=leaf.not_valid_after_utc.timestamp(),
    )


class _Encrypted(Exception):
    """OpenSSL wants a passphrase."""


def _refuse_passphrase() -> str:
    raise _Encrypted


def _check_key(key: Path) -> None:
    """As OpenSSH judges its keys; a key of somebody else (root's, say) may be shared with a group that we belong to."""
    try:
        found = key.stat()
    except OSError as error:
        raise TlsError(f"tls_key: {key} cannot be read: {error.strerror}") from error
    mode = stat.S_IMODE(found.st_mode)
    if mode & (0o077 if found.st_uid == os.geteuid() else 0o027):
        raise TlsError(f"tls_key: {key} is open to others (mode {mode:04o}): chmod 600 {key}")


def _read(setting: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise TlsError(f"{setting}: {path} cannot be read: {error.strerror}") from error


def _stamp(*paths: Path) -> _Stamp:
    """Changes whenever one of the files does. Raises TlsError where one is not there."""
    try:
        return tuple((found.st_ino, found.st_mtime_ns, found.st_size) for found in (path.stat() for path in paths))
    except OSError as error:
        raise TlsError(f"tls_cert, tls_key: {error.filename}: {error.strerror}") from error
