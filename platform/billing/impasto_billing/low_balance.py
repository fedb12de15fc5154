"""Telling an organization that its credits are low: once, and again only after they were not.

Low is less than `low_credits` of its plan. What is on hold does not count as there.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_billing.plans.plan import shipped_free_plan
from impasto_core.webhooks import outbox
from impasto_core.webhooks.payloads import BalanceData
from impasto_core.webhooks.types import EventType

_NOTE = text("SELECT available, held, threshold, due FROM note_low_balance(:organization_id, :unplanned)")


async def tell(session: AsyncSession, organization_id: UUID, at: datetime) -> None:
    """Publish `credits.low` if it is due. For a transaction that has settled a job, whose lock it uses."""
    connection = await session.connection()
    values = {"organization_id": organization_id, "unplanned": shipped_free_plan().low_credits}
    found = (await connection.execute(_NOTE, values)).one()
    if found.due:
        data = BalanceData(available=found.available, held=found.held, threshold=found.threshold)
        await outbox.publish(session, organization_id, EventType.CREDITS_LOW, data, at)
