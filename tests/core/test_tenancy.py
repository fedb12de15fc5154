"""Tenancy, held by PostgreSQL: what each role sees and may change, whatever the code above it does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlmodel import SQLModel

from impasto_billing.ledger.tables import LowBalance
from impasto_billing.payments.tables import (
    AutoTopUp,
    BillingCustomer,
    Purchase,
    SubscriptionRow,
    TopUp,
    UsageReport,
)
from impasto_billing.spending.tables import SpendAlert, SpendCap, Spending
from impasto_billing.tables import metadata
from impasto_core.clock import utc_now
from impasto_core.database import Database, Role
from impasto_core.database.tables import (
    IdempotencyRecord,
    Image,
    JobAttempt,
    Membership,
    Upload,
    User,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
    WebhookSecret,
    Workflow,
    WorkflowVersion,
)
from impasto_core.ids import new_id
from impasto_core.models.tables import Model
from tests.support.databases import DatabaseUrls
from tests.support.job_desk import Jobs
from tests.support.tenants import Tenant

TENANT_TABLES = [
    "organizations",
    *(table.name for table in metadata.sorted_tables if "organization_id" in table.columns),
]
SHARED_TABLES = {"provider_events", "models", "plans", "users", "alembic_version"}


@pytest.fixture
async def full(owner_database: Database, model: Model, tenant: Tenant, stranger: Tenant) -> None:
    """Two organizations, each with a row in every table."""
    for owner in (tenant, stranger):
        organization_id = owner.organization_id
        job = await Jobs(owner_database, organization_id, model).add()
        person = User(email=f"{organization_id}@example.com", name="somebody")
        image = Image(
            organization_id=organization_id,
            job_id=job.id,
            index=0,
            node="image_0",
            object_key="image",
            thumbnail_key="thumbnail",
            content_type="image/png",
            width=64,
            height=64,
            size=1,
            sha256="",
        )
        upload = Upload(
            organization_id=organization_id,
            object_key="original",
            verified_key="verified",
            content_type="image/png",
            size=1,
            expires_at=utc_now() + timedelta(hours=1),
        )
        record = IdempotencyRecord(
            organization_id=organization_id,
            key="key",
            fingerprint=b"",
            status=202,
            body={},
            expires_at=utc_now(),
        )
        attempt = JobAttempt(
            job_id=job.id, number=1, organization_id=organization_id, worker="w", started_at=utc_now()
        )
        workflow = Workflow(organization_id=organization_id, slug="tiger", name="Tiger", latest=1)
        version = WorkflowVersion(
            workflow_id=workflow.id,
            number=1,
            organization_id=organization_id,
            document={},
            graph={},
            inputs=[],
            input_schema={},
        )
        async with owner_database.session() as session:
            session.add_all([person, image, upload, record, attempt, workflow])
            session.add_all([*_spending(organization_id), *_payments(organization_id)])
            await session.flush()
            for row in _webhooks(organization_id):
                session.add(row)
                await session.flush()
            session.add(version)
            session.add(Membership(organization_id=organization_id, user_id=person.id))


def _spending(organization_id: UUID) -> list[SQLModel]:
    now, month = utc_now(), utc_now().date().replace(day=1)
    return [
        Spending(organization_id=organization_id, month=month, amount=1),
        SpendCap(organization_id=organization_id, amount=1, updated_at=now),
        SpendAlert(organization_id=organization_id, month=month, cap=1, percent=100, spent=1),
        LowBalance(organization_id=organization_id, told_at=now),
    ]


def _webhooks(organization_id: UUID) -> list[SQLModel]:
    endpoint = WebhookEndpoint(organization_id=organization_id, url="https://example.com/")
    event = WebhookEvent(organization_id=organization_id, type="webhook.test", data={})
    delivery = WebhookDelivery(
        organization_id=organization_id, event_id=event.id, endpoint_id=endpoint.id, lane=endpoint.id
    )
    secret = WebhookSecret(
        organization_id=organization_id, endpoint_id=endpoint.id, kind="hmac", ciphertext=b""
    )
    attempt = WebhookAttempt(
        delivery_id=delivery.id,
        number=1,
        organization_id=organization_id,
        started_at=utc_now(),
        duration_ms=1,
        outcome="failed",
        url=endpoint.url,
    )
    return [endpoint, event, delivery, secret, attempt]


def _payments(organization_id: UUID) -> list[SQLModel]:
    now, provider = utc_now(), "stripe"
    return [
        BillingCustomer(
            organization_id=organization_id, provider=provider, customer_id=f"cus_{organization_id}"
        ),
        SubscriptionRow(
            organization_id=organization_id,
            provider=provider,
            subscription_id=f"sub_{organization_id}",
            status="active",
            plan="pro",
            effective_plan="pro",
            period_start=now,
            period_end=now,
            cancel_at_period_end=False,
        ),
        Purchase(
            organization_id=organization_id,
            provider=provider,
            payment_id=f"pi_{organization_id}",
            pack="small",
            amount=1,
            currency="usd",
            credits=1,
        ),
        AutoTopUp(organization_id=organization_id, enabled=True, threshold=1, pack="small"),
        TopUp(organization_id=organization_id, pack="small"),
        UsageReport(job_id=new_id(), organization_id=organization_id, credits=1),
    ]


async def rows(database: Database, sql: str, *, organization_id: UUID | None = None, **values: object) -> int:
    """How many rows the statement touches, as the database's role and for the organization given."""
    in_scope = database.tenant(organization_id) if organization_id else database.session()
    async with in_scope as session:
        connection = await session.connection()
        return (await connection.execute(text(sql), values)).rowcount


