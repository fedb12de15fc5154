"""Organizations hear once that their credits are low.

`note_low_balance` is for whoever settles jobs. It runs as the owner, for workers do not see the ledger, and under the
lock that `settle_credits` has taken: it says whether the telling is due, and notes it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

SIGNATURE = "note_low_balance(uuid, bigint)"


def upgrade() -> None:
    op.create_table(
        "low_balances",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", name="pk_low_balances"),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.id"],
            name="fk_low_balances_organization_id",
            ondelete="CASCADE",
        ),
    )
    op.execute("ALTER TABLE low_balances ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY owner ON low_balances TO CURRENT_USER USING (true)")
    op.execute(
        "CREATE POLICY organization ON low_balances FOR SELECT TO impasto_api"
        " USING (organization_id = (SELECT current_organization_id()))"
    )
    op.execute("GRANT SELECT ON low_balances TO impasto_api")
    # A grant as large as the threshold has lifted the balance above it, also where the next jobs held all of it
    # before one was settled.
    op.execute(
        """
        CREATE FUNCTION note_low_balance(
            of_organization uuid, unplanned bigint,
            OUT available bigint, OUT held bigint, OUT threshold bigint, OUT due boolean
        ) LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM lock_ledger(of_organization);
            SELECT coalesce(sum(account.balance), 0) INTO available
                FROM ledger_accounts AS account JOIN credit_grants AS term ON term.id = account.grant_id
                WHERE account.organization_id = of_organization AND account.kind = 'grant' AND account.funded
                AND term.valid_from <= now() AND (term.valid_until IS NULL OR term.valid_until > now());
            threshold := coalesce(
                (
                    SELECT (plans.terms ->> 'low_credits')::bigint
                    FROM organization_plans JOIN plans ON plans.slug = organization_plans.plan
                    WHERE organization_plans.organization_id = of_organization
                ),
                unplanned
            );
            IF available >= threshold THEN
                DELETE FROM low_balances WHERE organization_id = of_organization;
                due := false;
                RETURN;
            END IF;
            INSERT INTO low_balances AS noted VALUES (of_organization, clock_timestamp())
                ON CONFLICT (organization_id) DO UPDATE SET told_at = excluded.told_at
                WHERE EXISTS (
                    SELECT FROM credit_grants AS term
                    WHERE term.organization_id = of_organization AND term.amount >= threshold
                    AND term.created_at > noted.told_at
                );
            due := FOUND;
            SELECT balance INTO held FROM ledger_accounts
                WHERE organization_id = of_organization AND kind = 'holds';
        END $$
        """
    )
    op.execute(f"REVOKE ALL ON FUNCTION {SIGNATURE} FROM PUBLIC")
    op.execute(
        f"ALTER FUNCTION {SIGNATURE} SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp"
        " SET plan_cache_mode = force_generic_plan"
        " SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off"
    )
    op.execute(f"GRANT EXECUTE ON FUNCTION {SIGNATURE} TO impasto_api, impasto_worker")


def downgrade() -> None:
    op.execute(f"DROP FUNCTION {SIGNATURE}")
    op.drop_table("low_balances")
