"""SSH links to a real OpenSSH server: logging in, verifying, and what goes wrong, by its name."""

import asyncio
import contextlib
import os
import socket
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.link import Recorder, open_files
from tests.support.sshd import SshAgent, Sshd, free_port, has_sshd, known_hosts_line, make_certificate, make_key, public_key
from tests.support.wait import PATIENCE_S, until
from waa.core.error import Failure, LinkError
from waa.core.port import Link
from waa.core.spec import VmSpec
from waa.core.status import Reason
from waa.probes.ssh import SshOpener
from waa.probes.ssh_wire import Limits

pytestmark = [pytest.mark.sshd, pytest.mark.skipif(not has_sshd(), reason="OpenSSH is not installed")]

SHORT = Limits(dns_s=2.0, connect_s=0.5, banner_s=0.5, handshake_s=0.5, deadline_s=1.5)
"""For servers that never answer."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("authority") / "ca")


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory, authority: Path) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd"), options=[f"TrustedUserCAKeys {authority}.pub"]) as server:
        yield server


@pytest.fixture
def spec(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> VmSpec:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return VmSpec(name="vm", **sshd.spec_fields())


@contextlib.asynccontextmanager
async def opened(spec: VmSpec, home: Path, *, limits: Limits | None = None) -> AsyncIterator[Link]:
    opener = SshOpener(data_dir=home / "data", home=home, limits=limits)
    try:
        link = await opener.open(spec)
        try:
            yield link
        finally:
            await link.close()
    finally:
        await opener.close()


async def failure_of(spec: VmSpec, home: Path, *, limits: Limits | None = None) -> Failure:
    with pytest.raises(LinkError) as caught:
        async with opened(spec, home, limits=limits):
            pass
    failure = caught.value.failure
    assert failure.message
    assert failure.remedy
    return failure


async def test_a_line_arrives_as_it_is_written(spec: VmSpec, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\n")
    async with opened(spec, tmp_path) as link:
        recorder = Recorder()
        await recorder.start(link, f"exec tail -n 1 -F {log}")
        await until(lambda: recorder.out == b"old\n", "the old line")
        for number in range(20):
            with log.open("a") as file:
                file.write(f"line {number}\n")
            await until(lambda: recorder.out.endswith(f"line {number}\n".encode()), "the new line")  # noqa: B023 - awaited here
    assert recorder.out.decode().splitlines() == ["old", *(f"line {number}" for number in range(20))]


async def test_a_flood_is_bounded_and_leaves_the_others_alone(spec: VmSpec, tmp_path: Path) -> None:
    limits = Limits(max_bytes_per_s=100_000_000)
    page = os.sysconf("SC_PAGE_SIZE")

    def resident_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * page

    total, biggest = 0, 0
    ended: list[int | None] = []

    def count(data: bytes) -> None:
        nonlocal total, biggest
        total += len(data)
        biggest = max(biggest, len(data))

    async with opened(spec, tmp_path, limits=limits) as link:
        before = resident_bytes()
        process = await link.start("head -c 100000000 /dev/zero", on_stdout=count, on_stderr=count, on_end=ended.append)
        await until(lambda: total > 10_000_000, "the flood")
        process.pause()
        held = total
        for _ in range(3):
            assert (await link.run("echo through")).stdout == b"through\n"
        assert total == held
        process.resume()
        await until(lambda: bool(ended), "the end")
        assert resident_bytes() - before < 40_000_000
    assert (total, ended) == (100_000_000, [0])
    assert biggest <= limits.turn_bytes


async def test_a_flood_is_slowed_to_its_rate(spec: VmSpec, tmp_path: Path) -> None:
    async with opened(spec, tmp_path, limits=Limits(max_bytes_per_s=1_000_000)) as link:
        loop = asyncio.get_running_loop()
        recorder = Recorder()
        start = loop.time()
        process = await recorder.start(link, "cat /dev/zero")
        await until(lambda: len(recorder.out) > 1_500_000, "more than the first second's allowance")
        assert len(recorder.out) <= 1_000_000 * (loop.time() - start) + 1_000_000 + 65536
        process.close()


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
async def test_other_kinds_of_key_log_in(kind: str, sshd: Sshd, spec: VmSpec, tmp_path: Path) -> None:
    key = make_key(tmp_path / "key", kind=kind)
    sshd.authorize(public_key(key))
    async with opened(replace(spec, ssh_key=str(key)), tmp_path) as link:
        assert (await link.run("echo hello")).stdout == b"hello\n"


async def test_a_key_that_is_not_accepted_is_an_auth_failure(spec: VmSpec, tmp_path: Path) -> None:
    key = make_key(tmp_path / "key")
    failure = await failure_of(replace(spec, ssh_key=str(key)), tmp_path)
    assert failure.reason is Reason.AUTH
    assert str(key) in failure.message
    assert f"ssh -i {key} -p {spec.ssh_port} {spec.ssh_user}@127.0.0.1" in failure.remedy


async def test_a_server_that_wants_a_password_says_so(tmp_path: Path, spec: VmSpec) -> None:
    with Sshd(tmp_path / "sshd", options=["PubkeyAuthentication no", "PasswordAuthentication yes", "PermitRootLogin yes"]) as server:
        failure = await failure_of(replace(spec, ssh_port=server.port, known_hosts=str(server.known_hosts)), tmp_path)
    assert failure.reason is Reason.AUTH
    assert "password" in failure.message


async def test_an_encrypted_key_without_agent_is_a_key_file_failure(spec: VmSpec, sshd: Sshd, tmp_path: Path) -> None:
    key = make_key(tmp_path / "key", passphrase="secret")
    sshd.authorize(public_key(key))
    failure = await failure_of(replace(spec, ssh_key=str(key)), tmp_path)
    assert failure.reason is Reason.KEY_FILE
    assert "encrypted" in failure.message
    assert f"ssh-add {key}" in failure.remedy


async def test_a_key_that_others_can_read_is_refused(spec: VmSpec, sshd: Sshd, tmp_path: Path) -> None:
    key = make_key(tmp_path / "key")
    sshd.authorize(public_key(key))
    key.chmod(0o644)
    failure = await failure_of(replace(spec, ssh_key=str(key)), tmp_path)
    assert failure.reason is Reason.KEY_FILE
    assert f"chmod 600 {key}" in failure.remedy


@pytest.mark.parametrize(
    "content", [None, "", "nonsense", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"]
)
async def test_a_key_that_is_none_is_a_key_file_failure(content: str | None, spec: VmSpec, tmp_path: Path) -> None:
    key = tmp_path / "key"
    if content is not None:
        key.write_text(content)
        key.chmod(0o600)
    failure = await failure_of(replace(spec, ssh_key=str(key)), tmp_path)
    assert failure.reason is Reason.KEY_FILE
    assert str(key) in failure.message


async def test_the_agent_logs_in_with_a_key_that_is_encrypted_here(
    spec: VmSpec, sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_key(tmp_path / "key", passphrase="secret")
    sshd.authorize(public_key(key))
    with SshAgent(tmp_path / "agent") as agent:
        agent.add(make_key(tmp_path / "other"))
        agent.add(key, passphrase="secret")
        monkeypatch.setenv("SSH_AUTH_SOCK", agent.address)
        for named in (str(key), None):
            async with opened(replace(spec, ssh_key=named), tmp_path) as link:
                assert (await link.run("echo hello")).stdout == b"hello\n"


async def test_without_any_key_the_failure_says_so(spec: VmSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "no-agent"))
    failure = await failure_of(replace(spec, ssh_key=None), tmp_path)
    assert failure.reason is Reason.KEY_FILE
    assert "no key to log in with" in failure.message
    assert "agent" in failure.message


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
async def test_a_certificate_logs_in(kind: str, spec: VmSpec, authority: Path, tmp_path: Path) -> None:
    key = make_key(tmp_path / "key", kind=kind)
    make_certificate(authority, key, principals=spec.ssh_user or "")
    async with opened(replace(spec, ssh_key=str(key)), tmp_path) as link:
        assert (await link.run("echo hello")).stdout == b"hello\n"


async def test_a_certificate_of_the_configuration_goes_with_the_agents_key(
    spec: VmSpec, authority: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_key(tmp_path / "key")
    certificate = make_certificate(authority, key, principals=spec.ssh_user or "").rename(tmp_path / "elsewhere-cert.pub")
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text(f"Host *\nCertificateFile {certificate}\n")
    with SshAgent(tmp_path / "agent") as agent:
        agent.add(key)
        monkeypatch.setenv("SSH_AUTH_SOCK", agent.address)
        async with opened(replace(spec, ssh_key=None), tmp_path) as link:
            assert (await link.run("echo hello")).stdout == b"hello\n"


async def test_an_expired_certificate_is_named(spec: VmSpec, authority: Path, tmp_path: Path) -> None:
    key = make_key(tmp_path / "key")
    make_certificate(authority, key, principals=spec.ssh_user or "", validity="-2h:-1h")
    failure = await failure_of(replace(spec, ssh_key=str(key)), tmp_path)
    assert failure.reason is Reason.AUTH
    assert "expired" in failure.message


async def test_an_unknown_host_key_is_shown_and_refused(spec: VmSpec, tmp_path: Path) -> None:
    failure = await failure_of(replace(spec, known_hosts=str(tmp_path / "none")), tmp_path)
    assert failure.reason is Reason.HOST_KEY
    assert "SHA256:" in failure.message
    assert f"ssh-keyscan -p {spec.ssh_port} 127.0.0.1 >> {tmp_path / 'none'}" in failure.remedy


async def test_a_changed_host_key_is_refused_loudly_with_and_without_trust_first(spec: VmSpec, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text(known_hosts_line("127.0.0.1", spec.ssh_port or 0, make_key(tmp_path / "old")) + "\n")
    for trust_first in (False, True):
        failure = await failure_of(replace(spec, known_hosts=str(known), trust_first=trust_first), tmp_path)
        assert failure.reason is Reason.HOST_KEY
        assert "HAS CHANGED" in failure.message
        assert "ssh-keygen -R" in failure.remedy
    assert not (tmp_path / "data" / "known_hosts").exists()


async def test_what_trust_first_remembered_does_not_outweigh_the_users_file(spec: VmSpec, sshd: Sshd, tmp_path: Path) -> None:
    trusting = replace(spec, known_hosts=str(tmp_path / "none"), trust_first=True)
    async with opened(trusting, tmp_path) as link:
        assert (await link.run("echo hello")).stdout == b"hello\n"
    known = tmp_path / "known_hosts"
    known.write_text(known_hosts_line("127.0.0.1", sshd.port, make_key(tmp_path / "old")) + "\n")
    failure = await failure_of(replace(trusting, known_hosts=str(known)), tmp_path)
    assert failure.reason is Reason.HOST_KEY
    assert "HAS CHANGED" in failure.message


async def test_a_revoked_host_key_is_refused(spec: VmSpec, sshd: Sshd, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    line = known_hosts_line("127.0.0.1", sshd.port, sshd.host_key)
    known.write_text(f"{line}\n@revoked {line}\n")
    failure = await failure_of(replace(spec, known_hosts=str(known)), tmp_path)
    assert failure.reason is Reason.HOST_KEY
    assert "REVOKED" in failure.message


async def test_the_known_type_of_host_key_is_asked_for(tmp_path: Path, spec: VmSpec) -> None:
    rsa = make_key(tmp_path / "rsa_host_key", kind="rsa")
    with Sshd(tmp_path / "sshd", options=[f"HostKey {rsa}"]) as server:
        server.authorize(public_key(Path(spec.ssh_key or "")))
        known = tmp_path / "known_hosts"
        known.write_text(known_hosts_line("127.0.0.1", server.port, rsa) + "\n")
        async with opened(replace(spec, ssh_port=server.port, known_hosts=str(known)), tmp_path) as link:
            assert (await link.run("echo hello")).stdout == b"hello\n"


async def test_trust_first_remembers_the_key_and_sees_it_change(tmp_path: Path, spec: VmSpec) -> None:
    with Sshd(tmp_path / "sshd") as server:
        server.authorize(public_key(Path(spec.ssh_key or "")))
        trusting = replace(spec, ssh_port=server.port, known_hosts=str(tmp_path / "none"), trust_first=True)
        for _ in range(2):
            async with opened(trusting, tmp_path) as link:
                assert (await link.run("echo hello")).stdout == b"hello\n"
        memory = tmp_path / "data" / "known_hosts"
        assert len(memory.read_text().splitlines()) == 1
        server.restart(new_host_key=True)
        failure = await failure_of(trusting, tmp_path)
        assert failure.reason is Reason.HOST_KEY
        assert "HAS CHANGED" in failure.message
        assert str(memory) in failure.message


async def test_a_killed_session_is_told_and_another_can_be_opened(spec: VmSpec, tmp_path: Path) -> None:
    with Sshd(tmp_path / "sshd") as server:
        server.authorize(public_key(Path(spec.ssh_key or "")))
        own = replace(spec, ssh_port=server.port, known_hosts=str(server.known_hosts))
        async with opened(own, tmp_path) as link:
            recorder = Recorder()
            await recorder.start(link, "echo up; cat")
            await until(lambda: recorder.out == b"up\n", "the command")
            running = asyncio.create_task(link.run("sleep 60"))
            server.kill_sessions()
            error = await asyncio.wait_for(link.wait_closed(), PATIENCE_S)
            assert error.failure.reason is Reason.CLOSED
            assert "127.0.0.1" in error.failure.message
            await until(lambda: recorder.ends == [None], "the word of the end")
            with pytest.raises(LinkError):
                await running
            with pytest.raises(LinkError):
                await link.run("true")
        async with opened(own, tmp_path) as link:
            assert (await link.run("echo again")).stdout == b"again\n"


async def test_a_server_that_stops_answering_ends_the_link_at_the_next_command(spec: VmSpec, tmp_path: Path) -> None:
    with Sshd(tmp_path / "sshd") as server:
        server.authorize(public_key(Path(spec.ssh_key or "")))
        own = replace(spec, ssh_port=server.port, known_hosts=str(server.known_hosts))
        async with opened(own, tmp_path, limits=Limits(handshake_s=1.5, deadline_s=4.0)) as link:
            server.freeze()
            with pytest.raises(LinkError) as caught:
                await link.run("true", timeout_s=20)
            assert caught.value.failure.reason is Reason.TIMEOUT
            assert (await asyncio.wait_for(link.wait_closed(), PATIENCE_S)).failure.reason is Reason.TIMEOUT


async def test_a_command_that_takes_no_input_ends_the_link_rather_than_fill_the_memory(spec: VmSpec, tmp_path: Path) -> None:
    async with opened(spec, tmp_path) as link:
        process = await Recorder().start(link, "sleep 8")
        for _ in range(50):
            process.write(bytes(100_000))
            await asyncio.sleep(0)
        assert (await asyncio.wait_for(link.wait_closed(), PATIENCE_S)).failure.reason is Reason.TIMEOUT


async def test_a_stopped_server_is_a_timeout(spec: VmSpec, tmp_path: Path) -> None:
    with Sshd(tmp_path / "sshd") as server:
        server.freeze()
        failure = await failure_of(replace(spec, ssh_port=server.port), tmp_path, limits=SHORT)
    assert failure.reason is Reason.TIMEOUT


async def test_a_closed_port_is_refused(spec: VmSpec, tmp_path: Path) -> None:
    failure = await failure_of(replace(spec, ssh_port=free_port()), tmp_path)
    assert failure.reason is Reason.REFUSED
    assert "sshd" in failure.remedy


async def test_a_name_that_nobody_knows_is_a_dns_failure(spec: VmSpec, tmp_path: Path) -> None:
    failure = await failure_of(replace(spec, ssh_host="no-such-machine.invalid"), tmp_path, limits=SHORT)
    assert failure.reason is Reason.DNS
    assert "no-such-machine.invalid" in failure.message


async def test_a_host_that_drops_packets_is_a_timeout(spec: VmSpec, tmp_path: Path) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        with contextlib.ExitStack() as guests:
            for _ in range(3):  # once its queue is full, the kernel drops what comes
                guest = guests.enter_context(socket.socket())
                guest.setblocking(False)
                guest.connect_ex(("127.0.0.1", port))
            failure = await failure_of(replace(spec, ssh_port=port), tmp_path, limits=SHORT)
    assert failure.reason is Reason.TIMEOUT
    assert "firewall" in failure.remedy


def kexinit() -> bytes:
    """The packet that begins the exchange of keys; what would follow never comes."""
    names = ["curve25519-sha256@libssh.org", "ssh-ed25519", *["aes128-ctr"] * 2, *["hmac-sha2-256"] * 2, *["none"] * 2, "", ""]
    payload = bytes([20]) + bytes(16) + b"".join(struct.pack(">I", len(name)) + name.encode() for name in names) + bytes(5)
    padding = 16 - (len(payload) + 5) % 8
    return struct.pack(">IB", len(payload) + padding + 1, padding) + payload + bytes(padding)


@contextlib.asynccontextmanager
async def bad_server(first: bytes, dripping: bytes, *, ending: bool) -> AsyncIterator[int]:
    """Listens at the port that it yields; says ``first``, then ``dripping`` now and then, unless it is ``ending``."""
    over = asyncio.Event()
    guests: list[asyncio.StreamWriter] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        guests.append(writer)
        with contextlib.suppress(ConnectionError):
            writer.write(first)
            while not ending and not over.is_set():
                writer.write(dripping)
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        guests.remove(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        over.set()
        server.close()
        await server.wait_closed()
        await until(lambda: not guests, "the end of its conversations")


@pytest.mark.parametrize(
    ("first", "dripping", "ending", "reason"),
    [
        pytest.param(b"", b"", False, Reason.TIMEOUT, id="mute"),
        pytest.param(b"", b"S", False, Reason.TIMEOUT, id="dripping banner"),
        pytest.param(b"", b"hello\r\n", False, Reason.TIMEOUT, id="endless preamble"),
        pytest.param(b"x\r\n" * 5000, b"", False, Reason.PROTOCOL, id="long preamble"),
        pytest.param(b"SSH-2.0-fake\r\n", b"", False, Reason.TIMEOUT, id="banner only"),
        pytest.param(b"SSH-2.0-fake\r\n" + kexinit(), b"", False, Reason.TIMEOUT, id="stalled key exchange"),
        pytest.param(b"SSH-1.5-old\r\n", b"", False, Reason.PROTOCOL, id="old version"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", False, Reason.PROTOCOL, id="web server"),
        pytest.param(b"", b"", True, Reason.CLOSED, id="hangs up at once"),
        pytest.param(b"SSH-2.0-fake\r\n", b"", True, Reason.CLOSED, id="hangs up after the banner"),
        pytest.param(b"SSH-2.0-fake\r\n" + bytes(200), b"", False, Reason.PROTOCOL, id="nonsense"),
    ],
)
async def test_a_bad_server_fails_by_name_and_leaves_nothing(
    first: bytes, dripping: bytes, ending: bool, reason: Reason, spec: VmSpec, tmp_path: Path
) -> None:
    files, threads = open_files(), threading.active_count()
    async with bad_server(first, dripping, ending=ending) as port:
        failure = await failure_of(replace(spec, ssh_port=port), tmp_path, limits=SHORT)
    assert failure.reason is reason
    await until(lambda: open_files() <= files and threading.active_count() <= threads, "nothing being left")


async def test_dead_hosts_do_not_delay_a_live_one(spec: VmSpec, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        mutes = []
        for _ in range(20):
            mute = stack.enter_context(socket.socket())
            mute.bind(("127.0.0.1", 0))
            mute.listen()
            mutes.append(mute.getsockname()[1])
        opener = SshOpener(data_dir=tmp_path / "data", home=tmp_path, max_threads=2, limits=Limits(banner_s=20.0))
        dead = [asyncio.create_task(opener.open(replace(spec, name=f"dead{port}", ssh_port=port))) for port in mutes]
        link = await opener.open(spec)
        assert not any(task.done() for task in dead)
        assert (await link.run("echo alive")).stdout == b"alive\n"
        await link.close()
        await opener.close()  # ends what is being opened, too
        for task in dead:
            with pytest.raises(LinkError) as caught:
                await task
            assert caught.value.failure.reason is Reason.CLOSED
        with pytest.raises(LinkError):
            await opener.open(spec)


async def test_a_cancelled_open_leaves_nothing(spec: VmSpec, tmp_path: Path) -> None:
    files, threads = open_files(), threading.active_count()
    with Sshd(tmp_path / "sshd") as server:
        opener = SshOpener(data_dir=tmp_path / "data", home=tmp_path)
        for turns in (1, 5, 20, 60):
            task = asyncio.create_task(opener.open(replace(spec, ssh_port=server.port)))
            for _ in range(turns):
                await asyncio.sleep(0.001)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await opener.close()
    await until(lambda: open_files() <= files and threading.active_count() <= threads, "nothing being left")


async def test_a_cancelled_command_leaves_the_link_open(spec: VmSpec, tmp_path: Path) -> None:
    async with opened(spec, tmp_path) as link:
        for turns in (0, 1, 10, 50):
            task = asyncio.create_task(link.run("sleep 60"))
            for _ in range(turns):
                await asyncio.sleep(0.001)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert (await link.run("echo open")).stdout == b"open\n"


async def test_fifty_links_leave_no_file_and_no_thread(spec: VmSpec, tmp_path: Path) -> None:
    files, threads = open_files(), threading.active_count()
    opener = SshOpener(data_dir=tmp_path / "data", home=tmp_path)

    async def cycle(number: int) -> None:
        link = await opener.open(spec)
        recorder = Recorder()
        await recorder.start(link, "echo up; cat")
        if number % 2:
            await link.run("true")
        await link.close()

    for group in range(5):
        await asyncio.gather(*(cycle(group + number) for number in range(10)))
    await opener.close()
    await until(lambda: open_files() <= files and threading.active_count() <= threads, "nothing being left")
