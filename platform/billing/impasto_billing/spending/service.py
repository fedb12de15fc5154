"""What is spent in a month, and the caps on it. Jobs are counted, or refused, by `impasto_billing.creation`.

A job counts in the month in which it was created: with its quote while it is queued or runs, then with its
cost. The rows that count are locked until the transaction ends, the organization's first, so that requests in
parallel cannot spend the same credits twice, nor wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime
from uuid import UUID

from sqlalchemy import delete, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_billing.spending.tables import SpendAlert, SpendCap, Spending
from impasto_core.ids import new_id
from impasto_core.webhooks import outbox
from impasto_core.webhooks.payloads import SpendAlertData
from impasto_core.webhooks.types import EventType

ALERT_PERCENTS = (50, 80, 100)


class SpendCapReached(Exception):
    """The job would cost more than a cap leaves. `api_key_id` is None where it is the organization's."""

    def __init__(self, *, required: int, spent: int, cap: int, api_key_id: UUID | None) -> None:
        super().__init__(f"{required} credits on top of {spent} are over the cap of {cap}")
        self.required = required
        self.spent = spent
        self.cap = cap
        self.api_key_id = api_key_id


def month_of(moment: datetime) -> date:
    """The first day of the calendar month, in UTC."""
    return moment.astimezone(UTC).date().replace(day=1)


async def tell(
    session: AsyncSession, *, organization_id: UUID, api_key_id: UUID | None, at: datetime, amount: int
) -> None:
    """Alert of the caps of which a share was reached by the job that this transaction has counted."""
    month = month_of(at)
    counted = await session.exec(
        select(SpendCap.api_key_id, SpendCap.amount, Spending.amount)
        .join(
            Spending,
            (col(Spending.organization_id) == SpendCap.organization_id)
            & col(Spending.api_key_id).is_not_distinct_from(SpendCap.api_key_id),
        )
        .where(
            SpendCap.organization_id == organization_id,
            col(SpendCap.api_key_id).is_(None) | (col(SpendCap.api_key_id) == api_key_id),
            Spending.month == month,
        )
    )
    for whose, cap, spent in counted.all():
        await _alert(session, organization_id, whose, at, cap=cap, before=spent - amount, spent=spent)


async def refund(
    session: AsyncSession, *, organization_id: UUID, api_key_id: UUID | None, at: datetime, amount: int
) -> None:
    """Count the job created `at` for that much less."""
    counting = (
        select(Spending.id)
        .where(
            Spending.organization_id == organization_id,
            Spending.month == month_of(at),
            col(Spending.api_key_id).is_(None) | (col(Spending.api_key_id) == api_key_id),
        )
        .order_by(col(Spending.api_key_id).nulls_first())
        .with_for_update()
        .cte("counting")
    )
    await session.exec(
        update(Spending)
        .where(col(Spending.id) == counting.c.id)
        .values(amount=Spending.amount - amount)
        .execution_options(synchronize_session=False)
    )


async def set_cap(
    session: AsyncSession, *, organization_id: UUID, api_key_id: UUID | None, amount: int, now: datetime
) -> SpendCap:
    """Cap what the organization, or one of its keys, may spend in a month; the same cap again changes it."""
    values = {"amount": amount, "updated_at": now}
    statement = (
        insert(SpendCap)
        .values(id=new_id(), organization_id=organization_id, api_key_id=api_key_id, created_at=now, **values)
        .on_conflict_do_update(index_elements=["organization_id", "api_key_id"], set_=values)
        .returning(SpendCap)
        .execution_options(populate_existing=True)
    )
    cap: SpendCap = (await session.exec(statement)).scalar_one()
    spent = (await spent_in(session, organization_id, [api_key_id], now)).get(api_key_id, 0)
    await _alert(session, organization_id, api_key_id, now, cap=amount, before=-1, spent=spent)
    return cap


async def copy_cap(session: AsyncSession, *, of: UUID, to: UUID, now: datetime) -> None:
    """Cap a new key as another one is capped, if it is."""
    cap = (await session.exec(select(SpendCap).where(SpendCap.api_key_id == of))).one_or_none()
    if cap is not None:
        await set_cap(session, organization_id=cap.organization_id, api_key_id=to, amount=cap.amount, now=now)


async def delete_cap(session: AsyncSession, cap_id: UUID) -> bool:
    """Whether there was one."""
    deleted = delete(SpendCap).where(col(SpendCap.id) == cap_id).returning(col(SpendCap.id))
    return (await session.exec(deleted)).scalar_one_or_none() is not None


async def spent_in(
    session: AsyncSession, organization_id: UUID, api_key_ids: Collection[UUID | None], now: datetime
) -> Mapping[UUID | None, int]:
    """Spent and held in the month of `now`, by key; under None that of all keys together."""
    found = await session.exec(
        select(Spending.api_key_id, Spending.amount).where(
            Spending.organization_id == organization_id,
            Spending.month == month_of(now),
            col(Spending.api_key_id).is_(None) | col(Spending.api_key_id).in_(filter(None, api_key_ids)),
        )
    )
    return dict(found.all())


async def _alert(
    session: AsyncSession,
    organization_id: UUID,
    api_key_id: UUID | None,
    at: datetime,
    *,
    cap: int,
    before: int,
    spent: int,
) -> None:
    """Record, and tell, what shares of the cap have been reached just now."""
    reached = [percent for percent in ALERT_PERCENTS if before * 100 < cap * percent <= spent * 100]
    if not reached:
        return
    alert = {
        "organization_id": organization_id,
        "api_key_id": api_key_id,
        "month": month_of(at),
        "cap": cap,
        "spent": spent,
        "created_at": at,
    }
    alerts = [{"id": new_id(), "percent": percent, **alert} for percent in reached]
    recorded = insert(SpendAlert).values(alerts).on_conflict_do_nothing().returning(col(SpendAlert.percent))
    for percent in sorted((await session.exec(recorded)).scalars()):
        data = SpendAlertData(
            api_key_id=api_key_id, month=f"{month_of(at):%Y-%m}", percent=percent, cap=cap, spent=spent
        )
        await outbox.publish(session, organization_id, EventType.SPEND_CAP_ALERT, data, at)
