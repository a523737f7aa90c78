"""The form that names a VM."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from waa.core.spec import LogSide, Transport, VmOs, VmSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One field. ``kind``: text, password, number, checkbox or select (``choices``: value and words). ``value`` is what was entered."""

    name: str
    label: str
    help: str
    kind: str = "text"
    value: str = ""
    error: str = ""
    placeholder: str = ""
    is_required: bool = False
    choices: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VmForm:
    """``main`` fields are always seen, ``more`` ones unfold (``is_unfolded``: one of them is wrong). ``error`` belongs to
    no field."""

    main: tuple[Input, ...]
    more: tuple[Input, ...]
    is_unfolded: bool
    error: str


_MAIN = (
    Input(name="name", label="Name", help="How the VM is called here: letters, digits, '.', '_' and '-'.", is_required=True),
    Input(name="ssh_host", label="Host", help="Host name, IP address or an alias of your SSH configuration.", is_required=True),
    Input(name="ssh_user", label="User", help="Blank: as your SSH configuration says, else azureuser.", placeholder="azureuser"),
    Input(name="ssh_port", label="SSH port", help="Blank: as your SSH configuration says, else 22.", kind="number", placeholder="22"),
    Input(name="container", label="Container", help="The benchmark's container. Blank: the runner does not use one."),
    Input(name="log_path", label="Run log", help="Absolute path of the log that run.py writes."),
)

_MORE = (
    Input(name="ssh_key", label="Private key", help="Path on the dashboard's machine. Blank: agent and default keys."),
    Input(name="known_hosts", label="Known hosts", help="File with the host keys to trust. Blank: your own known_hosts."),
    Input(
        name="trust_first",
        label="Trust an unknown host key once",
        help="Accepts and remembers the key of a host seen for the first time; a changed key is always refused.",
        kind="checkbox",
    ),
    Input(name="proxy_jump", label="Jump host", help="As in ssh -J: user@host:port.", placeholder="user@bastion"),
    Input(
        name="transport",
        label="Connection",
        help="How commands reach the machine.",
        kind="select",
        choices=((Transport.SSH.value, "SSH"), (Transport.LOCAL.value, "This machine, without SSH")),
    ),
    Input(name="engine", label="Container engine", help="The program that is asked about containers, such as docker or podman."),
    Input(name="guest_ip", label="Guest address", help="Address of Windows as the container sees it; also seen: 172.30.0.2."),
    Input(name="waa_port", label="WAA server port", help="Where /probe answers in the guest.", kind="number"),
    Input(name="vnc_port", label="VNC port", help="Where the container shows its screen.", kind="number"),
    Input(name="vnc_url", label="VNC address", help="Address that a browser can open. Blank: the page shows how to tunnel."),
    Input(
        name="log_side",
        label="Log lies",
        help="On the host, or inside the container.",
        kind="select",
        choices=((LogSide.AUTO.value, "look on both sides"), (LogSide.HOST.value, "host"), (LogSide.CONTAINER.value, "container")),
    ),
    Input(name="results_dir", label="Result folder", help="Absolute path on the same side as the log. Blank: as the log says."),
    Input(name="azure_id", label="Azure resource id", help="Blank: not on Azure. Its power state there explains why it cannot be reached."),
    Input(name="process", label="Runner process", help="Regular expression that finds the benchmark's process."),
    Input(name="price_per_hour", label="Price per hour", help="What the VM costs while it is up. Blank: by its size, where that is known."),
    Input(name="size", label="Size", help="As the cloud names it; its price is looked up by it.", placeholder="Standard_D8ds_v5"),
    Input(name="region", label="Region", help="As the cloud names it.", placeholder="eastus2"),
    Input(
        name="os",
        label="System of the machine",
        help="What its price depends on; the Windows inside the container does not count.",
        kind="select",
        choices=((VmOs.LINUX.value, "Linux"), (VmOs.WINDOWS.value, "Windows")),
    ),
    Input(name="spot", label="Spot machine", help="It may be evicted, and costs less.", kind="checkbox"),
)

_KEEPS_BLANK = frozenset({"container"})
"""Fields whose blank value means something else than their default."""


def vm_form(values: Mapping[str, str] | None = None, errors: Mapping[str, str] | None = None) -> VmForm:
    """The form with what was entered (None: the defaults) and what is wrong with it, by field (others: said on top)."""
    errors = errors or {}
    entered = _defaults() if values is None else values
    main = tuple(_filled(field, entered, errors) for field in _MAIN)
    more = tuple(_filled(field, entered, errors) for field in _MORE)
    names = {field.name for field in (*main, *more)}
    return VmForm(
        main=main,
        more=more,
        is_unfolded=any(field.error for field in more),
        error=" ".join(message for name, message in errors.items() if name not in names),
    )


def spec_values(entered: Mapping[str, str]) -> dict[str, str]:
    """The fields of a VmSpec from a submitted form: what is blank keeps its default; other fields are left out."""
    values = {}
    for field in (*_MAIN, *_MORE):
        value = entered.get(field.name, "").strip()
        if field.kind == "checkbox":
            values[field.name] = "true" if value else "false"
        elif value or (field.name in _KEEPS_BLANK and field.name in entered):
            values[field.name] = value
    return values


def _defaults() -> dict[str, str]:
    values = {}
    for field in dataclasses.fields(VmSpec):
        if isinstance(field.default, str | int) and not isinstance(field.default, bool) and field.name != "ssh_host":
            values[field.name] = str(field.default)
    return values


def _filled(field: Input, entered: Mapping[str, str], errors: Mapping[str, str]) -> Input:
    return dataclasses.replace(field, value=entered.get(field.name, ""), error=errors.get(field.name, ""))
