"""Migrations on real PostgreSQL: they run both ways and make exactly what the models describe."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import IntegrityError

import impasto_billing.tables  # noqa: F401  # joins its tables to those of core
from impasto_core.database import Database, migrate
from impasto_core.database.tables import metadata
from impasto_core.models.tables import Model
from impasto_ctl.embedded import EmbeddedServers
from tests.support.databases import execute
from tests.support.job_desk import Jobs
from tests.support.tenants import Tenant

CATALOGUE = {
    "columns": """
        SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default
        FROM information_schema.columns WHERE table_schema = 'public'
    """,
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 't'  -- a trigger
    """,
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "functions": "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "policies": "SELECT tablename, policyname, roles::text, qual FROM pg_policies",
    "grants": """
        SELECT table_name, column_name, grantee, privilege_type FROM information_schema.column_privileges
        WHERE table_schema = 'public' AND grantee LIKE 'impasto_%'
    """,
}


@pytest.fixture
async def empty(servers: EmbeddedServers) -> AsyncIterator[Database]:
    """A database without a single table."""
    name = f"impasto_empty_{secrets.token_hex(4)}"
    await execute(servers.database_url, f'CREATE DATABASE "{name}"')
    url = make_url(servers.database_url).set(database=name)
    database = Database(url.render_as_string(hide_password=False), pool_size=1)
    yield database
    await database.close()
    await execute(servers.database_url, f'DROP DATABASE "{name}" WITH (FORCE)')


async def look(database: Database, what: str) -> set[tuple[object, ...]]:
    async with database.engine.connect() as connection:
        rows = (await connection.execute(text(CATALOGUE[what]))).all()
    return {tuple(row) for row in rows if "alembic" not in str(row[0])}


async def look_at_all(database: Database) -> dict[str, set[tuple[object, ...]]]:
    return {what: await look(database, what) for what in CATALOGUE}


async def upgrade(database: Database, revision: str = "head") -> None:
    await migrate.upgrade(database.url.render_as_string(hide_password=False), revision)


async def downgrade(database: Database, revision: str) -> None:
    await migrate.downgrade(database.url.render_as_string(hide_password=False), revision)


async def test_the_migrations_make_exactly_the_tables_of_the_models(empty: Database) -> None:
    await upgrade(empty)
    migrated = {what: await look(empty, what) for what in ("columns", "constraints", "indexes")}

    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return compare_metadata(context, metadata)

    async with empty.engine.connect() as connection:
        assert await connection.run_sync(differences) == []

    # What Alembic does not compare: check constraints, names, and the conditions of indexes.
    async with empty.engine.begin() as connection:
        await connection.execute(text("DROP SCHEMA public CASCADE"))
        await connection.execute(text("CREATE SCHEMA public"))
        await connection.run_sync(metadata.create_all)
    modelled = {what: await look(empty, what) for what in ("columns", "constraints", "indexes")}
    assert migrated == modelled


async def test_every_migration_can_be_undone_and_done_again(empty: Database) -> None:
    before = await look_at_all(empty)
    revisions = ScriptDirectory.from_config(migrate.alembic_config()).walk_revisions()
    steps = [revision.revision for revision in reversed(list(revisions))]
    schemas = [before]
    for revision in steps:
        await upgrade(empty, revision)
        schemas.append(await look_at_all(empty))
    for place, revision in reversed([*enumerate(["base", *steps[:-1]])]):
        await downgrade(empty, revision)
        assert await look_at_all(empty) == schemas[place], f"downgraded to {revision}"
    await upgrade(empty)
    assert await look_at_all(empty) == schemas[-1]


async def test_two_processes_that_migrate_at_once_do_not_meet(empty: Database) -> None:
    await asyncio.gather(*(upgrade(empty) for _ in range(4)))
    await upgrade(empty)
    assert await look(empty, "columns")


async def test_the_migrations_have_one_head() -> None:
    assert len(ScriptDirectory.from_config(migrate.alembic_config()).get_heads()) == 1


@pytest.mark.parametrize(
    ("broken", "constraint"),
    [
        ("status = 'lost'", "status"),
        ("status = 'running'", "leased_while_running"),
        ("lease_expires_at = now()", "leased_while_running"),
        ("status = 'succeeded'", "finished_once"),
        ("finished_at = now()", "finished_once"),
    ],
)
async def test_the_database_itself_refuses_a_job_in_no_state(
    owner_database: Database, tenant: Tenant, model: Model, broken: str, constraint: str
) -> None:
    await Jobs(owner_database, tenant.organization_id, model).add()
    with pytest.raises(IntegrityError, match=f"ck_jobs_{constraint}"):
        async with owner_database.engine.begin() as connection:
            await connection.execute(text(f"UPDATE jobs SET {broken}"))  # noqa: S608  # a constant
