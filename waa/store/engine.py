"""Opens a database: the driver, the file with its folder and lock, the settings of each connection, the migrations."""

import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from waa.core.error import Conflict, Invalid, Unavailable

BUSY_TIMEOUT_S = 5.0
"""A backup or a curious shell may hold SQLite's lock for a moment."""
POSTGRES_OPTIONS = "-c statement_timeout=30000 -c lock_timeout=10000"
WRITES = "waa_writes"
"""Execution option of a connection whose transactions write: they take the write lock at once, not half-way."""
POSTGRES_LOCK = 0x57414131
"""One writer at a time, so that ids become visible in their order and nobody resumes past an event still to come."""

_SENTENCES = (
    ("SQLITE_BUSY", "{} is locked by another program."),
    ("SQLITE_LOCKED", "{} is locked by another program."),
    ("SQLITE_FULL", "{} cannot be written: the disk is full."),
    ("SQLITE_READONLY", "{} cannot be written: it is read-only."),
    ("SQLITE_CORRUPT", "{} is damaged. Restore it from a backup, or move it away to begin anew."),
    ("SQLITE_NOTADB", "{} is no SQLite database. Name another file, or move it away to begin anew."),
    ("SQLITE_CANTOPEN", "{} cannot be opened."),
    ("SQLITE_IOERR", "{} cannot be read or written: the disk fails."),
)


class Claim(Protocol):
    """A database file that belongs to this process."""

    def close(self) -> None:
        """Let another have it."""


def make_engine(url: str) -> sa.Engine:
    """The engine of a SQLite or PostgreSQL URL; connects to nothing yet. Raises Invalid naming ``database``."""
    try:
        parsed = sa.make_url(url)
        if parsed.drivername in ("postgres", "postgresql"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(parsed)
        if parsed.get_backend_name() != "postgresql":
            raise Invalid("database", f"{parsed.get_backend_name()} is not one of sqlite, postgresql")
        arguments = {"connect_timeout": 5, "options": POSTGRES_OPTIONS}
        return sa.create_engine(parsed, pool_pre_ping=True, pool_size=2, connect_args=arguments)
    except (ArgumentError, NoSuchModuleError) as error:
        raise Invalid("database", "is not a URL such as sqlite:////var/lib/waa/waa.db or postgresql://user@host/name") from error
    except ModuleNotFoundError as error:
        raise Invalid("database", f"needs the Python package {error.name}, which is not installed") from error


def _sqlite(url: sa.URL) -> sa.Engine:
    arguments: dict[str, object] = {"timeout": BUSY_TIMEOUT_S}
    if _path(url) is None:
        arguments["check_same_thread"] = False
        engine = sa.create_engine(url, connect_args=arguments, poolclass=StaticPool)
    else:
        engine = sa.create_engine(url, connect_args=arguments)
    sa.event.listen(engine, "connect", _set_up)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _set_up(connection: sqlite3.Connection, _record: object) -> None:
    """FULL, because an event that was shown must not be lost: with NORMAL a power cut takes the newest
    transactions away, and their ids would be given to other events. It costs one fsync per group commit."""
    connection.isolation_level = None  # or the driver begins transactions on its own, and leaves out those of migrations
    with closing(connection.cursor()) as cursor:
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(WRITES) else "BEGIN")


def claim(engine: sa.Engine) -> Claim | None:
    """Make the SQLite file (and its folder, for this user alone) and take it for this process, until ``close`` or its end.

    None where there is no file. Raises Unavailable: another server has it, or the folder cannot be made.
    """
    path = _path(engine.url)
    if path is None:
        return None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise Unavailable(f"The database {path} cannot be opened: {error.strerror}.") from error
    # A second database as the lock: it works wherever SQLite does and ends with the process, however that ends.
    lock = sqlite3.connect(f"{path}.lock", timeout=0, isolation_level=None, check_same_thread=False)
    try:
        lock.execute("PRAGMA journal_mode = MEMORY")
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        lock.close()
        if getattr(error, "sqlite_errorname", "") != "SQLITE_BUSY":
            raise Unavailable(f"The lock {path}.lock cannot be taken: {error}.") from error
        raise Unavailable(f"The database {path} is in use by another server. Stop that one, or use another data folder.") from error
    return lock


def _path(url: sa.URL) -> Path | None:
    is_file = url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")
    return Path(url.database) if is_file and url.database else None


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that writes, committed at the end; one at a time, also among servers."""
    with engine.connect() as connection:
        connection = connection.execution_options(**{WRITES: True})  # noqa: PLW2901 - the same connection
        with connection.begin():
            if engine.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(POSTGRES_LOCK)))
            yield connection


def upsert(
    connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, object]], *, keys: Sequence[str], keep: Collection[str]
) -> None:
    """Insert the rows; where one with its keys exists, set all columns but ``keep``."""
    insert = postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
    values = {column.name: insert.excluded[column.name] for column in table.c if column.name not in keep}
    connection.execute(insert.on_conflict_do_update(index_elements=list(keys), set_=values), rows)


def insert_new(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, object]]) -> None:
    """Insert the rows, but for those that break a unique index."""
    insert = postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
    connection.execute(insert.on_conflict_do_nothing(), rows)


def is_current(engine: sa.Engine) -> bool:
    """Whether the tables are there in their newest form. Raises SQLAlchemyError where the database cannot be read."""
    path = _path(engine.url)
    if path is not None and not path.exists():
        return False
    with engine.connect() as connection:
        return set(MigrationContext.configure(connection).get_current_heads()) == set(_scripts().get_heads())


def migrate(connection: sa.Connection) -> None:
    """Bring the tables to the newest form, in the transaction of ``connection``. Raises Conflict: they are newer."""
    config = _settings()
    config.attributes["connection"] = connection
    revisions = {revision.revision for revision in _scripts().walk_revisions()}
    heads = MigrationContext.configure(connection).get_current_heads()
    if not set(heads) <= revisions:
        raise Conflict(
            f"The database {where(connection.engine)} was made by a newer version of this program. Update it, or use another data folder."
        )
    command.upgrade(config, "head")


def _settings() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_settings())


@contextmanager
def translated(engine: sa.Engine) -> Iterator[None]:
    """Turns what the database says into Unavailable with a sentence."""
    try:
        yield
    except SQLAlchemyError as error:
        raise Unavailable(_sentence(engine, error)) from error
    except Invalid as error:
        raise Unavailable(f"The database {where(engine)} holds a record that cannot be read ({error}).") from error


def where(engine: sa.Engine) -> str:
    """How to name the database to a person: the file, or the URL without its password."""
    path = _path(engine.url)
    return str(path) if path is not None else engine.url.render_as_string(hide_password=True)


def _sentence(engine: sa.Engine, error: SQLAlchemyError) -> str:
    place = f"The database {where(engine)}"
    cause = error.orig if isinstance(error, DBAPIError) else None
    name = str(getattr(cause, "sqlite_errorname", ""))
    for prefix, sentence in _SENTENCES:
        if name.startswith(prefix):
            return sentence.format(place)
    return f"{place} cannot be used now: {str(cause or error).strip().splitlines()[0]}."
