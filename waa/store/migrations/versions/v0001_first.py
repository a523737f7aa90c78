"""Events, entities, cursors and the store's name."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of the first release."""
    op.create_table(
        "event",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("previous", sa.Text),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("event_type", "event", ["type", "id"])
    op.create_table(
        "entity",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("vm", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.Column("data", sa.Text, nullable=False),
    )
    for column in ("vm", "run_id", "position"):
        op.create_index(f"ix_entity_{column}", "entity", [column])
    op.create_table(
        "cursor",
        sa.Column("vm", sa.Text, primary_key=True),
        sa.Column("log_key", sa.Text, primary_key=True),
        sa.Column("data", sa.Text, nullable=False),
    )
    op.create_table(
        "meta",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
