"""The HTTP edge: what is no HTTP, what never ends and what comes in crowds harms nobody else (X1)."""

import asyncio
import contextlib
import functools
import gc
import logging
import os
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tornado.ioloop import IOLoop

from tests.support.wait import PATIENCE_S
from tests.web.house import House, house, until
from waa.core.proxy import parse_proxies
from waa.web.deps import WebSettings
from waa.web.edge import EdgeLimits, EdgeServer, Refusal

HOST = b"Host: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
REGISTER = b"POST /api/vms/register HTTP/1.1\r\n" + HOST
FORM = b"Content-Type: multipart/form-data; boundary=x\r\n"
IMPORT = b"POST /api/traces/import?name=a.zip HTTP/1.1\r\n" + HOST
GET = b"GET /live HTTP/1.1\r\n" + HOST
END = b"Connection: close\r\n\r\n"
ZIP = b"Content-Type: application/zip\r\n"
LIMITS = EdgeLimits(max_connections=12, max_per_address=8, body_bytes=1000)


def edge_of(built: House) -> EdgeServer:
    assert built.edge is not None
    return built.edge


@asynccontextmanager
async def calm(**options: object) -> AsyncIterator[House]:
    """A house that serves others after all that was done to it, and holds no file of them."""
    async with house(**options) as built:  # type: ignore[arg-type]
        await built.json("/live")
        yield built
        assert (await built.ask("/live", headers={"Connection": "close"})).code == 200
        await until(lambda: edge_of(built).connections <= 1, "the connections are closed")


