"""The API version that a key is pinned to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Keys made before there were versions speak the first one.
    op.add_column(
        "api_keys", sa.Column("api_version", sa.String(10), nullable=False, server_default="2026-11-22")
    )
    op.alter_column("api_keys", "api_version", server_default=None)


def downgrade() -> None:
    op.drop_column("api_keys", "api_version")
