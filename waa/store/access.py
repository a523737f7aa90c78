"""Keys, sessions, login links and the audit log in the same SQL database as the records."""

import dataclasses
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy as sa

from waa.core.access import ApiKey, AuditEntry, AuditQuery, LoginLink, Outcome, Scope, Session
from waa.core.error import Conflict, Unavailable
from waa.core.port import AccessRecords
from waa.store import schema
from waa.store.engine import claim, is_current, make_engine, migrate, translated, upsert, where, writing

REVISION = "access_revision"
_TABLES: Mapping[type[Any], tuple[sa.Table, str]] = {
    ApiKey: (schema.api_key, "key_id"),
    Session: (schema.session, "session_id"),
    LoginLink: (schema.login_link, "link_id"),
}
Made = TypeVar("Made", ApiKey, Session, LoginLink)


class SqlAccessStore:
    """An AccessStore (see there) on SQLAlchemy. Opens at the first use.

    It does not claim the file, so that a command can write while the server runs: SQLite lets one at a time write, and
    transactions here are short. Where the tables are not there in their newest form it needs the claim for as long as it makes
    them: Conflict where a server of another version has the file.
    """

    def __init__(self, url: str) -> None:
        self._engine = make_engine(url)
        self._opening = threading.Lock()
        self._is_open = False
        self._is_closed = False

    def load(self) -> AccessRecords:
        """All keys and live sessions, in the order in which they were made."""
        with self._reading() as connection:
            keys = connection.execute(sa.select(schema.api_key).order_by(schema.api_key.c.created_at))
            live = sa.select(schema.session).where(schema.session.c.ended_at.is_(None)).order_by(schema.session.c.created_at)
            return AccessRecords(
                keys=[_made(ApiKey, row) for row in keys],
                sessions=[_made(Session, row) for row in connection.execute(live)],
                revision=_revision(connection),
            )

    def revision(self) -> int:
        """The number of the last change."""
        with self._reading() as connection:
            return _revision(connection)

    def put(self, changes: Sequence[ApiKey | Session | LoginLink], entries: Sequence[AuditEntry]) -> int:
        """All of it in one transaction."""
        with self._usable(), writing(self._engine) as connection:
            for change in changes:
                table, key = _TABLES[type(change)]
                upsert(connection, table, [_row(change)], keys=(key,), keep=(key,))
            _add_audit(connection, entries)
            revision = _revision(connection) + 1
            upsert(connection, schema.meta, [{"name": REVISION, "value": str(revision)}], keys=("name",), keep=("name",))
            return revision

    def use_link(self, digest: str, at: float) -> LoginLink | None:
        """Use up a link."""
        links = schema.login_link
        usable = (links.c.digest == digest, links.c.used_at.is_(None), links.c.expires_at > at)
        with self._usable(), writing(self._engine) as connection:
            row = connection.execute(sa.update(links).where(*usable).values(used_at=at).returning(*links.c)).one_or_none()
            return _made(LoginLink, row) if row is not None else None

    def touch(self, *, keys: Mapping[str, float], sessions: Mapping[str, float]) -> None:
        """When they were last used."""
        key, session = schema.api_key, schema.session
        by_key = sa.update(key).where(key.c.key_id == sa.bindparam("id")).values(last_used_at=sa.bindparam("moment"))
        by_session = sa.update(session).where(session.c.session_id == sa.bindparam("id")).values(seen_at=sa.bindparam("moment"))
        with self._usable(), writing(self._engine) as connection:
            for statement, moments in ((by_key, keys), (by_session, sessions)):
                if moments:
                    connection.execute(statement, [{"id": id_, "moment": at} for id_, at in moments.items()])

    def add_audit(self, entries: Sequence[AuditEntry]) -> None:
        """Write to the audit log."""
        with self._usable(), writing(self._engine) as connection:
            _add_audit(connection, entries)

    def audit(self, query: AuditQuery) -> list[AuditEntry]:
        """Entries, newest first."""
        chosen = sa.select(schema.audit).where(*_conditions(query)).order_by(schema.audit.c.entry_id.desc()).limit(query.limit)
        with self._reading() as connection:
            return [_entry(row) for row in connection.execute(chosen)]

    def prune(self, *, before: float, sessions_before: float, max_entries: int) -> None:
        """Drop what is too old."""
        log, key, session, link = schema.audit, schema.api_key, schema.session, schema.login_link
        with self._usable(), writing(self._engine) as connection:
            oldest = connection.scalar(sa.select(log.c.entry_id).order_by(log.c.entry_id.desc()).offset(max_entries).limit(1))
            old = log.c.at < before
            ends = (session.c.ended_at, session.c.expires_at, session.c.seen_at)
            connection.execute(sa.delete(log).where(old if oldest is None else sa.or_(old, log.c.entry_id <= oldest)))
            connection.execute(sa.delete(key).where(sa.or_(key.c.revoked_at < before, key.c.expires_at < before)))
            connection.execute(sa.delete(session).where(sa.or_(*(moment < sessions_before for moment in ends))))
            connection.execute(sa.delete(link).where(link.c.expires_at < before))

    def close(self) -> None:
        """Give everything back. May be called twice; afterwards all else raises Unavailable."""
        with self._opening:
            self._is_closed = True
            self._engine.dispose()

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with self._usable(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def _usable(self) -> Iterator[None]:
        with translated(self._engine):
            with self._opening:
                if self._is_closed:
                    raise Unavailable(f"The database {where(self._engine)} was closed.")
                if not self._is_open:
                    self._open()
                    self._is_open = True
            yield

    def _open(self) -> None:
        if is_current(self._engine):
            return
        try:
            claimed = claim(self._engine)
        except Unavailable as error:
            raise Conflict(f"{error} It runs another version of this program: restart it first.") from error
        try:
            with writing(self._engine) as connection:
                migrate(connection)
        finally:
            if claimed is not None:
                claimed.close()


def _revision(connection: sa.Connection) -> int:
    return int(connection.scalar(sa.select(schema.meta.c.value).where(schema.meta.c.name == REVISION)) or 0)


def _row(record: ApiKey | Session | LoginLink) -> dict[str, object]:
    values = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    return {name: _text(value) if isinstance(value, str) else value for name, value in values.items()} | {
        "scopes": ",".join(sorted(record.scopes))
    }


def _made(type_: type[Made], row: sa.Row[Any]) -> Made:
    known = {scope.value: scope for scope in Scope}
    scopes = frozenset(known[name] for name in row.scopes.split(",") if name in known)
    return type_(**dict(row._mapping) | {"scopes": scopes})


def _add_audit(connection: sa.Connection, entries: Sequence[AuditEntry]) -> None:
    names = [column.name for column in schema.audit.c if column.name != "entry_id"]
    rows = [{name: getattr(entry, name) for name in names} for entry in entries]
    if rows:
        texts = [{name: _text(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows]
        connection.execute(sa.insert(schema.audit), texts)


def _entry(row: sa.Row[Any]) -> AuditEntry:
    return AuditEntry(**dict(row._mapping) | {"outcome": Outcome(row.outcome)})


def _conditions(query: AuditQuery) -> list[sa.ColumnElement[bool]]:
    log = schema.audit.c
    found: list[sa.ColumnElement[bool]] = []
    if query.before_id is not None:
        found.append(log.entry_id < query.before_id)
    if query.actor:
        found.append(log.actor == query.actor)
    if query.action:
        found.append(log.action.startswith(query.action, autoescape=True) if query.action.endswith(".") else log.action == query.action)
    if query.outcome is not None:
        found.append(log.outcome == query.outcome.value)
    if query.since is not None:
        found.append(log.at >= query.since)
    if query.until is not None:
        found.append(log.at < query.until)
    if query.text:
        columns = (log.actor, log.name, log.address, log.action, log.subject, log.detail)
        found.append(sa.or_(*(column.icontains(_text(query.text), autoescape=True) for column in columns)))
    return found


def _text(value: str) -> str:
    """Fit for a text column of any database."""
    return value.encode("utf-8", "replace").decode().replace("\0", "?")
