"""One frozen configuration from ``waa.toml``, the environment (``WAA_*``) and flags; built once at the start.

Precedence: flag, environment, file, default. A bad value stops the start with a message that names the file (or
variable), the key and what is allowed. Only ``server.py`` reads this module; values are passed down.
"""

import argparse
import dataclasses
import os
import re
import stat
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

from waa.core.access import parse_scopes
from waa.core.azure import Auth, check_base, need_subscription, tag_filter, workspace_of
from waa.core.codec import convert, spec_from
from waa.core.destination import rule
from waa.core.error import Invalid, WaaError
from waa.core.logs.mask import compile_patterns, is_secret, mask
from waa.core.oidc import check_issuer, conditions
from waa.core.pipeline import Credential, PipelineSpec
from waa.core.pipeline_form import pipelines_from
from waa.core.price import CURRENCY, PriceEntry
from waa.core.proxy import parse_proxies
from waa.core.spec import Origin, VmSpec


class ConfigError(WaaError):
    """The configuration is wrong; the text names where and what is allowed."""


class Switch(StrEnum):
    """AUTO: on where nothing else is configured."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class LogLevel(StrEnum):
    """How much the server says on standard error."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def _setting(default: Any, help_text: str, *, unit: str = "", low: float | None = None, high: float | None = None) -> Any:
    metadata = {"help": help_text, "unit": unit, "low": low, "high": high}
    if isinstance(default, tuple | dict):
        return field(default_factory=lambda: default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Every setting with its default, unit, bounds and help line; ``vms`` come from ``[[vm]]`` tables, ``prices`` from ``[[price]]``,
    ``pipelines`` from ``[[pipeline]]``."""

    host: str = _setting("127.0.0.1", "Address to listen on. Beyond this machine a login is needed (see auth).")
    port: int = _setting(8765, "Port to listen on; 0 takes any free one.", low=0, high=65535)
    data: Path = _setting(Path("~/.local/share/waa-live"), "Folder of the database, remembered host keys, screenshots and the demo VM.")
    database: str = _setting("", "Database as a URL; empty: SQLite in the data folder.")
    demo: Switch = _setting(Switch.AUTO, "The embedded demo VM: auto (only where nothing else is watched), on, off.")
    demo_speed: float = _setting(1.0, "How much faster than life the demo VM plays.", low=0.1, high=1000)
    sse: bool = _setting(True, "Live streams. Off: every page polls.")
    interval_s: float = _setting(5.0, "How often the page polls the live evaluation where it cannot stream.", unit="s", low=1, high=60)
    status_interval_s: float = _setting(2.0, "How often the status reporter on a VM looks.", unit="s", low=1, high=60)
    threshold: float = _setting(1.0, "A score of at least this is a success.", low=0, high=1)
    unreachable_after_s: float = _setting(20.0, "When a VM that cannot be reached needs attention.", unit="s", low=0, high=86400)
    stalled_after_s: float = _setting(900.0, "When a task without any sign of progress needs attention.", unit="s", low=10, high=86400)
    idle_after_s: float = _setting(900.0, "When a VM that runs nothing needs attention.", unit="s", low=10, high=604800)
    guest_down_after_s: float = _setting(
        60.0, "When a guest that does not answer during a run needs attention.", unit="s", low=5, high=86400
    )
    loop_repeats: int = _setting(5, "How often an action is repeated in a row before it is called a loop.", low=2, high=1000)
    runner_grace_s: float = _setting(
        60.0, "How long a runner's process may be gone, and its log silent, before its run is interrupted.", unit="s", low=5, high=86400
    )
    live_files: str = _setting("", "Folder with benchmark_live.json and benchmark_progress.json to show too; empty: none.")
    max_streams: int = _setting(10000, "Streams at once, in all.", low=1, high=100000)
    max_streams_per_address: int = _setting(1000, "Streams at once from one address.", low=1, high=100000)
    max_streams_per_user: int = _setting(500, "Streams at once of one key or session, where there is a login.", low=1, high=100000)
    max_streams_per_browser: int = _setting(4, "Streams at once of one browser; the oldest polls instead.", low=1, high=100)
    stream_lifetime_s: float = _setting(
        1800.0, "A stream ends after this time, give or take a fifth; its client resumes.", unit="s", low=10, high=86400
    )
    embed_origins: tuple[str, ...] = _setting((), "Origins whose pages may embed panels, such as https://wiki.example.org.")
    cors_origins: tuple[str, ...] = _setting(
        (), "Origins whose pages may read the JSON API (with a key, where there is a login), such as https://lab.example.org."
    )
    rate_limit: float = _setting(
        50.0,
        "Requests a second from one identity or address, four times as many at once; 0: any. This machine's own are free without a login.",
        low=0,
        high=100000,
    )
    max_connections: int = _setting(12000, "Connections at once, in all; streams count.", low=10, high=1000000)
    auth: Switch = _setting(
        Switch.AUTO, "Login: auto (not for a server that only listens locally, with no trusted proxy or oidc_issuer), on, off."
    )
    session_hours: float = _setting(12.0, "A login that nobody uses for so long ends.", unit="h", low=0.01, high=8760)
    session_days: float = _setting(30.0, "A login ends after so long at the latest.", unit="days", low=0.01, high=365)
    trusted_proxies: tuple[str, ...] = _setting(
        (), "Addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto count, such as 10.0.0.0/8."
    )
    proxy_user_header: str = _setting(
        "", "Header in which a trusted proxy names the user it has logged in, such as X-Forwarded-User; empty: none."
    )
    proxy_scopes: tuple[str, ...] = _setting(
        ("view",), "What users named by a trusted proxy may do: view, operate, ingest, metrics, admin."
    )
    oidc_issuer: str = _setting("", "OpenID provider where people sign in, such as https://login.example.org; empty: none.")
    oidc_client_id: str = _setting("", "The id under which this server is registered there; its callback is /login/oidc/callback.")
    oidc_client_secret: str = _setting("", "The secret of that registration; empty for a public client.")
    oidc_scopes: str = _setting("openid email profile", "What is asked of the provider.")
    oidc_allow: tuple[str, ...] = _setting(
        (), "Who may sign in there: verified addresses, domains such as @example.org, claims such as groups=waa."
    )
    oidc_grants: tuple[str, ...] = _setting(("view", "operate"), "What they may do: view, operate, ingest, training, metrics, admin.")
    oidc_admins: tuple[str, ...] = _setting((), "Who of them administers, written as oidc_allow.")
    public_url: str = _setting(
        "", "Where browsers reach this server, such as https://waa.example.org; empty: as they say (Host, and the proxy's scheme)."
    )
    public_metrics: bool = _setting(False, "Where there is a login: /ready and /metrics without one.")
    audit_days: float = _setting(365.0, "How long the audit log is kept.", unit="days", low=1, high=36500)
    allowed_hosts: tuple[str, ...] = _setting(
        (), "Further names this server is called by (the Host header); local names and addresses always are."
    )
    tls_cert: str = _setting("", "Certificate file (PEM, with the chain) to serve HTTPS; with tls_key. Read again when it changes.")
    tls_key: str = _setting("", "Private key file of tls_cert (PEM, without a passphrase), readable by its owner only.")
    hsts_days: float = _setting(
        0.0,
        "How long browsers are told to use HTTPS only for this name, where it is served by tls_cert; 0: not at all.",
        unit="days",
        low=0,
        high=730,
    )
    azure_subscriptions: tuple[str, ...] = _setting((), "Ids of the Azure subscriptions whose VMs are discovered; empty: none.")
    azure_resource_groups: tuple[str, ...] = _setting((), "Only VMs of these resource groups; empty: of all.")
    azure_tags: tuple[str, ...] = _setting((), "Only VMs with one of these tags, such as purpose=benchmark; empty: all.")
    azure_workspaces: tuple[str, ...] = _setting(
        (), "Azure ML workspaces whose jobs are shown: group/workspace, subscription/group/workspace, or resource ids."
    )
    azure_auth: Auth = _setting(
        Auth.AUTO,
        "How to log in to Azure: auto (what this machine offers), cli (az login), env (AZURE_* variables), managed (the identity of this "
        "Azure machine), none (Azure is not asked).",
    )
    azure_watch_tag: str = _setting("", "VMs with this tag are watched by themselves, such as waa-live or waa-live=on; empty: none.")
    azure_use_private_ip: bool = _setting(False, "Watch VMs of Azure by their private address instead of the public one.")
    azure_trust_first: bool = _setting(False, "Accept the unknown (never a changed) host key of a VM that was found in Azure.")
    azure_history: bool = _setting(False, "Ask Azure also while nobody looks, so that no change and no run of a job is missed.")
    azure_url: str = _setting("https://management.azure.com", "Azure's resource manager; another one for sovereign clouds.")
    azure_authority: str = _setting(
        "", "Who gives the tokens, such as https://login.microsoftonline.us; empty: as AZURE_AUTHORITY_HOST says, else the public cloud."
    )
    allow_hosts: tuple[str, ...] = _setting(
        (), "Names, addresses and networks that VMs and pipelines may have; empty: all but link-local, metadata and multicast ones."
    )
    deny_hosts: tuple[str, ...] = _setting((), "Names, addresses and networks that VMs and pipelines may not have; wins over allow_hosts.")
    mask_secrets: bool = _setting(True, "Hide what looks like a credential in text from VMs and logs, before it is shown or stored.")
    mask_patterns: tuple[str, ...] = _setting((), "Further regular expressions whose matches are hidden, such as corp-[a-z0-9]{20}.")
    max_events: int = _setting(200_000, "Events kept for resuming clients.", low=1000, high=100_000_000)
    keep_runs_days: float = _setting(365.0, "How long a finished run is kept.", unit="days", low=1, high=36500)
    screenshot_cache_mb: float = _setting(
        500.0, "Screenshots kept in the data folder; the oldest used go first.", unit="MB", low=1, high=1_000_000
    )
    import_roots: tuple[str, ...] = _setting((), "Folders below which results may be imported; empty: any, for clients on this machine.")
    upload_limit_mb: float = _setting(2000.0, "Size of an uploaded archive of results, at most.", unit="MB", low=1, high=1_000_000)
    ssh_threads: int = _setting(8, "Threads for each kind of SSH work: connecting, jump hosts, commands, name look-ups.", low=1, high=64)
    currency: str = _setting("USD", "Of all prices and budgets, three letters such as EUR.")
    azure_prices: bool = _setting(
        False, "Ask Azure's public price list (prices.azure.com) for VMs that name their size and region and have no price here."
    )
    azure_prices_url: str = _setting("https://prices.azure.com/api/retail/prices", "Where that list is.")
    monthly_budget: float = _setting(0.0, "What all VMs together may cost in a month (UTC), in the currency; 0: none.", low=0, high=1e9)
    run_budget: float = _setting(0.0, "What a run may cost, in the currency; 0: none.", low=0, high=1e9)
    pipeline_interval_s: float = _setting(2.0, "How often a pipeline that somebody watches is asked.", unit="s", low=0.5, high=3600)
    pipeline_background_s: float = _setting(30.0, "How often one that nobody watches is asked.", unit="s", low=1, high=86400)
    pipeline_history: bool = _setting(True, "Whether pipelines are asked while nobody watches.")
    pipeline_timeout_s: float = _setting(5.0, "How long a pipeline's backend may take to answer.", unit="s", low=0.1, high=60)
    pipeline_down_after: int = _setting(3, "How many failed answers in a row mean that a pipeline is down.", low=1, high=1000)
    log_level: LogLevel = _setting(LogLevel.INFO, "What the server says on standard error: debug, info, warning, error.")
    vms: tuple[VmSpec, ...] = ()
    prices: tuple[PriceEntry, ...] = ()
    pipelines: tuple[tuple[PipelineSpec, Credential], ...] = ()

    @property
    def database_url(self) -> str:
        """Where the records are."""
        return self.database or f"sqlite:///{self.data / 'waa.db'}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine is listened to."""
        try:
            return self.host == "localhost" or ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def needs_login(self) -> bool:
        """Whether one must log in."""
        return self.auth is Switch.ON or (
            self.auth is Switch.AUTO and not (self.is_local and not self.trusted_proxies and not self.oidc_issuer)
        )


_TABLES = ("vms", "prices", "pipelines")
SETTINGS: Mapping[str, dataclasses.Field[Any]] = {item.name: item for item in dataclasses.fields(Config) if item.name not in _TABLES}
_TYPES = get_type_hints(Config)
CONFIG_VARIABLE = "WAA_CONFIG"
AZURE_VARIABLE = "AZURE_SUBSCRIPTION_ID"
"""What Azure's own tools look at; it counts where azure_auth is set on purpose."""
DEFAULT_FILE = Path("waa.toml")
PIPELINE_SECRETS = ("token", "api_key", "password")


def load(arguments: Sequence[str], environment: Mapping[str, str]) -> Config:
    """The configuration of this process. Raises ConfigError; ``--help`` prints the settings and exits."""
    flags = vars(_parser().parse_args(arguments))
    path = flags.pop("config") or environment.get(CONFIG_VARIABLE)
    table = _read_file(Path(path).expanduser() if path else DEFAULT_FILE, must_exist=bool(path))
    origin = f"{path or DEFAULT_FILE}"
    _check_secrets(table, origin)
    values: dict[str, Any] = {}
    vms = _read_vms(table.pop("vm", []), origin)
    pipelines = _read_pipelines(table.pop("pipeline", []), origin, environment)
    prices = _read_prices(table.pop("price", []), origin)
    for key, value in table.items():
        if key not in SETTINGS:
            raise ConfigError(f"{origin}: unknown key {key!r}; allowed: pipeline, price, vm, {', '.join(sorted(SETTINGS))}")
        values[key] = _checked(key, value, where=f"{origin}: {key}")
    for key in SETTINGS:
        variable = f"WAA_{key.upper()}"
        text = _from_environment(environment, variable)
        if text is not None:
            values[key] = _checked(key, text, where=variable)
        if flags.get(key) is not None:
            values[key] = _checked(key, flags[key], where=f"--{key.replace('_', '-')}")
    if values.get("azure_auth", Auth.NONE) is not Auth.NONE and not values.get("azure_subscriptions") and AZURE_VARIABLE in environment:
        values["azure_subscriptions"] = _checked("azure_subscriptions", environment[AZURE_VARIABLE], where=AZURE_VARIABLE)
    config = Config(**values, vms=vms, prices=prices, pipelines=pipelines)
    if bool(config.tls_cert) != bool(config.tls_key):
        raise ConfigError("tls_cert, tls_key: set both (HTTPS) or none (HTTP)")
    _check_login(config)
    _check_oidc(config)
    _check_workspaces(config)
    return dataclasses.replace(config, data=config.data.expanduser().absolute())


def _check_login(config: Config) -> None:
    if config.auth is Switch.OFF and not config.is_local:
        raise ConfigError(
            f"auth: off is for a server that only listens locally, and host is {config.host}: anybody could do everything. "
            "Leave auth at auto (a login link is printed at the start), or set host to 127.0.0.1 and put a proxy with a login in front"
        )


def _check_workspaces(config: Config) -> None:
    for workspace in config.azure_workspaces:
        try:
            workspace_of(workspace, config.azure_subscriptions)
        except ValueError as error:
            raise ConfigError(f"azure_workspaces: {error}") from error


def _check_oidc(config: Config) -> None:
    if not config.oidc_issuer:
        lonely = next(
            (name for name in ("oidc_client_id", "oidc_client_secret", "oidc_allow", "oidc_admins") if getattr(config, name)), None
        )
        if lonely is not None:
            raise ConfigError(f"{lonely}: is set, but oidc_issuer is not: name the provider too")
        return
    if not config.oidc_client_id:
        raise ConfigError("oidc_client_id: is needed with oidc_issuer: the provider gives it when this server is registered there")
    for name in ("oidc_client_id", "oidc_client_secret"):
        if not re.fullmatch(r"[\x20-\x7e]*", getattr(config, name)):
            raise ConfigError(f"{name}: holds characters other than printable ASCII")
    if "openid" not in config.oidc_scopes.split():
        raise ConfigError(
            f"oidc_scopes: {config.oidc_scopes!r} does not hold openid, without which the provider does not say who somebody is"
        )
    if not config.oidc_allow and not config.oidc_admins:
        raise ConfigError(
            "oidc_allow: nobody could sign in: name addresses, domains such as @example.org, or claims such as groups=waa, "
            "also in oidc_admins"
        )


def _from_environment(environment: Mapping[str, str], variable: str) -> str | None:
    """The variable, or the content of the file that ``<variable>_FILE`` names (for secrets)."""
    if variable in environment:
        return environment[variable]
    path = environment.get(f"{variable}_FILE")
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{variable}_FILE: {path} cannot be read: {error.strerror}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="server.py", description="Live dashboard for computer-use agent benchmarks.")
    parser.add_argument("--config", metavar="FILE", help=f"configuration file (default {DEFAULT_FILE}, if it exists)")
    for name, item in SETTINGS.items():
        unit = f" [{item.metadata['unit']}]" if item.metadata["unit"] else ""
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="VALUE", help=f"{item.metadata['help']}{unit}".replace("%", "%%"))
    return parser


