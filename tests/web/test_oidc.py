"""Signing in at a real OpenID provider, and at one that lies (X1)."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from joserfc.jwk import RSAKey
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.testing import bind_unused_port

from tests.support.provider import (
    ALICE,
    AUTHORIZE,
    CLIENT_ID,
    DISCOVERY,
    KEYS,
    TOKEN,
    Provider,
    challenge,
    now,
    running_provider,
    signed_by_secret,
    unsigned,
)
from tests.web.house import House, house
from tests.web.markup import judge, read
from tests.web.test_auth import GUARDED, Browser, key, logged
from waa.core.access import LOCAL, Scope
from waa.core.destination import Destinations, rule
from waa.core.oidc import Admission, conditions
from waa.core.proxy import parse_proxies
from waa.probes.oidc import OidcClient
from waa.probes.oidc import Provider as Adapter
from waa.services.access import Access
from waa.services.oidc import OpenIdLogins
from waa.web.deps import WebSettings

SECRET = "s3cret&+%"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:authlib")  # of the provider, not of ours
ALLOWED = ("alice@example.org",)


@pytest.fixture
def provider() -> Iterator[Provider]:
    with running_provider() as running:
        yield running


class Clock:
    """The wall's, which a test may move on."""

    ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@asynccontextmanager
async def guarded(
    issuer: str,
    *,
    allow: tuple[str, ...] = ALLOWED,
    admins: tuple[str, ...] = (),
    secret: str = SECRET,
    clock: Callable[[], float] = time.time,
    settings: WebSettings | None = None,
    destinations: Destinations | None = None,
) -> AsyncIterator[House]:
    """A house whose people sign in at this issuer."""
    client = OidcClient(issuer=issuer, client_id=CLIENT_ID, secret=secret, scopes="openid email profile")
    adapter = Adapter(client, destinations=destinations or Destinations(), clock=clock)
    admission = Admission(allow=conditions(allow, field="oidc_allow"), admins=conditions(admins, field="oidc_admins"))

    def logins(access: Access) -> OpenIdLogins:
        return OpenIdLogins(provider=adapter, admission=admission, access=access)

    try:
        async with house(rules=GUARDED, oidc=logins, settings=settings) as built:
            yield built
    finally:
        await adapter.close()


def query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def authorize(url: str, sub: str = "alice", **fields: str) -> str:
    """What a person does at the provider; gives the path that the browser is sent back to."""
    body = urlencode(fields or {"sub": sub})
    answer = await AsyncHTTPClient().fetch(url, method="POST", body=body, follow_redirects=False, raise_error=False)
    assert answer.code == 302, answer.body
    back = urlsplit(answer.headers["Location"])
    return f"{back.path}?{back.query}"


async def begin(browser: Browser, next_path: str = "/runs?q=x") -> str:
    answer = await browser.ask(f"/login/oidc?{urlencode({'next': next_path})}")
    assert answer.code == 302, answer.body
    return answer.headers["Location"]


async def sign_in(browser: Browser, sub: str = "alice") -> HTTPResponse:
    return await browser.ask(await authorize(await begin(browser), sub))


def refusal(answer: HTTPResponse) -> str:
    """What the login page says went wrong; it can still be used."""
    root = read(answer.body)
    judge(root)
    assert root.one(id_="key").attributes["type"] == "password"
    return root.one(id_="oidc-error").text


# --- As it should be.


