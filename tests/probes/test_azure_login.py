"""Logins with the real azure-identity: a played az on the PATH, an authority and an identity service on this machine."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.authority import Authority
from tests.support.azure import TENANT, FakeAzure, Fault
from waa.core.azure import Auth
from waa.core.azure_pace import CloudError
from waa.core.azure_pace import Fault as Why
from waa.probes.azure_login import REMEMBER_S, Login

SCOPE = "https://management.azure.com/.default"


class Wall:
    """A clock that starts at the real time, which tokens are judged by, and can be moved."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@asynccontextmanager
async def login(auth: Auth, *, authority: str = "", clock: Callable[[], float] | None = None) -> AsyncIterator[Login]:
    made = Login(auth=auth, scope=SCOPE, authority=authority, clock=clock or Wall())
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the machine that the tests run on may log in."""
    for name in [name for name in os.environ if name.startswith(("AZURE_", "IDENTITY_", "MSI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "bin").mkdir()


def play_az(folder: Path, script: str) -> Path:
    """An az that does this, and counts its calls."""
    calls = folder / "calls"
    az = folder / "bin" / "az"
    az.write_text(f'#!/bin/sh\necho "$*" >> {calls}\n{script}\n', encoding="utf-8")
    az.chmod(0o755)
    calls.touch()
    return calls


def token_of(number: int, *, life_s: float = 3600) -> str:
    answer = {"accessToken": f"az-{number}", "expires_on": int(time.time() + life_s), "tokenType": "Bearer"}
    return f"cat <<'END'\n{json.dumps(answer)}\nEND"


async def failure(made: Login) -> CloudError:
    with pytest.raises(CloudError) as caught:
        await made.token()
    assert caught.value.fault is Why.LOGIN
    return caught.value


async def test_the_login_of_the_command_line_is_used_once_for_many(tmp_path: Path) -> None:
    calls = play_az(tmp_path, token_of(1))
    async with login(Auth.CLI) as made:
        assert await asyncio.gather(*(made.token() for _ in range(5))) == ["az-1"] * 5
        assert await made.token() == "az-1"
    (call,) = [line for line in calls.read_text().splitlines() if "get-access-token" in line]
    assert SCOPE.removesuffix("/.default") in call


async def test_a_token_is_renewed_five_minutes_before_its_end(tmp_path: Path) -> None:
    play_az(tmp_path, token_of(1))
    wall = Wall()
    async with login(Auth.CLI, clock=wall) as made:
        await made.token()
        play_az(tmp_path, token_of(2, life_s=7200))
        wall.ahead = 3600 - 310
        assert await made.token() == "az-1"
        wall.ahead = 3600 - 290
        assert await made.token() == "az-2"


async def test_a_refused_token_is_not_given_again(tmp_path: Path) -> None:
    play_az(tmp_path, token_of(1))
    async with login(Auth.CLI) as made:
        await made.token()
        made.forget()
        play_az(tmp_path, token_of(2))
        assert await made.token() == "az-2"


async def test_a_failed_login_is_remembered_for_a_minute_and_told_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    calls = play_az(tmp_path, "echo \"ERROR: Please run 'az login' to setup account.\" >&2; exit 1")
    wall = Wall()
    async with login(Auth.CLI, clock=wall) as made:
        error = await failure(made)
        assert str(error) == "The Azure CLI is not logged in"
        assert "az login" in error.remedy
        for _ in range(3):
            await failure(made)
        tries = len(calls.read_text().splitlines())
        wall.ahead = REMEMBER_S + 1
        play_az(tmp_path, token_of(1))
        assert await made.token() == "az-1"
    assert tries == 1
    assert [record.getMessage() for record in caplog.records if record.name == "waa.probes.azure_login"] == [
        "azure login failed auth=cli reason=The Azure CLI is not logged in"
    ]


async def test_no_command_line_at_all() -> None:
    async with login(Auth.CLI) as made:
        assert "not installed" in str(await failure(made))


async def test_a_slow_login_blocks_nobody(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    play_az(tmp_path, f"read line < {gate}\n{token_of(1)}")
    async with login(Auth.CLI) as made:
        waiting = asyncio.create_task(made.token())
        for _ in range(50):
            await asyncio.sleep(0)
        assert not waiting.done()
        await asyncio.to_thread(gate.write_text, "go\n")
        assert await waiting == "az-1"


async def test_a_service_principal_at_an_authority_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
    with FakeAzure(tls=authority.server_context(tmp_path)) as azure:
        principal(monkeypatch, azure.secret)
        async with login(Auth.ENV, authority=azure.url) as made:
            assert await made.token() == "issued-1"
            assert await made.token() == "issued-1"
        assert azure.count("/oauth2/v2.0/token") == 1
        assert azure.issued == 1


def principal(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    for name, value in (("TENANT_ID", TENANT), ("CLIENT_ID", "11111111-2222-4333-8444-555555555555"), ("CLIENT_SECRET", secret)):
        monkeypatch.setenv(f"AZURE_{name}", value)


@pytest.mark.parametrize("auth", [Auth.ENV, Auth.AUTO])
async def test_a_wrong_secret_is_told_as_such(auth: Auth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
    with FakeAzure(tls=authority.server_context(tmp_path)) as azure:
        principal(monkeypatch, "wrong-secret-1234567890")
        async with login(auth, authority=azure.url) as made:
            error = await failure(made)
    assert str(error) == "The secret of the service principal is wrong"
    assert "wrong-secret" not in f"{error} {error.remedy}"


async def test_an_authority_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
    with FakeAzure(tls=authority.server_context(tmp_path)) as azure:
        azure.faults.append(
            Fault(
                "/token",
                400,
                {"Content-Type": "application/json"},
                json.dumps({"error": "x", "error_description": "AADSTS90002: No tenant."}),
            )
        )
        principal(monkeypatch, azure.secret)
        async with login(Auth.ENV, authority=azure.url) as made:
            assert str(await failure(made)) == "The tenant is not known"


async def test_variables_that_name_nobody() -> None:
    async with login(Auth.ENV) as made:
        assert "do not name a service principal" in str(await failure(made))


async def test_the_identity_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeAzure() as azure:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.url)
        async with login(Auth.MANAGED) as made:
            assert await made.token() == "issued-1"


async def test_a_machine_without_an_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeAzure() as azure:
        gone = azure.url
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", gone)
    async with login(Auth.MANAGED) as made:
        assert str(await failure(made)) == "This machine has no managed identity"


async def test_auto_takes_what_the_machine_offers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeAzure() as azure:
        gone = azure.url
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", gone)
    async with login(Auth.AUTO) as made:
        error = await failure(made)
        assert str(error) == "No way to log in to Azure was found on this machine"
        assert len(str(error)) < 100
    play_az(tmp_path, token_of(1))
    async with login(Auth.AUTO) as made:
        assert await made.token() == "az-1"


async def test_after_the_end_nothing_is_asked() -> None:
    async with login(Auth.CLI) as made:
        await made.close()
        await failure(made)
