"""What each organization uses: the bytes it keeps, counted as they come and go, and the images of each job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TRIGGERS = {
    "image_stored": "AFTER INSERT ON images FOR EACH ROW WHEN (NEW.deleted_at IS NULL)"
    " EXECUTE FUNCTION count_storage('1')",
    "image_deleted": "AFTER UPDATE OF deleted_at ON images FOR EACH ROW"
    " WHEN (OLD.deleted_at IS NULL AND NEW.deleted_at IS NOT NULL) EXECUTE FUNCTION count_storage('-1')",
    "image_restored": "AFTER UPDATE OF deleted_at ON images FOR EACH ROW"
    " WHEN (OLD.deleted_at IS NOT NULL AND NEW.deleted_at IS NULL) EXECUTE FUNCTION count_storage('1')",
    "image_removed": "AFTER DELETE ON images FOR EACH ROW WHEN (OLD.deleted_at IS NULL)"
    " EXECUTE FUNCTION count_storage('-1')",
    "upload_stored": "AFTER INSERT ON uploads FOR EACH ROW EXECUTE FUNCTION count_storage('1')",
    "upload_removed": "AFTER DELETE ON uploads FOR EACH ROW EXECUTE FUNCTION count_storage('-1')",
}


def upgrade() -> None:
    op.create_table(
        "storage_usage",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("bytes >= 0", name="bytes"),
        sa.PrimaryKeyConstraint("organization_id", name="pk_storage_usage"),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.id"],
            ondelete="CASCADE",
            name="fk_storage_usage_organization_id",
        ),
    )
    op.execute("ALTER TABLE storage_usage ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY owner ON storage_usage TO CURRENT_USER USING (true)")
    op.execute(
        "CREATE POLICY organization ON storage_usage TO impasto_api"
        " USING (organization_id = (SELECT current_organization_id()))"
    )
    op.execute("GRANT SELECT ON storage_usage TO impasto_api")
    # The row that this updates stays locked until the transaction ends: who comes next sees what was counted.
    # Where an organization goes with all it has, there is nobody left to count for.
    op.execute(
        """
        CREATE FUNCTION count_storage() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
        AS $$
        DECLARE
            stored record;
        BEGIN
            IF TG_OP = 'DELETE' THEN stored := OLD; ELSE stored := NEW; END IF;
            IF TG_ARGV[0] = '1' THEN
                INSERT INTO public.storage_usage AS used (organization_id, bytes)
                VALUES (stored.organization_id, stored.size)
                ON CONFLICT (organization_id) DO UPDATE SET bytes = used.bytes + excluded.bytes;
            ELSE
                UPDATE public.storage_usage SET bytes = bytes - stored.size
                WHERE organization_id = stored.organization_id;
            END IF;
            RETURN NULL;
        END
        $$
        """
    )
    op.execute(
        """
        INSERT INTO storage_usage (organization_id, bytes)
        SELECT organization_id, sum(size) FROM (
            SELECT organization_id, size FROM images WHERE deleted_at IS NULL
            UNION ALL SELECT organization_id, size FROM uploads
        ) AS stored GROUP BY organization_id
        """
    )
    for name, definition in TRIGGERS.items():
        op.execute(f"CREATE TRIGGER {name} {definition}")
    op.add_column("jobs", sa.Column("images_made", sa.Integer(), nullable=False, server_default="0"))
    op.alter_column("jobs", "images_made", server_default=None)
    # Images that were deleted since are not known any more.
    op.execute("UPDATE jobs SET images_made = (SELECT count(*) FROM images WHERE job_id = jobs.id)")
    op.execute("GRANT UPDATE (images_made) ON jobs TO impasto_worker")
    op.create_index("ix_jobs_organization_id_finished_at", "jobs", ["organization_id", "finished_at"])


def downgrade() -> None:
    op.drop_index("ix_jobs_organization_id_finished_at", "jobs")
    op.drop_column("jobs", "images_made")
    for name, definition in TRIGGERS.items():
        op.execute(f"DROP TRIGGER {name} ON {'images' if ' ON images ' in definition else 'uploads'}")
    op.execute("DROP FUNCTION count_storage()")
    op.drop_table("storage_usage")