@asynccontextmanager
async def refused(reason: str) -> AsyncIterator[None]:
    with pytest.raises(ProgrammingError, match=reason):
        yield


def test_every_table_is_a_tenants_or_known_to_be_shared() -> None:
    assert set(metadata.tables) == {*TENANT_TABLES, *SHARED_TABLES} - {"alembic_version"}


async def test_row_level_security_is_on_and_forced_for_every_tenant_table(owner_database: Database) -> None:
    async with owner_database.session() as session:
        connection = await session.connection()
        found = await connection.execute(
            text(
                "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
                " AND relkind = 'r' AND relrowsecurity AND relforcerowsecurity"
            )
        )
        assert sorted(found.scalars()) == sorted(TENANT_TABLES)


@pytest.mark.parametrize("role", [Role.API, Role.WORKER, Role.WEBHOOKS])
async def test_no_process_but_the_owner_can_step_around_a_policy(
    owner_database: Database, role: Role
) -> None:
    async with owner_database.session() as session:
        connection = await session.connection()
        attributes = await connection.execute(
            text(
                "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication"
                " FROM pg_roles WHERE rolname = :role"
            ),
            {"role": role},
        )
        assert attributes.one() == (False,) * 5
        belongs_to = await connection.execute(
            text("SELECT count(*) FROM pg_auth_members WHERE member = CAST(:role AS regrole)"),
            {"role": role},
        )
        assert belongs_to.scalar_one() == 0
        owns = await connection.execute(
            text("SELECT count(*) FROM pg_class WHERE relowner = CAST(:role AS regrole)"), {"role": role}
        )
        assert owns.scalar_one() == 0


@pytest.mark.usefixtures("full")
async def test_the_api_sees_nothing_of_any_tenant_without_an_organization(
    api_database: Database, owner_database: Database, subtests: pytest.Subtests
) -> None:
    for table in TENANT_TABLES:
        with subtests.test(table):
            everything = f"SELECT * FROM {table}"  # noqa: S608  # a name of our own
            assert await rows(owner_database, everything) >= 2
            assert await rows(api_database, everything) == 0


