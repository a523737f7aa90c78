"""Keys of the demo's SSH server, made anew for every start."""

import os
from pathlib import Path

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def make_key(path: Path) -> paramiko.PKey:
    """A new ed25519 key, kept at ``path`` for its owner only. Raises OSError."""
    secret = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    write_private(path, secret)
    return paramiko.Ed25519Key.from_private_key_file(str(path))


def write_private(path: Path, content: bytes) -> None:
    """Replace the file by one that nobody else could ever read. Raises OSError."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
