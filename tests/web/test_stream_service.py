"""Adopting connections, their limits, and what the one timer does."""

import asyncio
import datetime
import itertools
import os
import ssl
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from httpx_sse import aconnect_sse

from tests.support.wait import until
from tests.web.stream_house import Clock, get, house
from waa.web import sse
from waa.web.fanout import Cause
from waa.web.stream_service import StreamLimits

TICK_S = 0.005
BEAT = sse.encode("{}", event="heartbeat")


async def test_the_head_has_the_contract_s_headers_and_the_handler_s_own() -> None:
    async with house() as built:
        client = await built.client()
        head = dict(line.split(": ", 1) for line in client.head.split("\r\n")[1:])
        assert client.head.startswith("HTTP/1.1 200 ")
        assert head["Content-Type"] == "text/event-stream"
        assert head["Cache-Control"] == "no-cache, no-transform"
        assert head["Connection"] == "keep-alive"
        assert head["X-Accel-Buffering"] == "no"
        assert head["Transfer-Encoding"] == "chunked"
        assert head["X-From"] == "handler"


async def test_a_real_event_source_reads_the_stream() -> None:
    async with house() as built, httpx.AsyncClient() as http, aconnect_sse(http, "GET", f"http://127.0.0.1:{built.port}/events") as source:
        messages = source.aiter_sse()
        assert (await anext(messages)).data == "hello"
        built.fanout.publish(sse.encode('{"n":1}', event="progress", id="7"))
        message = await anext(messages)
        assert (message.event, message.id, message.json()) == ("progress", "7", {"n": 1})


async def test_head_is_answered_with_the_headers_and_the_connection_goes_on() -> None:
    async with house() as built, httpx.AsyncClient() as http:
        response = await http.head(f"http://127.0.0.1:{built.port}/events")
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        assert not built.subscribers
        response = await http.head(f"http://127.0.0.1:{built.port}/events")
        assert response.status_code == 200


async def test_a_compressing_application_leaves_the_stream_alone() -> None:
    async with house(settings={"compress_response": True}) as built:
        client = await built.client(get("Accept-Encoding: gzip"))
        built.fanout.publish(sse.encode("plain"))
        assert await client.messages(2) == [b"data: hello", b"data: plain"]


async def test_heartbeats_come_from_the_timer_while_nothing_is_published() -> None:
    clock = Clock()
    async with house(clock=clock, tick_s=TICK_S, heartbeat=lambda: BEAT, heartbeat_s=30.0) as built:
        client = await built.client()
        await client.message()
        for beats in range(1, 4):
            clock.now += 30
            assert await client.message() + b"\n\n" == BEAT
            assert built.service.counts.published == beats


async def test_a_heartbeat_that_raises_does_not_stop_the_timer() -> None:
    clock = Clock()
    beats = iter([None, BEAT])

    def heartbeat() -> bytes:
        beat = next(beats)
        if beat is None:
            raise LookupError("no time")
        return beat

    raised: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: raised.append(context.get("exception")))
    async with house(clock=clock, tick_s=TICK_S, heartbeat=heartbeat) as built:
        client = await built.client()
        await client.message()
        clock.now += 30
        await until(lambda: raised)
        clock.now += 30
        assert await client.message() + b"\n\n" == BEAT
        client.close()
        await until(lambda: not built.service.active)


async def test_a_stream_ends_by_itself_with_retry_and_a_clean_body() -> None:
    clock = Clock()
    limits = StreamLimits(lifetime_s=1800, retry_ms=1234)
    async with house(clock=clock, tick_s=TICK_S, limits=limits, heartbeat=lambda: BEAT, heartbeat_s=5000) as built:
        client = await built.client()
        clock.now += 1800
        assert await client.rest() == sse.encode("hello") + sse.retry(1234) + BEAT
        assert built.closed == [Cause.LIFETIME]
        assert built.service.counts.duration_s == 1800


async def test_lifetimes_differ() -> None:
    chances = itertools.cycle([0.0, 1.0])
    clock = Clock()
    async with house(clock=clock, limits=StreamLimits(lifetime_s=1000), chance=lambda: next(chances)) as built:
        for _ in range(2):
            await built.client()
        assert [subscriber.ends_s - clock.now for subscriber in built.fanout] == [800, 1200]


async def test_a_stream_with_nothing_to_say_ends_though_it_beats() -> None:
    clock = Clock()
    async with house(clock=clock, tick_s=TICK_S, heartbeat=lambda: BEAT, heartbeat_s=30, idle_s=300) as built:
        client = await built.client()
        await client.message()
        clock.now += 200
        assert await client.message() + b"\n\n" == BEAT
        built.fanout.publish(sse.encode("news"))
        assert await client.message() == b"data: news"
        beats = built.service.counts.published
        clock.now += 200
        await until(lambda: built.service.counts.published == beats + 1)
        assert built.service.active == 1
        clock.now += 300
        assert (await client.rest()).endswith(sse.retry(1000) + BEAT)
        assert built.closed == [Cause.IDLE]


async def test_shutdown_sends_what_was_published_then_retry_and_a_clean_end() -> None:
    async with house(limits=StreamLimits(retry_ms=1000, retry_spread_ms=4000)) as built:
        client = await built.client()
        built.fanout.publish(sse.encode("last"))
        closing = asyncio.create_task(built.service.close())
        assert await client.rest() == sse.encode("hello") + sse.encode("last") + sse.retry(3000) + b"\n"
        await closing
        await built.service.close()
        assert built.closed == [Cause.SHUTDOWN]
        refused = await built.client()
        assert refused.head.startswith("HTTP/1.1 503 ")
        assert "Retry-After: 30" in refused.head


