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

prediction = sa.Table(
    "prediction",
    metadata,
    sa.Column("job_id", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("client_id", sa.Text, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("matched", sa.Boolean),  # its exact_match
    sa.Column("pair", sa.Text, nullable=False),  # what it is about: see Prediction.pair
    sa.Column("data", sa.Text, nullable=False),
    sa.Index("prediction_client_id", "job_id", "client_id", unique=True),
    sa.Index("prediction_epoch", "job_id", "epoch", "seq"),
    sa.Index("prediction_pair", "job_id", "pair", "seq"),
)

api_key = sa.Table(
    "api_key",
    metadata,
    sa.Column("key_id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("scopes", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double),
    sa.Column("last_used_at", sa.Double),
    sa.Column("revoked_at", sa.Double),
    sa.Column("job_id", sa.Text, nullable=False, server_default=""),
)

session = sa.Table(
    "session",
    metadata,
    sa.Column("session_id", sa.Text, primary_key=True),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("scopes", sa.Text, nullable=False),
    sa.Column("via", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("seen_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("ended_at", sa.Double),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("agent", sa.Text, nullable=False),
)

login_link = sa.Table(
    "login_link",
    metadata,
    sa.Column("link_id", sa.Text, primary_key=True),
    sa.Column("digest", sa.Text, nullable=False, unique=True),
    sa.Column("scopes", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
    sa.Column("used_at", sa.Double),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("entry_id", _Id, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("via", sa.Text, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Index("audit_at", "at"),
    sqlite_autoincrement=True,  # or a page of old entries would go on among new ones that took their numbers
)
