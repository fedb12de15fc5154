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
    op.add_column(
        "organizations", sa.Column("queue_weight", sa.Integer(), nullable=False, server_default=sa.text("10"))
    )
    op.add_column("organizations", sa.Column("concurrent_jobs", sa.Integer(), nullable=True))
    op.create_check_constraint(op.f("ck_organizations_queue_weight"), "organizations", "queue_weight > 0")
    op.create_check_constraint(
        op.f("ck_organizations_concurrent_jobs"), "organizations", "concurrent_jobs >= 0"
    )
    # Workers weigh organizations; who they are is none of their business.
    op.execute("GRANT SELECT (id, queue_weight, concurrent_jobs) ON organizations TO impasto_worker")
    op.execute("CREATE POLICY worker ON organizations FOR SELECT TO impasto_worker USING (true)")


def downgrade() -> None:
    op.execute("DROP POLICY worker ON organizations")
    op.execute("REVOKE SELECT (id, queue_weight, concurrent_jobs) ON organizations FROM impasto_worker")
    op.drop_column("organizations", "concurrent_jobs")
    op.drop_column("organizations", "queue_weight")
    op.drop_column("jobs", "pixel_steps")
