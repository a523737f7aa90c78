"""Every identity at every method of every route (X1): who is let through, and what the others are told."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop
from tornado.web import RequestHandler

from tests.support.wait import PATIENCE_S
from tests.web.house import House, house
from tests.web.test_bad_input import first_status, sample
from waa.core.access import LOCAL, Scope
from waa.services.access import AccessRules, Client
from waa.web.app import ROUTES
from waa.web.base import BaseHandler
from waa.web.decision import Decision

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
VIEW, OPERATE, INGEST, TRAINING, METRICS, ADMIN = (
    scope.value for scope in (Scope.VIEW, Scope.OPERATE, Scope.INGEST, Scope.TRAINING, Scope.METRICS, Scope.ADMIN)
)
WHO = (None, VIEW, OPERATE, INGEST, TRAINING, METRICS, ADMIN)
GROUPS: dict[tuple[str, ...], set[str | None]] = {
    (): {None, *WHO},
    (VIEW,): {VIEW, OPERATE, ADMIN},
    (OPERATE,): {OPERATE, ADMIN},
    (INGEST,): {INGEST, OPERATE, ADMIN},
    (INGEST, VIEW): {VIEW, INGEST, OPERATE, ADMIN},
    (METRICS,): {METRICS, ADMIN},
    (TRAINING,): {TRAINING, ADMIN},
    (TRAINING, VIEW): {VIEW, OPERATE, TRAINING, ADMIN},
    (ADMIN,): {ADMIN},
}
"""Who may, by the scopes that a decision names: written down once more, by hand."""
PUBLIC = {"/login", "/login/([A-Za-z0-9_-]{32})", "/login/oidc", "/login/oidc/callback", "/logout", "/live"}
"""All that a stranger may ask. A route that is added here is open to the world."""
OF_PANELS = {"/fragments/([a-z-]{1,40})", "/embed/([a-z-]{1,40})", "/stream"}
"""Asked here for a panel of VMs, which a key for trainings does not see."""


SAMPLES = {
    "([0-9a-f]{16})": "0123456789abcdef",
    "([0-9a-f]{12})": "0123456789ab",
    "([A-Za-z0-9_-]{32})": "x" * 32,
    "([A-Za-z0-9_-]{24})": "x" * 24,
    "([a-z-]{1,40})": "fleet",
    "([1-9][0-9]{0,5})": "1",
    "([1-9][0-9]{0,15})": "1",
    "(0|[1-9][0-9]{0,15})": "0",
    "(csv|json)": "csv",
    r"\.": ".",
}


VIEW_ONLY = Decision(frozenset({Scope.VIEW}))


def address(pattern: str) -> str:
    """A path that this route takes."""
    for part, text in SAMPLES.items():
        pattern = pattern.replace(part, text)
    path = sample(pattern, "nobody")
    return f"{path}?panels=fleet" if path.endswith("/stream") else path


def may(decision: Decision, who: str | None) -> bool:
    if decision.scopes is None:
        return True
    if not decision.scopes:
        return who is not None
    return who in GROUPS[tuple(sorted(decision.scopes))]


def implemented(handler: type[Any]) -> set[str]:
    """The methods that a handler has of its own."""
    return {
        name
        for name in ("GET", "POST", "PUT", "PATCH", "DELETE")
        if getattr(handler, name.lower()) is not getattr(RequestHandler, name.lower())
    }


@pytest.mark.parametrize(("pattern", "handler", "access"), ROUTES, ids=lambda value: value if isinstance(value, str) else "")
def test_x1_each_method_of_each_route_has_its_decision_and_no_other(pattern: str, handler: type[Any], access: dict[str, Decision]) -> None:
    assert issubclass(handler, BaseHandler)
    assert set(access) <= implemented(handler)
    missing = implemented(handler) - set(access)
    assert missing <= {"GET"} or not missing, f"{pattern}: no decision for {missing}: nobody gets there"


def test_x1_what_is_public_is_listed_here() -> None:
    found = {pattern for pattern, _, access in ROUTES if any(decision.scopes is None for decision in access.values())}
    assert found == PUBLIC


def test_x1_whatever_changes_something_is_written_down() -> None:
    """Logins, keys and sessions are written down by the service that does them."""
    own = ("/log", "/access")
    silent = {
        pattern
        for pattern, _, access in ROUTES
        for method, decision in access.items()
        if method != "GET" and not decision.action and not pattern.startswith(own)
    }
    assert silent == {
        "/replay/([A-Za-z0-9_-]{24})",
        "/api/training/predictions",
        "/api/training/jobs/([A-Za-z0-9][A-Za-z0-9._-]{0,62})/epochs/(0|[1-9][0-9]{0,15})/complete",
    }


@pytest.fixture(scope="module")
def open_house() -> Iterator[tuple[IOLoop, House, dict[str | None, str]]]:
    """A guarded house that stays open, with a key for each scope."""
    loop = IOLoop(make_current=False)
    context = house(rules=AccessRules(is_required=True))
    built = loop.run_sync(context.__aenter__)

    async def keys() -> dict[str | None, str]:
        made: dict[str | None, str] = {}
        for scope in Scope:
            made[scope.value] = (await built.access.create_key(LOCAL, Client(), name=scope.value, scopes=[scope.value]))[1]
        return made

    yield loop, built, loop.run_sync(keys)
    loop.run_sync(lambda: context.__aexit__(None, None, None))
    loop.close()


@pytest.mark.parametrize("who", WHO, ids=str)
def test_x1_the_matrix(who: str | None, open_house: tuple[IOLoop, House, dict[str | None, str]]) -> None:
    loop, built, keys = open_house
    key = f"X-API-Key: {keys[who]}\r\n" if who is not None else ""

    async def walk() -> list[str]:
        wrong = []
        for pattern, _handler, access in ROUTES:
            for method in METHODS:
                body = "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}" if method in ("POST", "PUT", "PATCH") else "\r\n"
                request = f"{method} {address(pattern)} HTTP/1.1\r\nHost: {built.netloc}\r\nConnection: close\r\n{key}{body}"
                status = await first_status(built, request.encode())
                decision = access.get("GET" if method == "HEAD" else method)
                if who == TRAINING and pattern in OF_PANELS and decision is not None:
                    decision = VIEW_ONLY
                if not is_right(status, method, decision, who):
                    wrong.append(f"{method} {pattern}: {status}")
        return wrong

    assert loop.run_sync(walk, timeout=PATIENCE_S) == []


def is_right(status: int, method: str, decision: Decision | None, who: str | None) -> bool:
    """Whoever may not is told so before anything is looked up: never 404. Whoever may gets any answer of the handler itself."""
    if method == "OPTIONS":
        return status == 204
    if decision is None:
        return status == 405
    if may(decision, who):
        return status not in (405, 500) and (decision.scopes is None or status not in (401, 403))
    return status == (401 if who is None else 403)


@pytest.mark.parametrize("who", [None, TRAINING], ids=str)
def test_x1_the_answer_says_what_is_missing(who: str | None, open_house: tuple[IOLoop, House, dict[str | None, str]]) -> None:
    loop, built, keys = open_house
    headers = {"X-API-Key": keys[who]} if who is not None else {}

    async def walk() -> list[str]:
        told = []
        for pattern, _handler, access in ROUTES:
            if "GET" in access and not may(access["GET"], who):
                body = (await built.ask(address(pattern), headers=headers)).body
                told.append(json.loads(body)["error"]["message"])
        return told

    messages = loop.run_sync(walk, timeout=PATIENCE_S)
    assert len(messages) > 30
    expected = "This needs a login" if who is None else "This needs the scope "
    assert all(message.startswith(expected) for message in messages)
