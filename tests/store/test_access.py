"""What every access store does: one suite over all of them; and what only the SQL one has."""

import sqlite3
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.core.builders import T0
from tests.store.database import KINDS, database
from waa.core.access import ApiKey, AuditEntry, AuditQuery, LoginLink, Outcome, Scope, Session
from waa.core.error import Conflict, Unavailable
from waa.core.port import AccessStore
from waa.store.access import SqlAccessStore
from waa.store.memory_access import MemoryAccessStore
from waa.store.sql import SqlStore

KEY = ApiKey(
    key_id="k1",
    name="ci \\ud83d",
    owner="local",
    scopes=frozenset({Scope.VIEW, Scope.INGEST}),
    digest="d1",
    created_at=T0,
    expires_at=T0 + 1000,
)
SESSION = Session(
    session_id="s1", digest="e1", subject="key:k1", name="ci", scopes=frozenset({Scope.VIEW}), via="key",
    created_at=T0, seen_at=T0, expires_at=T0 + 5000, key_id="k1", address="::1", agent="Browser/1",
)  # fmt: skip
LINK = LoginLink(link_id="l1", digest="f1", scopes=frozenset({Scope.ADMIN}), created_at=T0, expires_at=T0 + 900)


def entry(action: str = "vm.add", **fields: object) -> AuditEntry:
    values = {"at": T0, "actor": "local", "name": "this machine", "via": "local", "address": "::1", "action": action} | fields
    return AuditEntry(**values)  # type: ignore[arg-type]


Reopen = Callable[[], AccessStore]


@pytest.fixture(params=KINDS)
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reopen]:
    """Gives the store; called again, closes it and opens the same one anew."""
    opened: list[AccessStore] = []
    memory = MemoryAccessStore()
    url = database(request, tmp_path)

    def reopen() -> AccessStore:
        if opened:
            opened[-1].close()
        opened.append(memory if not url else SqlAccessStore(url))
        return opened[-1]

    yield reopen
    if opened:
        opened[-1].close()


def test_what_was_put_is_loaded_again(reopen: Reopen) -> None:
    revision = reopen().put([KEY, SESSION, LINK], [entry()])
    records = reopen().load()
    assert (records.keys, records.sessions, records.revision) == ([KEY], [SESSION], revision)


def test_a_new_version_replaces_the_old_one(reopen: Reopen) -> None:
    store = reopen()
    store.put([KEY, SESSION], [])
    store.put([replace(KEY, revoked_at=T0 + 5), replace(SESSION, ended_at=T0 + 5)], [])
    records = reopen().load()
    assert (records.keys, records.sessions) == ([replace(KEY, revoked_at=T0 + 5)], [])


def test_every_put_has_the_next_revision_and_nothing_else_has(reopen: Reopen) -> None:
    store = reopen()
    before = store.revision()
    assert store.put([KEY], []) == before + 1
    store.touch(keys={"k1": T0 + 9}, sessions={})
    store.add_audit([entry()])
    store.audit(AuditQuery())
    store.use_link("nothing", T0)
    assert reopen().revision() == before + 1
    assert reopen().put([], []) == before + 2


def test_uses_are_noted(reopen: Reopen) -> None:
    store = reopen()
    store.put([KEY, SESSION], [])
    store.touch(keys={"k1": T0 + 7, "unknown": T0}, sessions={"s1": T0 + 8, "unknown": T0})
    store.touch(keys={}, sessions={})
    records = reopen().load()
    assert (records.keys[0].last_used_at, records.sessions[0].seen_at) == (T0 + 7, T0 + 8)


def test_a_link_is_used_once_within_its_time(reopen: Reopen) -> None:
    store = reopen()
    store.put([LINK, replace(LINK, link_id="l2", digest="f2")], [])
    assert store.use_link("f2", T0 + 900) is None
    assert store.use_link("f1", T0 + 1) == replace(LINK, used_at=T0 + 1)
    assert store.use_link("f1", T0 + 2) is None
    assert reopen().use_link("f1", T0 + 2) is None


def test_of_two_who_use_a_link_at_once_one_gets_it(reopen: Reopen) -> None:
    store = reopen()
    store.put([LINK], [])
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: store.use_link("f1", T0), range(8)))
    assert sum(link is not None for link in found) == 1


