"""One SSH session as paramiko speaks it: keys exchanged, the server's key judged, logged in.

``Wire.log_in`` and ``open_*`` block and belong in a thread; whatever they wait for, shutting down the socket below
frees them at once (nothing else does in all cases). Everything foreign that they raise becomes LinkError here.
"""

import asyncio
import errno
import logging
import socket
from dataclasses import dataclass, replace
from typing import NoReturn

from paramiko.channel import Channel
from paramiko.message import Message
from paramiko.ssh_exception import (
    AuthenticationException,
    BadAuthenticationType,
    ChannelException,
    IncompatiblePeer,
    ProxyCommandFailure,
    SSHException,
)
from paramiko.transport import Transport

from waa.core.error import Failure, LinkError
from waa.core.status import Reason
from waa.probes.known_hosts import HostKeyMemory, KnownHosts, Verdict, fingerprint
from waa.probes.ssh_config import Hop
from waa.probes.ssh_key import KeyRing

logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # it prints tracebacks of what we translate

WEAK = {
    "ciphers": ("aes128-cbc", "aes192-cbc", "aes256-cbc", "3des-cbc"),
    "macs": ("hmac-md5", "hmac-md5-96", "hmac-sha1-96"),
}
"""Offered by paramiko, no longer by OpenSSH."""
MAX_KEYS = 6
"""A server counts each as a failed try, and OpenSSH's ends the connection after so many."""

