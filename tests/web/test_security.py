"""What foreign pages, foreign names and greedy clients are refused (requirement X1)."""

import json
from urllib.parse import urlencode

import pytest

from tests.core.builders import FILE
from tests.web.house import house, until
from tests.web.test_bad_input import sample
from tests.web.test_pages import FORM, opened_form
from waa.web.app import ROUTES
from waa.web.base import BROWSER_COOKIE
from waa.web.deps import WebSettings
from waa.web.stream_service import StreamLimits

EVIL = "https://evil.example.org"
VM = {"name": "waa-1", "ssh_host": "10.0.0.4"}
UNSAFE: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("POST", "/vms", FORM),
    ("POST", "/vms/vm-1/remove", FORM),
    ("POST", "/vms/vm-1/retry", FORM),
    ("POST", "/api/vms/register", {"Content-Type": "application/json"}),
    ("DELETE", "/api/vms/vm-1", {}),
)


def assert_strict(headers: object) -> None:
    text = str(headers)
    assert "script-src 'self'" in text
    assert "unsafe" not in text
    assert "*" not in text


async def test_x1_every_answer_has_the_strict_policy() -> None:
    async with house() as built:
        await built.name()
        static = ("/static/app.css", "/static/nothing", "/static/../server.py")
        paths = [*(sample(pattern) for pattern, *_ in ROUTES), "/nothing", *static]
        for path in paths:
            for method in ("HEAD", "OPTIONS", "POST", "PUT"):
                answer = await built.ask(path, method, body=b"x" if method in ("POST", "PUT") else None)
                assert_strict(answer.headers.get("Content-Security-Policy"))
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Server"] == "waa-live"


@pytest.mark.parametrize(("method", "path", "headers"), UNSAFE)
async def test_x1_a_foreign_page_changes_nothing(method: str, path: str, headers: dict[str, str]) -> None:
    async with house(settings=WebSettings(embed_origins=(EVIL,))) as built:
        await built.name()
        token, cookies = await opened_form(built)
        body = None if method == "DELETE" else json.dumps(VM) if "api" in path else urlencode(VM | {"_xsrf": token})
        for origin in (EVIL, "null", "http://localhost", f"http://localhost:{built.port}", ""):
            answer = await built.ask(path, method, body=body, headers=headers | {"Cookie": cookies, "Origin": origin})
            assert answer.code == 403
            assert "Access-Control-Allow-Origin" not in answer.headers
        assert list(built.recorder.state.vms) == ["vm-1"]
        own = await built.ask(path, method, body=body, headers=headers | {"Cookie": cookies, "Origin": f"http://{built.netloc}"})
        assert own.code in (201, 204, 303)


@pytest.mark.parametrize(("method", "path", "headers"), UNSAFE[:3])
async def test_x1_a_form_without_its_token_is_refused(method: str, path: str, headers: dict[str, str]) -> None:
    async with house() as built:
        await built.name()
        token, cookies = await opened_form(built)
        for cookie, sent in ((cookies, ""), ("", token), (cookies, "2|forged|0|0"), ("_xsrf=other", token)):
            answer = await built.ask(path, method, body=urlencode(VM | {"_xsrf": sent}), headers=headers | {"Cookie": cookie})
            assert answer.code == 403
        assert list(built.recorder.state.vms) == ["vm-1"]


async def test_a_program_needs_no_token_for_json_and_for_delete() -> None:
    async with house() as built:
        assert (await built.post_json("/api/vms/register", VM)).code == 201
        assert (await built.ask("/api/vms/waa-1", "DELETE")).code == 204


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8765", 200),
        ("dash.localhost", 200),
        ("127.0.0.1:1", 200),
        ("127.0.0.2", 200),
        ("[::1]:8765", 200),
        ("192.168.1.9", 200),
        ("dash.example.org", 200),
        ("DASH.example.org:443", 200),
        ("evil.example.org", 421),
        ("localhost.evil.org", 421),
        ("127.0.0.1.evil.org", 421),
        ("xlocalhost", 421),
        ("0x7f.1", 421),
    ],
)
async def test_x1_only_names_of_this_server_are_answered(host: str, status: int) -> None:
    async with house(settings=WebSettings(allowed_hosts=("Dash.example.org",))) as built:
        for path in ("/", "/api/vms", "/stream?panels=fleet", "/static/app.css", "/live", "/nothing"):
            answer = await built.ask(path, "HEAD", headers={"Host": host})
            assert (answer.code == 421) is (status == 421), path


