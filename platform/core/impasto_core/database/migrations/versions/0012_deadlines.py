"""Time limits of jobs, and which attempts may have left objects behind."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

REASONS = "'requested', 'deadline', 'queue-limit', 'run-limit'"


def upgrade() -> None:
    # Null in jobs from before: those wait for as long as it takes.
    op.add_column("jobs", sa.Column("deadline", sa.DateTime(timezone=True), nullable=True))
    op.add_column("jobs", sa.Column("queue_deadline", sa.DateTime(timezone=True), nullable=True))
    op.add_column("jobs", sa.Column("max_run_seconds", sa.Integer(), nullable=True))
    op.add_column("jobs", sa.Column("cancel_reason", sa.String(16), nullable=True))
    op.create_check_constraint(op.f("ck_jobs_max_run_seconds"), "jobs", "max_run_seconds > 0")
    op.create_check_constraint(op.f("ck_jobs_cancel_reason"), "jobs", f"cancel_reason IN ({REASONS})")
    op.create_index("ix_jobs_deadline", "jobs", ["deadline"], postgresql_where="status = 'queued'")
    op.create_index(
        "ix_jobs_queue_deadline",
        "jobs",
        ["queue_deadline"],
        postgresql_where="status = 'queued' AND attempt = 0 AND queue_deadline IS NOT NULL",
    )
    op.execute("GRANT UPDATE (cancel_reason) ON jobs TO impasto_api, impasto_worker")

    op.add_column("job_attempts", sa.Column("swept_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_job_attempts_unswept",
        "job_attempts",
        ["finished_at"],
        postgresql_where="outcome <> 'succeeded' AND swept_at IS NULL",
    )


def downgrade() -> None:
    op.drop_index("ix_job_attempts_unswept", "job_attempts")
    op.drop_column("job_attempts", "swept_at")
    op.drop_index("ix_jobs_queue_deadline", "jobs")
    op.drop_index("ix_jobs_deadline", "jobs")
    for column in ("cancel_reason", "max_run_seconds", "queue_deadline", "deadline"):
        op.drop_column("jobs", column)
