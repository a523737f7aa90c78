"""The commands beside the server, with and without it running."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from server import main
from waa.cli import run_command
from waa.clock import system_clock
from waa.config import ConfigError, load
from waa.core.access import LOCAL, AuditQuery, Scope
from waa.core.error import Invalid, NotFound, SignInNeeded
from waa.services.access import Access, AccessRules, Client, Presented
from waa.store.access import SqlAccessStore
from waa.store.sql import SqlStore

Command = Callable[..., str]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command on a data folder of its own; gives what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        assert run_command(arguments, {"WAA_DATA": str(tmp_path / "data")}) == 0
        return capsys.readouterr().out

    return run


def access(folder: Path) -> Access:
    return Access(store=SqlAccessStore(f"sqlite:///{folder}/data/waa.db"), rules=AccessRules(is_required=True), clock=system_clock)


def test_a_key_is_made_listed_and_revoked(command: Command) -> None:
    made = command("keys", "create", "--name", "ci", "--scope", "view,ingest", "--days", "90")
    text, _, told = made.partition("\n")
    assert re.fullmatch(r"waa_[0-9a-f]{12}_[A-Za-z0-9_-]{32}", text)
    key_id = text[4:16]
    assert re.match(rf"This is key {key_id} \(ingest, view, until \d{{4}}-\d\d-\d\d \d\d:\d\d\)", told)
    listed = command("keys", "list").splitlines()
    assert listed[0].split()[:4] == ["ID", "NAME", "SCOPES", "STATE"]
    assert listed[1].split()[:4] == [key_id, "ci", "ingest,view", "until"]
    assert text[17:] not in "\n".join(listed)
    assert command("keys", "revoke", key_id) == f"Revoked: {key_id} (ci)\n"
    assert "revoked" in command("keys", "list")
    assert command("keys", "revoke", key_id) == f"Key {key_id} was revoked before.\n"


def test_without_keys_the_list_says_how_to_make_one(command: Command) -> None:
    assert "keys create --name NAME --scope view" in command("keys", "list")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("keys", "create", "--name", "x", "--scope", "root"), "scope: 'root' is not one of: view, operate"),
        (("keys", "create", "--name", "x", "--scope", ","), "scope: name at least one of"),
        (("keys", "create", "--name", " ", "--scope", "view"), "name: is what the key is called"),
        (("keys", "create", "--name", "x", "--scope", "view", "--days", "soon"), "days: 'soon' is not a number of days above 0"),
        (("keys", "create", "--name", "x", "--scope", "view", "--days", "-3"), "days: '-3' is not a number of days above 0"),
        (("keys", "create", "--name", "x", "--scope", "view", "--days", "99999"), "days: is more than 0 and at most 3660"),
        (("keys", "revoke", "0123"), "There is no key '0123'"),
    ],
)
def test_what_is_wrong_is_said(command: Command, arguments: tuple[str, ...], told: str) -> None:
    with pytest.raises((Invalid, NotFound)) as caught:
        command(*arguments)
    assert told in str(caught.value)


def test_the_program_hands_commands_on_and_tells_their_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WAA_DATA", str(tmp_path / "data"))
    assert main(["keys", "revoke", "nope"]) == 2
    assert capsys.readouterr().err == "waa-live: There is no key 'nope'\n"
    assert main(["keys", "list", "--data", str(tmp_path / "other")]) == 0
    assert (tmp_path / "other" / "waa.db").exists()
    with pytest.raises(SystemExit):
        main(["keys"])
    with pytest.raises(SystemExit):
        main(["keys", "list", "--nonsense", "1"])


async def test_a_running_server_notices_at_its_next_look(tmp_path: Path, command: Command) -> None:
    """The server holds the file; commands write beside it."""
    store = SqlStore(f"sqlite:///{tmp_path}/data/waa.db")
    store.load()
    running = access(tmp_path)
    await running.open()
    ended: list[str] = []
    running.listen(ended.extend)
    try:
        text = await _beside(command, "keys", "create", "--name", "ci", "--scope", "view")
        await running.look()
        identity = running.identify(Presented(keys=(text.split()[0],)))
        assert identity is not None
        await _beside(command, "keys", "revoke", identity.key_id)
        await running.look()
        assert ended == [identity.handle]
        with pytest.raises(SignInNeeded, match="was revoked"):
            running.identify(Presented(keys=(text.split()[0],)))
        told = [(entry.action, entry.actor, entry.address) for entry in await running.audit(AuditQuery())]
        assert told == [("key.revoke", "command", "command line"), ("key.create", "command", "command line")]
    finally:
        await running.close()
        store.close()


async def _beside(command: Command, *arguments: str) -> str:
    return await asyncio.to_thread(command, *arguments)


async def test_a_link_logs_an_administrator_in(tmp_path: Path, command: Command) -> None:
    printed = await _beside(command, "login-link", "--allowed-hosts", "dash.example.org", "--port", "8800")
    found = re.match(r"http://dash\.example\.org:8800/login/([A-Za-z0-9_-]{32})\n", printed)
    assert found
    running = access(tmp_path)
    await running.open()
    try:
        token = await running.log_in_by_link(found.group(1), Client())
        identity = running.identify(Presented(token=token))
        assert identity is not None
        assert identity.scopes == {Scope.ADMIN}
        assert running.keys(LOCAL) == []
    finally:
        await running.close()


@pytest.mark.parametrize(
    ("settings", "start"),
    [
        (("--host", "127.0.0.1"), "http://127.0.0.1:8765/login/"),
        (("--host", "::1"), "http://[::1]:8765/login/"),
        (("--host", "10.1.2.3", "--port", "80"), "http://10.1.2.3:80/login/"),
        (("--port", "0"), "/login/"),
    ],
)
def test_a_link_says_where_the_server_is(command: Command, settings: tuple[str, ...], start: str) -> None:
    assert command("login-link", *settings).startswith(start)


def test_a_link_to_a_server_on_all_addresses_names_one(command: Command) -> None:
    found = re.match(r"http://([^:/]+):8765/login/", command("login-link", "--host", "0.0.0.0"))
    assert found
    assert found.group(1) != "0.0.0.0"


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        ((), False),
        (("--host", "localhost"), False),
        (("--host", "::1"), False),
        (("--host", "0.0.0.0"), True),
        (("--host", "dash.example.org"), True),
        (("--trusted-proxies", "127.0.0.1"), True),
        (("--trusted-proxies", "127.0.0.1", "--auth", "off"), False),
        (("--auth", "on"), True),
        (("--auth", "off"), False),
    ],
)
def test_x1_who_can_be_reached_from_elsewhere_needs_a_login(tmp_path: Path, settings: tuple[str, ...], needed: bool) -> None:
    assert load(settings, {"WAA_CONFIG": str(_empty(tmp_path))}).needs_login is needed


def test_x1_a_server_for_others_without_a_login_does_not_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(_empty(tmp_path))
    assert main(["--config", config, "--host", "0.0.0.0", "--auth", "off", "--data", str(tmp_path / "data")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("waa-live: auth: off is for a server that only listens locally, and host is 0.0.0.0")
    assert "Leave auth at auto" in told
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (("--trusted-proxies", "proxy.local"), "'proxy.local' is not an address or a network"),
        (("--proxy-scopes", "root"), "'root' is not one of: view"),
        (("--auth", "maybe"), "is not one of: auto, on, off"),
        (("--session-hours", "0"), "is not between 0.01 and 8760"),
    ],
)
def test_settings_of_access_are_checked(tmp_path: Path, settings: tuple[str, ...], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(settings, {"WAA_CONFIG": str(_empty(tmp_path))})
    assert told in str(caught.value)
    assert settings[0] in str(caught.value)


def _empty(folder: Path) -> Path:
    path = folder / "empty.toml"
    path.write_text("", encoding="utf-8")
    return path
