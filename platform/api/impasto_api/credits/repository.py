"""Queries on the ledger. Row-level security confines them to the session's organization."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_billing.ledger.tables import AccountKind, CreditGrant, LedgerAccount, LedgerEntry


async def expiring(
    session: AsyncSession, organization_id: UUID, *, now: datetime, within: timedelta
) -> tuple[int, datetime | None]:
    """How many of the credits that can be spent expire in that time, and when the first of all do."""
    ends = col(CreditGrant.valid_until)
    query = (
        select(func.sum(LedgerAccount.balance).filter(ends <= now + within), func.min(ends))
        .select_from(LedgerAccount)
        .join(CreditGrant, col(CreditGrant.id) == LedgerAccount.grant_id)
        .where(
            LedgerAccount.organization_id == organization_id,
            LedgerAccount.kind == AccountKind.GRANT,
            col(LedgerAccount.balance) > 0,
            col(CreditGrant.valid_from) <= now,
            ends > now,
        )
    )
    amount, first = (await session.exec(query)).one()
    return int(amount or 0), first


async def remaining(session: AsyncSession, grant_ids: Iterable[UUID]) -> Mapping[UUID | None, int]:
    """What is left of each of these grants."""
    query = select(LedgerAccount.grant_id, LedgerAccount.balance).where(
        col(LedgerAccount.grant_id).in_(list(grant_ids))
    )
    return dict((await session.exec(query)).all())


async def amounts(session: AsyncSession, transaction_ids: Iterable[UUID]) -> Mapping[UUID, Mapping[str, int]]:
    """What each transaction moved, by kind of account."""
    query = (
        select(LedgerEntry.transaction_id, LedgerAccount.kind, func.sum(LedgerEntry.amount))
        .join(LedgerAccount, col(LedgerAccount.id) == LedgerEntry.account_id)
        .where(col(LedgerEntry.transaction_id).in_(list(transaction_ids)))
        .group_by(col(LedgerEntry.transaction_id), col(LedgerAccount.kind))
    )
    moved: defaultdict[UUID, dict[str, int]] = defaultdict(dict)
    for transaction_id, kind, amount in (await session.exec(query)).all():
        moved[transaction_id][kind] = int(amount)
    return moved
