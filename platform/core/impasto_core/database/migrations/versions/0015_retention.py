"""Images are kept for as long as the plan says."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_images_kept", "images", ["organization_id", "created_at"], postgresql_where="deleted_at IS NULL"
    )
    op.execute("GRANT UPDATE (deleted_at) ON images TO impasto_worker")


def downgrade() -> None:
    op.execute("REVOKE UPDATE (deleted_at) ON images FROM impasto_worker")
    op.drop_index("ix_images_kept", "images")
