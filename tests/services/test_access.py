"""The service behind keys, sessions and links: what is let in, what ends with what, what others changed meanwhile."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.core.builders import T0
from tests.web.stream_house import Clock
from waa.core.access import LOCAL, ApiKey, AuditEntry, AuditQuery, Identity, IdentityKind, LoginLink, Outcome, Scope, Session
from waa.core.error import Conflict, Forbidden, Invalid, NotFound, SignInNeeded, Unavailable
from waa.core.port import AccessRecords, AccessStore
from waa.services import access as module
from waa.services.access import Access, AccessRules, Client, Presented
from waa.store.access import SqlAccessStore
from waa.store.memory_access import MemoryAccessStore

HERE = Client(address="::1", agent="Browser/1\n" + "x" * 500)
RULES = AccessRules(is_required=True, idle_s=100, life_s=1000)


@dataclass
class Desk:
    """A service with its clock, and what it said has ended."""

    access: Access
    clock: Clock
    store: AccessStore
    ended: list[str] = field(default_factory=list)

    async def key(self, *scopes: str, by: Identity = LOCAL, life_s: float | None = None) -> str:
        return (await self.access.create_key(by, HERE, name="ci", scopes=scopes or ("view",), life_s=life_s))[1]

    def by_key(self, text: str) -> Identity:
        found = self.access.identify(Presented(keys=(text,)))
        assert found is not None
        return found

    def by_token(self, token: str) -> Identity | None:
        return self.access.identify(Presented(token=token))

    async def log(self) -> list[tuple[str, str, str]]:
        """Action, actor and outcome, oldest first."""
        entries = await self.access.audit(AuditQuery())
        return [(entry.action, entry.actor, entry.outcome.value) for entry in reversed(entries)]


@asynccontextmanager
async def desk(store: AccessStore | None = None, *, rules: AccessRules = RULES, clock: Clock | None = None) -> AsyncIterator[Desk]:
    clock = clock or Clock()
    clock.now = clock.now or T0
    store = store or MemoryAccessStore()
    opened = Desk(Access(store=store, rules=rules, clock=clock), clock, store)
    opened.access.listen(lambda handles: opened.ended.extend(sorted(handles)))
    await opened.access.open()
    try:
        yield opened
    finally:
        await opened.access.close()


class Failing(MemoryAccessStore):
    """A store whose disk is full when told so."""

    is_full = False

    def put(self, changes: Sequence[ApiKey | Session | LoginLink], entries: Sequence[AuditEntry]) -> int:
        self._check()
        return super().put(changes, entries)

    def add_audit(self, entries: Sequence[AuditEntry]) -> None:
        self._check()
        super().add_audit(entries)

    def load(self) -> AccessRecords:
        self._check()
        return super().load()

    def touch(self, *, keys: Mapping[str, float], sessions: Mapping[str, float]) -> None:
        self._check()
        super().touch(keys=keys, sessions=sessions)

    def _check(self) -> None:
        if self.is_full:
            raise Unavailable("The disk is full.")


async def test_without_a_rule_everybody_is_this_machine() -> None:
    async with desk(rules=AccessRules()) as at:
        assert at.access.identify(Presented()) == LOCAL
        assert at.access.identify(Presented(token="stale")) == LOCAL
    async with desk() as at:
        assert at.access.identify(Presented()) is None
        assert at.access.identify(Presented(token="stale")) is None


async def test_a_key_is_known_by_its_text_only_and_never_kept() -> None:
    async with desk() as at:
        text = await at.key("view", "ingest")
        identity = at.by_key(text)
        assert (identity.kind, identity.subject) == (IdentityKind.KEY, f"key:{text[4:16]}")
        assert identity.scopes == {Scope.VIEW, Scope.INGEST}
        assert identity.handle == identity.subject
        for wrong in (text[:-1], text + "x", text[:17] + "x" * 32, "", "waa"):
            with pytest.raises(SignInNeeded, match="is not known"):
                at.access.identify(Presented(keys=(wrong,)))
        assert text[17:] not in repr(at.store.load()) + repr(at.store.audit(AuditQuery()))


async def test_all_of_it_is_there_after_a_restart(tmp_path: Path) -> None:
    url, clock = f"sqlite:///{tmp_path}/waa.db", Clock()
    async with desk(SqlAccessStore(url), clock=clock) as at:
        text = await at.key()
        token = await at.access.log_in(text, HERE)
        clock.now += 90
        assert at.by_token(token) is not None
    async with desk(SqlAccessStore(url), clock=clock) as at:
        clock.now += 90  # it was seen 90 s ago, because the end wrote that down
        again = at.by_token(token)
        assert again is not None
        assert (again.kind, again.subject, again.key_id) == (IdentityKind.SESSION, f"key:{text[4:16]}", text[4:16])
        assert at.by_key(text).name == "ci"


async def test_a_session_tells_where_it_came_from_in_one_bounded_line() -> None:
    async with desk() as at:
        await at.access.log_in(await at.key(), HERE)
        session = at.access.sessions(LOCAL)[0]
        assert (session.address, session.via, len(session.agent)) == ("::1", "key", 200)
        assert "\n" not in session.agent


async def test_sessions_end_by_idleness_by_age_and_with_their_keys_time() -> None:
    async with desk() as at:
        idle, long = await at.access.log_in(await at.key(), HERE), await at.access.log_in(await at.key(), HERE)
        short = await at.access.log_in(await at.key(life_s=50), HERE)
        at.clock.now += 60
        assert at.by_token(short) is None
        assert at.by_token(long) is not None
        at.clock.now += 50
        assert at.by_token(idle) is None
        assert at.by_token(long) is not None
        for _ in range(10):
            at.clock.now += 90
            found = at.by_token(long)
        assert found is None  # beyond its age, though it was always used


async def test_what_time_ended_is_told_by_the_next_look() -> None:
    async with desk() as at:
        text = await at.key(life_s=50)
        token = await at.access.log_in(text, HERE)
        session = at.by_token(token)
        assert session is not None
        await at.access.look()
        assert at.ended == []
        at.clock.now += 50
        await at.access.look()
        assert at.ended == sorted([f"key:{text[4:16]}", session.handle])
        await at.access.look()
        assert len(at.ended) == 2


async def test_a_revoked_key_ends_its_sessions_and_what_it_made() -> None:
    async with desk() as at:
        parent = await at.key("operate")
        child = await at.key("view", by=at.by_key(parent))
        grandchild = await at.key("view", by=at.by_key(child))
        other = await at.key("view")
        tokens = [await at.access.log_in(text, HERE) for text in (parent, grandchild, other)]
        gone = await at.access.revoke_key(LOCAL, HERE, parent[4:16])
        assert {key.key_id for key in gone} == {text[4:16] for text in (parent, child, grandchild)}
        for text in (parent, child, grandchild):
            with pytest.raises(SignInNeeded, match="was revoked"):
                at.by_key(text)
        assert [at.by_token(token) is not None for token in tokens] == [False, False, True]
        assert len(at.ended) == 5
        assert await at.access.revoke_key(LOCAL, HERE, parent[4:16]) == []


async def test_a_key_gives_no_more_than_it_has_and_for_no_longer() -> None:
    async with desk() as at:
        parent = at.by_key(await at.key("operate", life_s=100))
        with pytest.raises(Forbidden, match="cannot be good for more than its maker: admin"):
            await at.key("admin", by=parent)
        await at.key("view", "ingest", by=parent, life_s=1000)
        made = next(key for key in at.access.keys(LOCAL) if key.owner == parent.subject)
        assert made.expires_at == at.clock.now + 100
        assert ("key.create", parent.subject, "refused") in await at.log()


@pytest.mark.parametrize(
    ("fields", "field_name"),
    [
        ({"name": " \n"}, "name"),
        ({"scopes": ()}, "scope"),
        ({"scopes": ("x",)}, "scope"),
        ({"life_s": -1.0}, "days"),
        ({"life_s": 1e12}, "days"),
    ],
)
async def test_a_key_is_refused_by_its_field(fields: dict[str, object], field_name: str) -> None:
    async with desk() as at:
        values = {"name": "ci", "scopes": ("view",), "life_s": None} | fields
        with pytest.raises(Invalid) as caught:
            await at.access.create_key(LOCAL, HERE, **values)  # type: ignore[arg-type]
        assert caught.value.field == field_name
        assert at.access.keys(LOCAL) == []


async def test_there_is_a_last_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KEYS", 2)
    async with desk() as at:
        await at.key()
        await at.key()
        with pytest.raises(Conflict, match="There are 2 keys already"):
            await at.key()


async def test_the_session_seen_least_lately_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SESSIONS_PER_SUBJECT", 2)
    monkeypatch.setattr(module, "MAX_SESSIONS", 3)
    async with desk() as at:
        one, two = await at.key(), await at.key()
        tokens = []
        for text in (one, one, two, one, two):
            at.clock.now += 1
            tokens.append(await at.access.log_in(text, HERE))
        assert [at.by_token(token) is not None for token in tokens] == [False, False, True, True, True]
        assert len(at.ended) == 2


async def test_a_login_ends_the_session_that_the_browser_had() -> None:
    async with desk() as at:
        text = await at.key()
        first = await at.access.log_in(text, HERE)
        second = await at.access.log_in(text, HERE, former=first)
        assert first != second
        assert at.by_token(first) is None
        assert at.by_token(second) is not None


async def test_logging_out_ends_the_session_and_not_the_key() -> None:
    async with desk() as at:
        text = await at.key()
        token = await at.access.log_in(text, HERE)
        identity = at.by_token(token)
        assert identity is not None
        await at.access.log_out(identity, HERE)
        assert at.by_token(token) is None
        assert at.ended == [identity.handle]
        assert at.by_key(text)
        await at.access.log_out(identity, HERE)
        assert [each[0] for each in await at.log()] == ["key.create", "login", "logout"]


async def test_what_is_not_theirs_is_not_there() -> None:
    async with desk() as at:
        mine, other = await at.key("operate"), await at.key("operate")
        token = await at.access.log_in(other, HERE)
        theirs = at.by_token(token)
        assert theirs is not None
        me = at.by_key(mine)
        assert [key.key_id for key in at.access.keys(me)] == [mine[4:16]]
        assert at.access.sessions(me) == []
        with pytest.raises(NotFound):
            await at.access.revoke_key(me, HERE, other[4:16])
        with pytest.raises(NotFound):
            await at.access.end_session(me, HERE, theirs.session_id)
        with pytest.raises(NotFound):
            await at.access.end_sessions_of(me, HERE, theirs.subject)
        await at.access.end_session(LOCAL, HERE, theirs.session_id)
        assert at.by_token(token) is None


async def test_a_key_may_revoke_itself() -> None:
    async with desk() as at:
        text = await at.key()
        await at.access.revoke_key(at.by_key(text), HERE, text[4:16])
        with pytest.raises(SignInNeeded):
            at.by_key(text)


async def test_a_link_makes_an_administrator_once() -> None:
    async with desk() as at:
        assert not at.access.has_admin
        link = await at.access.make_link(LOCAL, HERE)
        token = await at.access.log_in_by_link(link, HERE)
        identity = at.by_token(token)
        assert identity is not None
        assert (identity.name, identity.key_id) == ("login link", "")
        assert identity.scopes == {Scope.ADMIN}
        for used in (link, "other"):
            with pytest.raises(SignInNeeded, match="used already, or is too old"):
                await at.access.log_in_by_link(used, HERE)
        await at.key("admin", by=identity)
        assert at.access.has_admin
        assert [each[0::2] for each in await at.log()] == [
            ("link.create", "done"), ("login", "done"), ("login", "refused"), ("login", "refused"), ("key.create", "done"),
        ]  # fmt: skip


async def test_what_a_command_or_another_server_changed_is_noticed(tmp_path: Path) -> None:
    url, clock = f"sqlite:///{tmp_path}/waa.db", Clock()
    async with desk(SqlAccessStore(url), clock=clock) as server, desk(SqlAccessStore(url), clock=clock) as command:
        text = await command.key()
        with pytest.raises(SignInNeeded):
            server.by_key(text)
        await server.access.look()
        token = await server.access.log_in(text, HERE)
        await command.access.look()
        assert command.by_token(token) is not None
        await command.access.revoke_key(LOCAL, HERE, text[4:16])
        await server.access.look()
        assert server.by_token(token) is None
        assert len(server.ended) == 2


async def test_a_change_of_ones_own_between_two_of_others_hides_neither(tmp_path: Path) -> None:
    url, clock = f"sqlite:///{tmp_path}/waa.db", Clock()
    async with desk(SqlAccessStore(url), clock=clock) as server, desk(SqlAccessStore(url), clock=clock) as command:
        theirs = await command.key()
        await server.key()
        await server.access.look()
        assert server.by_key(theirs)


async def test_a_session_that_another_server_saw_is_not_idle(tmp_path: Path) -> None:
    url, clock = f"sqlite:///{tmp_path}/waa.db", Clock()
    async with desk(SqlAccessStore(url), clock=clock) as one:
        token = await one.access.log_in(await one.key(), HERE)
        async with desk(SqlAccessStore(url), clock=clock) as other:
            clock.now += 90
            assert other.by_token(token) is not None
        clock.now += 20
        await one.access.look()
        assert one.ended == []
        assert one.by_token(token) is not None


async def test_nothing_counts_that_was_not_stored() -> None:
    store = Failing()
    async with desk(store) as at:
        text = await at.key()
        token = await at.access.log_in(text, HERE)
        store.is_full = True
        with pytest.raises(Unavailable):
            await at.access.log_in(text, HERE)
        with pytest.raises(Unavailable):
            await at.access.revoke_key(LOCAL, HERE, text[4:16])
        assert at.by_token(token) is not None
        assert len(at.access.sessions(LOCAL)) == 1
        store.is_full = False


async def test_an_audit_entry_that_is_lost_is_told(caplog: pytest.LogCaptureFixture) -> None:
    store = Failing()
    async with desk(store) as at:
        store.is_full = True
        at.access.note_action(LOCAL, HERE, "vm.add", subject="vm-1", outcome=Outcome.DONE)
        await at.access.audit(AuditQuery())  # the store does one thing after the other
        store.is_full = False
    assert "audit entry lost action=vm.add" in caplog.text


async def test_entries_wait_within_a_bound(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(module, "MAX_WAITING_ENTRIES", 3)
    async with desk() as at:
        for number in range(5):
            at.access.note_action(LOCAL, HERE, "vm.add", subject=f"vm-{number}", outcome=Outcome.DONE)
        assert len(await at.access.audit(AuditQuery())) == 3
    assert caplog.text.count("audit entry lost") == 2


async def test_users_of_a_proxy_have_its_scopes() -> None:
    async with desk(rules=replace(RULES, proxy_scopes=frozenset({Scope.OPERATE}))) as at:
        found = at.access.identify(Presented(proxy_user="ann\n" + "x" * 500))
        assert found is not None
        assert (found.kind, found.handle) == (IdentityKind.PROXY, "")
        assert found.scopes == {Scope.OPERATE}
        assert found.subject.startswith("user:ann x")
        assert len(found.subject) <= 125


async def test_the_end_comes_once_and_then_nothing_is_asked() -> None:
    async with desk() as at:
        await at.access.close()
        await at.access.close()
        with pytest.raises(Unavailable):
            await at.access.audit(AuditQuery())


async def test_pruning_leaves_what_counts() -> None:
    async with desk() as at:
        text = await at.key()
        token = await at.access.log_in(text, HERE)
        at.clock.now += 99
        assert at.by_token(token) is not None
        await at.access.prune()
        await at.access.look()
        assert at.by_token(token) is not None
        assert at.by_key(text)