def _read_file(path: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if must_exist:
            raise ConfigError(f"{path}: there is no such file") from error
        return {}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error


def _check_secrets(table: Mapping[str, object], path: str) -> None:
    """A file that holds a password is for its owner only, as private keys are. Raises ConfigError."""
    secret = next(
        (key for key, value in table.items() if isinstance(value, str) and value and (is_secret(key) or mask(value) != value)), None
    )
    if secret is None:
        return
    found = Path(path).expanduser().stat()
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid == os.geteuid() and mode & 0o077:
        elsewhere = f"WAA_{secret.upper()}_FILE" if secret in SETTINGS else f"{secret}_file"
        raise ConfigError(
            f"{path}: {secret}: holds a secret, and others can read the file (mode {mode:04o}): chmod 600 {path}, or use {elsewhere}"
        )


def _read_vms(tables: object, origin: str) -> tuple[VmSpec, ...]:
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{origin}: vm: write each VM as a [[vm]] table")
    specs: dict[str, VmSpec] = {}
    for number, table in enumerate(tables, start=1):
        where = f"{origin}: [[vm]] {table.get('name', f'number {number}')!s}"
        try:
            spec = spec_from(table, origin=Origin.CONFIG)
        except Invalid as error:
            raise ConfigError(f"{where}: {error}") from error
        if spec.name in specs:
            raise ConfigError(f"{where}: name: there are two VMs of this name")
        specs[spec.name] = spec
    return tuple(specs.values())


def _read_prices(tables: object, origin: str) -> tuple[PriceEntry, ...]:
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{origin}: price: write each price as a [[price]] table")
    allowed = [item.name for item in dataclasses.fields(PriceEntry)]
    entries: dict[object, PriceEntry] = {}
    for number, table in enumerate(tables, start=1):
        where = f"{origin}: [[price]] {table.get('size', f'number {number}')!s}"
        unknown = next((key for key in table if key not in allowed), None)
        if unknown is not None:
            raise ConfigError(f"{where}: {unknown}: is not a field of a price; allowed: {', '.join(allowed)}")
        try:
            entry = convert(PriceEntry, table, name="price")
        except Invalid as error:
            raise ConfigError(f"{where}: {error}") from error
        if entry.key in entries:
            raise ConfigError(f"{where}: size: there are two prices for the same size, region, os and spot")
        entries[entry.key] = entry
    return tuple(entries.values())


def _read_pipelines(tables: object, origin: str, environment: Mapping[str, str]) -> tuple[tuple[PipelineSpec, Credential], ...]:
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{origin}: pipeline: write each pipeline as a [[pipeline]] table")
    found: dict[str, tuple[PipelineSpec, Credential]] = {}
    for number, table in enumerate(tables, start=1):
        where = f"{origin}: [[pipeline]] {table.get('id', f'number {number}')!s}"
        _check_secrets({name: table[name] for name in PIPELINE_SECRETS if name in table}, origin)
        try:
            made = pipelines_from(_with_secrets(table, environment), origin=Origin.CONFIG)
        except Invalid as error:
            raise ConfigError(f"{where}: {error}") from error
        for spec, credential in made:
            if spec.pipeline_id in found:
                raise ConfigError(f"{where}: id: there are two pipelines of the id {spec.pipeline_id!r}")
            found[spec.pipeline_id] = (spec, credential)
    return tuple(found.values())


def _with_secrets(table: Mapping[str, object], environment: Mapping[str, str]) -> dict[str, object]:
    """A [[pipeline]] table whose ``<secret>_env`` and ``<secret>_file`` have become ``<secret>``. Raises Invalid."""
    values = dict(table)
    for name in PIPELINE_SECRETS:
        for kind in ("env", "file"):
            key = f"{name}_{kind}"
            if key not in values:
                continue
            place = values.pop(key)
            if name in values:
                raise Invalid(key, f"gives {name} once more")
            if not isinstance(place, str) or not place:
                raise Invalid(key, "is a text")
            values[name] = _secret(key, place, environment if kind == "env" else None)
    return values


def _secret(key: str, place: str, environment: Mapping[str, str] | None) -> str:
    if environment is not None:
        if place not in environment:
            raise Invalid(key, f"the environment has no variable {place}")
        return environment[place].strip()
    try:
        return Path(place).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise Invalid(key, f"{place} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _checked(key: str, value: object, *, where: str) -> Any:
    kind, metadata = _TYPES[key], SETTINGS[key].metadata
    try:
        made = _made(kind, value)
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{where}: {value!r} is not {_allowed(kind)}") from error
    low, high = metadata["low"], metadata["high"]
    if isinstance(made, int | float) and not isinstance(made, bool) and low is not None and not low <= made <= high:
        raise ConfigError(f"{where}: {value!r} is not between {low} and {high}{' ' + metadata['unit'] if metadata['unit'] else ''}")
    _check_access(key, made, where)
    _check_azure(key, made, where)
    if key in ("embed_origins", "cors_origins"):
        for origin in made:
            if not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:\d+)?", origin):
                raise ConfigError(f"{where}: {origin!r} is not an origin such as https://wiki.example.org")
    if key == "public_url" and made and not re.fullmatch(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:\d+)?", made):
        raise ConfigError(f"{where}: {made!r} is not a scheme and host such as https://waa.example.org")
    _check_money(key, made, where)
    if key == "mask_patterns":
        try:
            compile_patterns(made)
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from error
    if key in ("allow_hosts", "deny_hosts"):
        for entry in made:
            try:
                rule(entry)
            except ValueError as error:
                raise ConfigError(f"{where}: {error}") from error
    return made


def _check_money(key: str, made: Any, where: str) -> None:
    if key == "currency" and not CURRENCY.fullmatch(made):
        raise ConfigError(f"{where}: {made!r} is not a currency of three capital letters such as USD or EUR")
    if key == "azure_prices_url" and not re.fullmatch(r"https?://[^\s?#]+", made):
        raise ConfigError(f"{where}: {made!r} is not an address such as https://prices.azure.com/api/retail/prices")


def _check_azure(key: str, made: Any, where: str) -> None:
    try:
        if key == "azure_subscriptions":
            for text in made:
                need_subscription(text)
        if key == "azure_tags" or (key == "azure_watch_tag" and made):
            for text in made if isinstance(made, tuple) else (made,):
                tag_filter(text)
        if key == "azure_url" or (key == "azure_authority" and made):
            check_base(made, field_name=key)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
    except Invalid as error:
        raise ConfigError(f"{where}: {str(error).removeprefix(f'{key}: ')}") from error


def _check_access(key: str, made: Any, where: str) -> None:
    try:
        if key == "trusted_proxies":
            parse_proxies(made)
        if key in ("proxy_scopes", "oidc_grants"):
            parse_scopes(made, field=key)
        if key in ("oidc_allow", "oidc_admins"):
            conditions(made, field=key)
        if key == "oidc_issuer" and made:
            check_issuer(made)
    except Invalid as error:
        raise ConfigError(f"{where}: {str(error).removeprefix(f'{key}: ')}") from error


def _made(kind: Any, value: object) -> Any:
    if kind is bool:
        if isinstance(value, bool):
            return value
        return {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}[
            _text(value).lower()
        ]
    if kind in (int, float):
        if isinstance(value, bool) or (kind is int and isinstance(value, float)):
            raise TypeError
        made = kind(value)
        if made != made:  # noqa: PLR0124 - not a number is not equal to itself
            raise ValueError
        return made
    if get_args(kind) and not isinstance(kind, UnionType):
        items = value if isinstance(value, list) else [part.strip() for part in _text(value).split(",") if part.strip()]
        return tuple(_text(item) for item in items)
    return kind(_text(value))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _allowed(kind: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return f"one of: {', '.join(kind)}"
    return {bool: "true or false", int: "a whole number", float: "a number", Path: "a path", str: "a text"}.get(kind, "a list of texts")
