"""Customers, subscriptions and events of payment providers, and the role that handles them.

`impasto_payments` alone turns payments into credits and plans, for every organization: what the API and workers
could do of that is taken from them. The API notes signed events, which it cannot read again, and what its own
organization wants; workers see nothing of all this.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ROLE = "impasto_payments"

TENANT_TABLES = (
    "billing_customers",
    "subscriptions",
    "purchases",
    "auto_top_ups",
    "top_ups",
    "usage_reports",
)

LEDGER_TABLES = ("credit_grants", "ledger_accounts", "ledger_transactions", "ledger_entries")

API_GRANTS = {
    "billing_customers": "SELECT, INSERT",
    "subscriptions": "SELECT",
    "purchases": "SELECT",
    "auto_top_ups": "SELECT, INSERT, UPDATE",
    "top_ups": "SELECT",
    "usage_reports": "SELECT",
    "provider_events": "INSERT",
}

ROLE_GRANTS = {
    **dict.fromkeys(TENANT_TABLES, "SELECT, INSERT, UPDATE"),
    "provider_events": "SELECT, INSERT, UPDATE, DELETE",
    **dict.fromkeys(LEDGER_TABLES, "SELECT"),
    "plans": "SELECT",
    "organization_plans": "SELECT",
    "alembic_version": "SELECT",
}

TAKEN_OVER = {
    "grant_credits(uuid, text, bigint, integer, timestamptz, timestamptz, text, text, timestamptz)": "impasto_api",
    "claw_back_credits(uuid, bigint, text, text, timestamptz)": "impasto_api",
    "assign_plan(uuid, text)": "impasto_api, impasto_worker",
}
"""What makes credits and plans, and who could do it before there was a role for it."""


def upgrade() -> None:
    _make_tables()
    # Roles belong to the cluster, not to this database: another database may have made it already.
    op.execute(
        f"DO $$ BEGIN CREATE ROLE {ROLE} NOLOGIN;"
        " EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    )
    op.execute(f"GRANT USAGE ON SCHEMA public TO {ROLE}")
    for table, privileges in API_GRANTS.items():
        op.execute(f"GRANT {privileges} ON {table} TO impasto_api")
    for table, privileges in ROLE_GRANTS.items():
        op.execute(f"GRANT {privileges} ON {table} TO {ROLE}")
    for function, others in TAKEN_OVER.items():
        op.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM {others}")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO {ROLE}")
    for table in TENANT_TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY owner ON {table} TO CURRENT_USER USING (true)")
        op.execute(
            f"CREATE POLICY organization ON {table} TO impasto_api"
            " USING (organization_id = (SELECT current_organization_id()))"
        )
        op.execute(f"CREATE POLICY payments ON {table} TO {ROLE} USING (true)")
    for table in (*LEDGER_TABLES, "organization_plans"):
        op.execute(f"CREATE POLICY payments ON {table} FOR SELECT TO {ROLE} USING (true)")


def downgrade() -> None:
    for table in (*LEDGER_TABLES, "organization_plans"):
        op.execute(f"DROP POLICY payments ON {table}")
    for function, others in TAKEN_OVER.items():
        op.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM {ROLE}")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO {others}")
    for table in ROLE_GRANTS:
        op.execute(f"REVOKE ALL ON {table} FROM {ROLE}")
    op.execute(f"REVOKE USAGE ON SCHEMA public FROM {ROLE}")
    for table in ("provider_events", *reversed(TENANT_TABLES)):
        op.drop_table(table)


def _make_tables() -> None:
    op.create_table(
        "billing_customers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.String(16), nullable=False),
        sa.Column("customer_id", sa.String(255), nullable=False),
        sa.Column("metered_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        *_shared("billing_customers"),
        sa.UniqueConstraint(
            "provider",
            "customer_id",
            "organization_id",
            name="uq_billing_customers_provider_customer_id_organization_id",
        ),
    )
    op.create_table(
        "subscriptions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.String(16), nullable=False),
        sa.Column("subscription_id", sa.String(255), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("plan", sa.String(63), nullable=False),
        sa.Column("effective_plan", sa.String(63), nullable=False),
        sa.Column("period_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("period_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cancel_at_period_end", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        *_shared("subscriptions"),
        sa.UniqueConstraint("provider", "subscription_id", name="uq_subscriptions_provider_subscription_id"),
    )
    op.create_table(
        "purchases",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.String(16), nullable=False),
        sa.Column("payment_id", sa.String(255), nullable=False),
        sa.Column("pack", sa.String(63), nullable=True),
        sa.Column("plan", sa.String(63), nullable=True),
        sa.Column("subscription_id", sa.String(255), nullable=True),
        sa.Column("period_start", sa.DateTime(timezone=True), nullable=True),
        sa.Column("period_end", sa.DateTime(timezone=True), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("refunded", sa.BigInteger(), nullable=False),
        sa.Column("disputed", sa.Boolean(), nullable=False),
        sa.Column("credits", sa.BigInteger(), nullable=False),
        sa.Column("taken_back", sa.BigInteger(), nullable=False),
        sa.Column("changes", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        *_shared("purchases"),
        sa.UniqueConstraint("provider", "payment_id", name="uq_purchases_provider_payment_id"),
        sa.CheckConstraint("(pack IS NULL) <> (plan IS NULL)", name=op.f("ck_purchases_pack_or_plan")),
        sa.CheckConstraint("amount >= 0 AND refunded BETWEEN 0 AND amount", name=op.f("ck_purchases_amount")),
        sa.CheckConstraint(
            "credits >= 0 AND taken_back BETWEEN 0 AND credits", name=op.f("ck_purchases_credits")
        ),
    )
    op.create_table(
        "auto_top_ups",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("threshold", sa.BigInteger(), nullable=False),
        sa.Column("pack", sa.String(63), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.String(500), nullable=True),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        *_shared("auto_top_ups", key="organization_id", provider=False),
        sa.CheckConstraint("threshold > 0", name=op.f("ck_auto_top_ups_threshold")),
    )
    op.create_table(
        "top_ups",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("pack", sa.String(63), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("error", sa.String(500), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        *_shared("top_ups", provider=False),
        sa.CheckConstraint("status IN ('pending', 'paid', 'failed')", name=op.f("ck_top_ups_status")),
    )
    op.create_index(
        "ix_top_ups_pending",
        "top_ups",
        ["organization_id"],
        unique=True,
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_table(
        "usage_reports",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("credits", sa.BigInteger(), nullable=False),
        sa.Column("reported_at", sa.DateTime(timezone=True), nullable=False),
        *_shared("usage_reports", key="job_id", provider=False),
    )
    op.create_table(
        "provider_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.String(16), nullable=False),
        sa.Column("event_id", sa.String(255), nullable=False),
        sa.Column("event_type", sa.String(100), nullable=False),
        sa.Column("object_type", sa.String(50), nullable=True),
        sa.Column("object_id", sa.String(255), nullable=True),
        sa.Column("made_for", sa.Uuid(), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("processed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(16), nullable=True),
        sa.Column("reason", sa.String(50), nullable=True),
        sa.Column("detail", sa.String(1000), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_provider_events"),
        sa.UniqueConstraint("provider", "event_id", name="uq_provider_events_provider_event_id"),
        sa.CheckConstraint(
            "provider IN ('stripe', 'lemon-squeezy')", name=op.f("ck_provider_events_provider")
        ),
        sa.CheckConstraint(
            "outcome IN ('applied', 'ignored', 'refused')", name=op.f("ck_provider_events_outcome")
        ),
        sa.CheckConstraint(
            "(processed_at IS NULL) = (outcome IS NULL)", name=op.f("ck_provider_events_processed")
        ),
    )
    op.create_index(
        "ix_provider_events_due",
        "provider_events",
        ["next_try_at"],
        postgresql_where=sa.text("processed_at IS NULL"),
    )
    for table in ("billing_customers", "subscriptions", "purchases", "top_ups", "usage_reports"):
        op.create_index(f"ix_{table}_organization_id", table, ["organization_id"])


def _shared(table: str, *, key: str = "id", provider: bool = True) -> list[sa.Constraint]:
    constraints: list[sa.Constraint] = [
        sa.PrimaryKeyConstraint(key, name=f"pk_{table}"),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.id"],
            name=f"fk_{table}_organization_id",
            ondelete="CASCADE",
        ),
    ]
    if provider:
        constraints.append(
            sa.CheckConstraint("provider IN ('stripe', 'lemon-squeezy')", name=op.f(f"ck_{table}_provider"))
        )
    return constraints
