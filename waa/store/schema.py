"""The tables as of the newest migration. A change here needs a migration beside it."""

import sqlalchemy as sa

metadata = sa.MetaData()

_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

event = sa.Table(
    "event",
    metadata,
    sa.Column("id", _Id, primary_key=True, autoincrement=True),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("previous", sa.Text),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("data", sa.Text, nullable=False),
    sa.Index("event_type", "type", "id"),
    sa.Index("event_topic", "topic", "id"),
    sqlite_autoincrement=True,  # or SQLite gives the ids of deleted rows again, and a client resumes into another's past
)

entity = sa.Table(
    "entity",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("vm", sa.Text, nullable=False, index=True),
    sa.Column("run_id", sa.Text, index=True),
    sa.Column("position", sa.BigInteger, nullable=False, index=True),  # the event that first told of it: the order of loading
    sa.Column("ended_at", sa.Double),
    sa.Column("data", sa.Text, nullable=False),
)

cursor = sa.Table(
    "cursor",
    metadata,
    sa.Column("vm", sa.Text, primary_key=True),
    sa.Column("log_key", sa.Text, primary_key=True),
    sa.Column("data", sa.Text, nullable=False),
)

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
