"""Who asks too often waits, and nobody else; which other origins may read the JSON API (X1)."""

import json

import pytest

from tests.web.house import House, house
from waa.config import ConfigError, load
from waa.core.access import LOCAL
from waa.core.proxy import parse_proxies
from waa.services.access import AccessRules, Client
from waa.web.deps import WebSettings
from waa.web.limit import RateLimiter

GUARDED = AccessRules(is_required=True)
READER = "https://lab.example.org"
PROXIED = WebSettings(proxies=parse_proxies(["127.0.0.1"]))


async def key(built: House, *scopes: str) -> dict[str, str]:
    """The header of a new key."""
    return {"X-API-Key": (await built.access.create_key(LOCAL, Client(), name="ci", scopes=scopes or ("view",)))[1]}


async def codes(built: House, path: str, count: int, headers: dict[str, str] | None = None) -> list[int]:
    return [(await built.ask(path, headers=headers)).code for _ in range(count)]


async def test_x1_a_key_that_asks_too_often_is_told_when_to_come_back_and_others_go_on() -> None:
    async with house(rules=GUARDED, rates=RateLimiter(rate=2, burst=4)) as built:
        greedy, other = await key(built), await key(built)
        assert await codes(built, "/api/vms", 6, greedy) == [200] * 4 + [429] * 2
        answer = await built.ask("/api/vms", headers=greedy)
        assert answer.headers["Retry-After"] == "1"
        assert json.loads(answer.body)["error"]["message"] == "Too many requests: ask again in 1 s (setting rate_limit)"
        assert await codes(built, "/api/vms", 4, other) == [200] * 4
        built.clock.now += 1
        assert await codes(built, "/api/vms", 3, greedy) == [200, 200, 429]


async def test_x1_strangers_are_counted_by_their_address_whatever_key_they_send() -> None:
    async with house(rules=GUARDED, rates=RateLimiter(rate=1, burst=3), settings=PROXIED) as built:
        one, two = {"X-Forwarded-For": "203.0.113.1"}, {"X-Forwarded-For": "203.0.113.2"}
        assert await codes(built, "/api/vms", 2, one | {"X-API-Key": "waa_wrong"}) == [401, 401]
        assert await codes(built, "/api/vms", 2, one | {"X-API-Key": "waa_other"}) == [401, 429]
        assert await codes(built, "/login", 1, one) == [429]
        assert await codes(built, "/api/vms", 1, two) == [401]
        good = await key(built)
        assert await codes(built, "/api/vms", 1, one | good) == [200]  # who is known has a count of their own


async def test_x1_without_a_login_this_machines_own_are_free_and_what_comes_through_a_proxy_is_not() -> None:
    async with house(rates=RateLimiter(rate=1, burst=2), settings=PROXIED) as built:
        assert await codes(built, "/api/vms", 10) == [200] * 10
        assert await codes(built, "/api/vms", 3, {"X-Forwarded-For": "203.0.113.1"}) == [200, 200, 429]


async def test_x1_what_costs_more_counts_more_and_files_and_signs_of_life_do_not() -> None:
    async with house(rules=GUARDED, rates=RateLimiter(rate=1, burst=12)) as built:
        headers = await key(built)
        assert await codes(built, "/static/app.css", 20, headers) == [200] * 20
        assert await codes(built, "/live", 20, headers) == [200] * 20
        assert await codes(built, "/runs/nothing/tasks.csv", 1, headers) == [404]
        assert await codes(built, "/runs/nothing/tasks.csv", 1, headers) == [429]
        assert await codes(built, "/api/vms", 3, headers) == [200, 200, 429]


async def test_a_person_who_asks_too_often_gets_a_page() -> None:
    async with house(rules=GUARDED, rates=RateLimiter(rate=1, burst=1)) as built:
        headers = {"Accept": "text/html"}
        await built.ask("/login", headers=headers)
        answer = await built.ask("/login", headers=headers)
        assert (answer.code, answer.headers["Retry-After"]) == (429, "1")
        assert b"<html" in answer.body
        assert b"Too many requests" in answer.body


# --- Readers of other origins.


async def test_x1_a_listed_origin_may_read_the_json_with_a_key_and_without_cookies() -> None:
    async with house(rules=GUARDED, settings=WebSettings(cors_origins=(READER,))) as built:
        answer = await built.ask("/api/vms", headers={"Origin": READER} | await key(built))
        assert (answer.code, answer.headers["Access-Control-Allow-Origin"]) == (200, READER)
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert answer.headers["Vary"] == "Origin"
        refused = await built.ask("/api/vms", headers={"Origin": READER})
        assert (refused.code, refused.headers["Access-Control-Allow-Origin"]) == (401, READER)  # so that it can read why


async def test_x1_a_preflight_allows_a_key_and_reading_only() -> None:
    async with house(rules=GUARDED, settings=WebSettings(cors_origins=(READER,))) as built:
        asked = {"Origin": READER, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
        answer = await built.ask("/api/vms/register", "OPTIONS", headers=asked)
        assert answer.code == 204
        assert answer.headers["Access-Control-Allow-Methods"] == "GET, HEAD, OPTIONS"
        assert "x-api-key" in answer.headers["Access-Control-Allow-Headers"]
        body = json.dumps({"name": "waa-1", "ssh_host": "10.0.0.4"})
        headers = {"Origin": READER, "Content-Type": "application/json"} | await key(built, "operate")
        assert (await built.ask("/api/vms/register", "POST", body=body, headers=headers)).code == 403


@pytest.mark.parametrize("origin", ["https://evil.example.org", "null", f"{READER}.evil.example.org", f"{READER}:8443", READER.upper()])
async def test_x1_other_origins_are_told_nothing(origin: str) -> None:
    async with house(settings=WebSettings(cors_origins=(READER,))) as built:
        for method in ("GET", "OPTIONS"):
            answer = await built.ask("/api/vms", method, headers={"Origin": origin})
            assert not [name for name in answer.headers if name.startswith("Access-Control-")]


async def test_x1_the_pages_and_panels_are_not_part_of_it() -> None:
    async with house(settings=WebSettings(cors_origins=(READER,))) as built:
        for path in ("/", "/fragments/fleet", "/stream?panels=nothing", "/metrics"):
            answer = await built.ask(path, headers={"Origin": READER})
            assert not [name for name in answer.headers if name.startswith("Access-Control-")], path


@pytest.mark.parametrize("origin", ["*", "https://*.example.org", "null", "lab.example.org", f"{READER}/"])
def test_x1_what_is_no_origin_stops_the_start(origin: str) -> None:
    with pytest.raises(ConfigError, match="is not an origin"):
        load(["--cors-origins", origin], {})


async def test_x1_other_sites_can_neither_hold_our_windows_nor_load_what_we_answer() -> None:
    async with house() as built:
        for path in ("/", "/api/vms", "/static/app.css"):
            headers = (await built.ask(path)).headers
            assert (headers["Cross-Origin-Opener-Policy"], headers["Cross-Origin-Resource-Policy"]) == ("same-origin", "same-origin")
    async with house(settings=WebSettings(embed_origins=(READER,), is_local=False)) as built:
        headers = (await built.ask("/static/app.css")).headers
        assert headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert "Cross-Origin-Opener-Policy" not in headers  # over HTTP it would be an error in each console