async def test_shutdown_does_not_wait_for_a_stuck_reader_for_ever() -> None:
    async with house(first=lambda: b"data: " + b"x" * 5_000_000 + b"\n\n") as built:
        stuck = await built.connect(receive_buffer_bytes=4096)
        await until(lambda: len(built.fanout) == 1)
        await built.service.close(grace_s=0.05)
        assert built.service.active == 0
        with pytest.raises(ConnectionResetError):
            while await asyncio.get_running_loop().sock_recv(stuck, 65536):
                pass


async def test_a_client_that_does_not_close_after_the_end_is_closed() -> None:
    clock = Clock()
    async with house(clock=clock, tick_s=TICK_S, limits=StreamLimits(linger_s=5)) as built:
        client = await built.client()
        built.only.end()
        assert await client.message() == b"data: hello"
        subscriber = built.subscribers[0]()
        assert subscriber is not None
        assert not subscriber.is_gone
        clock.now += 5
        await until(lambda: subscriber.is_gone)


async def test_the_fifth_stream_of_a_browser_says_bye_to_its_oldest() -> None:
    async with house() as built:
        clients = [await built.client(get("X-Key: browser")) for _ in range(4)]
        await built.client()
        await built.client(get("X-Key: another"))
        await built.client(get("X-Key: browser"))
        assert await clients[0].rest() == sse.encode("hello") + sse.encode("{}", event="bye", retry_ms=30_000)
        assert built.closed == [Cause.BYE]
        assert built.service.active == 6


async def test_too_many_streams_of_an_address_are_refused_until_one_closes() -> None:
    async with house(limits=StreamLimits(max_per_address=2, refused_retry_s=7)) as built:
        first, _second = [await built.client(get("X-Address: 10.0.0.1")) for _ in range(2)]
        await built.client(get("X-Address: 10.0.0.2"))
        refused = await built.client(get("X-Address: 10.0.0.1"))
        assert refused.head.startswith("HTTP/1.1 429 ")
        assert "Retry-After: 7" in refused.head
        assert built.service.counts.refused == 1
        first.close()
        await until(lambda: built.service.active == 2)
        again = await built.client(get("X-Address: 10.0.0.1"))
        assert again.head.startswith("HTTP/1.1 200 ")


async def test_too_many_streams_in_all_are_refused() -> None:
    async with house(limits=StreamLimits(max_streams=1)) as built:
        await built.client()
        refused = await built.client()
        assert refused.head.startswith("HTTP/1.1 503 ")


async def test_streams_are_counted() -> None:
    async with house() as built:
        first = await built.client()
        second = await built.client(get("Last-Event-ID: 7"))
        counts = built.service.counts
        assert (built.service.active, counts.opened, counts.resumed) == (2, 2, 1)
        payload = sse.encode("news")
        built.fanout.publish(payload)
        await first.messages(2)
        assert (counts.frames, counts.bytes) == (2, 2 * len(sse.chunk(payload)))
        first.close()
        second.close()
        await until(lambda: counts.closed == {Cause.CLIENT: 2})


async def test_opening_and_closing_again_and_again_leaves_nothing() -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        async with house(tick_s=TICK_S) as built:
            client = await built.client()
        client.close()
        assert built.closed == [Cause.SHUTDOWN]
    assert len(os.listdir("/proc/self/fd")) == descriptors


async def test_a_tls_stream_works_and_ends_cleanly(tmp_path: Path) -> None:
    server, trust = certificates(tmp_path)
    clock = Clock()
    async with house(tls=server, clock=clock, tick_s=TICK_S) as built:
        reader, writer = await asyncio.open_connection("127.0.0.1", built.port, ssl=trust, server_hostname="localhost")
        writer.write(get())
        await until(lambda: len(built.fanout) == 1)
        for number in range(300):
            built.fanout.publish(sse.encode(f"{number} {'x' * 2000}"))
            await asyncio.sleep(0)
        assert not built.only.is_direct
        await read_to(reader, b"data: 299 ")
        subscriber = built.only
        clock.now += 3600
        assert (await reader.read()).endswith(sse.END)
        writer.close()
        await until(lambda: subscriber.is_gone)


async def test_a_stuck_tls_reader_of_a_view_skips_to_the_latest(tmp_path: Path) -> None:
    server, trust = certificates(tmp_path)
    state = 0
    async with house(tls=server, catch_up=lambda _subscriber: sse.encode(f"snapshot {state} end")) as built:
        reader, writer = await asyncio.open_connection("127.0.0.1", built.port, ssl=trust, server_hostname="localhost", limit=1024)
        writer.write(get())
        await until(lambda: len(built.fanout) == 1)
        for state in range(1, 301):
            built.fanout.publish(sse.encode(f"{state} {'x' * 60_000}"))
            await asyncio.sleep(0)
        await read_to(reader, b"snapshot 300 end")
        assert built.service.counts.caught_up
        assert built.service.active == 1
        writer.close()
        await until(lambda: not built.service.active)


async def read_to(reader: asyncio.StreamReader, mark: bytes) -> None:
    tail = b""
    while mark not in tail:
        data = await reader.read(65536)
        assert data, "closed too early"
        tail = tail[-len(mark) :] + data


def certificates(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate of its own, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    key_file, certificate_file = folder / "key.pem", folder / "certificate.pem"
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate_file, key_file)
    return server, ssl.create_default_context(cafile=str(certificate_file))
