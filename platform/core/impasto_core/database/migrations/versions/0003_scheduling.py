"""Fair claiming: what the queue weighs and in what order."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("pixel_steps", sa.BigInteger(), nullable=False, server_default="0"))
    op.alter_column("jobs", "pixel_steps", server_default=None)


def downgrade() -> None:
    op.drop_column("jobs", "pixel_steps")