def test_the_log_is_read_newest_first_and_further_back(reopen: Reopen) -> None:
    store = reopen()
    store.add_audit([entry(subject=f"vm-{number}", at=T0 + number) for number in range(5)])
    first = reopen().audit(AuditQuery(limit=2))
    assert [each.subject for each in first] == ["vm-4", "vm-3"]
    rest = reopen().audit(AuditQuery(before_id=first[-1].entry_id))
    assert [each.subject for each in rest] == ["vm-2", "vm-1", "vm-0"]
    assert all(each == entry(subject=each.subject, at=each.at, entry_id=each.entry_id) for each in first + rest)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (AuditQuery(actor="key:k1"), "bc"),
        (AuditQuery(action="vm.add"), "a"),
        (AuditQuery(action="vm."), "ab"),
        (AuditQuery(action="vm"), ""),
        (AuditQuery(outcome=Outcome.REFUSED), "b"),
        (AuditQuery(text="HTTP%"), "c"),
        (AuditQuery(text="_"), ""),
        (AuditQuery(text="10.0.0"), "b"),
        (AuditQuery(since=T0 + 1, until=T0 + 2), "b"),
        (AuditQuery(actor="key:k1", action="login"), "c"),
        (AuditQuery(), "abc"),
    ],
)
def test_the_log_is_searched(reopen: Reopen, query: AuditQuery, found: str) -> None:
    store = reopen()
    store.add_audit(
        [
            entry("vm.add", subject="a"),
            entry("vm.remove", subject="b", at=T0 + 1, actor="key:k1", outcome=Outcome.REFUSED, address="10.0.0.9"),
            entry("login", subject="c", at=T0 + 2, actor="key:k1", detail="http%"),
        ]
    )
    assert "".join(sorted(each.subject for each in store.audit(query))) == found


def test_what_is_old_goes(reopen: Reopen) -> None:
    store = reopen()
    keys = [replace(KEY, key_id=name, revoked_at=at) for name, at in (("good", None), ("old", T0 - 1), ("new", T0 + 1))]
    sessions = [
        SESSION,
        replace(SESSION, session_id="idle", seen_at=T0 - 11),
        replace(SESSION, session_id="over", expires_at=T0 - 11),
    ]
    store.put([*keys, *sessions, LINK], [])
    store.add_audit([entry(at=T0 - 1), *(entry(at=T0 + number, subject=str(number)) for number in range(5))])
    store.prune(before=T0, sessions_before=T0 - 10, max_entries=3)
    records = reopen().load()
    assert ({key.key_id for key in records.keys}, [each.session_id for each in records.sessions]) == ({"good", "new"}, ["s1"])
    assert [each.subject for each in reopen().audit(AuditQuery())] == ["4", "3", "2"]
    assert reopen().use_link("f1", T0) is not None


def test_close_may_come_twice(reopen: Reopen) -> None:
    store = reopen()
    store.load()
    store.close()
    store.close()


# --- SQL only.


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/data/waa.db"


def test_text_that_no_database_takes_is_kept_readable(tmp_path: Path) -> None:
    store = SqlAccessStore(url(tmp_path))
    store.put([replace(KEY, name="a\0b\ud83d")], [entry(detail="\ud83d\0")])
    assert store.load().keys[0].name == "a?b?"
    store.close()


def test_a_new_database_is_for_this_user_alone_and_left_to_the_server(tmp_path: Path) -> None:
    store = SqlAccessStore(url(tmp_path))
    store.put([KEY], [])
    path = tmp_path / "data" / "waa.db"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    records = SqlStore(url(tmp_path))
    records.load()  # takes the claim
    store.put([replace(KEY, key_id="k2")], [])  # and this goes on beside it
    beside = SqlAccessStore(url(tmp_path))
    assert len(beside.load().keys) == 2
    beside.put([replace(KEY, key_id="k3")], [])
    assert store.revision() == beside.revision() == 3
    for each in (store, beside, records):
        each.close()


def test_a_server_of_another_version_is_named(tmp_path: Path) -> None:
    records = SqlStore(url(tmp_path))
    records.load()
    with closing(sqlite3.connect(tmp_path / "data" / "waa.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0002'")
    store = SqlAccessStore(url(tmp_path))
    with pytest.raises(Conflict, match="another version of this program: restart it first"):
        store.load()
    records.close()
    store.close()


def test_a_database_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "waa.db").write_bytes(b"this is no database" * 100)
    store = SqlAccessStore(url(tmp_path))
    with pytest.raises(Unavailable, match="is no SQLite database"):
        store.load()
    store.close()
    with pytest.raises(Unavailable, match="was closed"):
        store.revision()
