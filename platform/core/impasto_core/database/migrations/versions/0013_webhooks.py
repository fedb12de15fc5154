"""Webhooks: endpoints, secrets, the outbox, deliveries and their log, and the role that sends them.

`impasto_webhooks` reads secrets and writes what became of deliveries; it speaks to servers of anyone's choosing
and so sees nothing else, jobs included. Whoever ends a job may write to the outbox, and read who wants to know.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

ROLE = "impasto_webhooks"

TABLES = (
    "webhook_endpoints",
    "webhook_secrets",
    "webhook_events",
    "webhook_deliveries",
    "webhook_attempts",
)

# Who may not update anything of a row cannot keep it from being deleted either.
_WHO_WANTS_TO_KNOW = "SELECT (id, organization_id, events, status, ordered), UPDATE (failing_since)"

GRANTS = {
    "impasto_api": {
        "webhook_endpoints": "SELECT, INSERT, DELETE, UPDATE (url, description, events, ordered, status,"
        " disabled_reason, disabled_at, failing_since)",
        "webhook_secrets": "SELECT, INSERT, UPDATE (expires_at)",
        "webhook_events": "SELECT, INSERT",
        "webhook_deliveries": "SELECT, INSERT, UPDATE (status, failures, next_attempt_at, finished_at)",
        "webhook_attempts": "SELECT",
    },
    "impasto_worker": {
        "webhook_endpoints": _WHO_WANTS_TO_KNOW,
        "webhook_events": "SELECT (id, created_at), INSERT, DELETE",
        "webhook_deliveries": "SELECT (status, next_attempt_at, endpoint_id), INSERT",
    },
    "impasto_payments": {
        "webhook_endpoints": _WHO_WANTS_TO_KNOW,
        "webhook_events": "INSERT",
        "webhook_deliveries": "INSERT",
    },
    ROLE: {
        "webhook_endpoints": "SELECT, UPDATE (status, disabled_reason, disabled_at, failing_since)",
        "webhook_secrets": "SELECT, INSERT",
        "webhook_events": "SELECT, INSERT",
        "webhook_deliveries": "SELECT, INSERT, UPDATE (status, attempts, failures, next_attempt_at,"
        " finished_at)",
        "webhook_attempts": "INSERT",
        "alembic_version": "SELECT",
    },
}


def upgrade() -> None:
    _make_tables()
    op.add_column("jobs", sa.Column("webhook_url", sa.String(2048), nullable=True))
    # Roles belong to the cluster, not to this database: another database may have made it already.
    op.execute(
        f"DO $$ BEGIN CREATE ROLE {ROLE} NOLOGIN;"
        " EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    )
    op.execute(f"GRANT USAGE ON SCHEMA public TO {ROLE}")
    for role, grants in GRANTS.items():
        for table, privileges in grants.items():
            op.execute(f"GRANT {privileges} ON {table} TO {role}")
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY owner ON {table} TO CURRENT_USER USING (true)")
        op.execute(
            f"CREATE POLICY organization ON {table} TO impasto_api"
            " USING (organization_id = (SELECT current_organization_id()))"
        )
        for role in ("impasto_worker", "impasto_payments", ROLE):
            if table in GRANTS[role]:
                policy = role.removeprefix("impasto_")
                op.execute(f"CREATE POLICY {policy} ON {table} TO {role} USING (true)")
    # Heard by every dispatcher once the transaction is committed.
    op.execute(
        """
        CREATE FUNCTION notify_webhook_due() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN PERFORM pg_notify('webhook_due', ''); RETURN NULL; END $$
        """
    )
    op.execute(
        "CREATE TRIGGER webhook_due AFTER INSERT ON webhook_deliveries"
        " FOR EACH STATEMENT EXECUTE FUNCTION notify_webhook_due()"
    )


def downgrade() -> None:
    op.drop_column("jobs", "webhook_url")
    for table in reversed(TABLES):
        op.drop_table(table)
    op.execute("DROP FUNCTION notify_webhook_due()")
    op.execute(f"REVOKE ALL ON alembic_version FROM {ROLE}")
    op.execute(f"REVOKE USAGE ON SCHEMA public FROM {ROLE}")


def _make_tables() -> None:
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.String(2048), nullable=False),
        sa.Column("description", sa.String(500), nullable=False),
        sa.Column("events", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("ordered", sa.Boolean(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("disabled_reason", sa.String(16), nullable=True),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_endpoints"),
        _organization("webhook_endpoints"),
        sa.CheckConstraint("status IN ('enabled', 'disabled')", name=op.f("ck_webhook_endpoints_status")),
        sa.CheckConstraint(
            "disabled_reason IN ('gone', 'failing', 'manual')",
            name=op.f("ck_webhook_endpoints_disabled_reason"),
        ),
        sa.CheckConstraint(
            "(status = 'disabled') = (disabled_at IS NOT NULL)"
            " AND (status = 'disabled') = (disabled_reason IS NOT NULL)",
            name=op.f("ck_webhook_endpoints_disabled"),
        ),
    )
    op.create_index("ix_webhook_endpoints_organization_id_id", "webhook_endpoints", ["organization_id", "id"])
    op.create_table(
        "webhook_secrets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_secrets"),
        _organization("webhook_secrets"),
        _endpoint("webhook_secrets"),
        sa.CheckConstraint("kind IN ('hmac', 'ed25519')", name=op.f("ck_webhook_secrets_kind")),
        sa.CheckConstraint(
            "(kind = 'ed25519') = (public_key IS NOT NULL)", name=op.f("ck_webhook_secrets_public_key")
        ),
    )
    op.create_index("ix_webhook_secrets_endpoint_id", "webhook_secrets", ["endpoint_id"])
    op.create_index(
        "ix_webhook_secrets_current",
        "webhook_secrets",
        ["organization_id", "endpoint_id", "kind"],
        unique=True,
        postgresql_where=sa.text("expires_at IS NULL"),
        postgresql_nulls_not_distinct=True,
    )
    op.create_table(
        "webhook_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.String(63), nullable=False),
        sa.Column("data", postgresql.JSON(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("traceparent", sa.String(55), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_events"),
        _organization("webhook_events"),
        sa.CheckConstraint("octet_length(CAST(data AS text)) < 20000", name=op.f("ck_webhook_events_size")),
    )
    op.create_index("ix_webhook_events_organization_id_id", "webhook_events", ["organization_id", "id"])
    op.create_index("ix_webhook_events_job_id", "webhook_events", ["job_id"], unique=True)
    op.create_index("ix_webhook_events_created_at", "webhook_events", ["created_at"])
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=True),
        sa.Column("url", sa.String(2048), nullable=True),
        sa.Column("lane", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column(
            "next_attempt_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_deliveries"),
        _organization("webhook_deliveries"),
        _endpoint("webhook_deliveries"),
        sa.ForeignKeyConstraint(
            ["event_id"], ["webhook_events.id"], name="fk_webhook_deliveries_event_id", ondelete="CASCADE"
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'succeeded', 'failed')", name=op.f("ck_webhook_deliveries_status")
        ),
        sa.CheckConstraint(
            "(status = 'pending') = (finished_at IS NULL)", name=op.f("ck_webhook_deliveries_finished_once")
        ),
        sa.CheckConstraint(
            "(endpoint_id IS NULL) <> (url IS NULL)", name=op.f("ck_webhook_deliveries_endpoint_or_url")
        ),
    )
    for name, columns in {
        "due": ["next_attempt_at"],
        "lane": ["lane", "next_attempt_at"],
        "order": ["lane", "position"],
    }.items():
        op.create_index(
            f"ix_webhook_deliveries_{name}",
            "webhook_deliveries",
            columns,
            postgresql_where=sa.text("status = 'pending'"),
        )
    op.create_index("ix_webhook_deliveries_event_id", "webhook_deliveries", ["event_id"])
    op.create_index("ix_webhook_deliveries_endpoint_id_id", "webhook_deliveries", ["endpoint_id", "id"])
    op.create_index(
        "ix_webhook_deliveries_organization_id_id", "webhook_deliveries", ["organization_id", "id"]
    )
    op.create_table(
        "webhook_attempts",
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("url", sa.String(2048), nullable=False),
        sa.Column("request_headers", postgresql.JSONB(), nullable=False),
        sa.Column("response_status", sa.Integer(), nullable=True),
        sa.Column("response_headers", postgresql.JSONB(), nullable=True),
        sa.Column("response_body", sa.String(4096), nullable=True),
        sa.Column("error", sa.String(500), nullable=True),
        sa.PrimaryKeyConstraint("delivery_id", "number", name="pk_webhook_attempts"),
        _organization("webhook_attempts"),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["webhook_deliveries.id"],
            name="fk_webhook_attempts_delivery_id",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("outcome IN ('succeeded', 'failed')", name=op.f("ck_webhook_attempts_outcome")),
    )
    op.create_index("ix_webhook_attempts_organization_id", "webhook_attempts", ["organization_id"])


def _organization(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["organization_id"], ["organizations.id"], name=f"fk_{table}_organization_id", ondelete="CASCADE"
    )


def _endpoint(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["endpoint_id"], ["webhook_endpoints.id"], name=f"fk_{table}_endpoint_id", ondelete="CASCADE"
    )
