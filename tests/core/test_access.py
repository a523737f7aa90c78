"""Identities, scopes, keys and sessions as values (X1, E3)."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.builders import T0
from waa.core.access import (
    LOCAL,
    ApiKey,
    Identity,
    IdentityKind,
    Scope,
    Session,
    allows,
    descendants,
    digest,
    granted,
    is_live,
    is_secret_of,
    key_id_of,
    key_text,
    owns,
    parse_scopes,
    printable,
    refusal,
    session_end,
)
from waa.core.error import Invalid
from waa.core.proxy import TrustedProxies, parse_proxies

KEY = ApiKey(key_id="0123456789ab", name="ci", owner="local", scopes=frozenset({Scope.VIEW}), digest="", created_at=T0)
SESSION = Session(
    session_id="s",
    digest="",
    subject="key:a",
    name="ci",
    scopes=frozenset({Scope.VIEW}),
    via="key",
    created_at=T0,
    seen_at=T0,
    expires_at=T0 + 100,
)


def who(*scopes: Scope, subject: str = "key:a") -> Identity:
    return Identity(kind=IdentityKind.KEY, subject=subject, name="ci", scopes=frozenset(scopes))


def test_what_scopes_include() -> None:
    assert granted({Scope.ADMIN}) == set(Scope)
    assert granted({Scope.OPERATE}) == {Scope.OPERATE, Scope.VIEW, Scope.INGEST}
    for scope in (Scope.VIEW, Scope.INGEST, Scope.TRAINING, Scope.METRICS):
        assert granted({scope}) == {scope}
    assert granted(()) == frozenset()


@given(st.frozensets(st.sampled_from(Scope)), st.frozensets(st.sampled_from(Scope)))
def test_more_scopes_never_allow_less(some: frozenset[Scope], more: frozenset[Scope]) -> None:
    assert granted(some) <= granted(some | more)
    assert some <= granted(some)
    assert granted(granted(some)) == granted(some)


def test_one_of_the_needed_scopes_is_enough() -> None:
    assert allows(who(Scope.VIEW), {Scope.VIEW, Scope.INGEST})
    assert not allows(who(Scope.METRICS), {Scope.VIEW, Scope.INGEST})
    assert allows(who(), ())
    assert allows(LOCAL, {Scope.TRAINING})


def test_one_owns_what_is_ones_own() -> None:
    assert owns(who(Scope.VIEW), "key:a")
    assert not owns(who(Scope.OPERATE), "key:b")
    assert owns(who(Scope.ADMIN), "key:b")


def test_the_text_of_a_key_names_its_id() -> None:
    text = key_text("0123456789ab", "x" * 32)
    assert key_id_of(text) == "0123456789ab"
    assert is_secret_of(text, digest(text))


@pytest.mark.parametrize(
    "text",
    ["", "waa_", "waa_0123456789ab_", "waa_0123456789ab_" + "x" * 31, "WAA_0123456789ab_" + "x" * 32, "waa_0123456789ab_" + "é" * 32],
)
def test_other_text_is_no_key(text: str) -> None:
    assert key_id_of(text) is None


@given(st.text(), st.text())
def test_only_the_secret_itself_has_its_digest(one: str, other: str) -> None:
    same = one.encode("utf-8", "replace") == other.encode("utf-8", "replace")
    assert is_secret_of(one, digest(other)) is same


def test_a_key_is_refused_with_the_reason() -> None:
    assert refusal(KEY, T0 + 1e9) is None
    assert refusal(replace(KEY, expires_at=T0 + 1), T0) is None
    assert refusal(replace(KEY, expires_at=T0 + 1), T0 + 1) == "has expired"
    assert refusal(replace(KEY, revoked_at=T0, expires_at=T0), T0) == "was revoked"


def test_a_session_ends_by_age_idleness_or_order() -> None:
    assert session_end(SESSION, 10) == T0 + 10
    assert session_end(SESSION, 1000) == T0 + 100
    assert session_end(replace(SESSION, ended_at=T0 + 1), 10) == T0 + 1
    assert is_live(SESSION, idle_s=10, now=T0 + 9.9)
    assert not is_live(SESSION, idle_s=10, now=T0 + 10)
    assert not is_live(replace(SESSION, ended_at=T0 + 5), idle_s=10, now=T0)


def test_what_a_key_made_ends_with_it() -> None:
    def made(key_id: str, owner: str) -> ApiKey:
        return replace(KEY, key_id=key_id, owner=owner)

    keys = [made("a", "local"), made("b", "key:a"), made("c", "key:b"), made("d", "key:x"), made("e", "key:a"), made("x", "key:d")]
    assert {key.key_id for key in descendants(keys, "a")} == {"b", "c", "e"}
    assert {key.key_id for key in descendants(keys, "d")} == {"x", "d"}  # a circle ends
    assert descendants(keys, "c") == []


def test_scopes_are_read_strictly() -> None:
    assert parse_scopes([" view", "ingest", ""]) == {Scope.VIEW, Scope.INGEST}
    for bad, told in ((["root"], "'root' is not one of: view, operate"), ([], "name at least one of"), ([" "], "name at least one of")):
        with pytest.raises(Invalid, match=told) as caught:
            parse_scopes(bad)
        assert caught.value.field == "scope"


@given(st.text())
def test_text_of_clients_is_one_bounded_line(text: str) -> None:
    assert len(printable(text)) <= 200
    assert printable(text).isprintable()


PROXIES = parse_proxies(["10.0.0.0/8", "::1", "192.168.1.1"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # not a proxy: its word does not count
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),  # what a client wrote before it means nothing
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1, 10.2.2.2"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::7]:4711"], "2001:db8::7"),
        ("::ffff:10.0.0.1", ["2001:db8::7"], "2001:db8::7"),
        ("::1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("", ["1.1.1.1"], ""),
    ],
)
def test_a_client_behind_trusted_proxies_is_told_apart(peer: str, forwarded: list[str], client: str) -> None:
    assert PROXIES.client(peer, forwarded) == client


@given(st.text(), st.lists(st.text()))
def test_nobody_else_is_believed(peer: str, forwarded: list[str]) -> None:
    assert TrustedProxies().client(peer, forwarded) == peer
    PROXIES.client("10.0.0.1", forwarded)


def test_tls_is_believed_of_trusted_proxies_only() -> None:
    assert PROXIES.is_https("10.0.0.1", "https")
    assert PROXIES.is_https("10.0.0.1", "http, HTTPS")
    assert not PROXIES.is_https("10.0.0.1", "https, http")
    assert not PROXIES.is_https("203.0.113.9", "https")


@pytest.mark.parametrize("text", ["10.0.0.1/8", "proxy", "", "10.0.0.0/99"])
def test_a_proxy_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="trusted_proxies"):
        parse_proxies([text])
