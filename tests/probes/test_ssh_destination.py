"""What the operator does not allow is not connected to: by name, by address, by what a name turns out to be, through jump hosts."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from waa.core.destination import Destinations, rule
from waa.core.error import Failure, LinkError
from waa.core.spec import Origin, Transport, VmSpec
from waa.core.status import Reason
from waa.probes.local import LocalOpener
from waa.probes.ssh import SshOpener

SERVING = Destinations(clients_reach_loopback=False)


@asynccontextmanager
async def opener(folder: Path, destinations: Destinations) -> AsyncIterator[SshOpener]:
    (folder / ".ssh").mkdir(exist_ok=True)
    made = SshOpener(data_dir=folder / "data", home=folder, destinations=destinations)
    try:
        yield made
    finally:
        await made.close()


async def refused(folder: Path, destinations: Destinations, **fields: Any) -> Failure:
    async with opener(folder, destinations) as ssh:
        with pytest.raises(LinkError) as caught:
            await ssh.open(VmSpec(name="vm", **fields))
    return caught.value.failure


async def test_a_name_is_judged_by_its_addresses(tmp_path: Path) -> None:
    """What it resolves to is looked at when it is connected to."""
    destinations = Destinations(deny=(rule("127.0.0.0/8"), rule("::1")))
    failure = await refused(tmp_path, destinations, ssh_host="localhost", ssh_port=1)
    assert (failure.reason, "deny_hosts" in failure.message, "allow_hosts" in failure.remedy) == (Reason.DENIED, True, True)


async def test_a_name_that_points_elsewhere_the_next_time_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the connection goes to the address that was judged, which is asked for once."""
    answers = ["127.0.0.1", "169.254.169.254"]
    asked: list[str] = []
    real = socket.getaddrinfo

    def lookup(host: Any, port: Any, family: int = 0, kind: int = 0, proto: int = 0, flags: int = 0) -> list[Any]:
        if host != "rebound.example.org" or flags & socket.AI_NUMERICHOST:
            return list(real(host, port, family, kind, proto, flags))
        asked.append(answers[len(asked)])
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (asked[-1], port))]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        first = await refused(tmp_path, Destinations(), ssh_host="rebound.example.org", ssh_port=port)
        assert (first.reason, asked) == (Reason.REFUSED, ["127.0.0.1"])
        second = await refused(tmp_path, Destinations(), ssh_host="rebound.example.org", ssh_port=port)
    assert (second.reason, asked) == (Reason.DENIED, answers)
    assert "169.254.169.254 (of rebound.example.org)" in second.message


async def test_only_the_permitted_addresses_of_a_name_are_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def lookup(host: Any, port: Any, family: int = 0, kind: int = 0, proto: int = 0, flags: int = 0) -> list[Any]:
        if host != "both.example.org" or flags & socket.AI_NUMERICHOST:
            return list(real(host, port, family, kind, proto, flags))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("127.0.0.1", "127.0.0.2")]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with socket.socket() as denied:
        denied.bind(("127.0.0.1", 0))
        denied.listen()
        denied.setblocking(False)
        destinations = Destinations(deny=(rule("127.0.0.1"),))
        failure = await refused(tmp_path, destinations, ssh_host="both.example.org", ssh_port=denied.getsockname()[1])
        assert failure.reason is Reason.REFUSED  # by 127.0.0.2, where nobody listens
        with pytest.raises(BlockingIOError):
            denied.accept()


@pytest.mark.parametrize(
    "fields",
    [
        {"ssh_host": "2130706433"},
        {"ssh_host": "localhost"},
        {"ssh_host": "10.0.0.4", "proxy_jump": "me@127.0.0.1:22"},
        {"ssh_host": "169.254.169.254", "proxy_jump": "me@10.0.0.1"},
        {"ssh_host": "metadata.google.internal", "proxy_jump": "me@10.0.0.1"},
        {"ssh_host": "10.0.0.4", "proxy_jump": "me@10.0.0.1,me@0xa9fea9fe"},
    ],
)
async def test_what_clients_registered_is_judged_at_each_connection(fields: dict[str, str], tmp_path: Path) -> None:
    """A VM of an earlier start, when the server listened on loopback only, is no way around the check at the registration."""
    assert (await refused(tmp_path, SERVING, origin=Origin.API, **fields)).reason is Reason.DENIED


@pytest.mark.parametrize("way", ["HostName", "ProxyJump", "ProxyCommand"])
async def test_ssh_config_is_no_way_around(way: str, tmp_path: Path) -> None:
    lines = {
        "HostName": "Host vm\n  HostName 169.254.169.254\n",
        "ProxyJump": "Host vm\n  HostName 10.0.0.4\n  ProxyJump 169.254.169.254\n",
        "ProxyCommand": f"Host vm\n  HostName 169.254.169.254\n  ProxyCommand touch {tmp_path / 'ran'}\n",
    }
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text(lines[way])
    assert (await refused(tmp_path, Destinations(), ssh_host="vm")).reason is Reason.DENIED
    assert not (tmp_path / "ran").exists()


async def test_an_alias_of_ssh_config_may_stand_in_the_list(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host vm\n  HostName 127.0.0.1\n  Port 1\n")
    assert (await refused(tmp_path, Destinations(allow=(rule("vm"),)), ssh_host="vm")).reason is Reason.REFUSED
    assert (await refused(tmp_path, Destinations(allow=(rule("other"),)), ssh_host="vm")).reason is Reason.DENIED


async def test_clients_from_elsewhere_get_no_link_to_this_machine() -> None:
    local = LocalOpener(SERVING)
    with pytest.raises(LinkError) as caught:
        await local.open(VmSpec(name="vm", transport=Transport.LOCAL, origin=Origin.API))
    assert caught.value.failure.reason is Reason.DENIED
    link = await local.open(VmSpec(name="vm", transport=Transport.LOCAL, origin=Origin.CONFIG))
    await link.close()
