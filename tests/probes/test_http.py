"""Health checks against real servers: what they answer, how they fail, where is connected to, and what is sent."""

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.authority import Authority
from tests.support.backend import Backend, Reply, backend
from tests.support.wait import until
from waa.core.destination import Destinations, rule
from waa.core.pipeline import NO_CREDENTIAL, Answer, AuthKind, Credential, PipelineSpec, PipelineStatus
from waa.core.spec import Origin
from waa.core.status import Reason
from waa.probes.http import MAX_BODY_BYTES, HttpProbe

SERVING = Destinations(clients_reach_loopback=False)
UP = Answer(status=PipelineStatus.UP, said="healthy")


@asynccontextmanager
async def probe(
    destinations: Destinations | None = None, *, timeout_s: float = 5.0, tls: Callable[[], ssl.SSLContext] | None = None
) -> AsyncIterator[HttpProbe]:
    made = HttpProbe(destinations=destinations or Destinations(), timeout_s=timeout_s, tls=tls)
    try:
        yield made
    finally:
        await made.close()


def a_spec(url: str, pipeline_id: str = "train", *, auth: AuthKind = AuthKind.NONE, origin: Origin = Origin.CONFIG) -> PipelineSpec:
    return PipelineSpec(pipeline_id=pipeline_id, backend=url, auth=auth, origin=origin)


async def look(spec: PipelineSpec, credential: Credential = NO_CREDENTIAL, **options: Any) -> Answer:
    async with probe(**options) as made:
        return await made.look(spec, credential)


def reason(answer: Answer) -> Reason | None:
    return answer.failure.reason if answer.failure is not None else None