async def test_x1_a_person_signs_in_at_the_provider_and_goes_on_where_they_were(provider: Provider) -> None:
    async with guarded(provider.url) as built:
        browser = Browser(built)
        page = read((await browser.ask("/login?next=%2Fruns%3Fq%3Dx")).body)
        link = next(each for each in page.all(tag="a") if each.text == f"Sign in with 127.0.0.1:{provider.port}")
        sent = (await browser.ask(link.attributes["href"])).headers["Location"]
        asked = query(sent)
        assert sent.startswith(f"{provider.url}{AUTHORIZE}?")
        assert (asked["response_type"], asked["client_id"], asked["code_challenge_method"]) == ("code", CLIENT_ID, "S256")
        assert asked["redirect_uri"] == f"http://{built.netloc}/login/oidc/callback"
        answer = await browser.ask(await authorize(sent))
        assert (answer.code, answer.headers["Location"]) == (303, "/runs?q=x")
        assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= {part.strip() for part in browser.set_cookie.split(";")}
        assert "waa_oidc" not in browser.cookies
        assert read((await browser.ask("/")).body).one(class_="viewer").text == "alice@example.org Sign out"
        (entry,) = await logged(built, action="login")
        assert (entry.actor, entry.outcome, entry.detail) == ("user:alice@example.org", "done", "by oidc")
        (session,) = built.access.sessions(LOCAL)
        assert (session.via, session.scopes) == ("oidc", frozenset({Scope.VIEW, Scope.OPERATE}))
        _, form = provider.token_requests[0]
        assert challenge(form["code_verifier"]) == asked["code_challenge"]
        out = await browser.send("/logout", {}, form="/")
        assert out.code == 303
        links = [each.attributes["href"] for each in read((await browser.ask("/login?out=1")).body).all(tag="a")]
        assert f"{provider.url}/oauth2/end_session?client_id={CLIENT_ID}" in links
        assert (await browser.ask("/")).code == 302


async def test_claims_of_a_list_make_administrators(provider: Provider) -> None:
    async with guarded(provider.url, allow=("@example.org",), admins=("groups=lab",)) as built:
        browser = Browser(built)
        assert (await sign_in(browser)).code == 303
        assert (await browser.ask("/audit")).code == 200


async def test_what_the_provider_publishes_is_asked_once(provider: Provider) -> None:
    async with guarded(provider.url) as built:
        for _ in range(3):
            assert (await sign_in(Browser(built))).code == 303
        assert [provider.count(path) for path in (DISCOVERY, KEYS)] == [1, 1]


async def test_the_provider_may_change_its_keys(provider: Provider) -> None:
    clock = Clock()
    async with guarded(provider.url, clock=clock) as built:
        assert (await sign_in(Browser(built))).code == 303
        provider.rotate()
        assert (await sign_in(Browser(built))).code == 401
        assert provider.count(KEYS) == 1, "asked again at once: whoever names unknown keys can have it asked for ever"
        clock.ahead_s = 31
        assert (await sign_in(Browser(built))).code == 303
        assert provider.count(KEYS) == 2


async def test_a_public_client_has_no_secret(provider: Provider) -> None:
    async with guarded(provider.url, secret="") as built:
        await sign_in(Browser(built))  # which this provider does not take
        authorization, form = provider.token_requests[0]
        assert (authorization, form["client_id"], "client_secret" in form) == ("", CLIENT_ID, False)


@pytest.mark.parametrize("public_url", ["", "https://waa.example.org"])
async def test_the_way_back_is_the_address_that_browsers_know(provider: Provider, public_url: str) -> None:
    settings = WebSettings(proxies=parse_proxies(["127.0.0.1"]), public_url=public_url)
    async with guarded(provider.url, settings=settings) as built:
        browser = Browser(built, {"X-Forwarded-Proto": "https"})
        assert query(await begin(browser))["redirect_uri"] == f"{public_url or f'https://{built.netloc}'}/login/oidc/callback"
        assert "__Host-waa_oidc" in browser.cookies


# --- Answers that do not count.


async def test_an_answer_of_another_login_is_refused(provider: Provider) -> None:
    """Somebody may have sent the link to make others work under his name."""
    async with guarded(provider.url) as built:
        victim, attacker = Browser(built), Browser(built)
        back = await authorize(await begin(attacker))
        assert "start again" in refusal(await victim.ask(back))
        await begin(victim)
        assert "start again" in refusal(await victim.ask(back))
        assert "waa_session" not in victim.cookies
        assert provider.count(TOKEN) == 0
        entries = await logged(built, action="login")
        assert [(entry.outcome, entry.subject) for entry in entries] == [("refused", "oidc")] * 2


async def test_a_code_counts_once(provider: Provider) -> None:
    async with guarded(provider.url) as built:
        browser = Browser(built)
        sent = await begin(browser)
        cookie = browser.cookies["waa_oidc"]
        back = await authorize(sent)
        assert (await browser.ask(back)).code == 303
        assert "start again" in refusal(await browser.ask(back))
        thief = Browser(built)
        thief.cookies["waa_oidc"] = cookie
        answer = await thief.ask(back)
        assert (answer.code, "waa_session" in thief.cookies) == (401, False)
        assert "does not take this login any more" in refusal(answer)


