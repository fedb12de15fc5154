"""Jobs that run a caller's own graph: without a pipeline, and with any number of models."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSON, JSONB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("models", sa.Column("type", sa.String(32), nullable=False, server_default="main"))
    op.alter_column("models", "type", server_default=None)

    op.alter_column("jobs", "pipeline", existing_type=sa.String(63), nullable=True)
    op.add_column("jobs", sa.Column("models", JSONB, nullable=True))
    op.execute(
        "UPDATE jobs SET models = jsonb_build_array(models.slug) FROM models WHERE models.id = jobs.model_id"
    )
    op.alter_column("jobs", "models", nullable=False)
    op.drop_column("jobs", "model_id")
    # Images come back in the order of their nodes, and JSONB would sort those.
    op.alter_column("jobs", "graph", type_=JSON, postgresql_using="graph::json")


def downgrade() -> None:
    op.alter_column("jobs", "graph", type_=JSONB, postgresql_using="graph::jsonb")
    # Before, a job was of one model and of one pipeline.
    op.execute("DELETE FROM jobs WHERE pipeline IS NULL OR jsonb_array_length(models) <> 1")
    op.add_column(
        "jobs",
        sa.Column("model_id", sa.Uuid(), sa.ForeignKey("models.id", name="fk_jobs_model_id"), nullable=True),
    )
    op.execute("UPDATE jobs SET model_id = models.id FROM models WHERE models.slug = jobs.models ->> 0")
    op.alter_column("jobs", "model_id", nullable=False)
    op.drop_column("jobs", "models")
    op.alter_column("jobs", "pipeline", existing_type=sa.String(63), nullable=False)
    op.drop_column("models", "type")