async def told(built: House, data: bytes) -> bytes:
    """What is answered until the server closes; the client says that it sends no more."""
    reader, writer = await built.connect()
    try:
        writer.write(data)
        writer.write_eof()
        async with asyncio.timeout(PATIENCE_S):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def leave(crowd: Sequence[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
    """Close connections, and wait for it."""
    for _, writer in crowd:
        writer.close()
    for _, writer in crowd:
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def statuses(answer: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


MALFORMED = {
    "no line": b"\r\n\r\n",
    "one word": b"GET\r\n\r\n",
    "no version": b"GET /live\r\n" + HOST + END,
    "no path": b"GET  HTTP/1.1\r\n" + HOST + END,
    "two spaces": b"GET  /live HTTP/1.1\r\n" + HOST + END,
    "tabs": b"GET\t/live\tHTTP/1.1\r\n" + HOST + END,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /live HTTP/0.9\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + os.urandom(64) + b"\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "NUL": b"GET /\0 HTTP/1.1\r\n" + HOST + END,
    "bytes": b"GET /\xff\xfe HTTP/1.1\r\n" + HOST + END,
    "no colon": GET + b"nonsense\r\n" + END,
    "space before the colon": GET + b"X : y\r\n" + END,
    "folded first": b"GET /live HTTP/1.1\r\n folded: x\r\n" + HOST + END,
    "NUL in a value": GET + b"X: a\0b\r\n" + END,
    "two hosts": GET + b"Host: localhost\r\n" + END,
    "no host": b"GET /live HTTP/1.1\r\n" + END,
    "host with a path": b"GET /live HTTP/1.1\r\nHost: localhost/evil\r\n" + END,
    "host with a user": b"GET /live HTTP/1.1\r\nHost: a@localhost\r\n" + END,
    "two lengths": GET + b"Content-Length: 1\r\nContent-Length: 2\r\n" + END + b"ab",
    "a length below nothing": GET + b"Content-Length: -1\r\n" + END,
    "a length with a sign": GET + b"Content-Length: +1\r\n" + END + b"a",
    "a length with a line": GET + b"Content-Length: 1_0\r\n" + END + b"0123456789",
    "a length too long for a number": GET + b"Content-Length: " + b"9" * 6000 + b"\r\n" + END,
    "length and chunks": GET + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n" + END + b"0\r\n\r\n",
    "chunks twice": GET + b"Transfer-Encoding: chunked, chunked\r\n" + END + b"0\r\n\r\n",
    "unknown coding": GET + b"Transfer-Encoding: xchunked\r\n" + END + b"0\r\n\r\n",
    "chunk size below nothing": GET + b"Transfer-Encoding: chunked\r\n" + END + b"-1\r\n\r\n",
    "chunk size of no number": GET + b"Transfer-Encoding: chunked\r\n" + END + b"zz\r\n\r\n",
    "chunk size without end": GET + b"Transfer-Encoding: chunked\r\n" + END + b"1" * 200,
    "chunk without its end": GET + b"Transfer-Encoding: chunked\r\n" + END + b"1\r\nabc\r\n0\r\n\r\n",
    "headers of 100 kB": GET + b"X: " + b"x" * 100_000 + b"\r\n" + END,
    "ten thousand headers": GET + b"".join(b"X%d: y\r\n" % number for number in range(10_000)) + END,
    "a path of 100 kB": b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n" + HOST + END,
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
async def test_what_is_no_http_is_refused(data: bytes) -> None:
    async with calm() as built:
        answer = await told(built, data)
        assert all(status in (400, 421) for status in statuses(answer)), answer[:200]
        assert b'{"status":"ok"}' not in answer


LENIENT = {
    "absolute": b"GET http://localhost/live HTTP/1.1\r\n" + HOST + END,
    "absolute, another host": b"GET http://evil.example.org/live HTTP/1.1\r\n" + HOST + END,
    "authority": b"CONNECT localhost:443 HTTP/1.1\r\n" + HOST + END,
    "star": b"OPTIONS * HTTP/1.1\r\n" + HOST + END,
    "two slashes": b"GET //live HTTP/1.1\r\n" + HOST + END,
    "a query of 30 kB": b"GET /live?" + b"x=y&" * 7500 + b" HTTP/1.1\r\n" + HOST + END,
    "half a percent": b"GET /api/vms/%zz?vm=%e0%80%80&%=%00 HTTP/1.1\r\n" + HOST + END,
    "a percent twice": b"GET /static/%252e%252e/server.py HTTP/1.1\r\n" + HOST + END,
    "slash by percent": b"GET /static/..%2f..%2fserver.py HTTP/1.1\r\n" + HOST + END,
    "backslash": b"GET /static/..\\..\\server.py HTTP/1.1\r\n" + HOST + END,
    "line by percent": b"GET /runs/x%0d%0aSet-Cookie:%20a=b HTTP/1.1\r\n" + HOST + END,
    "line in next": b"GET /login?next=/%0d%0aSet-Cookie:%20a=b HTTP/1.1\r\n" + HOST + END,
    "cookies of nonsense": GET + b"Cookie: waa_session=\xff\xfe; =; ;;; waa_browser=\"\\\\; $Path\r\n" + END,
    "keys of nonsense": GET + b"X-API-Key: \xc3\xa4\r\nAuthorization: Bearer \xff\r\n" + END,
    "nonsense forwarded": GET + b"X-Forwarded-For: ;;,\xff,1.2.3\r\nX-Forwarded-Proto: \xff\r\n" + END,
    "a body nobody asked for": GET + b"Content-Length: 3\r\n" + END + b"abc",
    "a form of nonsense": b"POST /vms HTTP/1.1\r\n" + HOST + FORM + b"Content-Length: 9\r\n" + END + b"--x\r\n\r\n--",
    "gzip that is none": REGISTER + JSON + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n" + END + b"{}",
    "a chunked body": REGISTER + JSON + CHUNKED + END + b"2\r\n{}\r\n0\r\n\r\n",
    "an archive in chunks that break off": IMPORT + ZIP + CHUNKED + END + b"ff\r\nabc",
}  # fmt: skip


@pytest.mark.parametrize("data", LENIENT.values(), ids=LENIENT.keys())
async def test_what_is_odd_gets_an_answer_and_no_failure(data: bytes) -> None:
    async with calm() as built:
        answer = await told(built, data)
        assert all(status < 500 for status in statuses(answer)), answer[:200]
        assert b"Set-Cookie: a=b" not in answer
        assert b"def main" not in answer


async def test_requests_in_a_row_are_answered_in_their_order() -> None:
    async with calm() as built:
        ask = b"GET /api/vms/%d HTTP/1.1\r\n" + HOST + b"\r\n"
        answer = await built.raw(b"".join(ask % number for number in range(50)) + GET + END)
        assert re.findall(rb"named '(\d+)'", answer) == [b"%d" % number for number in range(50)]
        assert statuses(answer) == [404] * 50 + [200]


async def test_what_follows_a_refused_body_is_no_request() -> None:
    """Smuggling: whoever reads the length otherwise than we do must not get a second request in."""
    async with calm() as built:
        inner = b"GET /api/vms HTTP/1.1\r\n" + HOST + END
        head = b"POST /api/vms/register HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
        answer = await told(built, head + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner)
        assert statuses(answer) == [400]


line = st.binary(max_size=60)
name = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=":"), min_size=1, max_size=20).map(str.encode)
known = st.sampled_from(
    [
        b"Host",
        b"Content-Length",
        b"Transfer-Encoding",
        b"Connection",
        b"Expect",
        b"Cookie",
        b"Range",
        b"If-None-Match",
        b"Origin",
        b"Upgrade",
    ]
)
value = st.one_of(
    line, st.sampled_from([b"chunked", b"0", b"5", b"localhost", b"100-continue", b"bytes=0-", b"*", b"keep-alive", b"upgrade"])
)
target = st.one_of(st.sampled_from([b"/", b"/live", b"/api/vms", b"/stream?panels=fleet", b"/static/app.css"]), line)
method = st.one_of(st.sampled_from([b"GET", b"HEAD", b"POST", b"DELETE", b"OPTIONS", b"TRACE"]), line)
request = st.builds(
    lambda method, target, headers, body: (
        method + b" " + target + b" HTTP/1.1\r\n" + b"".join(n + b": " + v + b"\r\n" for n, v in headers) + b"\r\n" + body
    ),
    method,
    target,
    st.lists(st.tuples(st.one_of(known, name), value), max_size=6),
    line,
)


@pytest.fixture
def open_house(io_loop: IOLoop) -> Iterator[tuple[IOLoop, House]]:
    """A house that stays open from example to example."""
    context = calm()
    built = io_loop.run_sync(context.__aenter__)
    yield io_loop, built
    io_loop.run_sync(lambda: context.__aexit__(None, None, None))


@settings(max_examples=150, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.one_of(request, st.lists(request, min_size=2, max_size=3).map(b"".join), st.binary(max_size=300)))
def test_no_bytes_make_us_fail(data: bytes, open_house: tuple[IOLoop, House], caplog: pytest.LogCaptureFixture) -> None:
    io_loop, built = open_house

    async def send() -> None:
        reader, writer = await built.connect()
        writer.write(data)
        writer.write_eof()
        answer = b""
        try:
            while b"text/event-stream" not in answer and (piece := await reader.read(65536)):
                answer += piece
        except ConnectionResetError:
            pass
        finally:
            writer.close()
        assert all(status < 500 for status in statuses(answer)), answer[:300]

    io_loop.run_sync(send, timeout=PATIENCE_S)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


# --- The slow.


async def test_a_request_that_does_not_come_is_dropped_and_others_are_served() -> None:
    async with calm(edge=EdgeLimits()) as built:
        slow = [await built.connect() for _ in range(200)]
        for number, (_, writer) in enumerate(slow):
            writer.write((GET + b"X-A: b\r\n")[: number % 40])
        assert await built.json("/live") == {"status": "ok"}
        await until(lambda: edge_of(built).connections >= 200, "all are connected")
        for _ in range(3):  # a header a while is no request either
            built.stream_clock.now += 6
            for _, writer in slow:
                writer.write(b"X-A: b\r\n" if writer.get_extra_info("peername") else b"")
            assert await built.json("/api/vms") == {"vms": []}
        built.stream_clock.now += 3
        answers = await asyncio.gather(*(reader.read() for reader, _ in slow))
        assert {statuses(answer)[0] for answer in answers if answer} <= {408, 400}
        await leave(slow)


async def test_a_connection_that_has_asked_may_be_idle_for_longer() -> None:
    async with calm(edge=EdgeLimits(head_s=20, idle_s=75)) as built:
        reader, writer = await built.connect()
        for wait_s in (19, 74, 74):
            built.stream_clock.now += wait_s
            writer.write(GET + b"\r\n")
            assert b"200 OK" in await reader.readuntil(b'"ok"}')
        built.stream_clock.now += 76
        assert await reader.read() == b""
        await leave([(reader, writer)])


async def test_a_body_that_drips_is_dropped_and_leaves_nothing(tmp_path: Path) -> None:
    folder = str(tmp_path)
    web = WebSettings(upload_folder=folder, upload_limit_bytes=10_000_000)
    async with calm(edge=EdgeLimits(body_s=30, body_bytes=1000), settings=web) as built:
        reader, writer = await built.connect()
        writer.write(b"POST /api/traces/import?name=a.zip HTTP/1.1\r\n" + HOST + ZIP + b"Content-Length: 1000000\r\n\r\n")
        await until(lambda: os.listdir(folder), "the upload has begun")
        for _ in range(3):
            writer.write(b"x" * 100)
            built.stream_clock.now += 9
            assert await built.json("/live") == {"status": "ok"}
        built.stream_clock.now += 4
        await reader.read()
        await until(lambda: not os.listdir(folder), "what came of the upload is removed")
        await leave([(reader, writer)])


async def test_a_body_that_makes_progress_may_take_long(tmp_path: Path) -> None:
    web = WebSettings(upload_folder=str(tmp_path), upload_limit_bytes=10_000_000)
    async with calm(edge=EdgeLimits(body_s=30, body_bytes=10_000), settings=web) as built:
        reader, writer = await built.connect()
        writer.write(IMPORT + ZIP + b"Content-Length: 400000\r\n" + END)

        def has(size: int) -> bool:
            return sum(path.stat().st_size for path in tmp_path.iterdir()) >= size

        for number in range(1, 20):
            writer.write(b"x" * 20_000)
            await until(functools.partial(has, number * 20_000 - 10_000), f"piece {number} is taken")
            built.stream_clock.now += 29
            assert await built.json("/live") == {"status": "ok"}
        writer.write(b"x" * 20_000)
        assert statuses(await reader.read()) == [202]
        await leave([(reader, writer)])


# --- The many.


async def test_one_address_gets_no_more_than_its_connections_and_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    async with calm(edge=LIMITS) as built:
        crowd = [await built.connect() for _ in range(30)]
        ends = await asyncio.gather(*(asyncio.wait_for(reader.read(), PATIENCE_S) for reader, _ in crowd[8:]), return_exceptions=True)
        assert {statuses(end)[0] for end in ends if isinstance(end, bytes) and end} == {503}
        assert edge_of(built).connections <= 8
        await leave(crowd)
        await until(lambda: edge_of(built).connections == 0, "all are gone")
        assert (await built.ask("/live", headers={"Connection": "close"})).code == 200
    lines = [record.getMessage() for record in caplog.records if record.name == "waa.web.edge"]
    assert 1 <= len(lines) <= 3  # an attack is no flood of the log
    assert all(line.startswith(f"connections closed cause={Refusal.ADDRESS}") for line in lines)


async def test_streams_are_connections() -> None:
    async with calm(edge=LIMITS) as built:
        listeners = [await built.listen() for _ in range(6)]
        assert edge_of(built).connections >= 6
        rest = [await built.connect() for _ in range(4)]
        gone = [await asyncio.wait_for(reader.read(), PATIENCE_S) for reader, _ in rest[2:]]
        assert b"Too many connections" in gone[-1]
        for listener in listeners:
            await listener.close()
        await leave(rest)


async def test_all_connections_together_have_a_bound_and_those_of_a_trusted_proxy_are_many_peoples() -> None:
    web = WebSettings(proxies=parse_proxies(["127.0.0.1"]))
    limits = EdgeLimits(max_connections=10, max_per_address=2)
    async with house(settings=web, edge=limits) as built:
        crowd = [await built.connect() for _ in range(10)]
        await until(lambda: edge_of(built).connections == 10, "all are in")
        reader, writer = await built.connect()
        assert statuses(await reader.read()) == [503]
        await leave([*crowd, (reader, writer)])
        await until(lambda: edge_of(built).connections == 0, "all are gone")
        assert await built.json("/live") == {"status": "ok"}


async def test_a_crowd_leaves_no_file_open() -> None:
    async with calm(edge=EdgeLimits()) as built:
        await built.ask("/live", headers={"Connection": "close"})
        gc.collect()
        before = len(os.listdir("/proc/self/fd"))
        for data in (GET, b"", GET + END, b"\0" * 100, GET + b"Content-Length: 100\r\n\r\nx"):
            crowd = [await built.connect() for _ in range(40)]
            for _, writer in crowd:
                writer.write(data)
            await leave(crowd)
        await until(lambda: edge_of(built).connections == 0, "all are gone")
        await until(lambda: gc.collect() >= 0 and len(os.listdir("/proc/self/fd")) <= before, "their files are closed")