@pytest.mark.usefixtures("full")
async def test_the_api_sees_the_rows_of_its_organization_and_no_other(
    api_database: Database, owner_database: Database, tenant: Tenant, subtests: pytest.Subtests
) -> None:
    for table in TENANT_TABLES:
        key = "id" if table == "organizations" else "organization_id"
        with subtests.test(table):
            mine, all_ = (
                f"SELECT * FROM {table} WHERE {key} = :mine",  # noqa: S608
                f"SELECT * FROM {table}",  # noqa: S608
            )
            own = tenant.organization_id
            owned = await rows(owner_database, mine, mine=own)
            assert owned > 0
            assert await rows(api_database, mine, organization_id=own, mine=own) == owned
            assert await rows(api_database, all_, organization_id=own) == owned


@pytest.mark.usefixtures("full")
async def test_an_organization_is_forgotten_with_its_transaction(
    api_database: Database, tenant: Tenant
) -> None:
    """The next user of the pooled connection starts without one."""
    assert await rows(api_database, "SELECT * FROM jobs", organization_id=tenant.organization_id) == 1
    assert await rows(api_database, "SELECT * FROM jobs") == 0


@pytest.mark.usefixtures("full")
async def test_the_api_cannot_change_another_organizations_rows(
    api_database: Database, tenant: Tenant, stranger: Tenant, subtests: pytest.Subtests
) -> None:
    for change in (
        "UPDATE jobs SET status = 'canceled', finished_at = now() WHERE organization_id = :other",
        "UPDATE images SET deleted_at = now() WHERE organization_id = :other",
        "UPDATE uploads SET status = 'verified' WHERE organization_id = :other",
        "UPDATE api_keys SET revoked_at = now() WHERE organization_id = :other",
        "DELETE FROM idempotency_records WHERE organization_id = :other",
    ):
        with subtests.test(change):
            other = stranger.organization_id
            changed = await rows(api_database, change, organization_id=tenant.organization_id, other=other)
            assert changed == 0


@pytest.mark.usefixtures("full")
async def test_the_api_cannot_add_rows_to_another_organization(
    api_database: Database, tenant: Tenant, stranger: Tenant, subtests: pytest.Subtests
) -> None:
    for table, columns in {
        "jobs": "id, organization_id, mode, pool, input, models, graph, pixel_steps, priority,"
        " images_in, metadata, status, attempt, images_made, created_at",
        "uploads": "id, organization_id, status, object_key, verified_key, content_type, size,"
        " created_at, expires_at",
        "api_keys": "id, organization_id, name, mode, lookup_id, token_hash, scopes, api_version, created_at",
        "idempotency_records": "organization_id, key, fingerprint, status, body, created_at, expires_at",
    }.items():
        values = columns.replace(" organization_id", " CAST(:other AS uuid)").removeprefix("id,")
        values = values.replace("organization_id", "CAST(:other AS uuid)").replace("lookup_id", "'new'")
        values = values.replace(" key,", " 'new',")
        new = "gen_random_uuid()," if columns.startswith("id") else ""
        copy = f"INSERT INTO {table} ({columns}) SELECT {new}{values} FROM {table}"  # noqa: S608
        with subtests.test(table):
            own, other = tenant.organization_id, stranger.organization_id
            assert await rows(api_database, copy, organization_id=own, other=own) == 1, "a sound statement"
            async with refused("row-level security"):
                await rows(api_database, copy, organization_id=own, other=other)


@pytest.mark.usefixtures("full")
async def test_the_api_may_do_nothing_it_does_not_need(
    api_database: Database, tenant: Tenant, subtests: pytest.Subtests
) -> None:
    for statement in (
        "UPDATE jobs SET organization_id = gen_random_uuid()",
        "UPDATE jobs SET attempt = 0",
        "UPDATE jobs SET input = '{}'",
        "UPDATE jobs SET lease_expires_at = now()",
        "DELETE FROM jobs",
        "INSERT INTO images SELECT * FROM images",
        "DELETE FROM images",
        "UPDATE images SET object_key = 'another'",
        "UPDATE uploads SET object_key = 'another'",
        "UPDATE api_keys SET scopes = '{}'",
        "UPDATE api_keys SET token_hash = ''",
        "UPDATE api_keys SET organization_id = gen_random_uuid()",
        "DELETE FROM api_keys",
        "UPDATE organizations SET name = 'mine'",
        "INSERT INTO memberships SELECT * FROM memberships",
        "UPDATE models SET source = 'file:///etc'",
        "SELECT * FROM users",
        "UPDATE webhook_secrets SET ciphertext = ''",
        "UPDATE webhook_events SET data = '{}'",
        "UPDATE webhook_deliveries SET url = 'https://example.com/'",
        "UPDATE webhook_attempts SET response_body = ''",
        "UPDATE idempotency_records SET body = '{}'",
        "UPDATE alembic_version SET version_num = ''",
        "ALTER TABLE jobs DISABLE ROW LEVEL SECURITY",
        "CREATE TABLE mine (id int)",
        "DROP POLICY organization ON jobs",
        "SET ROLE impasto_worker",
    ):
        with subtests.test(statement):
            async with refused("permission denied|must be owner"):
                await rows(api_database, statement, organization_id=tenant.organization_id)


