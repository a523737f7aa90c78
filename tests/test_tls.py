"""HTTPS by the server itself: real handshakes with a real authority, renewal, and what is refused at the start."""

import asyncio
import contextlib
import logging
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import server
from tests.support.authority import DAY, NOW, Authority
from tests.support.server import ROOT
from tests.support.wait import PATIENCE_S, wait_for
from waa.config import ConfigError, load
from waa.tls import Tls, TlsError, read_pair

CLIENT_HELLO = {"server_hostname": "localhost"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where a pair lies, and who issues the next one."""

    authority: Authority
    certificate: Path
    key: Path

    def renew(self, **changes: object) -> int:
        """A new pair in the place of the old one."""
        return self.authority.issue(self.certificate, self.key, **changes)  # type: ignore[arg-type]

    def tls(self) -> Tls:
        return Tls(str(self.certificate), str(self.key), clock=time.time)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(authority=Authority(tmp_path), certificate=tmp_path / "cert.pem", key=tmp_path / "key.pem")
    made.renew()
    return made


def handshake(files: Files, served: ssl.SSLContext, asked: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    """The client's end of a connection between the two contexts. Raises ssl.SSLError."""
    asked = asked or files.authority.client_context()
    ours, theirs = socket.socketpair()
    done: list[ssl.SSLSocket] = []

    def answer() -> None:
        try:
            done.append(served.wrap_socket(theirs, server_side=True))
        except OSError:
            theirs.close()

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        return asked.wrap_socket(ours, **CLIENT_HELLO)  # type: ignore[arg-type]
    finally:
        thread.join(PATIENCE_S)
        for sock in done:
            sock.close()


def test_a_client_that_trusts_the_authority_gets_a_modern_connection(files: Files) -> None:
    with handshake(files, files.tls().pair.context) as sock:
        assert sock.version() == "TLSv1.3"


def test_only_modern_ciphers_are_offered_in_tls_1_2(files: Files) -> None:
    asked = files.authority.client_context()
    asked.maximum_version = ssl.TLSVersion.TLSv1_2
    with handshake(files, files.tls().pair.context, asked) as sock:
        cipher = sock.cipher()
        assert cipher is not None
        assert cipher[0].startswith("ECDHE-")
    asked.set_ciphers("AES128-SHA:ECDHE-ECDSA-AES128-SHA256")
    with pytest.raises(ssl.SSLError):
        handshake(files, files.tls().pair.context, asked)


def test_older_versions_are_refused(files: Files) -> None:
    asked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asked.check_hostname, asked.verify_mode = False, ssl.CERT_NONE
    asked.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="is deprecated"):
        asked.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="is deprecated"):
        asked.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        handshake(files, files.tls().pair.context, asked)


def test_a_renewed_pair_is_taken_and_an_unchanged_one_is_not_read_again(files: Files) -> None:
    tls = files.tls()
    before = tls.pair
    assert not tls.refresh()
    serial = files.renew()
    assert tls.refresh()
    assert tls.pair is not before
    with handshake(files, tls.pair.context) as sock:
        found = sock.getpeercert()
        assert found is not None
        assert int(str(found["serialNumber"]), 16) == serial
    assert not tls.refresh()


@pytest.mark.parametrize(
    "damage", ["other key", "no certificate", "no key", "gone", "expired", "not yet", "open to others", "encrypted", "folder"]
)
def test_a_broken_new_pair_leaves_the_old_one_in_use(damage: str, files: Files, caplog: pytest.LogCaptureFixture) -> None:
    tls = files.tls()
    before = tls.pair
    spare = files.key.with_name("spare.pem")
    match damage:
        case "other key":
            files.authority.issue(files.certificate, spare)
        case "no certificate":
            files.certificate.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n")
        case "no key":
            files.key.write_text("nonsense")
        case "gone":
            files.key.unlink()
        case "expired":
            files.renew(valid_from=NOW - 3 * DAY, valid_until=NOW - 2 * DAY)
        case "not yet":
            files.renew(valid_from=NOW + DAY / 2)
        case "open to others":
            files.renew()
            files.key.chmod(0o644)
        case "encrypted":
            files.renew(passphrase="secret")
        case "folder":
            files.certificate.unlink()
            files.certificate.mkdir()
    with caplog.at_level(logging.ERROR):
        assert not tls.refresh()
        assert not tls.refresh()
    assert tls.pair is before
    assert len([record for record in caplog.records if "the one in use stays" in record.message]) == 1
    caplog.clear()
    if files.certificate.is_dir():
        files.certificate.rmdir()
    files.renew()
    assert tls.refresh()


@pytest.mark.parametrize(
    ("mode", "is_fine"), [(0o600, True), (0o400, True), (0o640, False), (0o604, False), (0o644, False), (0o660, False), (0o700, True)]
)
def test_a_key_that_others_can_read_is_refused(mode: int, is_fine: bool, files: Files) -> None:
    files.key.chmod(mode)
    if is_fine:
        files.tls()
        return
    with pytest.raises(TlsError, match=rf"open to others \(mode {mode:04o}\): chmod 600 {files.key}"):
        files.tls()


