"""A job, its images, and the answer to an idempotency key are found by one statement each.

The functions name the organization themselves, so that whoever asks needs no transaction. They run as their caller:
row-level security holds.
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
    for signature, definition in FUNCTIONS.items():
        op.execute(definition)
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO impasto_api")


def downgrade() -> None:
    for signature in FUNCTIONS:
        op.execute(f"DROP FUNCTION {signature}")
