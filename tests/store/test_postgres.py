"""What only PostgreSQL has: a server that goes away, writers side by side, migrations beside their rows; and the whole product on it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from tests.core.builders import T0, a_run, a_vm
from tests.support.postgres import Postgres
from tests.support.server import ROOT, Server
from tests.support.wait import PATIENCE_S, wait_for
from waa.core.access import ApiKey, AuditEntry, AuditQuery, Scope
from waa.core.error import Unavailable
from waa.core.event import Change, EventType
from waa.store import schema
from waa.store.access import SqlAccessStore
from waa.store.engine import make_engine, migrate, writing
from waa.store.sql import SqlStore

pytestmark = pytest.mark.postgres

FIRST = {"event", "entity", "cursor", "meta"}
"""The tables of the first release."""

ADDED = Change(type=EventType.VM_ADDED, at=T0, entity=a_vm())
STARTED = Change(type=EventType.RUN_STARTED, at=T0, entity=a_run())
KEY = ApiKey(key_id="k1", name="ci", owner="local", scopes=frozenset({Scope.VIEW}), digest="d1", created_at=T0)
ENTRY = AuditEntry(at=T0, actor="local", name="this machine", via="local", address="::1", action="vm.add")


@pytest.fixture
def empty(postgres: Postgres) -> Iterator[Postgres]:
    postgres.wipe()
    yield postgres
    postgres.wipe()


def test_the_migrations_make_the_tables_of_the_schema(empty: Postgres) -> None:
    with closing(SqlStore(empty.url)) as store:
        store.load()
    engine = make_engine(empty.url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []
    engine.dispose()


def test_a_migration_that_fails_leaves_nothing_behind(empty: Postgres) -> None:
    engine = make_engine(empty.url)

    def half_way() -> None:
        with writing(engine) as connection:
            migrate(connection)
            raise LookupError

    with pytest.raises(LookupError):
        half_way()
    assert sa.inspect(engine).get_table_names() == []
    engine.dispose()


def test_a_database_of_the_first_release_is_brought_forward_with_its_rows(empty: Postgres) -> None:
    with closing(SqlStore(empty.url)) as store:
        before = store.append([ADDED, STARTED])
    later = schema.metadata.tables.keys() - FIRST
    empty.run(*(f"DROP TABLE {table}" for table in later), "DROP INDEX event_topic", "UPDATE alembic_version SET version_num = '0001'")
    with closing(SqlAccessStore(empty.url)) as access, closing(SqlStore(empty.url)) as store:
        access.put([KEY], [ENTRY])
        assert access.load().keys == [KEY]
        assert store.events_since(0) == before


def test_keys_and_records_share_a_database(empty: Postgres) -> None:
    with closing(SqlStore(empty.url)) as store, closing(SqlAccessStore(empty.url)) as access, closing(SqlAccessStore(empty.url)) as beside:
        store.append([ADDED])
        access.put([KEY], [])
        beside.put([], [ENTRY])
        assert [store.load().last_event_id, access.revision(), len(access.audit(AuditQuery()))] == [1, 2, 1]


def test_a_server_that_is_restarted_is_unavailable_and_works_again(empty: Postgres) -> None:
    url = empty.url.replace("waa@", "waa:hunter2@")
    with closing(SqlStore(url)) as store, closing(SqlAccessStore(url)) as access:
        store.append([ADDED])
        access.put([KEY], [])
        empty.stop()
        for use in (lambda: store.append([STARTED]), access.load, store.check):
            with pytest.raises(Unavailable, match="cannot be used now") as caught:
                use()
            assert "hunter2" not in str(caught.value)
        empty.start()
        assert [event.id for event in store.append([STARTED])] == [2]
        assert access.load().keys == [KEY]


def test_events_of_writers_side_by_side_become_visible_in_their_order(empty: Postgres) -> None:
    """Or a client that resumes after the newest id it saw misses one that was given before and came after."""
    with closing(SqlStore(empty.url)) as first, closing(SqlStore(empty.url)) as second, closing(SqlStore(empty.url)) as reader:
        reader.load()
        with ThreadPoolExecutor(2) as threads:
            writers = [
                threads.submit(lambda store: [store.append([ADDED, STARTED]) for _ in range(25)], store) for store in (first, second)
            ]
            seen: list[int] = []
            while not all(writer.done() for writer in writers):
                seen += [event.id for event in reader.events_since(seen[-1] if seen else 0)]
            for writer in writers:
                writer.result()
        seen += [event.id for event in reader.events_since(seen[-1] if seen else 0)]
        assert seen == [event.id for event in reader.events_since(0)]
        assert len(seen) == 100


def test_the_product_keeps_its_events_keys_and_log_there(empty: Postgres, tmp_path: Path) -> None:
    config = f'database = "{empty.url}"\nauth = "on"\n[[vm]]\nname = "here"\ntransport = "local"\ncontainer = ""\n'
    server = Server(tmp_path, config=config)

    command = [sys.executable, str(ROOT / "server.py"), "keys", "create", "--name", "ci", "--scope", "admin"]
    settings = ["--config", str(tmp_path / "waa.toml"), "--data", str(tmp_path / "data")]
    server.start()
    try:
        made = subprocess.run([*command, *settings], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
        key = {"X-API-Key": made.stdout.split()[0]}
        wait_for(lambda: is_known(server, key), what="the server knows a key that was made beside it")
        assert server.send("DELETE", "/api/vms/here", headers=key)[0] == 409
        wait_for(lambda: server.send("GET", "/api/vms/here", headers=key)[1]["connected"], what="the VM is watched")
        wait_for(lambda: "vm.remove" in audit(server, key), what="the refusal is in the audit log")
        server.kill()
        with closing(SqlStore(empty.url)) as store:
            events = store.events_since(0)
        server.start()
        assert is_known(server, key)
        assert "vm.remove" in audit(server, key)
        with closing(SqlStore(empty.url)) as store:
            assert store.events_since(0)[: len(events)] == events != []
    finally:
        assert server.stop() == 0
    assert not (tmp_path / "data" / "waa.db").exists()


def is_known(server: Server, headers: dict[str, str]) -> bool:
    return server.send("GET", "/api/vms", headers=headers)[0] == 200


def audit(server: Server, headers: dict[str, str]) -> str:
    return json.dumps(server.send("GET", "/audit.json", headers=headers)[1])