@asynccontextmanager
async def raw(answer: bytes, *, then_closes: bool = True) -> AsyncIterator[str]:
    """A server that says just these bytes once something was asked; its base address."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if then_closes:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        for writer in writers:
            writer.transport.abort()
        server.close()
        await server.wait_closed()


def a_shut_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


# --- answers ---


async def test_a_backend_that_is_well() -> None:
    async with backend() as served:
        assert await look(a_spec(served.url)) == UP
        assert await look(a_spec(f"{served.url}/")) == UP
        (first, _) = served.requests
        assert (first.method, first.path, first.headers["Host"]) == ("GET", "/pipeline/train/health", f"127.0.0.1:{served.port}")
        assert "Authorization" not in first.headers


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply("<html>An error</html>", 500, "text/html"), Reason.HTTP_STATUS),
        (Reply("", 401), Reason.AUTH),
        (Reply("", 403), Reason.FORBIDDEN),
        (Reply("", 404), Reason.NOT_FOUND),
        (Reply('{"status":'), Reason.PARSE),
        (Reply("x" * (MAX_BODY_BYTES + 1), content_type="text/plain"), Reason.TOO_LARGE),
        (Reply("<html>Hello</html>", content_type="text/html"), None),
        (Reply("", 204), None),
    ],
)
async def test_what_a_backend_answers_has_its_reason(reply: Reply, expected: Reason | None) -> None:
    async with backend() as served:
        served.replies["train"] = reply
        answer = await look(a_spec(served.url))
        assert reason(answer) is expected
        assert answer.failure is None or answer.failure.remedy


async def test_a_redirect_is_not_followed_and_no_credential_goes_there() -> None:
    async with backend() as elsewhere, backend() as served:
        served.replies["train"] = Reply("", 302, headers={"Location": f"{elsewhere.url}/pipeline/train/health"})
        credential = Credential(kind=AuthKind.BEARER, secret="s3cr3t")
        answer = await look(a_spec(served.url, auth=AuthKind.BEARER), credential)
        assert reason(answer) is Reason.REDIRECT
        assert elsewhere.requests == []
        assert answer.failure is not None
        assert "s3cr3t" not in repr(answer)


@pytest.mark.parametrize(
    ("credential", "header", "value"),
    [
        (Credential(kind=AuthKind.BEARER, secret="s3cr3t"), "Authorization", "Bearer s3cr3t"),
        (Credential(kind=AuthKind.API_KEY, secret="s3cr3t"), "X-API-Key", "s3cr3t"),
        (Credential(kind=AuthKind.API_KEY, secret="s3cr3t", header="X-Other"), "X-Other", "s3cr3t"),
        (
            Credential(kind=AuthKind.BASIC, username="me", secret="p w"),
            "Authorization",
            "Basic " + base64.b64encode(b"me:p w").decode(),
        ),
    ],
)
async def test_a_backend_gets_its_credential(credential: Credential, header: str, value: str) -> None:
    async with backend() as served:
        assert await look(a_spec(served.url, auth=credential.kind), credential) == UP
        assert served.requests[0].headers[header] == value


# --- failures ---


async def test_a_backend_that_is_not_there() -> None:
    answer = await look(a_spec(f"http://127.0.0.1:{a_shut_port()}"))
    assert reason(answer) is Reason.REFUSED


async def test_a_name_that_does_not_exist() -> None:
    assert reason(await look(a_spec("http://no-such-host.invalid"))) is Reason.DNS


async def test_a_backend_that_hangs_is_given_up() -> None:
    async with backend() as served:
        served.replies["train"] = Reply(is_held=True)
        answer = await look(a_spec(served.url), timeout_s=0.2)
        assert reason(answer) is Reason.TIMEOUT
        assert answer.failure is not None
        assert "does not answer within 0.2 s" in answer.failure.message


async def test_a_backend_that_trickles_is_given_up_too() -> None:
    async with raw(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nx", then_closes=False) as url:
        assert reason(await look(a_spec(url), timeout_s=0.2)) is Reason.TIMEOUT


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"", Reason.CLOSED),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Reason.PROTOCOL),
        (b"HTTP/2 200\r\n\r\n", Reason.PROTOCOL),
        (b"HTTP/1.1 999 Odd\r\n\r\n", Reason.PROTOCOL),
        (OK + b"X" * 20_000 + b"\r\n\r\n", Reason.PROTOCOL),
        (OK + b"no colon\r\n\r\n", Reason.PROTOCOL),
        (OK + b"Content-Length: -1\r\n\r\n", Reason.PROTOCOL),
        (OK + b"Content-Length: 5\r\n\r\nabc", Reason.CLOSED),
        (OK + b"Content-Length: 99999999\r\n\r\nabc", Reason.TOO_LARGE),
        (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", Reason.PROTOCOL),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", Reason.PROTOCOL),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nffffff\r\n", Reason.TOO_LARGE),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcXX", Reason.PROTOCOL),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nab", Reason.CLOSED),
        (OK + b"\r\n" + b"x" * (MAX_BODY_BYTES + 10), Reason.TOO_LARGE),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 20, Reason.PROTOCOL),
        (OK + b"\r\nfine", None),
        (b"HTTP/1.0 200 OK\r\n\r\nfine", None),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok", None),
        (OK + b'Transfer-Encoding: chunked\r\n\r\n5;x=y\r\n{"sta\r\nf\r\ntus": "healthy"\r\n1\r\n}\r\n0\r\nT: x\r\n\r\n', None),
    ],
)
async def test_whatever_is_answered_is_understood_or_has_a_reason(said: bytes, expected: Reason | None) -> None:
    async with raw(said) as url:
        assert reason(await look(a_spec(url))) is expected


async def test_a_certificate_that_is_not_trusted(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue(tmp_path / "cert.pem", tmp_path / "key.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    async with backend(context) as served:
        answer = await look(a_spec(served.url))
        assert reason(answer) is Reason.TLS
        assert answer.failure is not None
        assert "not trusted" in answer.failure.message
        assert served.requests == []
        assert await look(a_spec(served.url), tls=authority.client_context) == UP
        assert (await look(a_spec(served.url.replace("127.0.0.1", "localhost")), tls=authority.client_context)) == UP


async def test_a_server_without_tls_is_told_apart() -> None:
    async with raw(b"HTTP/1.1 400 Bad\r\n\r\n") as url, raw_tls_refusal() as refusing:
        assert reason(await look(a_spec(refusing))) is Reason.TLS
        assert reason(await look(a_spec(url.replace("http:", "https:")), timeout_s=0.3)) in (Reason.TIMEOUT, Reason.TLS, Reason.CLOSED)


@asynccontextmanager
async def raw_tls_refusal() -> AsyncIterator[str]:
    """A server that answers a TLS greeting in plain text."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        for writer in writers:
            writer.transport.abort()
        server.close()
        await server.wait_closed()


