"""Predictions of trainings, and keys that are good for one training."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make their table; no key that exists is bound to a training."""
    op.create_table(
        "prediction",
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True),
        sa.Column("client_id", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("matched", sa.Boolean),
        sa.Column("pair", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
    )
    op.create_index("prediction_client_id", "prediction", ["job_id", "client_id"], unique=True)
    op.create_index("prediction_epoch", "prediction", ["job_id", "epoch", "seq"])
    op.create_index("prediction_pair", "prediction", ["job_id", "pair", "seq"])
    op.add_column("api_key", sa.Column("job_id", sa.Text, nullable=False, server_default=""))
