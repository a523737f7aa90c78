"""What the operator says about a VM: how to reach it and where to look."""

import re
import warnings
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite

from waa.core.error import Invalid

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""Names stand in URLs, DOM ids and file names."""

_AZURE_VM = re.compile(
    r"/subscriptions/[^/\s]{1,90}/resourceGroups/[^/\s]{1,90}/providers/Microsoft\.Compute/virtualMachines/[^/\s]{1,90}", re.IGNORECASE
)
MAX_TEXT = 1024
"""Characters of a path or an address."""

SIZE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")
REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,39}")
MAX_PRICE = 100_000.0
"""Of an hour; more is a slip of the pen."""


class Transport(StrEnum):
    """How the commands reach the machine; LOCAL is this machine, without SSH."""

    SSH = "ssh"
    LOCAL = "local"


class LogSide(StrEnum):
    """Where the run log lies; AUTO looks on both sides."""

    AUTO = "auto"
    HOST = "host"
    CONTAINER = "container"


class VmOs(StrEnum):
    """What the machine itself runs, which its price depends on. The Windows inside a container does not count."""

    LINUX = "linux"
    WINDOWS = "windows"


class Origin(StrEnum):
    """Who named the VM. AZURE: its tag there; JOB: it stands for a job of Azure ML, whose log tells of a run."""

    CONFIG = "config"
    API = "api"
    DEMO = "demo"
    FILES = "files"
    AZURE = "azure"
    JOB = "job"


@dataclass(frozen=True, slots=True, kw_only=True)
class VmSpec:
    """One VM as configured. Defaults are requirement B1; raises Invalid naming the field.

    ``ssh_port`` and ``ssh_user`` of None leave the choice to ``~/.ssh/config`` (then 22 and ``azureuser``).
    ``ssh_key`` is the path of a private key on this machine, None: agent, ssh_config and default keys.
    ``known_hosts`` is the path of the file to verify against, None: the user's own.
    ``trust_first`` accepts an unknown (never a changed) host key and remembers it in the data folder.
    ``log_path`` is the run log, looked for on ``log_side``; ``results_dir`` the result tree on the same side, None: from the log.
    ``container`` is a container's name on the machine; "" when the runner does not use one.
    ``price_per_hour`` is what the VM costs while it is up, None: by its ``size``, ``region``, ``os`` and ``spot``, if known.
    ``azure_id`` is the VM's resource id: its power state there counts, and unless ``waa.toml`` names it its address follows.
    """

    name: str
    ssh_host: str = "127.0.0.1"
    ssh_user: str | None = None
    ssh_port: int | None = None
    ssh_key: str | None = None
    known_hosts: str | None = None
    trust_first: bool = False
    proxy_jump: str | None = None
    transport: Transport = Transport.SSH
    container: str = "winarena"
    engine: str = "docker"
    guest_ip: str = "20.20.20.21"
    waa_port: int = 5000
    vnc_port: int = 8006
    vnc_url: str | None = None
    log_path: str = "/tmp/waa_benchmark.log"  # noqa: S108 - a path on the VM, given by requirement B1
    log_side: LogSide = LogSide.AUTO
    results_dir: str | None = None
    process: str = r"python.*run\.py"
    price_per_hour: float | None = None
    size: str | None = None
    region: str | None = None
    os: VmOs = VmOs.LINUX
    spot: bool = False
    azure_id: str | None = None
    origin: Origin = Origin.CONFIG

    def __post_init__(self) -> None:
        """Check what the type cannot say."""
        if not NAME.fullmatch(self.name):
            raise Invalid("name", f"{self.name!r} is not 1 to 63 letters, digits, '.', '_' or '-', beginning with a letter or digit")
        _need_host("ssh_host", self.ssh_host)
        _need_host("guest_ip", self.guest_ip)
        for field in ("ssh_port", "waa_port", "vnc_port"):
            port = getattr(self, field)
            if port is not None and not 1 <= port <= 65535:
                raise Invalid(field, f"{port} is not a port (1 to 65535)")
        if self.ssh_user is not None and not re.fullmatch(r"[A-Za-z0-9._][A-Za-z0-9._@\\-]{0,63}", self.ssh_user):
            raise Invalid("ssh_user", f"{self.ssh_user!r} is not a user name")
        if self.container and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", self.container):
            raise Invalid("container", f"{self.container!r} is not a container name")
        if not re.fullmatch(r"[A-Za-z0-9_./-]{1,200}", self.engine) or self.engine.startswith("-"):
            raise Invalid("engine", f"{self.engine!r} is not a program such as docker or podman")
        for field in ("ssh_key", "known_hosts", "proxy_jump", "vnc_url", "log_path", "results_dir"):
            text = getattr(self, field)
            if text is not None and (len(text) > MAX_TEXT or any(ord(letter) < 32 for letter in text)):
                raise Invalid(field, f"is not up to {MAX_TEXT} printable characters")
        for field in ("log_path", "results_dir"):
            path = getattr(self, field)
            if path is not None and not path.startswith("/"):
                raise Invalid(field, f"{path!r} is not an absolute path")
        if not self.process or len(self.process) > 200 or any(ord(letter) < 32 for letter in self.process):
            raise Invalid("process", "is not 1 to 200 printable characters")
        _need_expression("process", self.process)
        _need_azure_vm(self)
        if self.vnc_url is not None and not re.match(r"https?://", self.vnc_url):
            raise Invalid("vnc_url", f"{self.vnc_url!r} is not an http or https address")
        _need_price(self.price_per_hour, self.size, self.region)


def _need_price(price_per_hour: float | None, size: str | None, region: str | None) -> None:
    if price_per_hour is not None and (not isfinite(price_per_hour) or not 0 <= price_per_hour <= MAX_PRICE):
        raise Invalid("price_per_hour", f"{price_per_hour!r} is not a price between 0 and {MAX_PRICE:g}")
    if size is not None and not SIZE.fullmatch(size):
        raise Invalid("size", f"{size!r} is not the name of a size such as Standard_D8ds_v5")
    if region is not None and not REGION.fullmatch(region):
        raise Invalid("region", f"{region!r} is not the name of a region such as eastus2")


def _need_expression(field: str, text: str) -> None:
    try:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of [[:space:]], which the machine's pgrep knows
            re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise Invalid(field, f"{text!r} is not a regular expression: {error}") from error


def _need_azure_vm(spec: VmSpec) -> None:
    if spec.azure_id is not None and spec.origin is not Origin.JOB and not _AZURE_VM.fullmatch(spec.azure_id):
        raise Invalid("azure_id", f"{spec.azure_id[:200]!r} is not /subscriptions/.../virtualMachines/<name>")


def _need_host(field: str, value: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}|[0-9A-Fa-f:.]{2,45}(%[A-Za-z0-9]+)?", value):
        raise Invalid(field, f"{value!r} is not a host name or IP address")
