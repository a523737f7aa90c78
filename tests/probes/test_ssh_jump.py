"""Ways to a VM that are not direct: jump hosts, proxy commands, names that only ``ssh_config`` knows."""

import asyncio
import contextlib
import shlex
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.link import Recorder, open_files
from tests.support.sshd import PROGRAM, Sshd, free_port, has_sshd, known_hosts_line, make_key, public_key
from tests.support.wait import PATIENCE_S, until
from waa.core.error import Failure, LinkError
from waa.core.port import Link
from waa.core.spec import VmSpec
from waa.core.status import Reason
from waa.probes.ssh import SshOpener

pytestmark = [pytest.mark.sshd, pytest.mark.skipif(not has_sshd(), reason="OpenSSH is not installed")]


@pytest.fixture(autouse=True)
def no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.fixture(scope="module")
def jump(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("jump")) as server:
        yield server


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory, jump: Sshd) -> Iterator[Sshd]:
    """Lets in by its own key, known together with the jump host."""
    with Sshd(tmp_path_factory.mktemp("far")) as server:
        jump.authorize(public_key(server.key))
        server.known_hosts.write_text(server.known_hosts.read_text() + jump.known_hosts.read_text())
        yield server


@contextlib.asynccontextmanager
async def opened(spec: VmSpec, home: Path) -> AsyncIterator[Link]:
    opener = SshOpener(data_dir=home / "data", home=home)
    try:
        link = await opener.open(spec)
        try:
            yield link
        finally:
            await link.close()
    finally:
        await opener.close()


async def failure_of(spec: VmSpec, home: Path) -> Failure:
    with pytest.raises(LinkError) as caught:
        async with opened(spec, home):
            pass
    assert caught.value.failure.remedy
    return caught.value.failure


def write_config(home: Path, text: str) -> None:
    (home / ".ssh").mkdir(exist_ok=True)
    (home / ".ssh" / "config").write_text(text)


async def test_a_jump_host_leads_to_the_vm_and_leaves_nothing_behind(jump: Sshd, far: Sshd, tmp_path: Path) -> None:
    files, threads = open_files(), threading.active_count()
    spec = VmSpec(name="vm", proxy_jump=f"{jump.user}@127.0.0.1:{jump.port}", **far.spec_fields())
    before = len(jump.log)
    async with opened(spec, tmp_path) as link:
        assert (await link.run("echo hello")).stdout == b"hello\n"
        recorder = Recorder()
        await recorder.start(link, "head -c 5000000 /dev/zero")
        await until(lambda: recorder.ends == [0], "the end")
        assert len(recorder.out) == 5_000_000
    assert any("Accepted publickey" in line for line in jump.log[before:])
    await until(lambda: open_files() <= files and threading.active_count() <= threads, "nothing being left")
    await until(lambda: not jump.sessions() and not far.sessions(), "the end of the sessions")


async def test_a_chain_of_jump_hosts_is_followed(jump: Sshd, far: Sshd, tmp_path: Path) -> None:
    hop = f"{jump.user}@127.0.0.1:{jump.port}"
    async with opened(VmSpec(name="vm", proxy_jump=f"{hop},{hop}", **far.spec_fields()), tmp_path) as link:
        assert (await link.run("echo hello")).stdout == b"hello\n"


async def test_the_death_of_a_jump_host_ends_the_link(tmp_path: Path, far: Sshd) -> None:
    with Sshd(tmp_path / "jump") as jump:
        jump.authorize(public_key(far.key))
        known = tmp_path / "known_hosts"
        known.write_text(far.known_hosts.read_text() + jump.known_hosts.read_text())
        spec = VmSpec(name="vm", proxy_jump=f"{jump.user}@127.0.0.1:{jump.port}", **far.spec_fields())
        async with opened(replace(spec, known_hosts=str(known)), tmp_path) as link:
            jump.kill_sessions()
            error = await asyncio.wait_for(link.wait_closed(), PATIENCE_S)
            assert error.failure.reason is Reason.CLOSED


