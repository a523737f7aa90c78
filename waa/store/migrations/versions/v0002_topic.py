"""The events of a run are found by their topics."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index what an event is about."""
    op.create_index("event_topic", "event", ["topic", "id"])