async def test_an_attempt_that_was_changed_or_is_too_old_is_refused(provider: Provider) -> None:
    async with guarded(provider.url) as built:
        browser = Browser(built)
        back = await authorize(await begin(browser))
        cookie = browser.cookies["waa_oidc"]
        browser.cookies["waa_oidc"] = cookie[:-1] + ("1" if cookie.endswith("0") else "0")
        assert "start again" in refusal(await browser.ask(back))
        back = await authorize(await begin(browser))
        built.clock.now += 601
        assert "start again" in refusal(await browser.ask(back))


async def test_what_the_provider_refuses_is_said(provider: Provider) -> None:
    async with guarded(provider.url) as built:
        browser = Browser(built)
        sent = await begin(browser)
        back = await authorize(sent, action="deny")
        answer = await browser.ask(f"{back}&{urlencode({'state': query(sent)['state']})}")  # which this provider forgets to say
        assert (answer.code, refusal(answer)) == (401, f"The login was refused at 127.0.0.1:{provider.port}")
        state = query(await begin(browser))["state"]
        answer = await browser.ask(f"/login/oidc/callback?{urlencode({'state': state, 'error': '<b>evil</b>'})}")
        assert refusal(answer).endswith("ended the login with an error: no code")
        state = query(await begin(browser))["state"]
        answer = await browser.ask(f"/login/oidc/callback?{urlencode({'state': state, 'code': 'x', 'iss': 'https://evil.example'})}")
        assert "not from" in refusal(answer)
        assert (await browser.ask("/login/oidc/callback?state=1&state=2")).code == 422


# --- Tokens that do not count.

OTHER_KEY = RSAKey.generate_key(2048)


def forged(provider: Provider, how: str) -> None:
    if how == "none":
        provider.sign = unsigned
    elif how == "foreign key":
        provider.sign = lambda claims: provider.signed(claims, key=OTHER_KEY)
    elif how in ("HS256 with the public key", "HS256 with the secret"):
        shared = SECRET.encode() if how.endswith("secret") else provider.own_key().as_pem(private=False)
        provider.sign = lambda claims: signed_by_secret(claims, shared, kid=provider.own_key().kid or "")
    else:
        provider.sign = lambda _claims: "not.a.token"


CLAIMS: dict[str, dict[str, object]] = {
    "nonce": {"nonce": "another"},
    "no nonce": {"nonce": None},
    "expired": {"iat": now() - 7200, "exp": now() - 3600},
    "no end": {"exp": None},
    "from the future": {"iat": now() + 3600, "exp": now() + 7200},
    "audience": {"aud": "another-client"},
    "two audiences": {"aud": [CLIENT_ID, "another-client"]},
    "authorized party": {"aud": [CLIENT_ID, "another-client"], "azp": "another-client"},
    "issuer": {"iss": "https://evil.example"},
    "no subject": {"sub": None},
    "another subject than userinfo": {"sub": "mallory"},
}


@pytest.mark.parametrize("how", [*CLAIMS, "none", "foreign key", "HS256 with the public key", "HS256 with the secret", "garbage"])
async def test_x1_a_token_that_is_not_for_this_login_is_refused(provider: Provider, how: str, caplog: pytest.LogCaptureFixture) -> None:
    provider.claims |= CLAIMS.get(how, {})
    if how not in CLAIMS:
        forged(provider, how)
    async with guarded(provider.url) as built:
        browser = Browser(built)
        answer = await sign_in(browser)
        assert (answer.code, "waa_session" in browser.cookies) == (401, False)
        assert f"127.0.0.1:{provider.port}" in refusal(answer)
        assert provider.count(TOKEN) == 1
        (entry,) = await logged(built, action="login")
        assert entry.outcome == "refused"
        secret = [SECRET, *(form["code"] for _, form in provider.token_requests), "eyJ"]
        assert not [word for word in secret if word in caplog.text + repr(entry) + answer.body.decode()]


