"""Plans in the database: putting them there, assigning and finding them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_billing.ledger.service import PRIORITIES
from impasto_billing.ledger.tables import GrantSource
from impasto_billing.plans.plan import FREE, Plan, shipped_free_plan
from impasto_billing.plans.tables import OrganizationPlan, PlanRow

_ASSIGN = text("SELECT assign_plan(:organization_id, :slug)")

_GRANT_MONTHLY = text("SELECT grant_monthly_credits(:now, :priority, :limit)")

_SCHEDULE = text(
    """
    UPDATE organizations
    SET queue_weight = (terms ->> 'queue_weight')::int, concurrent_jobs = (terms ->> 'concurrent_jobs')::int
    FROM organization_plans JOIN plans ON plans.slug = organization_plans.plan
    WHERE organization_plans.organization_id = organizations.id
        AND (queue_weight, concurrent_jobs) IS DISTINCT FROM
            ((terms ->> 'queue_weight')::int, (terms ->> 'concurrent_jobs')::int)
    """
)
_GIVE_THE_REST = text(
    """
    SELECT count(assign_plan(id, :slug)::text) FROM organizations
    WHERE NOT EXISTS (SELECT 1 FROM organization_plans WHERE organization_id = organizations.id)
    """
)


class UnknownPlan(Exception):
    """There is no plan of that slug."""


class PlanInUse(Exception):
    """A plan that is to go has organizations on it."""


async def all_plans(session: AsyncSession) -> Sequence[Plan]:
    """From the smallest to the largest."""
    rows = await session.exec(select(PlanRow.terms).order_by(col(PlanRow.position)))
    return [Plan.model_validate(terms) for terms in rows.all()]


async def plan_of(session: AsyncSession, organization_id: UUID) -> Plan:
    """The organization's plan; the least there is where it has none."""
    found = await session.exec(
        select(PlanRow.terms)
        .join(OrganizationPlan, col(OrganizationPlan.plan) == PlanRow.slug)
        .where(OrganizationPlan.organization_id == organization_id)
    )
    terms = found.one_or_none()
    return Plan.model_validate(terms) if terms else shipped_free_plan()


async def assign(session: AsyncSession, organization_id: UUID, slug: str) -> None:
    """Put the organization on a plan. From the commit on it holds for queued jobs and new requests alike.

    Raises UnknownPlan.
    """
    if (await session.exec(select(PlanRow.slug).where(PlanRow.slug == slug))).one_or_none() is None:
        raise UnknownPlan(slug)
    connection = await session.connection()
    await connection.execute(_ASSIGN, {"organization_id": organization_id, "slug": slug})


async def grant_monthly(session: AsyncSession, *, now: datetime, limit: int) -> int:
    """Give this month's credits, in UTC, to up to `limit` organizations on plans that cost nothing.

    Each gets them once a month, and they expire with it. Returns how many got theirs.
    """
    connection = await session.connection()
    values = {"now": now, "priority": PRIORITIES[GrantSource.MONTHLY], "limit": limit}
    return int((await connection.execute(_GRANT_MONTHLY, values)).scalar_one())


async def sync(session: AsyncSession, plans: Sequence[Plan]) -> list[str]:
    """Make the database's plans these, and the queue heed them. Returns what changed, in words.

    Organizations without a plan are put on the free one. Needs the owner role. Raises PlanInUse.
    """
    before = {plan.slug: plan for plan in await all_plans(session)}
    changes = [line for plan in plans for line in _differences(before.get(plan.slug), plan)]
    for position, plan in enumerate(plans):
        values = {"position": position, "terms": plan.model_dump(mode="json")}
        row = insert(PlanRow).values(slug=plan.slug, updated_at=func.now(), **values)
        await session.exec(
            row.on_conflict_do_update(
                index_elements=["slug"],
                set_=values | {"updated_at": func.now()},
                where=(col(PlanRow.terms) != row.excluded.terms)
                | (col(PlanRow.position) != row.excluded.position),
            )
        )
    changes += await _remove(session, before.keys() - {plan.slug for plan in plans})
    connection = await session.connection()
    if count := (await connection.execute(_SCHEDULE)).rowcount:
        changes.append(f"organizations: {count} weighed anew in the queue")
    if count := (await connection.execute(_GIVE_THE_REST, {"slug": FREE})).scalar_one():
        changes.append(f"organizations: {count} had no plan and got {FREE}")
    return changes


async def _remove(session: AsyncSession, slugs: set[str]) -> list[str]:
    for slug in sorted(slugs):
        users = select(func.count()).where(OrganizationPlan.plan == slug)
        if count := (await session.exec(users)).one():
            raise PlanInUse(f"{count} organizations are on {slug}: assign them another plan first")
        await session.exec(delete(PlanRow).where(col(PlanRow.slug) == slug))
    return [f"{slug}: removed" for slug in sorted(slugs)]


def _differences(before: Plan | None, after: Plan) -> list[str]:
    if before is None:
        return [f"{after.slug}: added"]
    old, new = before.model_dump(), after.model_dump()
    return [f"{after.slug}: {name} {old[name]} -> {new[name]}" for name in new if old[name] != new[name]]
