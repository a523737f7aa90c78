"""Keys, sessions, login links and the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def upgrade() -> None:
    """Make their tables."""
    op.create_table(
        "api_key",
        sa.Column("key_id", sa.Text, primary_key=True),
        *_texts("name", "owner", "scopes", "digest"),
        sa.Column("created_at", sa.Double, nullable=False),
        *(sa.Column(name, sa.Double) for name in ("expires_at", "last_used_at", "revoked_at")),
    )
    op.create_table(
        "session",
        sa.Column("session_id", sa.Text, primary_key=True),
        *_texts("digest", "subject", "name", "scopes", "via"),
        *(sa.Column(name, sa.Double, nullable=False) for name in ("created_at", "seen_at", "expires_at")),
        *_texts("key_id"),
        sa.Column("ended_at", sa.Double),
        *_texts("address", "agent"),
    )
    op.create_table(
        "login_link",
        sa.Column("link_id", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False, unique=True),
        *_texts("scopes"),
        *(sa.Column(name, sa.Double, nullable=False) for name in ("created_at", "expires_at")),
        sa.Column("used_at", sa.Double),
    )
    op.create_table(
        "audit",
        sa.Column("entry_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("at", sa.Double, nullable=False),
        *_texts("actor", "name", "via", "address", "action", "subject", "outcome", "detail"),
        sqlite_autoincrement=True,
    )
    op.create_index("audit_at", "audit", ["at"])
