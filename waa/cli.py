"""The commands beside the server: ``keys create|list|revoke`` and ``login-link``.

They write to the database themselves, also while the server runs on it: it notices within a second or so. Who can read the
database's files needs no key for that.
"""

import argparse
import asyncio
import math
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime

from waa.clock import system_clock
from waa.config import Config, load
from waa.core.access import ApiKey, Scope, refusal
from waa.core.error import Invalid
from waa.services.access import COMMAND, DAY_S, LINK_LIFE_S, Access, AccessRules, Client
from waa.store.access import SqlAccessStore

COMMANDS = ("keys", "login-link")
_HERE = Client(address="command line")
_ANY_ADDRESS = ("", "0.0.0.0", "::")  # noqa: S104 - recognised, not bound
_NOWHERE = "192.0.2.1"
"""An address of the documentation network: to ask the system which of ours it would use; nothing is sent."""

Work = Callable[[Access], Awaitable[str]]


def run_command(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Do what ``arguments`` say and print what came of it; the exit status. Raises WaaError: what is wrong.

    What the command does not know are settings of the server, such as ``--data`` or ``--config``.
    """
    given, settings = _parser().parse_known_args(arguments)
    config = load(settings, environment)
    work: Work = given.work(given, config)
    print(asyncio.run(_with_access(config, work)))
    return 0


async def offer_link(config: Config, access: Access, port: int) -> str:
    """What to tell who starts a server that nobody can log in to yet: a fresh link."""
    link = _address(config, port, await access.make_link(COMMAND, _HERE))
    minutes = f"{LINK_LIFE_S / 60:.0f} minutes"
    return f"There is no key for an administrator yet. Log in once, within {minutes}, and make one under Access:\n  {link}"


async def _with_access(config: Config, work: Work) -> str:
    access = Access(store=SqlAccessStore(config.database_url), rules=AccessRules(), clock=system_clock)
    try:
        await access.open()
        return await work(access)
    finally:
        await access.close()


def _create(given: argparse.Namespace, _config: Config) -> Work:
    life_s = _life_s(given.days)

    async def work(access: Access) -> str:
        key, text = await access.create_key(COMMAND, _HERE, name=given.name, scopes=given.scope.split(","), life_s=life_s)
        ends = f", until {_moment(key.expires_at)}" if key.expires_at is not None else ""
        return f"{text}\nThis is key {key.key_id} ({', '.join(sorted(key.scopes))}{ends}). It is shown this once only: keep it now."

    return work


def _list(_given: argparse.Namespace, _config: Config) -> Work:
    async def work(access: Access) -> str:
        rows = [_row(key, time.time()) for key in access.keys(COMMAND)]
        if not rows:
            return "There are no keys. Make one: python server.py keys create --name NAME --scope view"
        head = ("ID", "NAME", "SCOPES", "STATE", "LAST USED", "OWNER")
        widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows))

    return work


def _revoke(given: argparse.Namespace, _config: Config) -> Work:
    async def work(access: Access) -> str:
        gone = await access.revoke_key(COMMAND, _HERE, given.id)
        if not gone:
            return f"Key {given.id} was revoked before."
        return "\n".join(f"Revoked: {key.key_id} ({key.name})" for key in gone)

    return work


def _link(_given: argparse.Namespace, config: Config) -> Work:
    async def work(access: Access) -> str:
        link = _address(config, config.port, await access.make_link(COMMAND, _HERE))
        return f"{link}\nIt logs in one browser, once, as an administrator, within {LINK_LIFE_S / 60:.0f} minutes."

    return work


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="server.py", description="Keys and login links.", epilog="Settings of the server may follow.")
    commands = parser.add_subparsers(required=True)
    keys = commands.add_parser("keys", help="keys for programs and people").add_subparsers(required=True)
    create = keys.add_parser("create", help="make a key and print it, once")
    create.add_argument("--name", required=True, help="what it is called")
    create.add_argument("--scope", required=True, metavar="SCOPE[,SCOPE]", help=f"what it is good for: {', '.join(Scope)}")
    create.add_argument("--days", help="how long it is good for (default: until it is revoked)")
    create.set_defaults(work=_create)
    keys.add_parser("list", help="all keys").set_defaults(work=_list)
    revoke = keys.add_parser("revoke", help="end a key, the keys it made, and their sessions")
    revoke.add_argument("id")
    revoke.set_defaults(work=_revoke)
    commands.add_parser("login-link", help="print a link that logs in one browser, once").set_defaults(work=_link)
    return parser


def _life_s(days: str | None) -> float | None:
    if days is None:
        return None
    try:
        life_s = float(days) * DAY_S
    except ValueError:
        life_s = math.nan
    if not life_s > 0:
        raise Invalid("days", f"{days!r} is not a number of days above 0")
    return life_s


def _row(key: ApiKey, now: float) -> tuple[str, ...]:
    reason = refusal(key, now)
    state = reason.split()[-1] if reason else f"until {_moment(key.expires_at)}" if key.expires_at is not None else "good"
    used = _moment(key.last_used_at) if key.last_used_at is not None else "never"
    return key.key_id, key.name, ",".join(sorted(key.scopes)), state, used, key.owner


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


def _address(config: Config, port: int, token: str) -> str:
    """Where a browser opens the link; only the path where the port is not known."""
    path = f"/login/{token}"
    if not port:
        return path
    scheme = "https" if config.tls_cert else "http"
    host = config.allowed_hosts[0] if config.allowed_hosts else _own_address() if config.host in _ANY_ADDRESS else config.host
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}:{port}{path}"


def _own_address() -> str:
    """The address of this machine that others most likely see."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((_NOWHERE, 9))
        except OSError:
            return "localhost"
        return str(probe.getsockname()[0])
