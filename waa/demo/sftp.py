"""Files of the demo VM by SFTP, to read only."""

import errno
import os
from pathlib import Path

from paramiko import SFTPAttributes, SFTPHandle, SFTPServer, SFTPServerInterface
from paramiko.server import ServerInterface
from paramiko.sftp import SFTP_OP_UNSUPPORTED

_MAX_READ_BYTES = 1 << 18  # one answer; the client asks again for the rest


class ReadOnlyFiles(SFTPServerInterface):
    """What the user who runs this may read; relative paths begin at ``home``. Everything else is unsupported."""

    def __init__(self, server: ServerInterface, *, home: Path) -> None:
        super().__init__(server)
        self._home = home

    def canonicalize(self, path: str) -> str:
        return os.path.normpath(self._home / path)

    def list_folder(self, path: str) -> list[SFTPAttributes] | int:
        try:
            return [SFTPAttributes.from_stat(entry.lstat(), entry.name) for entry in sorted((self._home / path).iterdir())]
        except OSError as error:
            return SFTPServer.convert_errno(error.errno or 0)

    def stat(self, path: str) -> SFTPAttributes | int:
        try:
            return SFTPAttributes.from_stat((self._home / path).stat())
        except OSError as error:
            return SFTPServer.convert_errno(error.errno or 0)

    def lstat(self, path: str) -> SFTPAttributes | int:
        try:
            return SFTPAttributes.from_stat((self._home / path).lstat())
        except OSError as error:
            return SFTPServer.convert_errno(error.errno or 0)

    def open(self, path: str, flags: int, attr: SFTPAttributes) -> SFTPHandle | int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND):
            return SFTP_OP_UNSUPPORTED
        try:
            return _OpenFile(os.open(self._home / path, os.O_RDONLY))
        except OSError as error:
            return SFTPServer.convert_errno(error.errno or 0)


class _OpenFile(SFTPHandle):
    """An open file; owns the descriptor."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor: int | None = descriptor

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def read(self, offset: int, length: int) -> bytes | int:
        if self._descriptor is None:
            return SFTPServer.convert_errno(errno.EBADF)
        try:
            return os.pread(self._descriptor, min(length, _MAX_READ_BYTES), offset)
        except OSError as error:
            return SFTPServer.convert_errno(error.errno or 0)

    def stat(self) -> SFTPAttributes | int:
        if self._descriptor is None:
            return SFTPServer.convert_errno(errno.EBADF)
        return SFTPAttributes.from_stat(os.fstat(self._descriptor))
