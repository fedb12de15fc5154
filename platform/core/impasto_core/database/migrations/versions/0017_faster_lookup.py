"""A job, its images, and the answer to an idempotency key are found by one statement each.

The functions name the organization themselves, so that whoever asks needs no transaction. They run as their caller:
row-level security holds. And the ledger finds accounts, and movements by their keys, by the indexes made for it.
"""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

FUNCTIONS = {
    "find_job(uuid, uuid)": """
    CREATE FUNCTION find_job(of_organization uuid, wanted uuid) RETURNS SETOF jobs ROWS 1
    LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM set_config('impasto.organization_id', of_organization::text, true);
        RETURN QUERY SELECT * FROM jobs WHERE id = wanted;
    END $$
    """,
    "find_images_of_job(uuid, uuid)": """
    CREATE FUNCTION find_images_of_job(of_organization uuid, of_job uuid) RETURNS SETOF images
    LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM set_config('impasto.organization_id', of_organization::text, true);
        RETURN QUERY SELECT * FROM images WHERE job_id = of_job AND deleted_at IS NULL ORDER BY index;
    END $$
    """,
    "find_answer(uuid, text)": """
    CREATE FUNCTION find_answer(of_organization uuid, to_key text) RETURNS SETOF idempotency_records ROWS 1
    LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM set_config('impasto.organization_id', of_organization::text, true);
        RETURN QUERY SELECT * FROM idempotency_records WHERE organization_id = of_organization AND key = to_key;
    END $$
    """,
}


def upgrade() -> None:
    _rebuild_key_of_movements()
    op.execute(_find_account("AND kind <> 'grant'"))
    for signature, definition in FUNCTIONS.items():
        op.execute(definition)
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO impasto_api")


def downgrade() -> None:
    for signature in FUNCTIONS:
        op.execute(f"DROP FUNCTION {signature}")
    op.execute(_find_account())


def _rebuild_key_of_movements() -> None:
    # Of two indexes that promise the same, as all do while a table has no statistics, the planner takes the younger. The
    # ledger looked for a movement's key through the index of pages: through all that the organization had ever moved.
    constraint = "uq_ledger_transactions_organization_id_business_key"
    op.execute("CREATE UNIQUE INDEX rebuilt ON ledger_transactions (organization_id, business_key)")
    op.execute(
        f"ALTER TABLE ledger_transactions DROP CONSTRAINT {constraint},"
        f" ADD CONSTRAINT {constraint} UNIQUE USING INDEX rebuilt"
    )


def _find_account(condition: str = "") -> str:
    # With the condition of its index, although grants' accounts are never asked for: a plan that is made for any kind
    # cannot know so, and read the accounts of all organizations.
    return f"""
    CREATE OR REPLACE FUNCTION ledger_account(of_organization uuid, of_kind text) RETURNS uuid
    LANGUAGE plpgsql STABLE AS $$
    BEGIN
        RETURN (
            SELECT id FROM ledger_accounts WHERE organization_id = of_organization AND kind = of_kind {condition}
        );
    END $$
    """  # noqa: S608
