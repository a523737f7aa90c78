"""Logging in and out, keys on requests, sessions and their ends, CSRF, proxies, the audit log (X1, E3)."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.cookies import SimpleCookie
from urllib.parse import urlencode

import pytest
from tornado.httpclient import HTTPResponse

from tests.web.house import House, house
from tests.web.markup import judge, read
from waa.core.access import LOCAL, AuditEntry, AuditQuery, Outcome, Scope
from waa.core.proxy import parse_proxies
from waa.services.access import AccessRules, Client, Presented
from waa.web.deps import WebSettings
from waa.web.login import own_path
from waa.web.views.access import browser_words

NOBODY = Client()
GUARDED = AccessRules(is_required=True)
JSON = {"Content-Type": "application/json"}
VM = {"name": "waa-1", "ssh_host": "vm.example.org"}
PAGE = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}


@asynccontextmanager
async def guarded(**options: object) -> AsyncIterator[House]:
    """A house with a lock."""
    async with house(rules=GUARDED, **options) as built:  # type: ignore[arg-type]
        yield built


async def key(built: House, *scopes: str, life_s: float | None = None, name: str = "ci") -> str:
    """The text of a new key."""
    _, text = await built.access.create_key(LOCAL, NOBODY, name=name, scopes=scopes or ("view",), life_s=life_s)
    return text


class Browser:
    """Keeps cookies; sends forms with their token."""

    def __init__(self, built: House, headers: dict[str, str] | None = None) -> None:
        self.built = built
        self.headers = headers or {}
        self.cookies: dict[str, str] = {}
        self.set_cookie = ""

    async def ask(self, path: str, method: str = "GET", *, headers: dict[str, str] | None = None, body: str | None = None) -> HTTPResponse:
        cookie = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}
        answer = await self.built.ask(path, method, body=body, headers=PAGE | self.headers | cookie | (headers or {}))
        for line in answer.headers.get_list("Set-Cookie"):
            if "waa_session" in line:
                self.set_cookie = line
            for name, morsel in SimpleCookie(line).items():
                if morsel.value:
                    self.cookies[name] = morsel.value
                else:
                    self.cookies.pop(name, None)
        return answer

    async def send(self, path: str, fields: dict[str, str], *, form: str = "/login", headers: dict[str, str] | None = None) -> HTTPResponse:
        page = (await self.ask(form)).body.decode()
        found = re.search(r'name="_xsrf" value="([^"]+)"', page)
        assert found, page
        return await self.ask(path, "POST", body=urlencode(fields | {"_xsrf": found.group(1)}), headers=headers)

    async def log_in(self, text: str, next_path: str = "/") -> HTTPResponse:
        return await self.send("/login", {"key": text, "next": next_path})

    @property
    def token(self) -> str:
        return self.cookies["waa_session"]


async def logged(built: House, **query: object) -> list[AuditEntry]:
    """The audit log, oldest first."""
    return list(reversed(await built.access.audit(AuditQuery(**query))))  # type: ignore[arg-type]


# --- Unknown.


async def test_x1_without_a_login_people_are_sent_to_it_and_programs_are_told() -> None:
    async with guarded() as built:
        page = await built.ask("/runs?q=a%20b", headers=PAGE)
        assert (page.code, page.headers["Location"]) == (302, "/login?next=%2Fruns%3Fq%3Da%2520b")
        for path in ("/api/vms", "/stream?panels=fleet", "/api/benchmark-sse", "/fragments/fleet", "/metrics", "/ready"):
            answer = await built.ask(path)
            assert (answer.code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="WAA Live"')
            assert "key" in json.loads(answer.body)["error"]["message"]
        scripted = await built.ask("/fragments/fleet", headers={"Accept": "text/html", "HX-Request": "true"})
        assert scripted.code == 401
        assert (await built.ask("/live")).code == 200
        assert (await built.ask("/static/app.css")).code == 200


async def test_a_page_in_a_frame_is_not_sent_to_the_login() -> None:
    async with guarded() as built:
        answer = await built.ask("/embed/fleet", headers=PAGE)
        assert answer.code == 401
        assert b"<html" in answer.body


async def test_figures_are_public_where_the_operator_says_so() -> None:
    async with guarded(settings=WebSettings(public_metrics=True)) as built:
        assert [(await built.ask(path)).code for path in ("/metrics", "/ready", "/api/vms")] == [200, 200, 401]


async def test_the_error_page_for_a_stranger_names_nothing_of_the_site() -> None:
    async with guarded() as built:
        await built.name("secret-vm")
        answer = await built.ask("/nothing", headers=PAGE)
        assert answer.code == 404
        assert b"secret-vm" not in answer.body
        assert b"Sign out" not in answer.body


# --- Keys.


@pytest.mark.parametrize("how", ["X-API-Key", "Authorization", "lower"])
async def test_e3_a_key_is_taken_from_either_header(how: str) -> None:
    async with guarded() as built:
        text = await key(built)
        headers = {"X-API-Key": text} if how == "X-API-Key" else {"Authorization": f"{'Bearer' if how[0] == 'A' else 'bearer'} {text}"}
        assert (await built.ask("/api/vms", headers=headers)).code == 200


async def test_e3_a_scope_that_is_missing_is_named() -> None:
    async with guarded() as built:
        answer = await built.ask(
            "/api/vms/register", "POST", body=json.dumps(VM), headers=JSON | {"X-API-Key": await key(built, "view", "metrics")}
        )
        assert answer.code == 403
        assert json.loads(answer.body)["error"]["message"] == "This needs the scope operate; ci has: metrics, view"
        assert "WWW-Authenticate" not in answer.headers


async def test_a_key_that_is_unknown_revoked_or_expired_is_refused_with_the_reason() -> None:
    async with guarded() as built:
        good, short = await key(built), await key(built, life_s=60)
        revoked = await key(built)
        await built.access.revoke_key(LOCAL, NOBODY, revoked[4:16])
        built.clock.now += 61
        forged = good[:-1] + ("a" if good[-1] != "a" else "b")
        told = [
            (good, 200),
            (short, "has expired"),
            (revoked, "was revoked"),
            (forged, "not known"),
            ("nonsense", "not known"),
            ("ключ", 0),
        ]
        for text, expected in told:
            answer = await built.ask("/api/vms", headers={"Authorization": "Bearer " + text} if text.isascii() else {})
            if expected == 200:
                assert answer.code == 200
            else:
                assert answer.code == 401
                assert str(expected or "") in json.loads(answer.body)["error"]["message"]


async def test_two_keys_that_contradict_are_refused() -> None:
    async with guarded() as built:
        one, other = await key(built), await key(built)
        assert (await built.ask("/api/vms", headers={"X-API-Key": one, "Authorization": f"Bearer {other}"})).code == 401
        assert (await built.ask("/api/vms", headers={"X-API-Key": one, "Authorization": f"Bearer {one}"})).code == 200
        browser = Browser(built)
        await browser.log_in(one)
        assert (await browser.ask("/api/vms", headers={"X-API-Key": other, "Accept": "*/*"})).code == 401
        assert (await browser.ask("/api/vms", headers={"X-API-Key": one})).code == 200


async def test_a_key_counts_also_where_no_login_is_needed() -> None:
    async with house() as built:
        text = await key(built, "view")
        headers = JSON | {"X-API-Key": text}
        assert (await built.ask("/api/vms/register", "POST", body=json.dumps(VM), headers=headers)).code == 403
        assert (await built.ask("/api/vms", headers={"X-API-Key": "waa_bad"})).code == 401
        assert (await built.ask("/api/vms")).code == 200


# --- Logging in and out.


async def test_a_browser_logs_in_by_key_and_out() -> None:
    async with guarded() as built:
        browser = Browser(built)
        answer = await browser.log_in(await key(built), "/runs?q=x")
        assert (answer.code, answer.headers["Location"]) == (303, "/runs?q=x")
        assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= {part.strip() for part in browser.set_cookie.split(";")}
        assert "Secure" not in browser.set_cookie
        page = await browser.ask("/")
        assert page.code == 200
        assert read(page.body).one(class_="viewer").text == "ci Sign out"
        former = browser.token
        out = await browser.send("/logout", {}, form="/")
        assert (out.code, out.headers["Location"]) == (303, "/login?out=1")
        assert "waa_session" not in browser.cookies
        assert b"You are signed out." in (await browser.ask("/login?out=1")).body
        assert (await built.ask("/api/vms", headers={"Cookie": f"waa_session={former}"})).code == 401
        assert [(entry.action, entry.actor[:4]) for entry in await logged(built)][-2:] == [("login", "key:"), ("logout", "key:")]


async def test_a_wrong_key_says_so_and_is_written_down_without_it() -> None:
    async with guarded() as built:
        good = await key(built)
        forged = good[:-4] + "AAAA"
        answer = await Browser(built).log_in(forged)
        assert answer.code == 401
        assert read(answer.body).one(id_="key-error").text == "This key is not known here"
        judge(read(answer.body))
        entry = (await logged(built, action="login"))[-1]
        assert (entry.outcome, entry.subject, entry.address) == ("refused", f"key:{good[4:16]}", "127.0.0.1")
        assert forged[17:] not in repr(await logged(built))


async def test_every_login_has_a_new_token_and_ends_the_former_one() -> None:
    async with guarded() as built:
        text = await key(built)
        browser = Browser(built)
        browser.cookies["waa_session"] = "planted"
        await browser.log_in(text)
        first = browser.token
        assert first != "planted"
        page = await browser.ask("/")
        token = re.search(rb'name="_xsrf" value="([^"]+)"', page.body)
        assert token
        await browser.ask("/login", "POST", body=urlencode({"key": text, "_xsrf": token.group(1).decode()}))
        assert browser.token != first
        assert (await built.ask("/api/vms", headers={"Cookie": f"waa_session={first}"})).code == 401


@pytest.mark.parametrize(
    "bad",
    ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "evil", "/a b", "/\r\nX: y", "/login?next=/", ""],
)
async def test_a_login_leads_to_own_pages_only(bad: str) -> None:
    assert own_path(bad) == "/"
    async with guarded() as built:
        answer = await Browser(built).log_in(await key(built), bad)
        assert (answer.code, answer.headers["Location"]) == (303, "/")


def test_own_pages_keep_their_query() -> None:
    assert own_path("/runs/a%20b?q=x&page=2#tasks") == "/runs/a%20b?q=x&page=2#tasks"
    assert own_path(None) == "/"


async def test_logins_are_limited_by_address() -> None:
    settings = WebSettings(proxies=parse_proxies(["127.0.0.1"]))
    async with guarded(settings=settings) as built:
        good = await key(built)
        attacker = Browser(built, {"X-Forwarded-For": "203.0.113.9"})
        codes = [(await attacker.log_in("waa_nope")).code for _ in range(11)]
        assert codes == [401] * 10 + [429]
        answer = await attacker.log_in(good)
        assert (answer.code, answer.headers["Retry-After"]) == (429, "7")
        assert (await Browser(built, {"X-Forwarded-For": "203.0.113.10"}).log_in(good)).code == 303
        assert (await built.ask("/api/vms", headers={"X-API-Key": good, "X-Forwarded-For": "203.0.113.9"})).code == 200
        built.clock.now += 7
        assert (await attacker.log_in(good)).code == 303


async def test_a_link_logs_in_once_and_only_by_a_click() -> None:
    async with guarded() as built:
        path = f"/login/{await built.access.make_link(LOCAL, NOBODY)}"
        for _ in range(3):  # previews
            assert (await built.ask(path, headers=PAGE)).code == 200
            assert (await built.ask(path, "HEAD")).code == 200
        browser = Browser(built)
        answer = await browser.send(path, {}, form=path)
        assert (answer.code, answer.headers["Location"]) == (303, "/access")
        assert (await browser.ask("/audit")).code == 200
        again = await Browser(built).send(path, {}, form=path)
        assert again.code == 401
        assert "used already" in read(again.body).one(id_="key-error").text


async def test_a_link_is_good_for_a_quarter_of_an_hour() -> None:
    async with guarded() as built:
        path = f"/login/{await built.access.make_link(LOCAL, NOBODY)}"
        built.clock.now += 901
        assert (await Browser(built).send(path, {}, form=path)).code == 401


async def test_over_tls_the_cookie_is_bound_to_the_host_and_to_tls() -> None:
    async with guarded(settings=WebSettings(proxies=parse_proxies(["127.0.0.0/8"]))) as built:
        browser = Browser(built, {"X-Forwarded-Proto": "https"})
        text = await key(built)
        await browser.log_in(text)
        assert browser.set_cookie.startswith("__Host-waa_session=")
        assert "Secure" in browser.set_cookie
        assert (await browser.ask("/")).code == 200
        plain = Browser(built)
        plain.cookies = dict(browser.cookies)
        assert (await plain.ask("/")).code == 302  # a plain page cannot use it, nor plant one for TLS
        await browser.send("/logout", {}, form="/")
        assert "Secure" in browser.set_cookie
        assert "__Host-waa_session" not in browser.cookies


# --- Ends.


@pytest.mark.parametrize("passes_s", [12 * 3600 + 1, 30 * 86400 + 1])
async def test_a_session_ends_by_idleness_and_by_age(passes_s: float) -> None:
    async with guarded() as built:
        browser = Browser(built)
        await browser.log_in(await key(built))
        used_s = 0.0
        while passes_s - used_s > 12 * 3600 + 1:  # used now and then
            built.clock.now += 11 * 3600
            used_s += 11 * 3600
            assert (await browser.ask("/")).code == 200
        built.clock.now += passes_s - used_s
        assert (await browser.ask("/")).code == 302


@pytest.mark.parametrize("end", ["revoked", "session ended", "logout", "expired"])
@pytest.mark.parametrize("path", ["/stream?panels=fleet", "/api/benchmark-sse"])
async def test_a_stream_ends_with_its_session(end: str, path: str) -> None:
    async with guarded() as built:
        text = await key(built)
        browser, other = Browser(built), Browser(built)
        await browser.log_in(text)
        await other.log_in(text)
        listener = await built.listen(path, headers={"Cookie": f"waa_session={browser.token}"})
        staying = await built.listen(path, headers={"X-API-Key": await key(built, name="other")})
        assert (listener.status, staying.status) == (200, 200)
        if end == "revoked":
            await built.access.revoke_key(LOCAL, NOBODY, text[4:16])
        elif end == "logout":
            await browser.send("/logout", {}, form="/")
        elif end == "session ended":
            await built.access.end_session(LOCAL, NOBODY, _id_of(built, browser))
        else:
            built.clock.now += 12 * 3600 + 1
            await built.access.look()
        await listener.until("signed_out")
        assert built.streams.active == 1
        assert (await built.ask(path, headers={"Cookie": f"waa_session={browser.token}"} if end != "logout" else {})).code == 401


def _id_of(built: House, browser: Browser) -> str:
    identity = built.access.identify(Presented(token=browser.token))
    assert identity is not None
    return identity.session_id


async def test_a_stream_by_key_ends_when_the_key_does() -> None:
    async with guarded() as built:
        text = await key(built, life_s=100)
        listener = await built.listen(headers={"X-API-Key": text})
        built.clock.now += 101
        await built.access.look()
        await listener.until("signed_out")
        assert built.streams.active == 0


# --- CSRF.


async def test_a_form_of_a_session_needs_its_token() -> None:
    async with guarded() as built:
        browser = Browser(built)
        await browser.log_in(await key(built, "operate"))
        assert (await browser.ask("/vms", "POST", body=urlencode(VM))).code == 403
        assert (await browser.send("/vms", VM, form="/vms/new")).code == 303


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Origin": "own"}, 201),
        ({"X-XSRFToken": "own"}, 201),
        ({"X-XSRFToken": "2|forged|0|0"}, 403),
    ],
)
async def test_json_by_a_session_must_come_from_a_page_of_ours(headers: dict[str, str], status: int) -> None:
    async with guarded() as built:
        browser = Browser(built)
        await browser.log_in(await key(built, "operate"))
        if headers.get("Origin") == "own":
            headers = {"Origin": f"http://{built.netloc}"}
        if headers.get("X-XSRFToken") == "own":
            found = re.search(rb'name="_xsrf" value="([^"]+)"', (await browser.ask("/vms/new")).body)
            assert found
            headers = {"X-XSRFToken": found.group(1).decode()}
        answer = await browser.ask("/api/vms/register", "POST", body=json.dumps(VM), headers=JSON | headers)
        assert answer.code == status
        assert ("waa-1" in built.recorder.state.vms) is (status == 201)


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/api/vms/vm-1"), ("POST", "/api/traces/import?name=a.zip")])
async def test_delete_and_uploads_by_a_session_are_checked_too(method: str, path: str) -> None:
    async with guarded() as built:
        await built.name()
        browser = Browser(built)
        await browser.log_in(await key(built, "operate"))
        headers = {"Content-Type": "application/zip"} if method == "POST" else {}
        body = "PK" if method == "POST" else None
        assert (await browser.ask(path, method, headers=headers, body=body)).code == 403
        assert "vm-1" in built.recorder.state.vms
        assert (await browser.ask(path, method, headers=headers | {"Sec-Fetch-Site": "same-origin"}, body=body)).code < 300


async def test_a_key_needs_no_token() -> None:
    async with guarded() as built:
        headers = {"X-API-Key": await key(built, "operate")}
        assert (await built.ask("/vms", "POST", body=urlencode(VM), headers=headers)).code == 303
        assert (await built.ask("/api/vms/waa-1", "DELETE", headers=headers)).code == 204


async def test_a_foreign_form_cannot_log_a_browser_in() -> None:
    async with guarded() as built:
        browser = Browser(built)
        answer = await browser.ask("/login", "POST", body=urlencode({"key": await key(built)}))
        assert answer.code == 403
        assert "waa_session" not in browser.cookies


# --- Proxies.


async def test_only_a_trusted_proxy_names_users_and_only_in_its_header() -> None:
    settings = WebSettings(proxies=parse_proxies(["127.0.0.1"]), proxy_user_header="X-Forwarded-User")
    async with guarded(settings=settings) as built:
        named = await built.ask("/api/vms", headers={"X-Forwarded-User": "ann"})
        assert named.code == 200
        denied = await built.ask("/api/vms/register", "POST", body=json.dumps(VM), headers=JSON | {"X-Forwarded-User": "ann"})
        assert denied.code == 403
        assert "ann has: view" in json.loads(denied.body)["error"]["message"]
        assert (await built.ask("/api/vms", headers={"X-Remote-User": "ann"})).code == 401
    settings = WebSettings(proxies=parse_proxies(["10.0.0.0/8"]), proxy_user_header="X-Forwarded-User")
    async with guarded(settings=settings) as built:
        assert (await built.ask("/api/vms", headers={"X-Forwarded-User": "ann", "X-Forwarded-For": "10.0.0.1"})).code == 401


async def test_users_of_a_proxy_are_guarded_against_foreign_pages() -> None:
    settings = WebSettings(proxies=parse_proxies(["127.0.0.1"]), proxy_user_header="X-Forwarded-User")
    async with house(settings=settings, rules=AccessRules(is_required=True, proxy_scopes=frozenset({Scope.OPERATE}))) as built:
        headers = JSON | {"X-Forwarded-User": "ann"}
        assert (await built.ask("/api/vms/register", "POST", body=json.dumps(VM), headers=headers)).code == 403
        own = headers | {"Sec-Fetch-Site": "same-origin"}
        assert (await built.ask("/api/vms/register", "POST", body=json.dumps(VM), headers=own)).code == 201


# --- Keys and sessions on the page.


async def test_a_key_is_shown_once() -> None:
    async with guarded() as built:
        browser = Browser(built)
        await browser.log_in(await key(built, "admin", name="boss"))
        answer = await browser.send("/access/keys", {"name": "new <b>", "scope": "view", "days": "7"}, form="/access")
        assert (answer.code, answer.headers["Cache-Control"]) == (201, "no-store")
        root = read(answer.body)
        judge(root)
        text = root.one(class_="secret").attributes["value"]
        assert (await built.ask("/api/vms", headers={"X-API-Key": text})).code == 200
        again = (await browser.ask("/access")).body.decode()
        assert text not in again
        assert "new &lt;b&gt;" in again
        created = next(each for each in built.access.keys(LOCAL) if each.name == "new <b>")
        assert created.expires_at == created.created_at + 7 * 86400


@pytest.mark.parametrize(
    ("fields", "status", "told"),
    [
        ({"name": "", "scope": "view"}, 422, "is what the key is called"),
        ({"name": "x"}, 422, "name at least one of"),
        ({"name": "x", "scope": "root"}, 422, "is not one of"),
        ({"name": "x", "scope": "view", "days": "-1"}, 422, "is more than 0"),
        ({"name": "x", "scope": "view", "days": "soon"}, 422, "is a number of days"),
        ({"name": "x", "scope": "view", "days": "nan"}, 422, "is a number of days"),
        ({"name": "x", "scope": "admin"}, 403, "cannot be good for more than its maker: admin"),
    ],
)
async def test_what_is_wrong_with_a_new_key_is_said_beside_it(fields: dict[str, str], status: int, told: str) -> None:
    async with guarded() as built:
        browser = Browser(built)
        await browser.log_in(await key(built, "operate"))
        answer = await browser.send("/access/keys", fields, form="/access")
        assert answer.code == status
        root = read(answer.body)
        judge(root)
        assert told in " ".join(each.text for each in root.all(class_="field-error"))
        assert len(built.access.keys(LOCAL)) == 1


async def test_what_is_not_yours_is_not_there() -> None:
    async with guarded() as built:
        mine, other = await key(built, "view", name="mine"), await key(built, "view", name="other")
        browser, stranger = Browser(built), Browser(built)
        await browser.log_in(mine)
        await stranger.log_in(other)
        page = (await browser.ask("/access")).body.decode()
        assert "other" not in page
        theirs = next(session for session in built.access.sessions(LOCAL) if session.name == "other")
        assert (await browser.send(f"/access/keys/{other[4:16]}/revoke", {}, form="/access")).code == 404
        assert (await browser.send(f"/access/sessions/{theirs.session_id}/end", {}, form="/access")).code == 404
        assert (await browser.send("/access/keys/000000000000/revoke", {}, form="/access")).code == 404
        assert (await browser.ask("/audit")).code == 403
        assert (await stranger.ask("/")).code == 200


async def test_an_administrator_ends_what_others_have() -> None:
    async with guarded() as built:
        boss, worker = Browser(built), Browser(built)
        await boss.log_in(await key(built, "admin", name="boss"))
        text = await key(built, "view", name="worker")
        await worker.log_in(text)
        page = read((await boss.ask("/access")).body)
        judge(page)
        theirs = next(session for session in built.access.sessions(LOCAL) if session.name == "worker")
        assert page.has_id(f"session-{theirs.session_id}")
        assert (await boss.send(f"/access/sessions/{theirs.session_id}/end", {}, form="/access")).code == 303
        assert (await worker.ask("/")).code == 302
        await worker.log_in(text)
        assert (await boss.send(f"/access/keys/{text[4:16]}/revoke", {}, form="/access")).code == 303
        assert (await worker.ask("/")).code == 302
        assert (await worker.log_in(text)).code == 401


async def test_one_ends_ones_other_sessions() -> None:
    async with guarded() as built:
        text = await key(built)
        here, there = Browser(built), Browser(built)
        await here.log_in(text)
        await there.log_in(text)
        assert (await here.send("/access/sessions/end", {}, form="/access")).code == 303
        assert [(await each.ask("/")).code for each in (here, there)] == [200, 302]


# --- The audit log.


async def test_what_is_done_is_written_down() -> None:
    async with guarded() as built:
        await built.name("vm-9")
        await built.start_run(vm="vm-9")
        run_id = next(iter(built.recorder.state.runs))
        text = await key(built, "operate", name="ops")
        weak = await key(built, "view", name="weak")
        headers = JSON | {"X-API-Key": text}
        await built.ask("/api/vms/register", "POST", body=json.dumps(VM), headers=headers)
        await built.ask("/api/vms/register", "POST", body=json.dumps(VM | {"ssh_port": "x"}), headers=headers)
        await built.ask(f"/api/runs/{run_id}/threshold", "POST", body='{"threshold": 0.5}', headers=headers)
        await built.ask("/api/vms/waa-1", "DELETE", headers=headers)
        await built.ask("/api/vms/vm-9", "DELETE", headers={"X-API-Key": weak})
        await built.ask("/api/traces/import", "POST", body='{"path": "/nowhere"}', headers=headers)
        await built.ask("/api/jobs/0123456789abcdef", "DELETE", headers=headers)
        await built.ask("/api/vms/vm-9", "DELETE")
        done = [(entry.name, entry.action, entry.subject, entry.outcome.value) for entry in await logged(built)][2:]
        job = next(iter(built.recorder.state.jobs))
        assert done == [
            ("ops", "vm.add", "waa-1", "done"),
            ("ops", "vm.add", "", "failed"),
            ("ops", "run.threshold", run_id, "done"),
            ("ops", "vm.remove", "waa-1", "done"),
            ("weak", "vm.remove", "vm-9", "refused"),
            ("ops", "results.import", job, "done"),
            ("ops", "job.cancel", "0123456789abcdef", "failed"),
        ]
        assert {entry.address for entry in await logged(built)} == {"", "127.0.0.1"}
        assert text[17:] not in repr(await logged(built))


async def test_strangers_do_not_fill_the_log() -> None:
    async with guarded() as built:
        for _ in range(50):
            await built.ask("/api/vms", headers={"X-API-Key": "waa_bad"})
            await built.ask("/api/vms/vm-1", "DELETE")
        assert len(await logged(built)) == 10


async def test_the_log_is_a_page_and_files() -> None:
    async with house() as built:
        await built.ask("/api/vms/register", "POST", body=json.dumps(VM), headers=JSON)
        built.access.note_action(LOCAL, Client(address="::1"), "vm.add", subject="=1+1<b>", outcome=Outcome.FAILED, detail="no")
        page = await built.ask("/audit", headers=PAGE)
        root = read(page.body)
        judge(root)
        assert [each.text for each in root.all(tag="tbody")[0].all(tag="code")] == ["vm.add", "vm.add"]
        assert "=1+1<b>" in root.text
        lines = (await built.ask("/audit.csv")).body.decode().splitlines()
        assert lines[0] == "number,at,actor,name,via,address,action,subject,outcome,detail"
        assert lines[1].split(",")[2:] == ["local", "this machine", "local", "::1", "vm.add", "'=1+1<b>", "failed", "no"]
        found = json.loads((await built.ask("/audit.json?outcome=done")).body)["entries"]
        assert [entry["subject"] for entry in found] == ["waa-1"]
        assert (await built.ask("/audit?since=today")).code == 422
        assert (await built.ask("/audit?action=x")).code == 422
        assert (await built.ask("/audit?before=x")).code == 422
        assert (await built.ask("/audit?x=1")).code == 422
        assert b"Nothing matches" in (await built.ask("/audit?q=nobody", headers=PAGE)).body


async def test_the_log_is_paged() -> None:
    async with house() as built:
        for number in range(205):
            built.access.note_action(LOCAL, NOBODY, "vm.add", subject=f"vm-{number}", outcome=Outcome.DONE)
        seen: list[str] = []
        path = "/audit"
        while path:
            root = read((await built.ask(path, headers=PAGE)).body)
            seen += [row.attributes["id"] for row in root.all(tag="tbody")[0].all(tag="tr")]
            older = [link.attributes["href"] for link in root.all(tag="a") if link.text == "Older"]
            path = older[0] if older else ""
        assert len(seen) == len(set(seen)) == 205


async def test_by_default_nobody_logs_in_and_everything_is_open() -> None:
    async with house() as built:
        page = await built.ask("/", headers=PAGE)
        assert page.code == 200
        assert b"Sign out" not in page.body
        assert (await built.post_json("/api/vms/register", VM)).code == 201
        assert (await built.ask("/login", headers=PAGE)).headers["Location"] == "/"
        assert (await built.ask("/access", headers=PAGE)).code == 200


@pytest.mark.parametrize(("scopes", "offered"), [(("view",), False), (("ingest", "view"), False), (("operate",), True), (("admin",), True)])
async def test_who_may_not_operate_gets_no_form_that_would_be_refused(scopes: tuple[str, ...], offered: bool) -> None:
    async with guarded() as built:
        await built.access.create_key(LOCAL, NOBODY, name="any", scopes=("view",), life_s=None)
        assert (
            await built.ask("/api/vms/register", "POST", body=json.dumps(VM), headers=JSON | {"X-API-Key": await key(built, "operate")})
        ).code == 201
        browser = Browser(built)
        await browser.log_in(await key(built, *scopes))
        pages = {path: (await browser.ask(path)).body.decode() for path in ("/vms/waa-1", "/vms/new", "/runs")}
        assert [f'action="/vms/waa-1/{act}"' in pages["/vms/waa-1"] for act in ("retry", "remove")] == [offered] * 2
        assert ('action="/vms"' in pages["/vms/new"]) is offered
        assert ("may look here, not add VMs" in pages["/vms/new"]) is not offered
        assert ('id="import-dialog"' in pages["/runs"]) is (offered or "ingest" in scopes)


async def test_who_may_not_look_is_led_to_their_own_access_and_not_around_in_a_circle() -> None:
    async with guarded() as built:
        browser = Browser(built)
        answer = await browser.log_in(await key(built, "ingest"))
        assert answer.code == 303
        page = await browser.ask("/")
        assert page.code == 403
        root = read(page.body.replace(b"<!doctype html>", b"", 1))
        links = [each.attributes["href"] for each in root.one(class_="error-page").all(tag="a")]
        assert links == ["/access"]
        assert (await browser.ask("/access")).code == 200


async def test_a_form_that_is_out_of_date_says_so() -> None:
    async with guarded() as built:
        browser = Browser(built)
        await browser.log_in(await key(built, "operate"))
        answer = await browser.ask(
            "/vms", "POST", body=urlencode(VM | {"_xsrf": "old"}), headers={"Content-Type": "application/x-www-form-urlencoded"}
        )
        assert answer.code == 403
        assert b"This form is out of date. Open its page again" in answer.body


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:134.0) Gecko/20100101 Firefox/134.0", "Firefox on Windows"),
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36", "Chrome on Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
            "Safari on macOS",
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36",
            "Chrome on Android",
        ),
        ("curl/8.5.0", "curl"),
        ("x" * 500, "x" * 40),
        ("", ""),
    ],
)
def test_a_session_says_which_browser_it_is(agent: str, words: str) -> None:
    assert browser_words(agent) == words


async def test_dead_keys_stand_apart_from_those_that_are_good() -> None:
    async with guarded() as built:
        admin = await key(built, "admin", name="boss")
        gone, _ = await built.access.create_key(LOCAL, NOBODY, name="gone", scopes=("view",), life_s=None)
        await built.access.revoke_key(LOCAL, NOBODY, gone.key_id)
        browser = Browser(built)
        await browser.log_in(admin)
        root = read((await browser.ask("/access")).body.replace(b"<!doctype html>", b"", 1))
        good, over = root.all(class_="key-list")
        assert [row.attributes["id"] for row in good.all(tag="tr")[1:]] == [f"key-{admin[4:16]}"]
        assert [row.attributes["id"] for row in over.all(tag="tr")[1:]] == [f"key-{gone.key_id}"]
        assert over.all(tag="form") == []