def test_what_cannot_be_used_is_named(files: Files, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    files.authority.issue(tmp_path / "other-cert.pem", other)
    encrypted = tmp_path / "encrypted.pem"
    files.authority.issue(tmp_path / "third.pem", encrypted, passphrase="secret")
    for certificate, key, expected in (
        (files.certificate, other, f"tls_key: {other} is not the key of {files.certificate}"),
        (files.certificate, encrypted, f"tls_key: {encrypted} is encrypted"),
        (files.key, files.key, f"tls_cert: {files.key} holds no certificate in PEM format"),
        (files.certificate, tmp_path / "nowhere", "No such file or directory"),
        (tmp_path / "nowhere", files.key, "No such file or directory"),
    ):
        with pytest.raises(TlsError) as caught:
            read_pair(certificate, key)
        assert expected in str(caught.value)


def test_an_expired_certificate_is_served_with_an_error_in_the_log(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    files.renew(valid_from=NOW - 3 * DAY, valid_until=NOW - 2 * DAY)
    with caplog.at_level(logging.ERROR):
        tls = files.tls()
    assert [record.getMessage() for record in caplog.records] == [f"certificate has expired file={files.certificate}"]
    caplog.clear()
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
        handshake(files, tls.pair.context)
    files.renew()
    assert tls.refresh()


def test_one_without_the_other_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="tls_cert, tls_key: set both"):
        load([], {"WAA_TLS_CERT": "cert.pem"})


@asynccontextmanager
async def connected(port: int, context: ssl.SSLContext) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, **CLIENT_HELLO)  # type: ignore[arg-type]
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def serial_of(writer: asyncio.StreamWriter) -> int:
    return int(writer.get_extra_info("peercert")["serialNumber"], 16)


async def test_a_stream_goes_on_over_a_renewal_and_new_connections_get_the_new_certificate(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole server, as it is started, over HTTPS."""
    monkeypatch.setattr("waa.tls.LOOK_S", 0.02)
    folder = files.key.parent
    (folder / "waa.toml").write_text(f'tls_cert = "{files.certificate}"\ntls_key = "{files.key}"\nhsts_days = 2\ndemo = "off"\nport = 0\n')
    config = load([], {"WAA_CONFIG": str(folder / "waa.toml"), "WAA_DATA": str(folder / "data")})
    context = files.authority.client_context()
    async with server.serve(config) as port, connected(port, context) as (reader, writer):
        first = serial_of(writer)
        writer.write(b"GET /api/benchmark-sse HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
        assert b" 200 " in head
        assert b"Strict-Transport-Security: max-age=172800\r\n" in head
        await asyncio.wait_for(reader.readuntil(b"event: connected"), PATIENCE_S)
        second = files.renew()
        assert first != second
        for _ in range(500):
            async with connected(port, context) as (_, fresh):
                if serial_of(fresh) == second:
                    break
            await asyncio.sleep(0.02)
        else:
            pytest.fail("the new certificate is not served")
        body = b'{"name": "vm-1", "ssh_host": "127.0.0.1", "ssh_port": 1}'
        async with connected(port, context) as (answers, asker):
            asker.write(
                b"POST /api/vms/register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                % (len(body), body)
            )
            assert b" 201 " in await asyncio.wait_for(answers.readline(), PATIENCE_S)
        await asyncio.wait_for(reader.readuntil(b'"vm-1"'), PATIENCE_S)  # told on the stream that began before the renewal
        assert serial_of(writer) == first


@pytest.fixture
def started(files: Files) -> Iterator["subprocess.Popen[str]"]:
    """The server as a process, with the files' pair."""
    folder = files.key.parent
    environment = {
        **os.environ,
        "WAA_DATA": str(folder / "data"),
        "WAA_PORT": "0",
        "WAA_DEMO": "off",
        "WAA_TLS_CERT": str(files.certificate),
        "WAA_TLS_KEY": str(files.key),
    }
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "server.py")], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    yield process
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE_S)
    if process.stdout is not None:
        process.stdout.close()


def test_the_printed_address_is_https(started: "subprocess.Popen[str]", files: Files) -> None:
    assert started.stdout is not None
    said = ""
    for line in started.stdout:
        said += line
        if re.search(r" on https://127\.0\.0\.1:\d+/ ", line):
            break
    found = re.search(r"https://127\.0\.0\.1:(\d+)/", said)
    assert found is not None, said
    raw = socket.create_connection(("127.0.0.1", int(found[1])), PATIENCE_S)
    with files.authority.client_context().wrap_socket(raw, server_hostname="127.0.0.1") as sock:
        sock.sendall(b"GET /live HTTP/1.0\r\n\r\n")
        assert b" 200 " in sock.recv(100)
    # Plain HTTP on the same port is dropped, and the server goes on.
    with socket.create_connection(("127.0.0.1", int(found[1])), PATIENCE_S) as plain:
        plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"HTTP/" not in plain.recv(100)
    wait_for(lambda: started.poll() is None, what="it runs on")


def test_an_open_key_stops_the_start(files: Files) -> None:
    files.key.chmod(0o644)
    environment = {
        **os.environ,
        "WAA_DATA": str(files.key.parent / "data"),
        "WAA_TLS_CERT": str(files.certificate),
        "WAA_TLS_KEY": str(files.key),
    }
    done = subprocess.run(
        [sys.executable, str(ROOT / "server.py"), "--port", "0"],
        cwd=files.key.parent, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"chmod 600 {files.key}" in done.stderr
    assert "Traceback" not in done.stderr
