"""Queries on what payments left behind. Row-level security confines them to the session's organization."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_billing.payments.provider import ProviderName, SubscriptionStatus
from impasto_billing.payments.tables import AutoTopUp, BillingCustomer, SubscriptionRow

_OVER = [status for status in SubscriptionStatus if status.is_over]


async def find_subscription(session: AsyncSession) -> SubscriptionRow | None:
    """The one that is not over; of those that are, the last."""
    query = select(SubscriptionRow).order_by(
        col(SubscriptionRow.status).in_(_OVER), col(SubscriptionRow.id).desc()
    )
    return (await session.exec(query.limit(1))).one_or_none()


async def find_customer(session: AsyncSession, provider: ProviderName) -> str | None:
    """The organization's id there. Lemon Squeezy makes another one for each address that pays: the last."""
    query = select(BillingCustomer.customer_id).where(BillingCustomer.provider == provider)
    return (await session.exec(query.order_by(col(BillingCustomer.id).desc()).limit(1))).one_or_none()


async def save_customer(
    session: AsyncSession, organization_id: UUID, provider: ProviderName, customer_id: str
) -> None:
    row = BillingCustomer(organization_id=organization_id, provider=provider, customer_id=customer_id)
    await session.exec(insert(BillingCustomer).values(row.model_dump()).on_conflict_do_nothing())


async def find_auto_top_up(session: AsyncSession, *, lock: bool = False) -> AutoTopUp | None:
    query = select(AutoTopUp)
    return (await session.exec(query.with_for_update() if lock else query)).one_or_none()