# --- where is connected to ---


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254", "http://0xa9fea9fe", "http://2852039166", "http://[::ffff:169.254.169.254]", "http://[fe80::1]",
        "http://metadata.google.internal", "http://0.0.0.0", "http://224.0.0.1",
    ],
)  # fmt: skip
async def test_metadata_services_are_out_of_reach_even_for_the_operator(url: str) -> None:
    assert reason(await look(a_spec(url))) is Reason.DENIED


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.1", "0x7f000001"])
async def test_clients_of_a_server_that_serves_others_do_not_reach_its_own_machine(host: str) -> None:
    async with backend() as served:
        url = served.url.replace("127.0.0.1", host)
        answer = await look(a_spec(url, origin=Origin.API), destinations=SERVING)
        assert (reason(answer), served.requests) == (Reason.DENIED, [])
        assert "allow_hosts" in (answer.failure.remedy if answer.failure is not None else "")


async def test_the_addresses_of_a_name_are_judged_and_only_those_are_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["127.0.0.1", "169.254.169.254"])
    asked: list[str] = []

    def resolve(host: str, port: int, *_: object, **__: object) -> list[tuple[Any, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    async with backend() as served, probe() as made:
        spec = a_spec(served.url.replace("127.0.0.1", "pipes.example"))
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        assert await made.look(spec, NO_CREDENTIAL) == UP
        made.forget("train")
        assert reason(await made.look(spec, NO_CREDENTIAL)) is Reason.DENIED
        assert asked == ["pipes.example"] * 2
        assert len(served.requests) == 1


async def test_of_several_addresses_one_that_answers_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    async with backend() as served:

        def resolve(_host: str, port: int, *_: object, **__: object) -> list[tuple[Any, ...]]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("127.0.0.2", "127.0.0.1")]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        assert await look(a_spec(served.url.replace("127.0.0.1", "pipes.example"))) == UP


async def test_allow_hosts_narrows_it() -> None:
    async with backend() as served:
        assert reason(await look(a_spec(served.url), destinations=Destinations(allow=(rule("10.0.0.0/8"),)))) is Reason.DENIED
        assert await look(a_spec(served.url), destinations=Destinations(allow=(rule("127.0.0.0/8"),))) == UP
        assert reason(await look(a_spec(served.url), destinations=Destinations(deny=(rule("127.0.0.1"),)))) is Reason.DENIED


# --- connections ---


async def ask(made: HttpProbe, served: Backend, times: int) -> set[Answer]:
    return {await made.look(a_spec(served.url), NO_CREDENTIAL) for _ in range(times)}


async def test_a_connection_is_kept() -> None:
    async with backend() as served, probe() as made:
        assert await ask(made, served, 20) == {UP}
        assert (len(served.requests), len(served.peers)) == (20, 1)


async def test_a_kept_connection_that_the_backend_closed_is_opened_anew() -> None:
    async with raw(OK + b"Content-Length: 2\r\n\r\nok") as url, probe() as made:
        assert {await made.look(a_spec(url), NO_CREDENTIAL) for _ in range(5)} == {Answer(status=PipelineStatus.UP)}


async def test_after_a_failure_the_connection_is_not_used_again() -> None:
    async with backend() as served, probe() as made:
        served.replies["train"] = Reply("x" * (MAX_BODY_BYTES + 1), content_type="text/plain")
        assert {reason(await made.look(a_spec(served.url), NO_CREDENTIAL)) for _ in range(3)} == {Reason.TOO_LARGE}
        assert len(served.peers) == 3


async def test_closing_closes_the_connections() -> None:
    async with backend() as served:
        made = HttpProbe(destinations=Destinations(), timeout_s=5)
        await ask(made, served, 1)
        stream: Any = served.requests[0].connection
        await made.close()
        await made.close()
        await until(lambda: stream.stream is None or stream.stream.closed())
