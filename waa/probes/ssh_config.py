"""Where the connection to a VM leads: what is said about the VM, over ``ssh_config``, with its jump hosts.

``ssh -G`` answers exactly where OpenSSH's client is installed. Elsewhere paramiko reads the files, with the parts it
cannot judge (``Match`` on anything but names and users) taken as not matching. All of this blocks: for a thread.
"""

import getpass
import glob
import os
import pwd
import re
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from paramiko.config import SSHConfig
from paramiko.ssh_exception import ConfigParseError, CouldNotCanonicalize

from waa.core.error import Failure, LinkError
from waa.core.spec import VmSpec
from waa.core.status import Reason
from waa.probes.known_hosts import host_key_name

DEFAULT_USER = "azureuser"
MAX_JUMPS = 8
"""Longer routes are loops in the configuration."""
MAX_INCLUDES = 16
"""As deep as OpenSSH follows ``Include``."""
SSH_G_TIMEOUT_S = 5.0
"""``Match exec`` may run anything."""

SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
GLOBAL_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
DEFAULT_KEYS = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk", "id_xmss", "id_dsa")

_JUMP = re.compile(
    r"(?:ssh://)?(?:(?P<user>[A-Za-z0-9._][A-Za-z0-9._@\\-]*)@)?"
    r"(?:\[(?P<bracketed>[0-9A-Za-z:.%_-]+)\]|(?P<host>[A-Za-z0-9_][A-Za-z0-9._-]*))(?::(?P<port>\d{1,5}))?/?"
)
_JUDGED_MATCHES = {"all", "canonical", "final", "host", "originalhost", "user", "localuser"}

Options = Mapping[str, Sequence[str]]
"""Values of ``ssh_config`` by lower-case keyword; only those that may be repeated have more than one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One SSH server on the way, the VM itself being the last.

    ``only_key`` is the one private key to use; without it ``identities`` and the agent at ``agent`` (a socket's path) are.
    ``default_identities``: nobody configured these files, so their absence is no news. ``key_name`` and ``plain_key_name``
    are the names to look up in ``known_hosts``. ``through`` names the servers before it as ``user@host:port``. ``alias`` is what the
    server was called before the configuration was asked.
    """

    host: str
    port: int
    user: str
    family: int = socket.AF_UNSPEC
    only_key: Path | None = None
    identities: tuple[Path, ...] = ()
    default_identities: bool = False
    identities_only: bool = False
    certificates: tuple[Path, ...] = ()
    agent: str | None = None
    known_hosts: tuple[Path, ...] = ()
    trust_first: bool = False
    key_name: str = ""
    plain_key_name: str | None = None
    proxy_command: str | None = None
    through: tuple[str, ...] = ()
    alias: str = ""

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.user}@{self.host} port {self.port}" + (f" (through {', '.join(self.through)})" if self.through else "")

    @property
    def command(self) -> str:
        """What to type to try the same by hand."""
        jump = ["-J", ",".join(self.through)] if self.through else []
        proxy = ["-o", f"ProxyCommand={self.proxy_command}"] if self.proxy_command else []
        key = ["-i", str(self.only_key)] if self.only_key else []
        port = ["-p", str(self.port)] if self.port != 22 else []
        return shlex.join(["ssh", *jump, *proxy, *key, *port, f"{self.user}@{self.host}"])


Route = tuple[Hop, ...]
"""From the first server that we connect to ourselves to the VM."""


