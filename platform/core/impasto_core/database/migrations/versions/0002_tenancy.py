"""Roles, grants and row-level security: what each process may see and change.

Row-level security is forced, so that even the owner reads a tenant's rows only through a policy. The API
sees the organization set for its transaction and nothing without one. Workers see every organization, but
only the tables and columns that claiming, settling and sweeping need.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TENANT_TABLES = {
    "organizations": "id",
    "memberships": "organization_id",
    "api_keys": "organization_id",
    "jobs": "organization_id",
    "job_attempts": "organization_id",
    "images": "organization_id",
    "uploads": "organization_id",
    "idempotency_records": "organization_id",
}

API_GRANTS = {
    "organizations": "SELECT",
    "memberships": "SELECT",
    "api_keys": "SELECT, INSERT, UPDATE (expires_at, revoked_at, successor_id)",
    "models": "SELECT",
    "jobs": "SELECT, INSERT, UPDATE (status, finished_at, cancel_requested_at)",
    "job_attempts": "SELECT",
    "images": "SELECT, UPDATE (deleted_at)",
    "uploads": "SELECT, INSERT, UPDATE (status, width, height, sha256, expires_at)",
    "idempotency_records": "SELECT, INSERT, DELETE",
    "alembic_version": "SELECT",
}

WORKER_GRANTS = {
    "models": "SELECT",
    "jobs": "SELECT, UPDATE (status, attempt, worker, error, available_at, started_at, finished_at,"
    " lease_expires_at)",
    "job_attempts": "SELECT, INSERT, UPDATE",
    "images": "SELECT, INSERT, DELETE",
    "uploads": "SELECT, DELETE",
    "idempotency_records": "SELECT, DELETE",
    "alembic_version": "SELECT",
}


def upgrade() -> None:
    # Roles belong to the cluster, not to this database: another database may have made them already.
    for role in ("impasto_api", "impasto_worker"):
        op.execute(
            f"DO $$ BEGIN CREATE ROLE {role} NOLOGIN;"
            " EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )
        op.execute(f"GRANT USAGE ON SCHEMA public TO {role}")
    for role, grants in (("impasto_api", API_GRANTS), ("impasto_worker", WORKER_GRANTS)):
        for table, privileges in grants.items():
            op.execute(f"GRANT {privileges} ON {table} TO {role}")

    # nullif: a setting made for one transaction reads as '' afterwards, not as NULL.
    op.execute(
        """
        CREATE FUNCTION current_organization_id() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
        RETURN nullif(current_setting('impasto.organization_id', true), '')::uuid
        """
    )
    for table, key in TENANT_TABLES.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY owner ON {table} TO CURRENT_USER USING (true)")
        # The sub-select is evaluated once a statement instead of once a row.
        op.execute(
            f"CREATE POLICY organization ON {table} TO impasto_api"
            f" USING ({key} = (SELECT current_organization_id()))"
        )
        if table in WORKER_GRANTS:
            op.execute(f"CREATE POLICY worker ON {table} TO impasto_worker USING (true)")

    # These two run as the owner. pg_temp comes last, or a temporary table could stand in for ours.
    # A request is authenticated before its organization is known.
    op.execute(
        """
        CREATE FUNCTION find_api_key(wanted text) RETURNS SETOF public.api_keys
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
        AS $$ SELECT * FROM public.api_keys WHERE lookup_id = wanted $$
        """
    )
    # One statement for the keys of many organizations, in place of one transaction each.
    op.execute(
        """
        CREATE FUNCTION touch_api_keys(ids uuid[], used_at timestamptz[]) RETURNS void
        LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
        AS $$
            UPDATE public.api_keys SET last_used_at = greatest(last_used_at, touched.used_at)
            FROM unnest(ids, used_at) AS touched (id, used_at) WHERE api_keys.id = touched.id
        $$
        """
    )
    for signature in ("find_api_key(text)", "touch_api_keys(uuid[], timestamptz[])"):
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO impasto_api")

    # Whatever changes a key, an operator's own SQL included, is heard by every API process.
    op.execute(
        """
        CREATE FUNCTION notify_api_key_changed() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN PERFORM pg_notify('api_key_changed', OLD.lookup_id); RETURN NULL; END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER api_key_changed
        AFTER DELETE OR UPDATE OF token_hash, scopes, expires_at, revoked_at ON api_keys
        FOR EACH ROW EXECUTE FUNCTION notify_api_key_changed()
        """
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER api_key_changed ON api_keys")
    op.execute("DROP FUNCTION notify_api_key_changed()")
    op.execute("DROP FUNCTION touch_api_keys(uuid[], timestamptz[])")
    op.execute("DROP FUNCTION find_api_key(text)")
    for table in TENANT_TABLES:
        for policy in ("owner", "organization", "worker"):
            op.execute(f"DROP POLICY IF EXISTS {policy} ON {table}")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY")
    op.execute("DROP FUNCTION current_organization_id()")
    # The roles stay: they may serve other databases of the cluster.
    for role, grants in (("impasto_api", API_GRANTS), ("impasto_worker", WORKER_GRANTS)):
        for table in grants:
            op.execute(f"REVOKE ALL ON {table} FROM {role}")
        op.execute(f"REVOKE USAGE ON SCHEMA public FROM {role}")
