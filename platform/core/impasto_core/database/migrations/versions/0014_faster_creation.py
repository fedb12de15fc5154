"""A job is created by one statement, and its model is remembered.

- `create_job` stores a job and the answer to its idempotency key, counts what it can cost, and holds that. It runs
  as its caller, so that row-level security holds, and acts for the organization of the job.
- `own_idempotency_key` keeps other requests from using the key until the transaction ends.
- `model_changed` is notified by whatever changes a model.
"""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

FUNCTIONS = {
    "own_idempotency_key(uuid, text)": """
    CREATE FUNCTION own_idempotency_key(of_organization uuid, wanted text) RETURNS boolean LANGUAGE sql VOLATILE
    RETURN pg_try_advisory_xact_lock(hashtextextended(format('idempotency:%s:%s', of_organization, wanted), 0))
    """,
    # Rows that others wait for come last: spending, the organization's first so that nobody waits in a circle, and
    # then the ledger. Returns the answer that the key was given before, if it was.
    "create_job(json, json, bigint, integer[])": """
    CREATE FUNCTION create_job(job json, answer json, quoted bigint, alerts integer[]) RETURNS json
    LANGUAGE plpgsql AS $$
    DECLARE
        made jobs := json_populate_record(NULL::jobs, job);
        given idempotency_records := json_populate_record(NULL::idempotency_records, answer);
        earlier idempotency_records;
        cap record;
    BEGIN
        PERFORM set_config('impasto.organization_id', made.organization_id::text, true);
        IF answer IS NOT NULL THEN
            IF NOT own_idempotency_key(given.organization_id, given.key) THEN
                RAISE SQLSTATE 'IM006' USING MESSAGE = 'the key is in use';
            END IF;
            SELECT * INTO earlier FROM idempotency_records AS record
                WHERE record.organization_id = given.organization_id AND record.key = given.key;
            IF earlier.expires_at > given.created_at THEN
                IF earlier.fingerprint <> given.fingerprint THEN
                    RAISE SQLSTATE 'IM007' USING MESSAGE = 'the key is another request''s';
                END IF;
                RETURN earlier.body;
            END IF;
            DELETE FROM idempotency_records AS record
                WHERE record.organization_id = given.organization_id AND record.key = given.key;
            INSERT INTO idempotency_records VALUES (given.*);
        END IF;
        made.available_at := now();
        INSERT INTO jobs VALUES (made.*);
        FOR cap IN
            WITH counted AS (
                INSERT INTO spending AS counter (id, organization_id, api_key_id, month, amount)
                SELECT gen_random_uuid(), made.organization_id, spender,
                    date_trunc('month', made.created_at AT TIME ZONE 'UTC'), quoted
                FROM unnest(ARRAY[NULL, made.api_key_id]) AS spender
                ON CONFLICT (organization_id, month, api_key_id)
                DO UPDATE SET amount = counter.amount + excluded.amount
                RETURNING counter.api_key_id, counter.amount
            )
            SELECT counted.api_key_id, counted.amount AS spent, counted.amount - quoted AS before, spend_caps.amount
            FROM counted JOIN spend_caps ON spend_caps.organization_id = made.organization_id
                AND spend_caps.api_key_id IS NOT DISTINCT FROM counted.api_key_id
        LOOP
            IF cap.spent > cap.amount THEN
                RAISE SQLSTATE 'IM005' USING
                    MESSAGE = format('%s credits on top of %s are over the cap of %s', quoted, cap.before, cap.amount),
                    DETAIL = json_build_object(
                        'required', quoted, 'spent', cap.before, 'cap', cap.amount, 'api_key_id', cap.api_key_id
                    );
            END IF;
            IF EXISTS (
                SELECT FROM unnest(alerts) AS percent
                WHERE cap.before * 100 < cap.amount * percent AND cap.amount * percent <= cap.spent * 100
            ) THEN
                RAISE SQLSTATE 'IM008' USING MESSAGE = 'an alert is due';
            END IF;
        END LOOP;
        PERFORM hold_credits(made.organization_id, made.id, quoted, made.api_key_id, NULL);
        RETURN NULL;
    END $$
    """,
}


def upgrade() -> None:
    for signature, definition in FUNCTIONS.items():
        op.execute(definition)
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO impasto_api")
    op.execute(
        """
        CREATE FUNCTION notify_model_changed() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN PERFORM pg_notify('model_changed', OLD.slug); RETURN NULL; END $$
        """
    )
    op.execute(
        "CREATE TRIGGER model_changed AFTER DELETE OR UPDATE ON models"
        " FOR EACH ROW EXECUTE FUNCTION notify_model_changed()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER model_changed ON models")
    op.execute("DROP FUNCTION notify_model_changed()")
    for signature in reversed(FUNCTIONS):
        op.execute(f"DROP FUNCTION {signature}")