async def test_the_key_of_a_jump_host_is_verified_too(jump: Sshd, far: Sshd, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text(known_hosts_line("127.0.0.1", far.port, far.host_key) + "\n")
    spec = VmSpec(name="vm", proxy_jump=f"{jump.user}@127.0.0.1:{jump.port}", **far.spec_fields())
    failure = await failure_of(replace(spec, known_hosts=str(known)), tmp_path)
    assert failure.reason is Reason.HOST_KEY
    assert f"[127.0.0.1]:{jump.port}" in failure.message
    async with opened(replace(spec, known_hosts=str(known), trust_first=True), tmp_path) as link:
        assert (await link.run("echo hello")).stdout == b"hello\n"


async def test_what_lies_behind_a_jump_host_fails_by_name(jump: Sshd, far: Sshd, tmp_path: Path) -> None:
    spec = VmSpec(name="vm", proxy_jump=f"{jump.user}@127.0.0.1:{jump.port}", **far.spec_fields())
    closed = await failure_of(replace(spec, ssh_port=free_port()), tmp_path)
    assert closed.reason is Reason.REFUSED
    assert f"-J {jump.user}@127.0.0.1:{jump.port}" in closed.remedy
    stranger = await failure_of(replace(spec, ssh_key=str(jump.key)), tmp_path)
    assert stranger.reason is Reason.AUTH
    assert "through" in stranger.message


async def test_a_jump_host_that_forbids_forwarding_is_named(tmp_path: Path, far: Sshd) -> None:
    with Sshd(tmp_path / "jump", options=["AllowTcpForwarding no"]) as jump:
        jump.authorize(public_key(far.key))
        known = tmp_path / "known_hosts"
        known.write_text(far.known_hosts.read_text() + jump.known_hosts.read_text())
        spec = VmSpec(name="vm", proxy_jump=f"{jump.user}@127.0.0.1:{jump.port}", **far.spec_fields())
        failure = await failure_of(replace(spec, known_hosts=str(known)), tmp_path)
    assert failure.reason is Reason.CONFIG
    assert "AllowTcpForwarding" in failure.remedy


@pytest.mark.parametrize("jump_host", ["-oProxyCommand=x", "a b", "host:99999", "user@", "a,,b"])
async def test_a_jump_host_that_is_none_is_a_config_failure(jump_host: str, far: Sshd, tmp_path: Path) -> None:
    failure = await failure_of(VmSpec(name="vm", proxy_jump=jump_host, **far.spec_fields()), tmp_path)
    assert failure.reason is Reason.CONFIG


async def test_names_of_the_configuration_are_followed(jump: Sshd, far: Sshd, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(
        f"bench {' '.join(public_key(far.host_key).split()[:2])}\n{known_hosts_line('127.0.0.1', jump.port, jump.host_key)}\n"
    )
    write_config(
        tmp_path,
        f"""
Include {tmp_path}/more
Host bench
    HostName 127.0.0.1
    Port {far.port}
    HostKeyAlias bench
    ProxyJump door
Host *
    UserKnownHostsFile {tmp_path}/hosts
    IdentityFile {far.key}
    IdentitiesOnly yes
""",
    )
    (tmp_path / "more").write_text(f"Host door\n    HostName 127.0.0.1\n    Port {jump.port}\nHost *\n    User {far.user}\n")
    before = len(jump.log)
    async with opened(VmSpec(name="vm", ssh_host="bench"), tmp_path) as link:
        assert (await link.run("echo hello")).stdout == b"hello\n"
    assert any("Accepted publickey" in line for line in jump.log[before:])
    failure = await failure_of(VmSpec(name="vm", ssh_host="bench", ssh_user="nobody-here"), tmp_path)
    assert failure.reason is Reason.AUTH
    assert "nobody-here@127.0.0.1" in failure.message


async def test_a_proxy_command_is_the_way(far: Sshd, tmp_path: Path) -> None:
    files, threads = open_files(), threading.active_count()
    config = far.folder / "sshd_config"
    write_config(tmp_path, f"Host 127.0.0.1\n    ProxyCommand {PROGRAM} -i -f {shlex.quote(str(config))}\n")
    async with opened(VmSpec(name="vm", **far.spec_fields()), tmp_path) as link:
        assert (await link.run("echo hello")).stdout == b"hello\n"
    await until(lambda: open_files() <= files and threading.active_count() <= threads, "nothing being left")


async def test_a_proxy_command_that_fails_is_quoted(far: Sshd, tmp_path: Path) -> None:
    write_config(tmp_path, "Host 127.0.0.1\n    ProxyCommand sh -c 'echo no way to %h by %r >&2; exit 1'\n")
    failure = await failure_of(VmSpec(name="vm", **far.spec_fields()), tmp_path)
    assert failure.reason is Reason.CLOSED
    assert f"no way to 127.0.0.1 by {far.user}" in failure.message


async def test_a_broken_configuration_is_a_config_failure(far: Sshd, tmp_path: Path) -> None:
    write_config(tmp_path, "Nonsense yes\n")
    failure = await failure_of(VmSpec(name="vm", **far.spec_fields()), tmp_path)
    assert failure.reason is Reason.CONFIG
    assert "ssh -G" in failure.remedy


async def test_a_key_of_the_configuration_is_tried_before_the_default_ones(far: Sshd, tmp_path: Path) -> None:
    write_config(tmp_path, "")
    make_key(tmp_path / ".ssh" / "id_rsa", kind="rsa")
    spec = replace(VmSpec(name="vm", **far.spec_fields()), ssh_key=None)
    failure = await failure_of(spec, tmp_path)
    assert failure.reason is Reason.AUTH
    assert "id_rsa" in failure.message
    write_config(tmp_path, f"IdentityFile {far.key}\n")
    async with opened(spec, tmp_path) as link:
        assert (await link.run("echo hello")).stdout == b"hello\n"
