"""Plans: one file, made true by a sync, and what assigning one does."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from impasto_billing.plans import Plan, read_plans
from impasto_billing.plans import service as plans
from impasto_billing.plans.plan import PLANS_FILE
from impasto_core.database import Database
from impasto_core.organizations.service import create_organization
from impasto_core.organizations.tables import Organization
from tests.support.databases import DatabaseUrls

PLANS = read_plans()


@pytest.fixture
async def organization(owner_database: Database) -> Organization:
    async with owner_database.session() as session:
        await plans.sync(session, PLANS)
        organization = await create_organization(session, slug="acme", name="Acme")
        await plans.assign(session, organization.id, "starter")
    return organization


async def scheduling(owner: Database, organization: Organization) -> tuple[int, int | None]:
    async with owner.session() as session:
        row = await session.get_one(Organization, organization.id)
        return row.queue_weight, row.concurrent_jobs


def changed(slug: str, **terms: object) -> list[Plan]:
    return [plan.model_copy(update=terms) if plan.slug == slug else plan for plan in PLANS]


def test_the_plans_are_those_that_are_sold() -> None:
    sold = {
        plan.slug: (plan.price_cents, plan.monthly_credits, plan.storage_bytes, plan.concurrent_jobs)
        for plan in PLANS
    }
    assert sold == {
        "free": (0, 500, 10**9, 1),
        "starter": (25_00, 5_000, 20 * 10**9, 1),
        "pro": (75_00, 15_000, 100 * 10**9, 1),
        "studio": (150_00, 30_000, 200 * 10**9, 3),
        "enterprise": (None, 0, None, None),
    }
    assert [plan.low_credits for plan in PLANS] == [50, 500, 1_500, 3_000, 10_000]
    assert [plan.queue_weight for plan in PLANS] == [10, 25, 50, 75, 100]
    assert [plan.jobs_per_hour for plan in PLANS] == [10, 60, 300, 1000, None]
    assert [plan.model_bases for plan in PLANS] == [
        ("sd-1",),
        ("sd-1", "sdxl"),
        ("sd-1", "sdxl", "flux"),
        None,
        None,
    ]


def test_a_misspelt_term_is_found_in_the_file_and_an_unknown_one_in_the_database_is_passed_over(
    tmp_path: Path,
) -> None:
    file = tmp_path / "plans.toml"
    file.write_text(PLANS_FILE.read_text().replace("jobs_per_hour", "jobs_per_our"))
    with pytest.raises(ValueError, match="jobs_per_our"):
        read_plans(file)
    terms = PLANS[0].model_dump() | {"of_a_newer_release": True}
    assert Plan.model_validate(terms) == PLANS[0]


async def test_syncing_the_same_plans_again_changes_nothing(
    owner_database: Database, organization: Organization
) -> None:
    async with owner_database.session() as session:
        assert await plans.sync(session, PLANS) == []
        assert await plans.all_plans(session) == list(PLANS)


async def test_a_sync_says_what_it_changed_and_the_queue_heeds_it(
    owner_database: Database, organization: Organization
) -> None:
    async with owner_database.session() as session:
        told = await plans.sync(session, changed("starter", queue_weight=30, concurrent_jobs=2))
    assert told == [
        "starter: queue_weight 25 -> 30",
        "starter: concurrent_jobs 1 -> 2",
        "organizations: 1 weighed anew in the queue",
    ]
    assert await scheduling(owner_database, organization) == (30, 2)


async def test_an_organization_without_a_plan_gets_the_free_one_at_the_next_sync(
    owner_database: Database, organization: Organization
) -> None:
    async with owner_database.session() as session:
        other = await create_organization(session, slug="other", name="Other")
        assert (await plans.plan_of(session, other.id)).slug == "free"
    async with owner_database.session() as session:
        assert await plans.sync(session, PLANS) == ["organizations: 1 had no plan and got free"]
    assert await scheduling(owner_database, other) == (10, 1)
    assert await scheduling(owner_database, organization) == (25, 1)


async def test_a_plan_that_organizations_are_on_cannot_go(
    owner_database: Database, organization: Organization
) -> None:
    rest = [plan for plan in PLANS if plan.slug != "starter"]
    with pytest.raises(plans.PlanInUse, match="1 organizations are on starter"):
        async with owner_database.session() as session:
            await plans.sync(session, rest)
    async with owner_database.session() as session:
        await plans.assign(session, organization.id, "pro")
        assert await plans.sync(session, rest) == ["starter: removed"]


async def test_assigning_a_plan_changes_what_the_queue_sees_at_once(
    owner_database: Database, organization: Organization
) -> None:
    async with owner_database.session() as session:
        await plans.assign(session, organization.id, "enterprise")
        assert (await plans.plan_of(session, organization.id)).slug == "enterprise"
    assert await scheduling(owner_database, organization) == (100, None)


async def test_a_plan_that_does_not_exist_cannot_be_assigned(
    owner_database: Database, organization: Organization
) -> None:
    with pytest.raises(plans.UnknownPlan):
        async with owner_database.session() as session:
            await plans.assign(session, organization.id, "gold")
    assert await scheduling(owner_database, organization) == (25, 1)


async def test_payments_change_plans_and_neither_the_api_nor_a_worker_does(
    owner_database: Database,
    api_database: Database,
    worker_database: Database,
    urls: DatabaseUrls,
    organization: Organization,
) -> None:
    payments = Database(urls.payments, pool_size=1)
    async with payments.session() as session:
        await plans.assign(session, organization.id, "pro")
    await payments.close()
    for database in (api_database, worker_database):
        with pytest.raises(DBAPIError, match="permission denied for function assign_plan"):
            async with database.tenant(organization.id) as session:
                await plans.assign(session, organization.id, "enterprise")
    assert await scheduling(owner_database, organization) == (50, 1)
