"""The demo's SSH server: loopback, one user, one key; it really runs what it is given."""

import contextlib
import hmac
import logging
import socket
import threading

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_FAILED_RESOURCE_SHORTAGE,
    OPEN_SUCCEEDED,
)
from paramiko.message import Message

from waa.demo.command import Command, Sandbox
from waa.demo.listener import HeldPort
from waa.demo.process import Guard
from waa.demo.sftp import ReadOnlyFiles

logger = logging.getLogger(__name__)

USER = "demo"
_LOG_CHANNEL = "paramiko.demo"
_MAX_CONNECTIONS = 32  # one server keeps one; the rest is for a curious person and for tests
_MAX_CHANNELS = 32  # per connection, as sshd's MaxSessions
_JOIN_S = 1.0


class SshServer:
    """Serves from ``start`` to ``close`` in threads of its own."""

    def __init__(self, *, host_key: paramiko.PKey, client_key: paramiko.PKey, sandbox: Sandbox, guard: Guard) -> None:
        """Take a free port. Raises OSError."""
        logging.getLogger(_LOG_CHANNEL).setLevel(logging.CRITICAL)  # the library calls each client that just hangs up an error
        self._host_key = host_key
        self._client_key = client_key.asbytes()
        self._sandbox = sandbox
        self._guard = guard
        self._held = HeldPort()
        self._lock = threading.Lock()
        self._connections: list[_Connection] = []
        self._listener = self._held.listen("demo-sshd", self._welcome)

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return self._held.port

    def close(self) -> None:
        """End every connection and every command on them. May be called twice."""
        self._listener.close()
        self._held.close()
        with self._lock:
            connections, self._connections = self._connections, []
        for connection in connections:
            connection.abort()
        for connection in connections:
            connection.finish()

    def _welcome(self, client: socket.socket) -> None:
        with self._lock:
            self._connections = [connection for connection in self._connections if not connection.is_over()]
            if len(self._connections) >= _MAX_CONNECTIONS:
                client.close()
                return
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = _Connection(client, key=self._client_key, sandbox=self._sandbox, guard=self._guard)
            connection.add_server_key(self._host_key)
            connection.start_server(event=threading.Event(), server=connection.manners)
        except (OSError, paramiko.SSHException) as error:
            logger.debug("demo connection failed: error=%s", error)
            client.close()
            return
        with self._lock:
            self._connections.append(connection)


class _Connection(paramiko.Transport):
    _active_check_timeout = 2.0  # how often its thread looks up although nothing came; the library's is 0.1 s

    def __init__(self, client: socket.socket, *, key: bytes, sandbox: Sandbox, guard: Guard) -> None:
        super().__init__(client)
        self.set_log_channel(_LOG_CHANNEL)
        self._client = client
        self.manners = _Manners(self, key=key, sandbox=sandbox, guard=guard)

    def _send_user_message(self, data: Message) -> None:
        # The transport's own thread sends nothing this way but its answer to the channel request just checked.
        super()._send_user_message(data)  # type: ignore[misc] # missing in the stubs
        if threading.current_thread() is self:
            self.manners.note_answer()

    def abort(self) -> None:
        """Cut the line, which wakes every thread that waits for it."""
        with contextlib.suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)  # else its thread would notice the end only at its next look
        self.close()

    def finish(self) -> None:
        """Wait for what ran on it."""
        self.join(_JOIN_S)
        self.manners.finish()
        self._client.close()

    def is_over(self) -> bool:
        """Whether nothing of it is left."""
        return not self.is_alive() and self.manners.is_over()


class _Manners(paramiko.ServerInterface):
    """What one client may do: log in with the key, run commands, read files."""

    def __init__(self, connection: _Connection, *, key: bytes, sandbox: Sandbox, guard: Guard) -> None:
        self._connection = connection
        self._key = key
        self._sandbox = sandbox
        self._guard = guard
        self._lock = threading.Lock()
        self._commands: list[Command] = []
        self._readers: list[paramiko.SFTPServer] = []
        self._unanswered: Command | None = None

    def note_answer(self) -> None:
        """The client was told about the newest command."""
        if self._unanswered is not None:
            self._unanswered.answered.set()
            self._unanswered = None

    def is_over(self) -> bool:
        """Whether everything that was started has ended."""
        return self._count() == 0

    def finish(self) -> None:
        """Wait for everything that was started."""
        with self._lock:
            commands, readers = list(self._commands), list(self._readers)
        for command in commands:
            command.join(_JOIN_S)
        for reader in readers:
            reader.join(_JOIN_S)

    def _count(self) -> int:
        with self._lock:
            self._commands = [command for command in self._commands if not command.is_over]
            self._readers = [reader for reader in self._readers if reader.is_alive()]
            return len(self._commands) + len(self._readers)

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        if username == USER and hmac.compare_digest(key.asbytes(), self._key):
            return AUTH_SUCCESSFUL
        return AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        if kind != "session":
            return OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        if self._count() >= _MAX_CHANNELS:
            return OPEN_FAILED_RESOURCE_SHORTAGE
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self._connection.accept(0)  # else the library keeps every channel for somebody to accept
        running = Command(channel, command, sandbox=self._sandbox, guard=self._guard)
        self._unanswered = running
        running.start()
        with self._lock:
            self._commands.append(running)
        return True

    def check_channel_subsystem_request(self, channel: paramiko.Channel, name: str) -> bool:
        if name != "sftp":
            return False
        self._connection.accept(0)
        reader = paramiko.SFTPServer(channel, name, self, ReadOnlyFiles, home=self._sandbox.home)
        reader.start()
        with self._lock:
            self._readers.append(reader)
        return True
