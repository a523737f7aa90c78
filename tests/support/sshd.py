"""A real OpenSSH server for tests, in the foreground, with everything it needs in a folder of its own.

    server = Sshd(tmp_path / "sshd", path_prefix="/folder/with/docker/shim")
    server.start()
    try:
        spec = VmSpec(name="vm", **server.spec_fields())     # key, port, user and known_hosts that fit
        ...
    finally:
        server.stop()

or as a context manager. The user is the one that runs the tests (root is let in by key only). A fixture needs no more than
``with Sshd(tmp_path / "sshd") as server: yield server``. ``server.log`` holds what sshd said.

Faults: ``kill_sessions`` (kill -9 of what serves the connections; the commands stay, as in reality), ``freeze`` and
``thaw`` (SIGSTOP, SIGCONT of all), ``stop``, ``restart(new_host_key=True)`` on the same port. Keys: ``make_key``,
``make_certificate``, ``known_hosts_line``. An agent: ``SshAgent``.
"""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypedDict

from tests.support.wait import PATIENCE_S, wait_for

PROGRAM = "/usr/sbin/sshd"


class SpecFields(TypedDict):
    """The fields of a ``VmSpec`` that lead to an ``Sshd``."""

    ssh_host: str
    ssh_port: int
    ssh_user: str
    ssh_key: str
    known_hosts: str