async def test_a_server_for_others_takes_any_name_unless_names_are_given() -> None:
    assert WebSettings(is_local=False).allows_host("dash.example.org")
    named = WebSettings(is_local=False, allowed_hosts=("dash.example.org",))
    assert [named.allows_host(host) for host in ("dash.example.org", "evil.example.org", "10.0.0.4")] == [True, False, True]


@pytest.mark.parametrize(
    "path",
    ["/static/../server.py", "/static/..%2fserver.py", "/static/%2e%2e/server.py", "/static//etc/passwd", "/static/....//server.py",
     "/static/htmx", "/static/", "/static/%00", "/static/app.css%00.png", "/static/" + "a" * 300, "/static/" + "a/" * 2000],
    ids=lambda path: path[:40],
)  # fmt: skip
async def test_no_path_leads_out_of_the_static_files(path: str) -> None:
    async with house() as built:
        answer = await built.raw(f"GET {path} HTTP/1.0\r\nHost: {built.netloc}\r\n\r\n".encode())
        assert answer.startswith((b"HTTP/1.1 403", b"HTTP/1.1 404"))
        assert b"import" not in answer


async def test_static_files_are_kept_for_good_under_the_name_of_their_content_only() -> None:
    async with house() as built:
        found = (await built.ask("/")).body.decode().partition('href="/static/app.css')[2].partition('"')[0]
        assert "immutable" in (marked := (await built.ask(f"/static/app.css{found}")).headers["Cache-Control"]) or "max-age" in marked
        plain = await built.ask("/static/app.css")
        assert (plain.code, plain.headers["Cache-Control"]) == (200, "no-cache")
        assert (await built.ask("/static/app.css", headers={"If-None-Match": plain.headers["ETag"]})).code == 304


async def test_answers_for_programs_set_no_cookie() -> None:
    async with house() as built:
        await built.name()
        for pattern, *_ in ROUTES:
            if pattern.startswith(("/api", "/live", "/ready", "/metrics", "/fragments", "/stream")):
                assert "Set-Cookie" not in (await built.ask(sample(pattern), "HEAD")).headers
        answer = await built.post_json("/api/vms/register", VM)
        assert "Set-Cookie" not in answer.headers
        assert "Set-Cookie" not in (await built.ask("/api/vms/waa-1", "DELETE")).headers


STREAMS = ("/api/benchmark-sse", "/stream?panels=fleet")


@pytest.mark.parametrize("path", STREAMS)
async def test_x1_streams_of_one_address_are_limited_and_it_is_told_when_to_come_back(path: str) -> None:
    async with house(limits=StreamLimits(max_per_address=2)) as built:
        first = await built.listen(path)
        await built.listen(path)
        answer = await built.ask(path)
        assert (answer.code, answer.headers["Retry-After"]) == (429, "30")
        assert "too many streams" in json.loads(answer.body)["error"]["message"]
        assert_strict(answer.headers.get("Content-Security-Policy"))
        assert (await built.ask("/")).code == 200
        await first.close()
        await until(lambda: built.streams.active == 1, "the first stream's end")
        assert (await built.listen(path)).status == 200


async def test_x1_streams_are_limited_in_all() -> None:
    async with house(limits=StreamLimits(max_streams=1)) as built:
        await built.listen()
        answer = await built.ask("/stream?panels=fleet")
        assert (answer.code, answer.headers["Retry-After"]) == (503, "30")


async def test_a16_the_oldest_stream_of_a_browser_makes_room() -> None:
    async with house(limits=StreamLimits(max_per_browser=2)) as built:
        browser = {"Cookie": f"{BROWSER_COOKIE}=abcdefghijklmnopqrst"}
        oldest = await built.listen("/stream?panels=fleet", headers=browser)
        await built.listen("/stream?panels=fleet", headers=browser)
        await built.listen("/stream?panels=fleet", headers=browser)
        bye = await oldest.until("bye")
        assert bye.retry_ms == 30_000
        await until(lambda: built.streams.active == 2, "two streams left")


async def test_secrets_of_a_log_are_not_shown() -> None:
    async with house() as built:
        await built.name()
        built.tails.take("vm-1", FILE, b"OPENAI_API_KEY=sk-abcdefghijklmnop\n")
        body = (await built.ask("/fragments/log?vm=vm-1")).body
        assert b"OPENAI_API_KEY" in body
        assert b"sk-abcdef" not in body
