"""The ledger: accounts, transactions and entries, guarded by the database itself.

Triggers hold the rules for every role, the owner included: a transaction's entries come in one statement and
sum to zero, balances follow from entries and from nothing else, and what is written stays as it is.

Credits move only through functions that run as the owner, each under a lock of the organization's ledger:

- `hold_credits`: the API. `settle_credits`: API and workers.
- `grant_credits`, `claw_back_credits`: who hears from payment providers: the API, until 0006 gives that a role.
- `expire_credits`: workers.

Who is neither a worker nor the owner acts only for the organization of its transaction, and grants only what was
bought: `purchase` and `monthly`, once for each reference. `manual` and `promotion` are the owner's.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = ("credit_grants", "ledger_accounts", "ledger_transactions", "ledger_entries")


def upgrade() -> None:
    _create_tables()
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY owner ON {table} TO CURRENT_USER USING (true)")
        op.execute(
            f"CREATE POLICY organization ON {table} FOR SELECT TO impasto_api"
            " USING (organization_id = (SELECT current_organization_id()))"
        )
        op.execute(f"GRANT SELECT ON {table} TO impasto_api")
    for function in (*GUARDS, *TOOLS, *MOVEMENTS):
        op.execute(function)
    for trigger in TRIGGERS:
        op.execute(trigger)
    for signature in SIGNATURES:
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
    for signature, roles in EXECUTED_BY.items():
        # They run as the owner. pg_temp comes last, or a temporary table could stand in for ours.
        op.execute(
            f"ALTER FUNCTION {signature} SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp"
        )
        op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO {roles}")
    # Every lookup is by an index, and every plan is kept: one that was made while the tables were small must do
    # when they are large, and planning would take longer than the work.
    for signature in (*EXECUTED_BY, "post_ledger_entries()"):
        op.execute(
            f"ALTER FUNCTION {signature} SET plan_cache_mode = force_generic_plan"
            " SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off"
        )


def downgrade() -> None:
    for table in reversed(TABLES):
        op.execute(f"DROP TRIGGER append_only ON {table}")
    for signature in reversed(SIGNATURES[3:]):
        op.execute(f"DROP FUNCTION {signature}")
    for table in ("ledger_entries", "ledger_transactions", "ledger_accounts", "credit_grants"):
        op.drop_table(table)
    for signature in SIGNATURES[:3]:
        op.execute(f"DROP FUNCTION {signature}")


def _create_tables() -> None:
    op.create_table(
        "credit_grants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reference", sa.String(200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "source IN ('monthly', 'purchase', 'promotion', 'manual')", name=op.f("ck_credit_grants_source")
        ),
        sa.CheckConstraint("amount BETWEEN 1 AND 1000000000000", name=op.f("ck_credit_grants_amount")),
        sa.CheckConstraint("valid_until > valid_from", name=op.f("ck_credit_grants_validity")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="fk_credit_grants_organization_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_credit_grants"),
        sa.UniqueConstraint(
            "organization_id", "reference", name="uq_credit_grants_organization_id_reference"
        ),
    )
    op.create_table(
        "ledger_accounts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("grant_id", sa.Uuid(), nullable=True),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("balance", sa.BigInteger(), nullable=False),
        sa.Column("funded", sa.Boolean(), sa.Computed("balance > 0", persisted=True), nullable=True),
        sa.CheckConstraint(
            "kind IN ('house', 'grant', 'holds', 'spent', 'refunds', 'owed')",
            name=op.f("ck_ledger_accounts_kind"),
        ),
        sa.CheckConstraint(
            "(kind = 'grant') = (grant_id IS NOT NULL)", name=op.f("ck_ledger_accounts_grant")
        ),
        sa.CheckConstraint("balance >= 0 OR kind = 'house'", name=op.f("ck_ledger_accounts_balance")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="fk_ledger_accounts_organization_id"
        ),
        sa.ForeignKeyConstraint(["grant_id"], ["credit_grants.id"], name="fk_ledger_accounts_grant_id"),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_accounts"),
        sa.UniqueConstraint("grant_id", name="uq_ledger_accounts_grant_id"),
        postgresql_with={"fillfactor": 50},
    )
    op.create_index(
        "ix_ledger_accounts_organization_id_kind",
        "ledger_accounts",
        ["organization_id", "kind"],
        unique=True,
        postgresql_where="kind <> 'grant'",
    )
    op.create_index(
        "ix_ledger_accounts_spendable",
        "ledger_accounts",
        ["organization_id"],
        postgresql_where="kind = 'grant' AND funded",
    )
    op.create_index(
        "ix_ledger_accounts_due",
        "ledger_accounts",
        ["valid_until"],
        postgresql_where="valid_until IS NOT NULL AND funded",
    )
    op.create_table(
        "ledger_transactions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("business_key", sa.String(300), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("api_key_id", sa.Uuid(), nullable=True),
        sa.Column("description", sa.String(500), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "kind IN ('grant', 'hold', 'settle', 'expire', 'claw_back', 'repay')",
            name=op.f("ck_ledger_transactions_kind"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="fk_ledger_transactions_organization_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_transactions"),
        sa.UniqueConstraint(
            "organization_id", "business_key", name="uq_ledger_transactions_organization_id_business_key"
        ),
    )
    op.create_index(
        "ix_ledger_transactions_organization_id_id", "ledger_transactions", ["organization_id", "id"]
    )
    op.create_table(
        "ledger_entries",
        sa.Column("transaction_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount <> 0", name=op.f("ck_ledger_entries_amount")),
        sa.ForeignKeyConstraint(
            ["transaction_id"], ["ledger_transactions.id"], name="fk_ledger_entries_transaction_id"
        ),
        sa.ForeignKeyConstraint(["account_id"], ["ledger_accounts.id"], name="fk_ledger_entries_account_id"),
        sa.PrimaryKeyConstraint("transaction_id", "account_id", name="pk_ledger_entries"),
    )
    op.create_index("ix_ledger_entries_account_id", "ledger_entries", ["account_id"])


GUARDS = (
    """
    CREATE FUNCTION refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE insufficient_privilege
            USING MESSAGE = format('the ledger is append-only: no %s of %s', TG_OP, TG_TABLE_NAME);
    END $$
    """,
    """
    CREATE FUNCTION refuse_opening_balance() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE check_violation USING MESSAGE = 'an account opens with a balance of 0';
    END $$
    """,
    # After the statement, so that it sees all entries that came with it.
    """
    CREATE FUNCTION post_ledger_entries() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT FROM entered GROUP BY transaction_id HAVING sum(amount) <> 0) THEN
            RAISE check_violation USING MESSAGE = 'the entries of a transaction must sum to zero';
        END IF;
        IF (SELECT count(*) FROM entered) <> (
            SELECT count(*) FROM ledger_entries WHERE transaction_id IN (SELECT transaction_id FROM entered)
        ) THEN
            RAISE check_violation USING MESSAGE = 'a transaction takes no further entries';
        END IF;
        IF EXISTS (
            SELECT FROM entered
            JOIN ledger_transactions AS movement ON movement.id = entered.transaction_id
            JOIN ledger_accounts AS account ON account.id = entered.account_id
            WHERE entered.organization_id <> ALL (ARRAY[movement.organization_id, account.organization_id])
            OR movement.organization_id <> account.organization_id
        ) THEN
            RAISE check_violation USING MESSAGE = 'a transaction stays within one organization';
        END IF;
        UPDATE ledger_accounts SET balance = balance + change.amount
        FROM (SELECT account_id, sum(amount) AS amount FROM entered GROUP BY account_id) AS change
        WHERE ledger_accounts.id = change.account_id;
        RETURN NULL;
    END $$
    """,
)

TRIGGERS = (
    *(
        f"""
        CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change()
        """
        for table in ("credit_grants", "ledger_transactions", "ledger_entries")
    ),
    """
    CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON ledger_accounts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change()
    """,
    # Inside the trigger that posts entries, the depth is 1.
    """
    CREATE TRIGGER posted_only BEFORE UPDATE ON ledger_accounts
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION refuse_ledger_change()
    """,
    """
    CREATE TRIGGER opens_empty BEFORE INSERT ON ledger_accounts
    FOR EACH ROW WHEN (NEW.balance <> 0) EXECUTE FUNCTION refuse_opening_balance()
    """,
    """
    CREATE TRIGGER post AFTER INSERT ON ledger_entries REFERENCING NEW TABLE AS entered
    FOR EACH STATEMENT EXECUTE FUNCTION post_ledger_entries()
    """,
)

TOOLS = (
    # plpgsql keeps the plans of its statements; a function in SQL that cannot be inlined is planned at every call.
    # UUIDv7, as impasto_core.ids.new_id makes it: a random UUID whose first 48 bits are the time in milliseconds.
    """
    CREATE FUNCTION new_id() RETURNS uuid LANGUAGE sql VOLATILE
    RETURN encode(
        set_bit(
            set_bit(
                overlay(
                    uuid_send(gen_random_uuid())
                    PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                    FROM 1 FOR 6
                ),
                52, 1
            ),
            53, 1
        ),
        'hex'
    )::uuid
    """,
    """
    CREATE FUNCTION ledger_account(of_organization uuid, of_kind text) RETURNS uuid LANGUAGE plpgsql STABLE AS $$
    BEGIN
        RETURN (SELECT id FROM ledger_accounts WHERE organization_id = of_organization AND kind = of_kind);
    END $$
    """,
    # The lock is a row, and every movement of the organization's credits waits for it: what it reads afterwards
    # is what the one before it left. Accounts are opened with the first movement.
    """
    CREATE FUNCTION lock_ledger(of_organization uuid) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        IF of_organization IS DISTINCT FROM current_organization_id()
            AND NOT pg_has_role(session_user, 'impasto_worker', 'MEMBER')
            AND NOT pg_has_role(session_user, current_user, 'MEMBER')
        THEN
            RAISE insufficient_privilege USING MESSAGE = 'the transaction is of another organization';
        END IF;
        PERFORM FROM ledger_accounts
            WHERE organization_id = of_organization AND kind = 'holds' FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            INSERT INTO ledger_accounts (id, organization_id, kind, balance)
            SELECT new_id(), of_organization, kind, 0
            FROM unnest(ARRAY['holds', 'house', 'spent', 'refunds', 'owed']) AS kind
            ON CONFLICT DO NOTHING;
            PERFORM FROM ledger_accounts
                WHERE organization_id = of_organization AND kind = 'holds' FOR NO KEY UPDATE;
        END IF;
    END $$
    """,
    # Entries of 0 are left out. The transaction and all of its entries are one statement.
    """
    CREATE FUNCTION record_movement(
        of_organization uuid, what text, key text, accounts uuid[], amounts bigint[],
        for_job uuid DEFAULT NULL, by_key uuid DEFAULT NULL, words text DEFAULT ''
    ) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        WITH movement AS (
            INSERT INTO ledger_transactions
                (id, organization_id, kind, business_key, job_id, api_key_id, description, created_at)
            VALUES (new_id(), of_organization, what, key, for_job, by_key, words, clock_timestamp())
            RETURNING id
        )
        INSERT INTO ledger_entries (transaction_id, account_id, organization_id, amount)
        SELECT movement.id, account, of_organization, amount
        FROM movement, unnest(accounts, amounts) AS entry (account, amount) WHERE amount <> 0;
    END $$
    """,
    # What the movement of that key brought to the account of that kind.
    """
    CREATE FUNCTION amount_moved(
        of_organization uuid, key text, of_kind text, OUT recorded boolean, OUT amount bigint
    ) LANGUAGE plpgsql STABLE AS $$
    DECLARE
        movement uuid;
    BEGIN
        SELECT id INTO movement FROM ledger_transactions
            WHERE organization_id = of_organization AND business_key = key;
        recorded := movement IS NOT NULL;
        SELECT coalesce(sum(entry.amount), 0) INTO amount FROM ledger_entries AS entry
            WHERE transaction_id = movement AND account_id = ledger_account(of_organization, of_kind);
    END $$
    """,
    # What to take from which grant, `wanted` in all or less where there is less: by priority, then earliest
    # expiry, then earliest creation. `first` comes before all others, expired or not.
    """
    CREATE FUNCTION burn(
        of_organization uuid, wanted bigint, begun_by timestamptz, ends_after timestamptz, first uuid
    ) RETURNS TABLE (account_id uuid, amount bigint) LANGUAGE sql STABLE AS $$
        SELECT id, least(balance, wanted - burned)::bigint
        FROM (
            SELECT account.id, account.balance, sum(account.balance) OVER in_order - account.balance AS burned
            FROM ledger_accounts AS account JOIN credit_grants AS term ON term.id = account.grant_id
            WHERE account.organization_id = of_organization AND account.kind = 'grant' AND account.funded
            AND (
                term.id = first
                OR (term.valid_from <= begun_by AND (term.valid_until IS NULL OR term.valid_until > ends_after))
            )
            WINDOW in_order AS (
                ORDER BY term.id IS DISTINCT FROM first, term.priority, term.valid_until, term.created_at, term.id
            )
        ) AS queue
        WHERE burned < wanted
    $$
    """,
    # An organization that owes has nothing to spend: what it gets, granted or released, goes towards that first.
    """
    CREATE FUNCTION repay_credits(of_organization uuid, cause text, moment timestamptz) RETURNS void
    LANGUAGE plpgsql AS $$
    DECLARE
        due bigint;
        accounts uuid[];
        amounts bigint[];
        paid bigint;
    BEGIN
        SELECT balance INTO due FROM ledger_accounts WHERE organization_id = of_organization AND kind = 'owed';
        IF due = 0 THEN
            RETURN;
        END IF;
        SELECT array_agg(account_id), array_agg(-amount), sum(amount) INTO accounts, amounts, paid
        FROM burn(of_organization, due, 'infinity', moment, NULL);
        IF paid > 0 THEN
            PERFORM record_movement(
                of_organization, 'repay', 'repay:' || cause,
                accounts || ARRAY[
                    ledger_account(of_organization, 'refunds'),
                    ledger_account(of_organization, 'owed'),
                    ledger_account(of_organization, 'house')
                ],
                amounts || ARRAY[paid, -paid, paid],
                words => 'For credits whose payment was taken back'
            );
        END IF;
    END $$
    """,
)

MOVEMENTS = (
    """
    CREATE FUNCTION grant_credits(
        of_organization uuid, from_source text, how_many bigint, at_priority integer,
        begins timestamptz, ends timestamptz, for_reference text, words text, moment timestamptz
    ) RETURNS credit_grants LANGUAGE plpgsql AS $$
    DECLARE
        granted credit_grants;
        new_account uuid := new_id();
    BEGIN
        moment := coalesce(moment, now());
        IF from_source NOT IN ('purchase', 'monthly') AND NOT pg_has_role(session_user, current_user, 'MEMBER') THEN
            RAISE insufficient_privilege
                USING MESSAGE = format('credits of source %s are granted by an operator', from_source);
        END IF;
        PERFORM lock_ledger(of_organization);
        SELECT * INTO granted FROM credit_grants
            WHERE organization_id = of_organization AND reference = for_reference;
        IF FOUND THEN
            IF (granted.source, granted.amount) <> (from_source, how_many) THEN
                RAISE SQLSTATE 'IM002' USING MESSAGE = format(
                    '%s was granted %s credits of source %s before', for_reference, granted.amount, granted.source
                );
            END IF;
            RETURN granted;
        END IF;
        IF ends <= moment THEN
            RAISE SQLSTATE 'IM004' USING MESSAGE = format('the grant expired at %s', ends);
        END IF;
        INSERT INTO credit_grants
            (id, organization_id, source, amount, priority, valid_from, valid_until, reference, created_at)
        VALUES (
            new_id(), of_organization, from_source, how_many, at_priority,
            coalesce(begins, moment), ends, for_reference, clock_timestamp()
        )
        RETURNING * INTO granted;
        INSERT INTO ledger_accounts (id, organization_id, kind, grant_id, valid_until, balance)
        VALUES (new_account, of_organization, 'grant', granted.id, ends, 0);
        PERFORM record_movement(
            of_organization, 'grant', 'grant:' || for_reference,
            ARRAY[ledger_account(of_organization, 'house'), new_account], ARRAY[-how_many, how_many],
            words => words
        );
        PERFORM repay_credits(of_organization, 'grant:' || for_reference, moment);
        RETURN granted;
    END $$
    """,
    """
    CREATE FUNCTION hold_credits(
        of_organization uuid, for_job uuid, required bigint, by_key uuid, moment timestamptz
    ) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE
        earlier record;
        accounts uuid[];
        amounts bigint[];
        available bigint;
    BEGIN
        IF required IS NULL OR required < 1 THEN
            RAISE SQLSTATE 'IM004' USING MESSAGE = format('a hold of %s credits', required);
        END IF;
        PERFORM lock_ledger(of_organization);
        earlier := amount_moved(of_organization, 'hold:' || for_job, 'holds');
        IF earlier.recorded THEN
            IF earlier.amount <> required THEN
                RAISE SQLSTATE 'IM002'
                    USING MESSAGE = format('job %s has a hold of %s credits', for_job, earlier.amount);
            END IF;
            RETURN;
        END IF;
        SELECT array_agg(account_id), array_agg(-amount), coalesce(sum(amount), 0)
        INTO accounts, amounts, available
        FROM burn(of_organization, required, coalesce(moment, now()), coalesce(moment, now()), NULL);
        IF available < required THEN
            RAISE SQLSTATE 'IM001' USING
                MESSAGE = format('not enough credits: %s required, %s available', required, available),
                DETAIL = json_build_object('required', required, 'available', available);
        END IF;
        PERFORM record_movement(
            of_organization, 'hold', 'hold:' || for_job,
            accounts || ledger_account(of_organization, 'holds'), amounts || required,
            for_job, by_key
        );
    END $$
    """,
    # The cost is captured from the grants in the order in which they burn, so that the rest goes back to those
    # that burn last.
    """
    CREATE FUNCTION settle_credits(of_organization uuid, for_job uuid, cost bigint, moment timestamptz)
    RETURNS void LANGUAGE plpgsql AS $$
    DECLARE
        hold ledger_transactions;
        settled record;
        accounts uuid[];
        amounts bigint[];
        held bigint;
    BEGIN
        IF cost IS NULL OR cost < 0 THEN
            RAISE SQLSTATE 'IM004' USING MESSAGE = format('a cost of %s credits', cost);
        END IF;
        PERFORM lock_ledger(of_organization);
        SELECT * INTO hold FROM ledger_transactions
            WHERE organization_id = of_organization AND business_key = 'hold:' || for_job;
        IF NOT FOUND THEN
            RAISE SQLSTATE 'IM003' USING MESSAGE = format('job %s has no hold', for_job);
        END IF;
        settled := amount_moved(of_organization, 'settle:' || for_job, 'spent');
        IF settled.recorded THEN
            IF settled.amount <> cost THEN
                RAISE SQLSTATE 'IM002'
                    USING MESSAGE = format('job %s was settled for %s credits', for_job, settled.amount);
            END IF;
            RETURN;
        END IF;
        SELECT array_agg(account_id), array_agg(part - least(greatest(cost - earlier, 0), part)), sum(part)
        INTO accounts, amounts, held
        FROM (
            SELECT entry.account_id, -entry.amount AS part,
                sum(-entry.amount) OVER in_order + entry.amount AS earlier
            FROM ledger_entries AS entry
            JOIN ledger_accounts AS account ON account.id = entry.account_id
            JOIN credit_grants AS term ON term.id = account.grant_id
            WHERE entry.transaction_id = hold.id
            WINDOW in_order AS (ORDER BY term.priority, term.valid_until, term.created_at, term.id)
        ) AS taken;
        IF cost > held THEN
            RAISE SQLSTATE 'IM004'
                USING MESSAGE = format('a cost of %s credits, with %s on hold', cost, held);
        END IF;
        PERFORM record_movement(
            of_organization, 'settle', 'settle:' || for_job,
            accounts || ARRAY[ledger_account(of_organization, 'holds'), ledger_account(of_organization, 'spent')],
            amounts || ARRAY[-held, cost],
            for_job, hold.api_key_id
        );
        PERFORM repay_credits(of_organization, 'settle:' || for_job, coalesce(moment, now()));
    END $$
    """,
    # Recovered is what the organization has, the named grant's credits first. The rest is owed.
    """
    CREATE FUNCTION claw_back_credits(
        of_organization uuid, how_many bigint, for_reference text, of_grant text, moment timestamptz,
        OUT recovered bigint, OUT owed bigint
    ) LANGUAGE plpgsql AS $$
    DECLARE
        key text := 'claw_back:' || for_reference;
        refunded record;
        granted uuid;
        accounts uuid[];
        amounts bigint[];
    BEGIN
        IF how_many IS NULL OR how_many < 1 THEN
            RAISE SQLSTATE 'IM004' USING MESSAGE = format('a claw-back of %s credits', how_many);
        END IF;
        PERFORM lock_ledger(of_organization);
        refunded := amount_moved(of_organization, key, 'refunds');
        IF refunded.recorded THEN
            recovered := refunded.amount;
            owed := (amount_moved(of_organization, key, 'owed')).amount;
            IF recovered + owed <> how_many THEN
                RAISE SQLSTATE 'IM002' USING MESSAGE = format(
                    '%s clawed back %s credits before', for_reference, recovered + owed
                );
            END IF;
            RETURN;
        END IF;
        IF of_grant IS NOT NULL THEN
            SELECT id INTO granted FROM credit_grants
                WHERE organization_id = of_organization AND reference = of_grant;
            IF NOT FOUND THEN
                RAISE SQLSTATE 'IM003' USING MESSAGE = format('there is no grant %s', of_grant);
            END IF;
        END IF;
        SELECT array_agg(account_id), array_agg(-amount), coalesce(sum(amount), 0)
        INTO accounts, amounts, recovered
        FROM burn(of_organization, how_many, 'infinity', coalesce(moment, now()), granted);
        owed := how_many - recovered;
        PERFORM record_movement(
            of_organization, 'claw_back', key,
            accounts || ARRAY[
                ledger_account(of_organization, 'refunds'),
                ledger_account(of_organization, 'owed'),
                ledger_account(of_organization, 'house')
            ],
            amounts || ARRAY[recovered, owed, -owed]
        );
    END $$
    """,
    # A ledger in use is left to the next pass, so that this never waits and deadlocks with nobody. A release may
    # fill a grant once more after it has expired: the number of its entries tells one expiry from the next.
    """
    CREATE FUNCTION expire_credits(moment timestamptz, at_most integer) RETURNS integer
    LANGUAGE plpgsql AS $$
    DECLARE
        due record;
        remaining bigint;
        expired integer := 0;
    BEGIN
        FOR due IN
            SELECT id, organization_id, grant_id FROM ledger_accounts
            WHERE valid_until IS NOT NULL AND funded AND valid_until <= moment
            ORDER BY valid_until LIMIT at_most
        LOOP
            PERFORM FROM ledger_accounts
                WHERE organization_id = due.organization_id AND kind = 'holds' FOR NO KEY UPDATE SKIP LOCKED;
            CONTINUE WHEN NOT FOUND;
            SELECT balance INTO remaining FROM ledger_accounts WHERE id = due.id;
            CONTINUE WHEN remaining = 0;
            PERFORM record_movement(
                due.organization_id, 'expire',
                format('expire:%s:%s', due.grant_id, (SELECT count(*) FROM ledger_entries WHERE account_id = due.id)),
                ARRAY[due.id, ledger_account(due.organization_id, 'house')], ARRAY[-remaining, remaining]
            );
            expired := expired + 1;
        END LOOP;
        RETURN expired;
    END $$
    """,
)

# The guards first: their tables need them as long as they exist.
SIGNATURES = (
    "refuse_ledger_change()",
    "refuse_opening_balance()",
    "post_ledger_entries()",
    "new_id()",
    "ledger_account(uuid, text)",
    "lock_ledger(uuid)",
    "record_movement(uuid, text, text, uuid[], bigint[], uuid, uuid, text)",
    "amount_moved(uuid, text, text)",
    "burn(uuid, bigint, timestamptz, timestamptz, uuid)",
    "repay_credits(uuid, text, timestamptz)",
    "grant_credits(uuid, text, bigint, integer, timestamptz, timestamptz, text, text, timestamptz)",
    "hold_credits(uuid, uuid, bigint, uuid, timestamptz)",
    "settle_credits(uuid, uuid, bigint, timestamptz)",
    "claw_back_credits(uuid, bigint, text, text, timestamptz)",
    "expire_credits(timestamptz, integer)",
)

EXECUTED_BY = {
    "grant_credits(uuid, text, bigint, integer, timestamptz, timestamptz, text, text, timestamptz)": "impasto_api",
    "hold_credits(uuid, uuid, bigint, uuid, timestamptz)": "impasto_api",
    "settle_credits(uuid, uuid, bigint, timestamptz)": "impasto_api, impasto_worker",
    "claw_back_credits(uuid, bigint, text, text, timestamptz)": "impasto_api",
    "expire_credits(timestamptz, integer)": "impasto_worker",
}