class SshConfig:
    """The user's and the system's ``ssh_config``, read anew for each question.

    ``program`` is OpenSSH's client, None: read the files ourselves. ``home`` is where ``~`` leads.
    """

    def __init__(self, *, home: Path | None = None, program: str | None = None) -> None:
        self._home = home or account_home()
        self._program = program

    @classmethod
    def of_this_machine(cls, home: Path | None = None) -> "SshConfig":
        """With ``ssh`` where it is installed."""
        return cls(home=home, program=shutil.which("ssh"))

    def route(self, spec: VmSpec) -> Route:
        """The way to the VM. What ``spec`` says wins. Raises LinkError (config)."""
        known_hosts = (self._path(spec.known_hosts),) if spec.known_hosts else None
        key = self._path(spec.ssh_key) if spec.ssh_key else None
        route = self._route(spec.ssh_host, spec.ssh_user, spec.ssh_port, jump=spec.proxy_jump, default_user=DEFAULT_USER)
        *before, vm = (
            replace(hop, trust_first=spec.trust_first, known_hosts=known_hosts if known_hosts else hop.known_hosts) for hop in route
        )
        if key:
            # ssh would not offer the VM's key to its jump hosts, but there is no other place to name one for them.
            before = [replace(hop, identities=_with_key(hop, key), default_identities=False) for hop in before]
            vm = replace(vm, only_key=key)
        return (*before, vm)

    def _route(
        self, alias: str, user: str | None, port: int | None, *, jump: str | None, default_user: str, depth: int = 0
    ) -> tuple[Hop, ...]:
        if depth > MAX_JUMPS:
            raise _config_error(
                f"the jump hosts of {alias} form a loop", "exclude the jump host from its own rule, as in `Host * !bastion`"
            )
        options = self._options(alias, user, port, default_user)
        hop = self._hop(alias, options)
        if jump is None:
            jump = _one(options, "proxyjump")
        if not jump or jump.lower() == "none":
            return (hop,)
        first, *rest = [parse_jump(part, alias) for part in jump.split(",")]
        local_user = _local_user()
        way = self._route(*first, jump=None, default_user=local_user, depth=depth + 1)
        way += tuple(self._hop(name, self._options(name, login, at, local_user)) for name, login, at in rest)
        hops = [*way[:1], *(replace(each, proxy_command=None) for each in (*way[1:], hop))]
        through: list[str] = []
        for index, each in enumerate(hops):
            hops[index] = replace(each, through=tuple(through))
            through.append(f"{each.user}@{each.host}" + (f":{each.port}" if each.port != 22 else ""))
        return tuple(hops)

    def _hop(self, alias: str, options: Options) -> Hop:
        host, user = _one(options, "hostname") or alias, _one(options, "user") or DEFAULT_USER
        port = int(_one(options, "port") or 22)
        tokens = self._tokens(alias, host, port, user, _one(options, "hostkeyalias"))
        alias_for_key = _one(options, "hostkeyalias")
        identities = self._paths(options.get("identityfile", ()), tokens)
        proxy = _one(options, "proxycommand")
        return Hop(
            host=host,
            port=port,
            user=user,
            family={"inet": socket.AF_INET, "inet6": socket.AF_INET6}.get(_one(options, "addressfamily") or "", socket.AF_UNSPEC),
            identities=identities,
            default_identities=len(identities) > 1 and {*identities} <= {self._home / ".ssh" / name for name in DEFAULT_KEYS},
            identities_only=(_one(options, "identitiesonly") or "no").lower() in ("yes", "true"),
            certificates=self._paths(options.get("certificatefile", ()), tokens),
            agent=self._agent(_one(options, "identityagent"), tokens),
            known_hosts=self._known_hosts(options, tokens),
            key_name=alias_for_key or host_key_name(host, port),
            plain_key_name=None if alias_for_key else host,
            proxy_command=_expand(proxy, tokens, quoted=True) if proxy and proxy.lower() != "none" else None,
            alias=alias,
        )

    def _options(self, alias: str, user: str | None, port: int | None, default_user: str) -> Options:
        if self._program:
            return _ask_ssh(self._program, alias, user, port, config=self._everything(default_user))
        return self._read(alias, user, port, default_user)

    def _everything(self, default_user: str) -> str:
        """A configuration that reads the usual two and then falls back to our default user."""
        user_config = self._home / ".ssh" / "config"
        return f'Include "{user_config}"\nMatch all\nInclude {SYSTEM_CONFIG}\nMatch all\nUser {default_user}\n'

    def _read(self, alias: str, user: str | None, port: int | None, default_user: str) -> Options:
        given = "Host *\n" + (f"User {user}\n" if user else "") + (f"Port {port}\n" if port else "")
        lines = [given]
        for path in (self._home / ".ssh" / "config", SYSTEM_CONFIG):
            lines += ["Host *", *self._flatten(path)]
        lines.append(f"Host *\nUser {default_user}\n")
        try:
            found = _RawConfig.from_text("\n".join(lines)).lookup(alias)
        except (ConfigParseError, CouldNotCanonicalize, KeyError, ValueError) as error:
            raise _config_error(f"ssh_config cannot be understood: {error}", "correct ~/.ssh/config") from error
        options = {key: [value] if isinstance(value, str) else value or ["none"] for key, value in dict(found).items()}
        options.setdefault("identityfile", [str(self._home / ".ssh" / name) for name in DEFAULT_KEYS])
        return options

    def _flatten(self, path: Path, depth: int = 0) -> list[str]:
        """The lines of a file with its ``Include`` files in their places, without the blocks that cannot be judged."""
        try:
            text = path.read_text(errors="replace")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _config_error(f"{path} cannot be read: {error.strerror}", f"let this user read {path}") from error
        lines: list[str] = []
        block, applies = "Host *", True
        for line in (raw.strip() for raw in text.splitlines()):
            keyword, _, rest = line.replace("=", " ", 1).partition(" ")
            if keyword.lower() in ("host", "match"):
                block, applies = line, keyword.lower() == "host" or _can_judge(rest)
            if keyword.lower() == "include" and applies and depth < MAX_INCLUDES:
                inner = [
                    more for name in shlex.split(rest) for file in self._included(path, name) for more in self._flatten(file, depth + 1)
                ]
                if block != "Host *" and any(each.lower().startswith(("host ", "match ")) for each in inner):
                    raise _config_error(
                        f"{path}: an Include below '{block}' has Host or Match blocks of its own",
                        "install OpenSSH's client, or move the Include up",
                    )
                lines += [*inner, block]
            elif applies and line and not line.startswith("#"):
                lines.append(line)
        return lines

    def _included(self, parent: Path, name: str) -> Iterable[Path]:
        base = parent.parent if parent.is_relative_to(SYSTEM_CONFIG.parent) else self._home / ".ssh"
        return (Path(found) for found in sorted(glob.glob(str(base / self._path(name)))))

    def _known_hosts(self, options: Options, tokens: Mapping[str, str]) -> tuple[Path, ...]:
        own = [str(self._home / ".ssh" / name) for name in ("known_hosts", "known_hosts2")]
        users = _words(_one(options, "userknownhostsfile")) or own
        if users == [str(account_home() / ".ssh" / name) for name in ("known_hosts", "known_hosts2")]:
            users = own
        globals_ = _words(_one(options, "globalknownhostsfile")) or list(GLOBAL_KNOWN_HOSTS)
        return self._paths([*users, *globals_], tokens)

    def _agent(self, configured: str | None, tokens: Mapping[str, str]) -> str | None:
        if configured is None or configured == "SSH_AUTH_SOCK":
            return os.environ.get("SSH_AUTH_SOCK")
        if configured.lower() == "none":
            return None
        if re.fullmatch(r"\$\w+", configured):
            return os.environ.get(configured[1:])
        return str(self._path(_expand(configured, tokens)))

    def _tokens(self, alias: str, host: str, port: int, user: str, key_alias: str | None) -> dict[str, str]:
        """What stands behind ``%`` in a value of the configuration."""
        name = socket.gethostname()
        return {
            "%": "%", "h": host, "n": alias, "p": str(port), "r": user, "k": key_alias or alias, "d": str(self._home),
            "u": _local_user(), "i": str(os.getuid()), "l": name, "L": name.partition(".")[0],
        }  # fmt: skip

    def _paths(self, values: Iterable[str], tokens: Mapping[str, str]) -> tuple[Path, ...]:
        return tuple(self._path(_expand(value, tokens)) for value in values if value.lower() != "none")

    def _path(self, value: str) -> Path:
        return self._home / value[2:] if value.startswith("~/") else Path(value).expanduser()