@pytest.mark.usefixtures("full")
async def test_a_key_is_found_by_its_lookup_id_before_its_organization_is_known(
    api_database: Database, owner_database: Database
) -> None:
    async with owner_database.session() as session:
        connection = await session.connection()
        lookup_ids = (await connection.execute(text("SELECT lookup_id FROM api_keys"))).scalars().all()
    for lookup_id in lookup_ids:
        assert await rows(api_database, "SELECT * FROM find_api_key(:id)", id=lookup_id) == 1
    for wrong in ("", "%", "nobody"):
        assert await rows(api_database, "SELECT * FROM find_api_key(:id)", id=wrong) == 0


@pytest.mark.usefixtures("full")
async def test_the_worker_sees_the_jobs_of_every_organization(worker_database: Database) -> None:
    for table in ("jobs", "job_attempts", "images", "uploads", "idempotency_records"):
        assert await rows(worker_database, f"SELECT * FROM {table}") == 2  # noqa: S608


@pytest.mark.usefixtures("full")
async def test_the_worker_may_do_nothing_it_does_not_need(
    worker_database: Database, subtests: pytest.Subtests
) -> None:
    for statement in (
        "SELECT * FROM api_keys",
        "SELECT * FROM organizations",
        "SELECT * FROM memberships",
        "SELECT * FROM users",
        "SELECT * FROM find_api_key('')",
        "SELECT touch_api_keys('{}', '{}')",
        "SELECT * FROM webhook_secrets",
        "SELECT url FROM webhook_endpoints",
        "SELECT data FROM webhook_events",
        "INSERT INTO jobs SELECT * FROM jobs",
        "DELETE FROM jobs",
        "UPDATE jobs SET organization_id = gen_random_uuid()",
        "UPDATE jobs SET input = '{}'",
        "UPDATE jobs SET cancel_requested_at = NULL",
        "UPDATE images SET organization_id = gen_random_uuid()",
        "UPDATE uploads SET status = 'verified'",
        "UPDATE models SET source = 'file:///etc'",
        "SET ROLE impasto_api",
    ):
        with subtests.test(statement):
            async with refused("permission denied"):
                await rows(worker_database, statement)


@pytest.mark.usefixtures("full")
async def test_the_dispatcher_sees_no_more_than_webhooks(
    urls: DatabaseUrls, subtests: pytest.Subtests
) -> None:
    database = Database(urls.webhooks, pool_size=1)
    for table in ("webhook_endpoints", "webhook_secrets", "webhook_events", "webhook_deliveries"):
        with subtests.test(table):
            assert await rows(database, f"SELECT * FROM {table}") == 2  # noqa: S608
    for statement in (
        "SELECT * FROM jobs",
        "SELECT * FROM organizations",
        "SELECT * FROM api_keys",
        "UPDATE webhook_endpoints SET url = 'https://example.com/'",
        "UPDATE webhook_secrets SET ciphertext = ''",
        "DELETE FROM webhook_deliveries",
        "SELECT * FROM webhook_attempts",
        "SET ROLE impasto_worker",
    ):
        with subtests.test(statement):
            async with refused("permission denied"):
                await rows(database, statement)
    await database.close()
