"""Plans, quotes on jobs, and spend caps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


TENANT_TABLES = ("organization_plans", "spending", "spend_caps", "spend_alerts")

API_GRANTS = {
    "plans": "SELECT",
    "organization_plans": "SELECT",
    "jobs": "UPDATE (cost)",
    "spending": "SELECT, INSERT, UPDATE (amount)",
    "spend_caps": "SELECT, INSERT, UPDATE (amount, updated_at), DELETE",
    "spend_alerts": "SELECT, INSERT",
}

WORKER_GRANTS = {
    "plans": "SELECT",
    "organization_plans": "SELECT",
    "jobs": "UPDATE (cost)",
    "spending": "SELECT, UPDATE (amount)",
}


def upgrade() -> None:
    op.add_column("jobs", sa.Column("quote", postgresql.JSONB(), nullable=True))
    op.add_column("jobs", sa.Column("cost", postgresql.JSONB(), nullable=True))
    _make_plans()
    _make_spending()
    for role, grants in (("impasto_api", API_GRANTS), ("impasto_worker", WORKER_GRANTS)):
        for table, privileges in grants.items():
            op.execute(f"GRANT {privileges} ON {table} TO {role}")
    for table in TENANT_TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY owner ON {table} TO CURRENT_USER USING (true)")
        op.execute(
            f"CREATE POLICY organization ON {table} TO impasto_api"
            " USING (organization_id = (SELECT current_organization_id()))"
        )
        if table in WORKER_GRANTS:
            op.execute(f"CREATE POLICY worker ON {table} TO impasto_worker USING (true)")


def downgrade() -> None:
    for table in ("spend_alerts", "spend_caps", "spending"):
        op.drop_table(table)
    _drop_plans()
    op.drop_column("jobs", "cost")
    op.drop_column("jobs", "quote")


def _make_plans() -> None:
    op.create_table(
        "plans",
        sa.Column("slug", sa.String(63), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("terms", postgresql.JSONB(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("slug", name="pk_plans"),
    )
    op.create_table(
        "organization_plans",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("plan", sa.String(63), nullable=False),
        sa.Column("assigned_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", name="pk_organization_plans"),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.id"],
            ondelete="CASCADE",
            name="fk_organization_plans_organization_id",
        ),
        sa.ForeignKeyConstraint(["plan"], ["plans.slug"], name="fk_organization_plans_plan"),
    )
    op.create_index("ix_organization_plans_plan", "organization_plans", ["plan"])

    # A request is authenticated, and so its plan looked up, before its organization is set.
    op.execute(
        """
        CREATE FUNCTION find_plan(organization uuid) RETURNS jsonb
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
        AS $$
            SELECT terms FROM public.plans JOIN public.organization_plans ON plan = slug
            WHERE organization_id = organization
        $$
        """
    )
    # The API changes plans when a payment says so: its own organization's, and all that hangs on it at once.
    op.execute(
        """
        CREATE FUNCTION assign_plan(organization uuid, new_plan text) RETURNS void
        LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
        AS $$
        BEGIN
            IF session_user = 'impasto_api' AND organization IS DISTINCT FROM current_organization_id() THEN
                RAISE insufficient_privilege USING MESSAGE = 'the plan of another organization';
            END IF;
            INSERT INTO public.organization_plans AS current (organization_id, plan, assigned_at)
            VALUES (organization, new_plan, now())
            ON CONFLICT (organization_id) DO UPDATE SET plan = new_plan, assigned_at = now()
            WHERE current.plan <> new_plan;
            UPDATE public.organizations
            SET queue_weight = (terms ->> 'queue_weight')::int,
                concurrent_jobs = (terms ->> 'concurrent_jobs')::int
            FROM public.plans WHERE organizations.id = organization AND plans.slug = new_plan;
        END
        $$
        """
    )
    # Paid plans bring their credits with the payment; those that cost nothing get theirs from the sweeper.
    op.execute(
        """
        CREATE FUNCTION grant_monthly_credits(moment timestamptz, at_priority integer, at_most integer)
        RETURNS integer
        LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
        AS $$
        DECLARE
            month timestamp := date_trunc('month', moment AT TIME ZONE 'UTC');
            key text := 'monthly:' || to_char(month, 'YYYY-MM');
            due record;
            granted integer := 0;
        BEGIN
            FOR due IN
                SELECT entitled.organization_id, (terms ->> 'monthly_credits')::bigint AS amount
                FROM public.organization_plans AS entitled JOIN public.plans ON plans.slug = entitled.plan
                WHERE terms ->> 'price_cents' = '0' AND (terms ->> 'monthly_credits')::bigint > 0
                AND NOT EXISTS (
                    SELECT FROM public.credit_grants AS earlier
                    WHERE earlier.organization_id = entitled.organization_id AND earlier.reference = key
                )
                LIMIT at_most
            LOOP
                PERFORM public.grant_credits(
                    due.organization_id, 'monthly', due.amount, at_priority,
                    month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC',
                    key, 'Credits of the month', moment
                );
                granted := granted + 1;
            END LOOP;
            RETURN granted;
        END
        $$
        """
    )
    for signature, roles in {
        "find_plan(uuid)": "impasto_api",
        "assign_plan(uuid, text)": "impasto_api, impasto_worker",
        "grant_monthly_credits(timestamptz, integer, integer)": "impasto_worker",
    }.items():
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO {roles}")

    # API processes remember a key together with its organization's plan: a change of plan is one of its keys.
    op.execute(
        """
        CREATE FUNCTION notify_organization_plan_changed() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
        AS $$
        BEGIN
            PERFORM pg_notify('api_key_changed', lookup_id) FROM public.api_keys
            WHERE organization_id = NEW.organization_id;
            RETURN NULL;
        END
        $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER organization_plan_changed AFTER INSERT OR UPDATE ON organization_plans
        FOR EACH ROW EXECUTE FUNCTION notify_organization_plan_changed()
        """
    )
    op.execute(
        """
        CREATE FUNCTION notify_plans_changed() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN PERFORM pg_notify('api_key_changed', '*'); RETURN NULL; END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER plans_changed AFTER UPDATE ON plans
        FOR EACH STATEMENT EXECUTE FUNCTION notify_plans_changed()
        """
    )


def _drop_plans() -> None:
    op.execute("DROP FUNCTION grant_monthly_credits(timestamptz, integer, integer)")
    op.execute("DROP FUNCTION assign_plan(uuid, text)")
    op.execute("DROP FUNCTION find_plan(uuid)")
    op.drop_table("organization_plans")
    op.drop_table("plans")
    op.execute("DROP FUNCTION notify_organization_plan_changed()")
    op.execute("DROP FUNCTION notify_plans_changed()")


def _make_spending() -> None:
    op.create_table(
        "spending",
        *_spender("spending"),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount >= 0", name=op.f("ck_spending_amount")),
        sa.UniqueConstraint(
            "organization_id",
            "month",
            "api_key_id",
            name="uq_spending_organization_id_month_api_key_id",
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_table(
        "spend_caps",
        *_spender("spend_caps"),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("amount >= 0", name=op.f("ck_spend_caps_amount")),
        sa.UniqueConstraint(
            "organization_id",
            "api_key_id",
            name="uq_spend_caps_organization_id_api_key_id",
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_table(
        "spend_alerts",
        *_spender("spend_alerts"),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("cap", sa.BigInteger(), nullable=False),
        sa.Column("percent", sa.Integer(), nullable=False),
        sa.Column("spent", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint(
            "organization_id",
            "api_key_id",
            "month",
            "cap",
            "percent",
            name="uq_spend_alerts_once",
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_index("ix_spend_alerts_organization_id_id", "spend_alerts", ["organization_id", "id"])


def _spender(table: str) -> list[sa.schema.SchemaItem]:
    """Whose row it is: an organization's, and where it has one, a key's."""
    return [
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("api_key_id", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], ondelete="CASCADE", name=f"fk_{table}_organization_id"
        ),
        sa.ForeignKeyConstraint(
            ["api_key_id"], ["api_keys.id"], ondelete="CASCADE", name=f"fk_{table}_api_key_id"
        ),
    ]