@pytest.mark.parametrize("allow", [ALLOWED, ("@example.org",)])
@pytest.mark.parametrize("claims", [{"email_verified": False}, {"email": "alice@example.org.evil.example"}])
async def test_an_address_counts_only_where_it_is_verified(provider: Provider, allow: tuple[str, ...], claims: dict[str, Any]) -> None:
    provider.claims |= claims
    async with guarded(provider.url, allow=allow) as built:
        browser = Browser(built)
        answer = await sign_in(browser)
        assert (answer.code, "waa_session" in browser.cookies) == (403, False)
        assert "may not sign in here" in refusal(answer)
        assert [entry.outcome for entry in await logged(built, action="login")] == ["refused"]


async def test_who_is_not_allowed_is_not_let_in() -> None:
    users = {"bob": {**ALICE, "email": "bob@example.org", "groups": ["others"]}}
    with running_provider(users=users) as provider:
        async with guarded(provider.url, allow=("alice@example.org", "groups=waa")) as built:
            answer = await sign_in(Browser(built), "bob")
            assert (answer.code, refusal(answer)) == (403, "bob@example.org may not sign in here")


# --- A provider that fails.


async def test_while_the_provider_is_down_a_key_still_signs_in() -> None:
    sock, port = bind_unused_port()
    sock.close()
    async with guarded(f"http://127.0.0.1:{port}") as built:
        browser = Browser(built)
        answer = await browser.ask("/login/oidc?next=%2Fruns")
        assert answer.code == 503
        assert "does not answer" in refusal(answer)
        assert b'name="next" value="/runs"' in answer.body
        assert (await browser.log_in(await key(built))).code == 303


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        (TOKEN, 500, "oops"),
        (TOKEN, 200, "[]"),
        (TOKEN, 302, ""),
        (TOKEN, 401, '{"error": "invalid_client"}'),
        (TOKEN, 200, '{"access_token": "x"}'),
        (KEYS, 404, ""),
        (KEYS, 200, '{"keys": [{"kty": "odd"}, 7, {"kty": "oct", "k": "eA"}]}'),
        ("/userinfo", 500, ""),
    ],
)
async def test_a_provider_that_answers_nonsense_is_a_sentence(provider: Provider, path: str, status: int, text: str) -> None:
    provider.answers[path] = (status, text)
    async with guarded(provider.url) as built:
        answer = await sign_in(Browser(built))
        assert answer.code in (401, 503)
        assert refusal(answer)
        assert len(await logged(built, action="login")) == 1


@pytest.mark.parametrize(
    "document",
    [
        "{",
        '{"issuer": "https://evil.example"}',
        '{"issuer": "ISSUER", "authorization_endpoint": "javascript:x", "token_endpoint": "ISSUER/t", "jwks_uri": "ISSUER/k"}',
        '{"issuer": "ISSUER", "authorization_endpoint": "ISSUER/a", "token_endpoint": "http://10.0.0.1/t", "jwks_uri": "ISSUER/k"}',
    ],
)
async def test_a_discovery_document_that_cannot_be_trusted_is_not_followed(provider: Provider, document: str) -> None:
    provider.answers[DISCOVERY] = (200, document.replace("ISSUER", provider.url))
    async with guarded(provider.url) as built:
        answer = await Browser(built).ask("/login/oidc")
        assert answer.code == 503
        assert refusal(answer)


async def test_the_provider_may_not_be_where_the_operator_denies_it(provider: Provider) -> None:
    async with guarded(provider.url, destinations=Destinations(deny=(rule("127.0.0.0/8"),))) as built:
        assert (await Browser(built).ask("/login/oidc")).code == 503
        assert provider.asked == []


async def test_logins_are_limited_by_address(provider: Provider) -> None:
    async with guarded(provider.url) as built:
        codes = [(await Browser(built).ask("/login/oidc/callback?code=x")).code for _ in range(11)]
        assert codes == [401] * 10 + [429]
        assert len(await logged(built)) == 10


async def test_without_a_provider_there_is_nothing() -> None:
    async with house(rules=GUARDED) as built:
        browser = Browser(built)
        assert b"Sign in with" not in (await browser.ask("/login")).body
        assert [(await browser.ask(path)).code for path in ("/login/oidc", "/login/oidc/callback?code=x")] == [404, 404]
