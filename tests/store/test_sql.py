"""What only the SQL store has: files, folders, locks, migrations, and what goes wrong with them."""

import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from tests.core.builders import T0, a_cursor, a_run, a_task, a_vm
from waa.core.error import Conflict, Invalid, Unavailable
from waa.core.event import Change, EventType
from waa.store import schema
from waa.store.engine import make_engine, migrate, writing
from waa.store.sql import SqlStore

ADDED = Change(type=EventType.VM_ADDED, at=T0, entity=a_vm())
STARTED = Change(type=EventType.RUN_STARTED, at=T0, entity=a_run())


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/data/waa.db"


@contextmanager
def opened(folder: Path) -> Iterator[SqlStore]:
    store = SqlStore(url(folder))
    try:
        yield store
    finally:
        store.close()


def run_sql(folder: Path, *statements: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "data" / "waa.db")) as connection, connection:
        return [row for statement in statements for row in connection.execute(statement)]


def test_folder_and_file_are_made_for_this_user_alone(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.append([ADDED])
        folder = tmp_path / "data"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in folder.glob("waa.db*") if not path.name.endswith(".lock")} == {0}


def test_nothing_is_touched_before_the_first_use(tmp_path: Path) -> None:
    SqlStore(url(tmp_path)).close()
    assert list(tmp_path.iterdir()) == []


def test_sqlite_writes_ahead_and_through_to_the_disk(tmp_path: Path) -> None:
    engine = make_engine(url(tmp_path))
    (tmp_path / "data").mkdir()
    with engine.connect() as connection:
        pragmas = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous", "busy_timeout")]
    engine.dispose()
    assert pragmas == ["wal", 2, 5000]


