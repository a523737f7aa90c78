"""Input of every wrong kind is answered with what is wrong, never with a failure of ours."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tornado.httpclient import HTTPResponse
from tornado.ioloop import IOLoop

from tests.support.wait import PATIENCE_S
from tests.web.house import House, house
from waa.web.app import ROUTES
from waa.web.base import MAX_BODY_BYTES

GOOD = {"name": "waa-1", "ssh_host": "10.0.0.4"}
FIELDS = (
    "name", "ssh_host", "ssh_user", "ssh_port", "ssh_key", "known_hosts", "trust_first", "proxy_jump", "transport", "container",
    "docker_container", "engine", "guest_ip", "internal_ip", "waa_port", "vnc_port", "vnc_url", "log_path", "log_side", "results_dir",
    "process",
)  # fmt: skip
JSON = {"Content-Type": "application/json"}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)


def told(answer: HTTPResponse) -> dict[str, Any]:
    """The error of an answer."""
    error: dict[str, Any] = json.loads(answer.body)["error"]
    assert error["status"] == answer.code
    return error


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("name", "", "required"),
        ("name", None, "required"),
        ("name", "new", "choose another"),
        ("name", "register", "choose another"),
        ("name", "-x", "letters"),
        ("name", "a/b", "letters"),
        ("name", "a" * 64, "1 to 63"),
        ("name", "a\n", "letters"),
        ("name", "a\0", "letters"),
        ("name", 7, "str"),
        ("name", ["a"], "str"),
        ("ssh_host", "", "required"),
        ("ssh_host", "-oProxyCommand=x", "host name or IP"),
        ("ssh_host", "a b", "host name or IP"),
        ("ssh_host", "a;b", "host name or IP"),
        ("ssh_host", {}, "str"),
        ("ssh_user", "-x", "user name"),
        ("ssh_user", "a b", "user name"),
        ("ssh_port", 0, "1 to 65535"),
        ("ssh_port", 65536, "1 to 65535"),
        ("ssh_port", "22", "int"),
        ("ssh_port", 22.5, "int"),
        ("ssh_port", True, "int"),
        ("ssh_port", 10**40, ""),
        ("waa_port", -1, "1 to 65535"),
        ("vnc_port", 99999, "1 to 65535"),
        ("docker_container", "a b", "container name"),
        ("docker_container", 5, "str"),
        ("container", "$(x)", "container name"),
        ("internal_ip", "1.2.3.4;id", "host name or IP"),
        ("internal_ip", 5, "str"),
        ("guest_ip", " ", "host name or IP"),
        ("engine", "docker ps", "docker or podman"),
        ("engine", "-v", "docker or podman"),
        ("trust_first", "yes", "bool"),
        ("transport", "telnet", "ssh, local"),
        ("log_side", "moon", "auto, host, container"),
        ("log_path", "relative", "absolute path"),
        ("log_path", "/a\nb", "printable"),
        ("log_path", "/" + "a" * 2000, "1024"),
        ("results_dir", "x", "absolute path"),
        ("process", "(", "regular expression"),
        ("process", "a{99999999999999}", "regular expression"),
        ("process", "", "1 to 200"),
        ("process", "x" * 201, "1 to 200"),
        ("vnc_url", "javascript:alert(1)", "http or https"),
        ("ssh_key", "a\0b", "printable"),
        ("known_hosts", "a\nb", "printable"),
        ("proxy_jump", "x" * 2000, "1024"),
        ("origin", "config", "allowed:"),
        ("nonsense", 1, "internal_ip"),
        ("", 1, "allowed:"),
    ],
)
async def test_a_wrong_field_is_422_with_its_own_name_and_what_is_allowed(field: str, value: object, allowed: str) -> None:
    async with house() as built:
        answer = await built.post_json("/api/vms/register", GOOD | {field: value})
        assert answer.code == 422, answer.body
        error = told(answer)
        assert error["field"] == field
        assert error["message"].startswith(f"{field}: ")
        assert allowed in error["message"]
        assert not built.recorder.state.vms


@pytest.mark.parametrize(
    "body",
    [
        b"", b"no json", b"[]", b'"text"', b"null", b"7", b'{"name":', b"{'name':1}", b'\xff\xfe{"name":1}', b'{"name":"\xff"}',
        b'{"\xff":1}', b"[" * 100_000, b'{"a":' * 40_000, b'{"a":"\\ud800"}', b'{"a":NaN}', b'{"a":1e999}', b'{"a":' + b"1" * 9000 + b"}",
        b"\0", b'{"name":"a","ssh_host":"b"}x',
    ],
    ids=lambda body: repr(body[:24]),
)  # fmt: skip
async def test_a_body_that_is_no_json_object_is_422(body: bytes) -> None:
    async with house() as built:
        answer = await built.post_json("/api/vms/register", body)
        assert answer.code == 422
        assert told(answer)["field"]
        assert not built.recorder.state.vms


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"])
async def test_another_content_type_is_422_and_says_which_is_wanted(kind: str) -> None:
    async with house() as built:
        answer = await built.ask("/api/vms/register", "POST", body=json.dumps(GOOD), headers={"Content-Type": kind})
        assert (answer.code, told(answer)["field"]) == (422, "Content-Type")
        assert "application/json" in told(answer)["message"]


async def test_a_form_of_parts_that_has_none_is_400() -> None:
    async with house() as built:
        answer = await built.ask("/api/vms/register", "POST", body=b"{}", headers={"Content-Type": "multipart/form-data"})
        assert (answer.code, told(answer)["field"]) == (400, None)


async def test_the_content_type_may_have_a_charset_and_any_case() -> None:
    async with house() as built:
        headers = {"Content-Type": "Application/JSON; charset=utf-8"}
        assert (await built.ask("/api/vms/register", "POST", body=json.dumps(GOOD), headers=headers)).code == 201


async def test_both_names_of_one_field_are_refused() -> None:
    async with house() as built:
        answer = await built.post_json("/api/vms/register", GOOD | {"docker_container": "a", "container": "a"})
        assert (answer.code, told(answer)["field"]) == (422, "docker_container")


async def test_a_body_that_is_too_long_is_413_and_one_far_beyond_ends_the_connection() -> None:
    async with house() as built:
        fits = json.dumps(GOOD | {"ssh_key": "x"}).encode()
        assert (await built.post_json("/api/vms/register", fits + b" " * (MAX_BODY_BYTES - len(fits)))).code == 201
        answer = await built.post_json("/api/vms/register", fits + b" " * MAX_BODY_BYTES)
        assert (answer.code, told(answer)["message"]) == (413, f"The body is longer than {MAX_BODY_BYTES} bytes")
        head = f"POST /api/vms/register HTTP/1.1\r\nHost: {built.netloc}\r\nContent-Type: application/json\r\n"
        assert (await built.raw(f"{head}Content-Length: 99999999999\r\n\r\n".encode())).startswith(b"HTTP/1.1 400")
        assert await built.json("/live") == {"status": "ok"}


@settings(max_examples=80)
@given(data=st.data())
def test_no_value_of_any_field_makes_us_fail(data: st.DataObject, open_house: tuple[IOLoop, House]) -> None:
    io_loop, built = open_house
    body = data.draw(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=12), anything, max_size=6))
    answer = io_loop.run_sync(lambda: built.post_json("/api/vms/register", GOOD | body), timeout=PATIENCE_S)
    assert answer.code in (200, 201, 409, 422)
    if answer.code == 422:
        error = told(answer)
        assert error["field"] is not None
        assert error["message"].startswith(f"{error['field']}: ")


@settings(max_examples=60)
@given(
    route=st.sampled_from(ROUTES),
    method=st.sampled_from(["GET", "HEAD", "DELETE", "PATCH", "PUT", "POST", "OPTIONS"]),
    query=st.dictionaries(
        st.sampled_from(["vm", "run", "run_id", "panels", "interval", "lastEventId", "job_id", "x"]), st.text(max_size=30), max_size=4
    ),
)
def test_no_query_makes_us_fail(
    route: tuple[str, type[Any], Any], method: str, query: dict[str, str], open_house: tuple[IOLoop, House]
) -> None:
    io_loop, built = open_house
    path = sample(route[0]) + "?" + urlencode(query, errors="replace")
    request = f"{method} {path} HTTP/1.0\r\nHost: {built.netloc}\r\n\r\n".encode()

    async def status() -> int:
        return await first_status(built, request)

    assert io_loop.run_sync(status, timeout=PATIENCE_S) < 500


@pytest.fixture
def open_house(io_loop: IOLoop) -> Any:
    """A house that stays open from example to example."""
    context = house()
    built = io_loop.run_sync(context.__aenter__)
    yield io_loop, built
    io_loop.run_sync(lambda: context.__aexit__(None, None, None))


def sample(pattern: str, segment: str = "vm-1") -> str:
    """A path of a route."""
    path = pattern.replace("(?:background-)?", "")
    while "(" in path:
        start, end = path.index("("), path.index(")")
        path = f"{path[:start]}{segment}{path[end + 1 :]}"
    return path


async def first_status(built: House, request: bytes) -> int:
    """The status of the answer to raw bytes; 0 where the connection ends without one."""
    reader, writer = await built.connect()
    writer.write(request)
    try:
        line = await reader.readline()
    except ConnectionResetError:
        line = b""
    finally:
        writer.close()
    return int(line.split()[1]) if line else 0


SEGMENTS = (
    "..", "..%2f..%2fetc%2fpasswd", "%2e%2e", "%00", "a%00b", "x" * 5000, "%F0%9F%92%A5", "%ff%fe", "%C0%AF", "%0d%0aSet-Cookie:x", "%",
    "%zz", "<script>", "'", ";", "vm-1%0A", "nobody", "fleet", "unknown-panel", ".", "%2525",
)  # fmt: skip


METHODS = ("HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW")


@pytest.mark.parametrize(
    ("method", "segment"),
    [*(("GET", segment) for segment in SEGMENTS), *((method, segment) for method in METHODS for segment in ("vm-1", "nobody", "a%00b"))],
    ids=lambda text: text[:20],
)
async def test_no_path_and_method_make_us_fail(method: str, segment: str) -> None:
    async with house() as built:
        await built.name()
        for pattern in (*(route[0] for route in ROUTES), "/static/(.*)", "/(.*)"):
            body = "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}" if method in ("POST", "PUT", "PATCH") else "\r\n"
            request = f"{method} {sample(pattern, segment)} HTTP/1.1\r\nHost: {built.netloc}\r\n{body}".encode()
            status = await first_status(built, request)
            assert 200 <= status < 500, f"{method} {pattern}: {status}"


async def test_a_header_that_is_too_long_ends_the_connection_and_nothing_else() -> None:
    async with house() as built:
        status = await first_status(built, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000 + b"\r\n\r\n")
        assert status in (0, 400, 431)
        assert await built.json("/live") == {"status": "ok"}