class Sshd:
    """One server. ``address`` is where it listens; ``port`` is free at the start and kept over restarts.

    ``path_prefix`` is put before the usual PATH of every command. ``home`` is the HOME that commands see, an empty folder, so
    that no start-up file of the real user plays a part (they start in the real one, though). ``options`` are further lines
    of its ``sshd_config`` (they win). ``runner`` is put before the command line, such as ``("ip", "netns", "exec", "far")``.
    ``key`` is the private key that it lets in; further public keys go to ``authorize``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        address: str = "127.0.0.1",
        port: int | None = None,
        path_prefix: str | None = None,
        options: Sequence[str] = (),
        runner: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.address = address
        self.port = port or free_port(address if not runner else "127.0.0.1")
        self.user = getpass.getuser()
        self.home = folder / "home"
        self.log: list[str] = []
        self._options = tuple(options)
        self._runner = tuple(runner)
        self._path_prefix = path_prefix
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self.home.mkdir(parents=True, exist_ok=True)
        self.key = make_key(folder / "user_key")
        self.host_key = make_key(folder / "host_key")
        self.known_hosts = folder / "known_hosts"
        self.authorized_keys = folder / "authorized_keys"
        self.authorize(public_key(self.key))
        self.know()

    def __enter__(self) -> "Sshd":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Of the listener. Raises RuntimeError when it does not run."""
        if self._process is None:
            raise RuntimeError("this sshd was not started")
        return self._process.pid

    def spec_fields(self) -> SpecFields:
        """What a ``VmSpec`` needs to reach this server."""
        return {
            "ssh_host": self.address,
            "ssh_port": self.port,
            "ssh_user": self.user,
            "ssh_key": str(self.key),
            "known_hosts": str(self.known_hosts),
        }

    def authorize(self, line: str) -> None:
        """Let in another public key (a line as in ``authorized_keys``)."""
        with self.authorized_keys.open("a") as file:
            file.write(line.strip() + "\n")

    def know(self) -> None:
        """(Re)write ``known_hosts`` to hold the present host key."""
        self.known_hosts.write_text(known_hosts_line(self.address, self.port, self.host_key) + "\n")

    def start(self) -> None:
        """Start it and wait until it listens. Raises RuntimeError with its words if it does not."""
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(parents=True, exist_ok=True)  # where root's sshd locks its children up
        config = self.folder / "sshd_config"
        config.write_text("\n".join(self._config()) + "\n")
        listens = threading.Event()
        self._process = subprocess.Popen(
            [*self._runner, PROGRAM, "-D", "-e", "-f", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._listen, args=(self._process, listens), name="sshd log", daemon=True)
        self._reader.start()
        if not listens.wait(PATIENCE_S) or self._process.poll() is not None:
            self.stop()
            raise RuntimeError("sshd does not listen:\n" + "\n".join(self.log))

    def stop(self) -> None:
        """End the listener and every connection. May be called twice, and when it is frozen."""
        process, self._process = self._process, None
        if process is None:
            return
        for pid in sshd_children(process.pid):
            signal_process(pid, signal.SIGKILL)
        process.kill()
        process.wait()
        if self._reader:
            self._reader.join(PATIENCE_S)
        if process.stderr:
            process.stderr.close()

    def restart(self, *, new_host_key: bool = False) -> None:
        """Stop and start on the same port. ``known_hosts`` keeps the old key: see ``know``."""
        self.stop()
        if new_host_key:
            self.host_key = make_key(self.folder / "host_key")
        self.start()

    def sessions(self) -> list[int]:
        """Pids of the sshd processes that serve connections (of root: one each)."""
        return sshd_children(self.pid)

    def kill_sessions(self) -> None:
        """kill -9 of what serves the connections."""
        for pid in self.sessions():
            signal_process(pid, signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP of the listener and the sessions: TCP still answers, nothing else does."""
        for pid in (self.pid, *self.sessions()):
            signal_process(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT of all."""
        for pid in (self.pid, *self.sessions()):
            signal_process(pid, signal.SIGCONT)

    def _config(self) -> Iterable[str]:
        yield from self._options  # the first value of each keyword counts
        yield f"ListenAddress {self.address}"
        yield f"Port {self.port}"
        yield f"HostKey {self.host_key}"
        yield f"AuthorizedKeysFile {self.authorized_keys}"
        yield f"PidFile {self.folder / 'sshd.pid'}"
        yield "StrictModes no"
        yield "UsePAM no"
        yield "UseDNS no"
        yield "PermitRootLogin prohibit-password"
        yield "PasswordAuthentication no"
        yield "KbdInteractiveAuthentication no"
        yield "PrintMotd no"
        yield "MaxStartups 200"
        yield "MaxSessions 50"
        yield "LogLevel VERBOSE"
        usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        path = f"{self._path_prefix}:{usual}" if self._path_prefix else usual
        yield f"SetEnv HOME={self.home} PATH={path}"  # one line: a second would not count

    def _listen(self, process: "subprocess.Popen[str]", listens: threading.Event) -> None:
        if process.stderr is None:
            return
        with contextlib.suppress(ValueError):  # closed under us
            for line in process.stderr:
                self.log.append(line.rstrip())
                if "Server listening on" in line:
                    listens.set()
        listens.set()  # it ended: nobody needs to wait


class SshAgent:
    """A real ``ssh-agent``; ``address`` is its socket, for ``SSH_AUTH_SOCK``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.address = str(folder / "agent")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "SshAgent":
        self._process = subprocess.Popen(["ssh-agent", "-D", "-a", self.address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: Path(self.address).exists(), what="the agent's socket")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def add(self, key: Path, *, passphrase: str = "") -> None:
        """Hand it a private key (with its certificate, if there is one beside it)."""
        answer = key.parent / "askpass"
        answer.write_text(f"#!/bin/sh\necho '{passphrase}'\n")
        answer.chmod(0o700)
        environment = {**os.environ, "SSH_AUTH_SOCK": self.address, "SSH_ASKPASS": str(answer), "SSH_ASKPASS_REQUIRE": "force"}
        _run(["ssh-add", "-q", str(key)], environment)


def make_key(path: Path, *, kind: str = "ed25519", passphrase: str = "") -> Path:
    """A new key pair in the place of whatever is there; returns the path of the private one (``.pub`` is beside it)."""
    path.unlink(missing_ok=True)
    _run(["ssh-keygen", "-q", "-t", kind, *(["-b", "2048"] if kind == "rsa" else []), "-N", passphrase, "-C", path.name, "-f", str(path)])
    return path


def public_key(key: Path) -> str:
    """The line of the public key: type, base64, comment."""
    return key.with_name(key.name + ".pub").read_text().strip()


def make_certificate(authority: Path, key: Path, *, principals: str, validity: str = "-1h:+1h") -> Path:
    """Sign ``key`` by ``authority`` for the users ``principals``; returns the ``-cert.pub`` beside the key.

    ``validity`` is as for ``ssh-keygen -V``. The server wants ``TrustedUserCAKeys`` (an option of ``Sshd``).
    """
    _run(["ssh-keygen", "-q", "-s", str(authority), "-I", key.name, "-n", principals, "-V", validity, str(key) + ".pub"])
    return key.with_name(key.name + "-cert.pub")


def known_hosts_line(host: str, port: int, host_key: Path, *, marker: str = "") -> str:
    """A line for ``known_hosts``; ``marker`` such as ``@revoked``."""
    name = host if port == 22 else f"[{host}]:{port}"
    kind, blob = public_key(host_key).split()[:2]
    return f"{marker} {name} {kind} {blob}".strip()


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port that is free there now."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as sock:
        sock.bind((address, 0))
        port: int = sock.getsockname()[1]
        return port


def sshd_children(pid: int) -> list[int]:
    """The sshd processes below ``pid``, not the commands that they run; by ``/proc``, nearest first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has just ended
                name, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
                if name.startswith("sshd"):
                    children.setdefault(int(rest.split()[1]), []).append(int(entry.name))
    found = list(children.get(pid, ()))
    for child in found:
        found += children.get(child, ())
    return found


def is_running(pid: int) -> bool:
    """Whether a process is there and not only a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def signal_process(pid: int, number: signal.Signals) -> None:
    """Send a signal; no matter if the process has just ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def has_sshd() -> bool:
    """Whether the programs are installed."""
    return Path(PROGRAM).exists() and all(shutil.which(name) for name in ("ssh-keygen", "ssh-agent", "ssh-add"))


def _run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