class _RawConfig(SSHConfig):
    """Leaves ``~`` and ``%`` in the values, as ``ssh -G`` does: paramiko replaces each ``~``, wherever it stands."""

    TOKENS_BY_CONFIG_KEY = {"hostname": ["%h"]}  # noqa: RUF012 - as in the base class


def account_home() -> Path:
    """The home that OpenSSH takes ``~`` for: the account's, whatever ``HOME`` says."""
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return Path.home()


def parse_jump(text: str, target: str) -> tuple[str, str | None, int | None]:
    """Host, user and port of ``[user@]host[:port]``. Raises LinkError (config)."""
    match = _JUMP.fullmatch(text.strip())
    port = int(match["port"]) if match and match["port"] else None
    if match is None or (port is not None and not 1 <= port <= 65535):
        raise _config_error(f"{text!r} is not a jump host for {target}", "write it as user@host:port, several separated by commas")
    return match["bracketed"] or match["host"], match["user"], port


def _ask_ssh(program: str, alias: str, user: str | None, port: int | None, *, config: str) -> Options:
    login = ["-l", user] if user else []
    number = ["-p", str(port)] if port else []
    process = subprocess.Popen(
        [program, "-F", "/dev/stdin", "-T", "-G", *login, *number, "--", alias],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        try:
            out, err = process.communicate(config.encode(), timeout=SSH_G_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)  # and what a Match exec started, which would hold the pipes
            raise _config_error(
                f"`ssh -G {alias}` did not answer in {SSH_G_TIMEOUT_S:g} s", f"try `ssh -G {alias}`; a `Match exec` may hang"
            ) from error
    if process.returncode:
        said = err.decode(errors="replace").strip().splitlines() or [f"exit status {process.returncode}"]
        raise _config_error(f"ssh_config for {alias} is wrong: {said[0]}", f"try `ssh -G {alias}` and correct ~/.ssh/config")
    options: dict[str, list[str]] = {}
    for line in out.decode(errors="replace").splitlines():
        key, _, value = line.partition(" ")
        options.setdefault(key.lower(), []).append(value)
    return options


def _can_judge(criteria: str) -> bool:
    words = shlex.split(criteria, comments=True)
    keywords: list[str] = []
    while words:
        keyword = words.pop(0).lstrip("!").lower()
        keywords.append(keyword)
        if keyword not in ("all", "canonical", "final") and words:
            words.pop(0)
    return set(keywords) <= _JUDGED_MATCHES


def _expand(text: str, tokens: Mapping[str, str], *, quoted: bool = False) -> str:
    """``%`` tokens and ``${NAME}`` replaced; ``quoted`` for the shell."""

    def token(match: re.Match[str]) -> str:
        if match[1] not in tokens:
            raise _config_error(f"ssh_config: %{match[1]} in {text!r} is not supported", "write the value without it")
        return shlex.quote(tokens[match[1]]) if quoted else tokens[match[1]]

    def variable(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise _config_error(f"ssh_config: {match[0]} in {text!r} is not set", f"set {match[1]} in the server's environment")
        return os.environ[match[1]]

    expanded = re.sub(r"%(.)", token, text)
    return expanded if quoted else re.sub(r"\$\{(\w+)\}", variable, expanded)


def _with_key(hop: Hop, key: Path) -> tuple[Path, ...]:
    return (key, *hop.identities) if hop.default_identities else (*hop.identities, key)


def _one(options: Options, key: str) -> str | None:
    values = options.get(key)
    return values[0] if values else None


def _words(value: str | None) -> list[str]:
    """File names in one value: quoted, or as ``ssh -G`` prints them, where the quotes are lost."""
    if not value:
        return []
    if '"' in value:
        return shlex.split(value)
    return re.split(r" +(?=[/~%$]|none$)", value)


def _local_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return DEFAULT_USER


def _config_error(message: str, remedy: str) -> LinkError:
    return LinkError(Failure(reason=Reason.CONFIG, message=message, remedy=remedy))