def test_the_migrations_make_the_tables_of_the_schema(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.load()
    engine = make_engine(url(tmp_path))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []
    engine.dispose()


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    engine = make_engine(url(tmp_path))
    (tmp_path / "data").mkdir()

    def half_way() -> None:
        with writing(engine) as connection:
            migrate(connection)
            raise LookupError

    with pytest.raises(LookupError):
        half_way()
    assert sa.inspect(engine).get_table_names() == []
    engine.dispose()


def test_a_database_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.append([ADDED])
    run_sql(tmp_path, "UPDATE alembic_version SET version_num = '9999'")
    with opened(tmp_path) as store:
        for _ in range(2):
            with pytest.raises(Conflict, match=r"waa\.db was made by a newer version"):
                store.load()
    assert run_sql(tmp_path, "SELECT version_num FROM alembic_version", "SELECT count(*) FROM event") == [("9999",), (1,)]


def test_two_servers_cannot_use_one_file(tmp_path: Path) -> None:
    with opened(tmp_path) as first, opened(tmp_path) as second:
        first.load()
        with pytest.raises(Unavailable, match="in use by another server"):
            second.load()
        first.close()
        assert second.load().last_event_id == 0


def test_a_reader_from_outside_is_let_in(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.append([ADDED])
        assert run_sql(tmp_path, "SELECT type, topic FROM event") == [("vm.added", "vms/vm-1")]


def test_a_locked_database_is_unavailable_and_works_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waa.store.engine.BUSY_TIMEOUT_S", 0.01)
    with opened(tmp_path) as store:
        store.load()
        with closing(sqlite3.connect(tmp_path / "data" / "waa.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable, match="is locked by another program"):
                store.append([ADDED])
            assert store.events_since(0) == []
            other.execute("ROLLBACK")
        assert [event.id for event in store.append([ADDED])] == [1]


def test_a_full_disk_is_unavailable_and_nothing_half_is_kept(tmp_path: Path) -> None:
    big = [Change(type=EventType.TASK_STEPPED, at=T0, entity=a_task(action="x" * 4000, step=step)) for step in range(50)]
    with opened(tmp_path) as store:
        store.append([ADDED])
        with room_for(pages=20), pytest.raises(Unavailable, match="the disk is full"):
            store.append([STARTED, *big], [a_cursor(offset=7)])
        with room_for(pages=100_000):
            assert [event.type for event in store.events_since(0)] == [EventType.VM_ADDED]
            assert store.load().cursors == []
            assert len(store.append([STARTED, *big])) == 51


@contextmanager
def room_for(*, pages: int) -> Iterator[None]:
    """SQLite finds the disk full when the database has that many pages."""

    def limit(connection: sqlite3.Connection, _record: object, _proxy: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    with listening(sa.Pool, "checkout", limit):
        yield


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "waa.db").write_bytes(b"This is no database. " * 500)
    with opened(tmp_path) as store, pytest.raises(Unavailable, match="is no SQLite database"):
        store.load()


def test_a_damaged_database_is_unavailable(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.append([ADDED] * 200)
    path = tmp_path / "data" / "waa.db"
    data = bytearray(path.read_bytes())
    for page in range(4096, len(data), 4096):
        data[page : page + 4096] = b"\xff" * 4096
    path.write_bytes(data)
    with opened(tmp_path) as store, pytest.raises(Unavailable, match="is damaged"):
        store.load()


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with opened(tmp_path) as store, pytest.raises(Unavailable, match="cannot be opened"):
        store.load()


def test_a_record_that_cannot_be_read_is_unavailable_and_named(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.append([ADDED])
    run_sql(tmp_path, """UPDATE entity SET data = '{"name": 7}'""")
    with opened(tmp_path) as store, pytest.raises(Unavailable, match=r"holds a record that cannot be read \(vm: "):
        store.load()


def test_an_event_of_a_kind_that_is_not_known_is_unavailable(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.append([ADDED])
    run_sql(tmp_path, "UPDATE event SET type = 'vm.painted'")
    with opened(tmp_path) as store, pytest.raises(Unavailable, match=r"type: 'vm\.painted' is unknown"):
        store.events_since(0)


def test_a_deleted_file_does_not_hang(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.append([ADDED])
    shutil.rmtree(tmp_path / "data")
    with opened(tmp_path) as store:
        assert store.load().last_event_id == 0


def test_an_append_taken_by_a_commit_that_seemed_to_fail_is_not_repeated(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.append([ADDED])
        with commit_and_break(), pytest.raises(Unavailable, match="connection lost"):
            store.append([STARTED, ADDED], [a_cursor(offset=7)])
        events = store.append([STARTED, ADDED], [a_cursor(offset=7)])
        assert [event.id for event in events] == [2, 3]
        assert store.events_since(1) == events
        assert [event.id for event in store.append([STARTED, ADDED])] == [4, 5]


def test_other_changes_after_a_doubtful_append_are_stored(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.load()
        with commit_and_break(), pytest.raises(Unavailable):
            store.append([ADDED])
        assert [event.id for event in store.append([STARTED])] == [2]


@contextmanager
def commit_and_break() -> Iterator[None]:
    """Commits reach the database, and their caller is told that they failed."""

    def break_after(connection: sa.Connection) -> None:
        connection.exec_driver_sql("COMMIT")
        raise sa.exc.OperationalError("COMMIT", None, sqlite3.OperationalError("connection lost"))

    with listening(sa.Engine, "commit", break_after):
        yield


@contextmanager
def listening(target: type, name: str, call: Callable[..., None]) -> Iterator[None]:
    sa.event.listen(target, name, call)
    try:
        yield
    finally:
        sa.event.remove(target, name, call)


def test_memory_of_sqlite_works_too() -> None:
    store = SqlStore("sqlite://")
    events = store.append([ADDED])
    assert store.events_since(0) == events
    store.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("waa.db", "is not a URL"),
        ("mysql://host/name", "mysql is not one of"),
        ("nosuch://host/name", "nosuch is not one of"),
        ("postgresql+nosuch://host/name", "is not a URL"),
    ],
)
def test_a_url_that_cannot_be_used_is_invalid(text: str, said: str) -> None:
    with pytest.raises(Invalid, match=said) as caught:
        SqlStore(text)
    assert caught.value.field == "database"


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.close()
        with pytest.raises(Unavailable, match="was closed"):
            store.check()
