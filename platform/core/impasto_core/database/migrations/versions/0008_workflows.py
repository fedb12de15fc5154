"""Workflows and their versions. A version is only ever inserted: nobody may change one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSON, JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

API_GRANTS = {
    "workflows": "SELECT, INSERT, UPDATE (latest, archived_at)",
    "workflow_versions": "SELECT, INSERT",
}


def upgrade() -> None:
    op.create_table(
        "workflows",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("slug", sa.String(63), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("description", sa.String(2000), nullable=False),
        sa.Column("latest", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="fk_workflows_organization_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_workflows"),
        sa.UniqueConstraint("organization_id", "slug", name="uq_workflows_organization_id_slug"),
    )
    op.create_table(
        "workflow_versions",
        sa.Column("workflow_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("document", JSON(), nullable=False),
        sa.Column("graph", JSON(), nullable=False),
        sa.Column("inputs", JSONB(), nullable=False),
        sa.Column("input_schema", JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.id"],
            name="fk_workflow_versions_organization_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["workflow_id"], ["workflows.id"], name="fk_workflow_versions_workflow_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("workflow_id", "number", name="pk_workflow_versions"),
    )
    op.create_index("ix_workflow_versions_organization_id", "workflow_versions", ["organization_id"])
    for table, privileges in API_GRANTS.items():
        op.execute(f"GRANT {privileges} ON {table} TO impasto_api")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY owner ON {table} TO CURRENT_USER USING (true)")
        op.execute(
            f"CREATE POLICY organization ON {table} TO impasto_api"
            " USING (organization_id = (SELECT current_organization_id()))"
        )

    op.add_column("jobs", sa.Column("workflow", sa.String(63), nullable=True))
    op.add_column("jobs", sa.Column("workflow_version", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "workflow_version")
    op.drop_column("jobs", "workflow")
    op.drop_table("workflow_versions")
    op.drop_table("workflows")
