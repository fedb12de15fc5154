"""Fair claiming: what the queue weighs and in what order."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

FUNCTIONS = (
    # Even the smallest job occupies a worker for a moment: it counts as one step of 512 x 512 pixels.
    """
    CREATE FUNCTION queue_cost(pixel_steps bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN greatest(pixel_steps, 262144)
    """,
    # Called at commit. `backlogged` may be true for a queue that has become empty, never false for one that
    # has not: who queues a job holds the row's key against whoever would clear the flag, and who clears it
    # looks once more when no job can come any more. The sweeper mends the former.
    """
    CREATE FUNCTION job_queue_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS $$
    BEGIN
        IF TG_OP = 'UPDATE' AND OLD.status = 'queued' THEN
            IF NEW.status = 'running' THEN
                UPDATE queue_shares AS share
                SET start_tag = greatest(share.finish_tag, pool.virtual_time),
                    finish_tag = greatest(share.finish_tag, pool.virtual_time)
                        -- A job is charged for once: trying it again is the platform's affair.
                        + CASE NEW.attempt WHEN 1
                            THEN ceil(queue_cost(NEW.pixel_steps)::numeric / organizations.queue_weight)
                            ELSE 0 END
                FROM organizations,
                    (SELECT max(start_tag) AS virtual_time FROM queue_shares WHERE pool = OLD.pool) AS pool
                WHERE share.pool = OLD.pool AND share.organization_id = OLD.organization_id
                    AND organizations.id = OLD.organization_id;
            END IF;
            PERFORM clear_backlog(OLD.pool, OLD.organization_id);
        END IF;
        IF NEW.status = 'queued' THEN
            PERFORM FROM queue_shares
            WHERE pool = NEW.pool AND organization_id = NEW.organization_id AND backlogged
            FOR KEY SHARE;
            IF NOT FOUND THEN
                INSERT INTO queue_shares (pool, organization_id, backlogged, start_tag, finish_tag)
                VALUES (NEW.pool, NEW.organization_id, true, 0, 0)
                ON CONFLICT (pool, organization_id) DO UPDATE SET backlogged = true;
            END IF;
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE FUNCTION clear_backlog(of_pool text, of_organization uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS $$
    BEGIN
        IF EXISTS (SELECT FROM jobs WHERE pool = of_pool AND organization_id = of_organization
                   AND status = 'queued') THEN
            RETURN;
        END IF;
        PERFORM FROM queue_shares WHERE pool = of_pool AND organization_id = of_organization AND backlogged
        FOR UPDATE SKIP LOCKED;
        IF FOUND THEN
            UPDATE queue_shares SET backlogged = false
            WHERE pool = of_pool AND organization_id = of_organization AND NOT EXISTS (
                SELECT FROM jobs WHERE pool = of_pool AND organization_id = of_organization
                AND status = 'queued');
        END IF;
    END $$
    """,
    """
    CREATE FUNCTION mend_queue_shares() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
    AS $$
    BEGIN
        PERFORM clear_backlog(pool, organization_id) FROM queue_shares WHERE backlogged;
        INSERT INTO queue_shares (pool, organization_id, backlogged, start_tag, finish_tag)
        SELECT DISTINCT pool, organization_id, true, 0, 0 FROM jobs
        WHERE status = 'queued' AND NOT EXISTS (
            SELECT FROM queue_shares AS share WHERE share.pool = jobs.pool
            AND share.organization_id = jobs.organization_id AND backlogged)
        ON CONFLICT (pool, organization_id) DO UPDATE SET backlogged = true;
    END $$
    """,
    # Claims follow one another, so that each sees what the last was charged. One that hangs is not waited for.
    """
    CREATE FUNCTION await_queue(pool text, milliseconds int) RETURNS boolean LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    AS $$
    BEGIN
        PERFORM set_config('lock_timeout', milliseconds::text, true);
        PERFORM pg_advisory_xact_lock(hashtextextended('impasto-queue-' || pool, 0));
        PERFORM set_config('lock_timeout', '0', true);
        RETURN true;
    EXCEPTION WHEN lock_not_available THEN
        RETURN false;
    END $$
    """,
    # The order in which jobs will be claimed if nothing changes, and how long the work before each takes the
    # workers that are busy now, at the speed of the pool's latest jobs. It tells nothing but numbers, and
    # only of jobs whose ids the caller knows.
    """
    CREATE FUNCTION queue_places(ids uuid[])
    RETURNS TABLE (job_id uuid, place bigint, eta_seconds double precision)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET jit = off
    AS $$
    #variable_conflict use_column
    BEGIN
        RETURN QUERY WITH pools AS MATERIALIZED (
            SELECT asked.pool, clock.virtual_time, latest.speed, busy.workers, busy.work
            FROM (SELECT DISTINCT pool FROM jobs WHERE id = ANY (ids) AND status = 'queued') AS asked
            CROSS JOIN LATERAL (
                SELECT max(start_tag) AS virtual_time FROM queue_shares AS share WHERE share.pool = asked.pool
            ) AS clock
            CROSS JOIN LATERAL (
                SELECT sum(cost) / nullif(sum(seconds), 0) AS speed FROM (
                    SELECT queue_cost(pixel_steps)::float8 AS cost,
                        extract(epoch FROM finished_at - started_at)::float8 AS seconds
                    FROM jobs WHERE jobs.pool = asked.pool AND status = 'succeeded'
                    ORDER BY finished_at DESC LIMIT 20
                ) AS finished
            ) AS latest
            CROSS JOIN LATERAL (
                SELECT greatest(1, count(*)) AS workers, coalesce(sum(greatest(0,
                    queue_cost(pixel_steps) - latest.speed * extract(epoch FROM now() - started_at)::float8
                )), 0) AS work
                FROM jobs WHERE jobs.pool = asked.pool AND status = 'running'
            ) AS busy
        ), charged AS (
            SELECT jobs.id, jobs.pool, jobs.organization_id, jobs.priority, jobs.available_at,
                share.finish_tag, pools.virtual_time, organizations.concurrent_jobs,
                queue_cost(pixel_steps) AS cost,
                CASE attempt WHEN 0 THEN ceil(queue_cost(pixel_steps)::float8 / queue_weight)::bigint ELSE 0 END
                    AS charge
            FROM pools
            JOIN queue_shares AS share ON share.pool = pools.pool AND share.backlogged
            JOIN organizations ON organizations.id = share.organization_id
            JOIN jobs ON jobs.pool = share.pool AND jobs.organization_id = share.organization_id
                AND jobs.status = 'queued'
        ), tagged AS (
            SELECT *, row_number() OVER own AS own_place, sum(cost::float8) OVER own - cost AS own_work,
                CASE row_number() OVER own WHEN 1 THEN finish_tag
                    ELSE greatest(finish_tag, virtual_time) + sum(charge) OVER own - charge END AS tag
            FROM charged
            WINDOW own AS (PARTITION BY pool, organization_id ORDER BY priority DESC, id ROWS UNBOUNDED PRECEDING)
        ), placed AS (
            SELECT *, row_number() OVER everyone AS place, sum(cost::float8) OVER everyone - cost AS work
            FROM tagged
            WINDOW everyone AS (
                PARTITION BY pool ORDER BY greatest(tag, virtual_time), tag, organization_id, own_place
                ROWS UNBOUNDED PRECEDING
            )
        )
        SELECT placed.id, placed.place, greatest(
            (placed.work + pools.work) / pools.speed / pools.workers,
            placed.own_work / pools.speed / nullif(placed.concurrent_jobs, 0),
            CASE WHEN pools.speed IS NOT NULL THEN extract(epoch FROM available_at - now())::float8 END
        )
        FROM placed JOIN pools USING (pool) WHERE placed.id = ANY (ids);
    END $$
    """,
)

SIGNATURES = {
    "queue_cost(bigint)": None,
    "job_queue_changed()": None,
    "clear_backlog(text, uuid)": None,
    "mend_queue_shares()": "impasto_worker",
    "await_queue(text, int)": "impasto_worker",
    "queue_places(uuid[])": "impasto_api",
}


def upgrade() -> None:
    op.add_column("jobs", sa.Column("pixel_steps", sa.BigInteger(), nullable=False, server_default="0"))
    op.alter_column("jobs", "pixel_steps", server_default=None)
    op.add_column("jobs", sa.Column("priority", sa.SmallInteger(), nullable=False, server_default="0"))
    op.alter_column("jobs", "priority", server_default=None)
    op.create_check_constraint(op.f("ck_jobs_priority"), "jobs", "priority BETWEEN -10 AND 10")
    op.drop_index("ix_jobs_claim", "jobs")
    op.create_index(
        "ix_jobs_claim",
        "jobs",
        ["pool", "organization_id", sa.text("priority DESC"), "id"],
        postgresql_where="status = 'queued'",
    )
    op.create_index(
        "ix_jobs_running", "jobs", ["organization_id", "pool"], postgresql_where="status = 'running'"
    )
    op.create_index(
        "ix_jobs_succeeded", "jobs", ["pool", "finished_at"], postgresql_where="status = 'succeeded'"
    )

    op.add_column(
        "organizations", sa.Column("queue_weight", sa.Integer(), nullable=False, server_default=sa.text("10"))
    )
    op.add_column("organizations", sa.Column("concurrent_jobs", sa.Integer(), nullable=True))
    op.create_check_constraint(op.f("ck_organizations_queue_weight"), "organizations", "queue_weight > 0")
    op.create_check_constraint(
        op.f("ck_organizations_concurrent_jobs"), "organizations", "concurrent_jobs >= 0"
    )
    # Workers weigh organizations; who they are is none of their business.
    op.execute("GRANT SELECT (id, queue_weight, concurrent_jobs) ON organizations TO impasto_worker")
    op.execute("CREATE POLICY worker ON organizations FOR SELECT TO impasto_worker USING (true)")

    op.create_table(
        "queue_shares",
        sa.Column("pool", sa.String(63), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("backlogged", sa.Boolean(), nullable=False),
        sa.Column("start_tag", sa.BigInteger(), nullable=False),
        sa.Column("finish_tag", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.id"],
            name="fk_queue_shares_organization_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("pool", "organization_id", name="pk_queue_shares"),
    )
    op.create_index(
        "ix_queue_shares_next",
        "queue_shares",
        ["pool", "finish_tag", "organization_id"],
        postgresql_where="backlogged",
    )
    op.create_index("ix_queue_shares_organization_id", "queue_shares", ["organization_id"])
    op.create_index("ix_queue_shares_virtual_time", "queue_shares", ["pool", "start_tag"])
    op.execute("ALTER TABLE queue_shares ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY owner ON queue_shares TO CURRENT_USER USING (true)")
    op.execute(
        "CREATE POLICY organization ON queue_shares TO impasto_api"
        " USING (organization_id = (SELECT current_organization_id()))"
    )
    op.execute("CREATE POLICY worker ON queue_shares TO impasto_worker USING (true)")
    op.execute("GRANT SELECT ON queue_shares TO impasto_api, impasto_worker")

    for function in FUNCTIONS:
        op.execute(function)
    for signature, role in SIGNATURES.items():
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
        if role:
            op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO {role}")

    # Deferred, so that the rows of queue_shares are locked for no longer than a commit takes.
    op.execute(
        """
        CREATE CONSTRAINT TRIGGER job_queued AFTER INSERT ON jobs
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.status = 'queued')
        EXECUTE FUNCTION job_queue_changed()
        """
    )
    op.execute(
        """
        CREATE CONSTRAINT TRIGGER job_requeued AFTER UPDATE OF status, pool ON jobs
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (
            'queued' IN (OLD.status, NEW.status)
            AND (OLD.status, OLD.pool) IS DISTINCT FROM (NEW.status, NEW.pool)
        )
        EXECUTE FUNCTION job_queue_changed()
        """
    )
    op.execute("SELECT mend_queue_shares()")


def downgrade() -> None:
    op.execute("DROP TRIGGER job_requeued ON jobs")
    op.execute("DROP TRIGGER job_queued ON jobs")
    for signature in SIGNATURES:
        op.execute(f"DROP FUNCTION {signature} CASCADE")
    op.drop_table("queue_shares")
    op.execute("DROP POLICY worker ON organizations")
    op.execute("REVOKE SELECT (id, queue_weight, concurrent_jobs) ON organizations FROM impasto_worker")
    op.drop_column("organizations", "concurrent_jobs")
    op.drop_column("organizations", "queue_weight")
    op.drop_index("ix_jobs_succeeded", "jobs")
    op.drop_index("ix_jobs_running", "jobs")
    op.drop_index("ix_jobs_claim", "jobs")
    op.create_index("ix_jobs_claim", "jobs", ["pool", "id"], postgresql_where="status = 'queued'")
    op.drop_column("jobs", "priority")
    op.drop_column("jobs", "pixel_steps")