_WIRE_ERRORS = (SSHException, EOFError, OSError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long each part may take, in seconds, and how much a link may say, in bytes (``max_bytes_per_s``).

    ``handshake_s`` bounds the wait for each of: end of key exchange, login, opening of a channel. ``deadline_s`` bounds
    all that a thread does for one server, for the waits that paramiko does not bound. ``turn_bytes`` is what
    one command may deliver in one turn of the event loop.
    """

    dns_s: float = 5.0
    connect_s: float = 4.0
    banner_s: float = 4.0
    handshake_s: float = 5.0
    deadline_s: float = 9.0
    max_bytes_per_s: float = 16_000_000.0
    turn_bytes: int = 65536


class Wire(Transport):
    """A client's session over ``sock`` to ``hop``. ``ended`` is done, on the loop, when its thread is."""

    _active_check_timeout = 2.0  # the stock 0.1 s wakes every idle session ten times a second

    def __init__(self, sock: socket.socket | Channel, hop: Hop, limits: Limits) -> None:
        super().__init__(sock, disabled_algorithms=WEAK)
        self.name = f"ssh {hop.host}"
        self.hop = hop
        self.farewell = ""
        self.banner_timeout = self.handshake_timeout = self.auth_timeout = self.channel_timeout = limits.handshake_s
        self._limit_s = limits.handshake_s
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def run(self) -> None:
        """The session's thread."""
        try:
            super().run()
        except _WIRE_ERRORS:
            # Only where a jump host went first: closing the way through it cannot be told to it any more.
            self.active = False
        finally:
            self.packetizer.complete_handshake()  # or its timer's thread stays for the rest of its time
            try:
                self._loop.call_soon_threadsafe(self._set_ended)
            except RuntimeError:
                self.active = False  # the loop is closed: nobody is left to tell

    def _set_ended(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def _parse_disconnect(self, m: Message) -> None:
        """Keep what the server says when it hangs up: paramiko only logs it."""
        m.get_int()
        self.farewell = " ".join(m.get_text().split())[:200]

    def log_in(self, memory: HostKeyMemory, now: float) -> None:
        """From the first byte to a session that is logged in; ``now`` judges certificates. Raises LinkError."""
        try:
            known = KnownHosts.load(self.hop.known_hosts)
            self._prefer_keys_of(KnownHosts.load([*self.hop.known_hosts, memory.path]) if self.hop.trust_first else known)
            self.start_client(timeout=self._limit_s)
            if not self.initial_kex_done:
                raise LinkError(self._failure(Reason.TIMEOUT, f"did not agree on keys in {self._limit_s:g} s"))
            self._check_host_key(known, memory)
            self._authenticate(now)
        except _WIRE_ERRORS as error:
            self._translate(error)

    def open_command(self, command: str) -> Channel:
        """Start ``command``. Raises LinkError (command, timeout, closed, protocol)."""
        try:
            channel = self.open_session(timeout=self._limit_s)
            try:
                channel.exec_command(command)
            except SSHException as error:
                channel.close()
                if self.is_active():
                    raise LinkError(self._failure(Reason.COMMAND, "refuses to run commands")) from error
                raise
        except ChannelException as error:
            failure = self._failure(Reason.PROTOCOL, f"refuses another command on the connection ({error.text})")
            raise LinkError(replace(failure, remedy="raise MaxSessions in its sshd_config (10 is its default)")) from error
        except _WIRE_ERRORS as error:
            self._translate(error)
        return channel

    def open_way(self, hop: Hop) -> Channel:
        """A way through this server to the next. Raises LinkError."""
        try:
            channel = self.open_channel("direct-tcpip", (hop.host, hop.port), ("127.0.0.1", 0), timeout=self._limit_s)
        except ChannelException as error:
            here = f"{self.hop.user}@{self.hop.host}"
            if error.code == 1:
                raise LinkError(
                    Failure(
                        reason=Reason.CONFIG,
                        message=f"the jump host {here} does not forward connections ({error.text})",
                        remedy="set AllowTcpForwarding yes in its sshd_config",
                    )
                ) from error
            raise LinkError(
                Failure(
                    reason=Reason.REFUSED,
                    message=f"the jump host {here} cannot reach {hop.host} port {hop.port} ({error.text})",
                    remedy=f"check that {hop.host} is up and reachable from the jump host; try `{hop.command}`",
                )
            ) from error
        except _WIRE_ERRORS as error:
            self._translate(error)
        channel.settimeout(self._active_check_timeout)
        return channel

    def _prefer_keys_of(self, known: KnownHosts) -> None:
        """Ask for the types of key that we hold, like OpenSSH; the others stand last, so that a server that lost its key
        shows which one it has instead."""
        options = self.get_security_options()
        held = known.key_types(self.hop.key_name) or (known.key_types(self.hop.plain_key_name) if self.hop.plain_key_name else ())
        wanted = [name for kind in held for name in (("rsa-sha2-512", "rsa-sha2-256") if kind == "ssh-rsa" else (kind,))]
        every = tuple(options.key_types)
        options.key_types = (*(name for name in wanted if name in every), *(name for name in every if name not in wanted))

    def _check_host_key(self, known: KnownHosts, memory: HostKeyMemory) -> None:
        """The user's files decide; what ``trust_first`` remembered counts only where they say nothing."""
        key = self.get_remote_server_key()
        kind, blob, hop = key.get_name(), key.asbytes(), self.hop
        shown = f"{kind.removeprefix('ssh-').upper()} {fingerprint(blob)}"
        judgement = known.judge(hop.key_name, kind, blob, plain_name=hop.plain_key_name)
        if judgement.verdict is Verdict.UNKNOWN and hop.trust_first:
            try:
                judgement = memory.remember(hop.key_name, kind, blob)
            except OSError as error:
                raise LinkError(
                    self._failure(Reason.HOST_KEY, f"shows the unknown key {shown}, and {memory.path} cannot be written ({error.strerror})")
                ) from error
        file, _, line = judgement.where.rpartition(":")
        match judgement.verdict:
            case Verdict.KNOWN:
                return
            case Verdict.UNKNOWN:
                message = f"{hop.key_name} shows a host key that is not known: {shown}"
                if known.unreadable:
                    message += f" ({'; '.join(known.unreadable)})"
                scan = (
                    f"ssh-keyscan -p {hop.port} {hop.host} >> {hop.known_hosts[0]}" if hop.known_hosts and not hop.through else hop.command
                )
                remedy = f"compare it with `ssh-keygen -lf` on the machine, then accept it: `{scan}`; or set trust_first for this VM"
            case Verdict.CHANGED:
                message = f"THE HOST KEY OF {hop.key_name} HAS CHANGED (line {line} of {file} has another one), now it is {shown}"
                remedy = (
                    "someone may be listening in; if the machine was made anew, remove the old key: "
                    f"`ssh-keygen -R '{hop.key_name}' -f {file}`, then try `{hop.command}`"
                )
            case Verdict.OTHER_TYPE:
                message = f"THE HOST KEY OF {hop.key_name} IS OF ANOTHER TYPE than the known one (line {line} of {file}): {shown}"
                remedy = f"compare it with `ssh-keygen -lf` on the machine, then accept it with `{hop.command}`"
            case Verdict.REVOKED:
                message = f"THE HOST KEY OF {hop.key_name} IS REVOKED (line {line} of {file}): {shown}"
                remedy = "do not connect: whoever revoked it holds it to be stolen; give the machine a new host key"
        raise LinkError(Failure(reason=Reason.HOST_KEY, message=message, remedy=remedy))

    def _authenticate(self, now: float) -> None:
        ring = KeyRing(self.hop, now=now)
        try:
            tried = self._offer_keys(ring)
        finally:
            ring.close()
        if self.is_authenticated():
            return
        problems = "; ".join(ring.problems)
        if not tried:
            raise LinkError(
                Failure(
                    reason=Reason.KEY_FILE if ring.problems else Reason.AUTH,
                    message=f"there is no key to log in with to {self.hop.where}" + (f": {problems}" if problems else ""),
                    remedy="; ".join(ring.remedies)
                    or f"set ssh_key for this VM, or start an agent that holds its key; try `{self.hop.command}`",
                )
            )
        failure = self._failure(Reason.AUTH, f"does not accept {', '.join(tried)}")
        said = f" ({self.farewell})" if self.farewell else ""
        notes = f"; {problems}" if problems else ""
        remedy = f"check the user name, and that the key is in ~{self.hop.user}/.ssh/authorized_keys there; try `{self.hop.command}`"
        raise LinkError(replace(failure, message=failure.message + said + notes, remedy="; ".join([remedy, *ring.remedies])))

    def _offer_keys(self, ring: KeyRing) -> list[str]:
        """Labels of the keys that the server saw. Some servers let in whom they know without any."""
        user, tried = self.hop.user, list[str]()
        for offer in ring.offers():
            if len(tried) == MAX_KEYS or not self.is_active():
                return tried
            tried.append(offer.label)
            try:
                left = self.auth_publickey(user, offer.key)
            except BadAuthenticationType as error:
                self._refuse_methods(error.allowed_types, error)
            except AuthenticationException as error:
                if "timeout" in str(error):
                    raise
                continue
            if self.is_authenticated():
                return tried
            if left:
                self._refuse_methods(left, None)
        if not tried:
            try:
                self.auth_none(user)
            except AuthenticationException:
                return tried
        return tried

    def _refuse_methods(self, methods: list[str], error: Exception | None) -> NoReturn:
        raise LinkError(
            Failure(
                reason=Reason.AUTH,
                message=f"{self.hop.where} wants {' or '.join(methods)} to log in, not (only) a key",
                remedy="let sshd accept PubkeyAuthentication alone for this user",
            )
        ) from error

    def end_failure(self) -> Failure:
        """Why the session ended by itself."""
        error = self.get_exception()
        if isinstance(error, OSError) and error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.ETIMEDOUT):
            return self._failure(Reason.NETWORK, f"can no longer be reached ({error.strerror})")
        if isinstance(error, SSHException):
            return self._failure(Reason.PROTOCOL, f"broke the protocol ({error})")
        return self._failure(Reason.CLOSED, "closed the connection" + (f" ({self.farewell})" if self.farewell else ", or it was lost"))

    def _failure(self, reason: Reason, what: str) -> Failure:
        return Failure(reason=reason, message=f"{self.hop.where} {what}", remedy=f"try `{self.hop.command}`")

    def _translate(self, error: Exception) -> NoReturn:
        raise LinkError(self._translated(error)) from error

    def _translated(self, error: Exception) -> Failure:
        text = str(error)
        if isinstance(error, IncompatiblePeer):
            failure = self._failure(Reason.PROTOCOL, f"shares no method with us ({text})")
            return replace(failure, remedy="bring its OpenSSH up to date (SHA-1 and DSA are no longer spoken)")
        if isinstance(error, TimeoutError) or "timeout" in text.lower() or "timed out" in text:
            return self._failure(Reason.TIMEOUT, f"did not answer in {self._limit_s:g} s ({text or 'no answer'})")
        if isinstance(error, AuthenticationException):
            return self._failure(Reason.AUTH, f"ended the connection during the login ({self.farewell or text})")
        if isinstance(error, (EOFError, ConnectionError)) or "banner" in text or text in ("SSH session not active", "Channel closed."):
            return self._failure(Reason.CLOSED, f"closed the connection ({self.farewell or text or 'without a word'})")
        if isinstance(error, OSError) and not isinstance(error, ProxyCommandFailure):
            return self._failure(Reason.NETWORK, f"was lost ({error.strerror or text})")
        return self._failure(Reason.PROTOCOL, f"does not speak SSH as expected ({text})")
