"""Moving credits. Each call is one round trip to a SQL function of migration 0004, which does all or nothing.

Credits are whole; 1 credit is 1 second of a GPU. An organization's ledger is written by one transaction at a
time: the first call in a transaction locks it until the commit, so that calls belong at a transaction's end.

Every movement has a business key. The same call again is answered like the first and moves nothing; another
amount under the same key raises LedgerConflict. `now` is by the database's clock where it is not given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, and_, case, func, or_, text
from sqlalchemy.engine import Result
from sqlalchemy.exc import DBAPIError
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_billing.ledger.tables import MAX_CREDITS, AccountKind, CreditGrant, GrantSource, LedgerAccount

PRIORITIES: Mapping[GrantSource, int] = {
    GrantSource.MONTHLY: 10,
    GrantSource.PROMOTION: 20,
    GrantSource.MANUAL: 20,
    GrantSource.PURCHASE: 30,
}
"""The lowest burns first: what comes again next month before what was paid for once."""


class LedgerError(Exception):
    """Nothing was moved, and the transaction can only be rolled back."""


class NotEnoughCredits(LedgerError):
    def __init__(self, required: int, available: int) -> None:
        super().__init__(f"{required} credits required, {available} available")
        self.required = required
        self.available = available


class LedgerConflict(LedgerError):
    """The ledger has the same business key with another amount."""


class NotInLedger(LedgerError):
    """The job has no hold, or the organization no such grant."""


class InvalidAmount(LedgerError, ValueError):
    """Zero or less, more than MAX_CREDITS or than is on hold, or credits that are no longer valid."""


_ERRORS: Mapping[str, type[LedgerError]] = {
    "IM002": LedgerConflict,
    "IM003": NotInLedger,
    "IM004": InvalidAmount,
}
_NOT_ENOUGH = "IM001"


@dataclass(frozen=True)
class Balance:
    """Credits that can be spent, that jobs have on hold, and that are owed after a claw-back.

    Who owes has none available, and who has some owes none.
    """

    available: int
    held: int
    owed: int


@dataclass(frozen=True)
class ClawBack:
    """What was taken back at once, and what will be as soon as the organization has credits again."""

    recovered: int
    owed: int


_GRANT = text(
    "SELECT * FROM grant_credits(:organization_id, :source, :amount, :priority, :valid_from, :valid_until,"
    " :reference, :description, :now)"
)
_HOLD = text("SELECT hold_credits(:organization_id, :job_id, :amount, :api_key_id, :now)")
_SETTLE = text("SELECT settle_credits(:organization_id, :job_id, :cost, :now)")
_CLAW_BACK = text(
    "SELECT recovered, owed"
    " FROM claw_back_credits(:organization_id, :amount, :reference, :grant_reference, :now)"
)
_EXPIRE = text("SELECT expire_credits(:now, :limit)")


async def grant(
    session: AsyncSession,
    *,
    organization_id: UUID,
    source: GrantSource,
    amount: int,
    priority: int | None = None,
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
    reference: str,
    description: str = "",
    now: datetime | None = None,
) -> CreditGrant:
    """Give credits, valid from `valid_from` (now) until `valid_until` (for ever).

    What the organization owes is taken from them at once. The role of payments grants to the organization of
    its transaction only, and only `purchase` and `monthly`.

    Raises InvalidAmount, LedgerConflict; sqlalchemy.exc.IntegrityError where there is no such organization.
    """
    _check(amount)
    granted = await _call(
        session,
        _GRANT,
        organization_id=organization_id,
        source=source,
        amount=amount,
        priority=PRIORITIES[source] if priority is None else priority,
        valid_from=valid_from,
        valid_until=valid_until,
        reference=reference,
        description=description,
        now=now,
    )
    return CreditGrant.model_validate(granted.one()._mapping)


async def hold(
    session: AsyncSession,
    *,
    organization_id: UUID,
    job_id: UUID,
    amount: int,
    api_key_id: UUID | None,
    now: datetime | None = None,
) -> None:
    """Reserve the most that the job can cost: by priority of the grants, earliest expiry, earliest creation.

    Flushes the session first, so that the ledger is locked no longer than it must be.
    Raises NotEnoughCredits, InvalidAmount, LedgerConflict.
    """
    _check(amount)
    await session.flush()
    await _call(
        session,
        _HOLD,
        organization_id=organization_id,
        job_id=job_id,
        amount=amount,
        api_key_id=api_key_id,
        now=now,
    )


async def settle(
    session: AsyncSession, *, organization_id: UUID, job_id: UUID, cost: int, now: datetime | None = None
) -> None:
    """Capture what the job cost, 0 too, and release the rest of its hold to the grants that it came from.

    Credits that expired while they were held are good for the job that held them; what is released of them
    goes with the next `expire_grants`. Raises NotInLedger, InvalidAmount, LedgerConflict.
    """
    _check(cost, least=0)
    await _call(session, _SETTLE, organization_id=organization_id, job_id=job_id, cost=cost, now=now)


async def claw_back(
    session: AsyncSession,
    *,
    organization_id: UUID,
    amount: int,
    reference: str,
    grant_reference: str | None = None,
    now: datetime | None = None,
) -> ClawBack:
    """Take credits back because their money went back: the named grant's first, then others as they burn.

    What has been spent, or is on hold, is owed: it is taken from what the organization gets next, granted or
    released. Raises InvalidAmount, NotInLedger, LedgerConflict.
    """
    _check(amount)
    taken = await _call(
        session,
        _CLAW_BACK,
        organization_id=organization_id,
        amount=amount,
        reference=reference,
        grant_reference=grant_reference,
        now=now,
    )
    row = taken.one()
    return ClawBack(row.recovered, row.owed)


async def expire_grants(session: AsyncSession, *, now: datetime, limit: int) -> int:
    """Return to the house what is left of up to `limit` grants that are over; how many there were.

    Grants of organizations whose ledger is in use wait for the next call.
    """
    return int((await _call(session, _EXPIRE, now=now, limit=limit)).scalar_one())


async def balance(session: AsyncSession, organization_id: UUID, now: datetime) -> Balance:
    spendable = and_(
        col(CreditGrant.valid_from) <= now,
        or_(col(CreditGrant.valid_until).is_(None), col(CreditGrant.valid_until) > now),
    )
    kind = col(LedgerAccount.kind)
    # A grant's account counts as itself only while its credits can be spent.
    counted = case((kind != AccountKind.GRANT, kind), (spendable, kind))
    query = (
        select(counted, func.sum(LedgerAccount.balance))
        .join(CreditGrant, col(CreditGrant.id) == LedgerAccount.grant_id, isouter=True)
        .where(LedgerAccount.organization_id == organization_id, col(LedgerAccount.balance) > 0)
        .group_by(counted)
    )
    found = {kind: int(amount) for kind, amount in (await session.exec(query)).all()}
    return Balance(
        available=found.get(AccountKind.GRANT, 0),
        held=found.get(AccountKind.HOLDS, 0),
        owed=found.get(AccountKind.OWED, 0),
    )


def _check(amount: int, *, least: int = 1) -> None:
    if not least <= amount <= MAX_CREDITS:
        raise InvalidAmount(f"{amount} credits: from {least} to {MAX_CREDITS} can be moved at once")


async def _call(session: AsyncSession, function: TextClause, **values: Any) -> Result[Any]:
    connection = await session.connection()
    try:
        return await connection.execute(function, values)
    except DBAPIError as error:
        raise_for(error)
        raise


def raise_for(error: DBAPIError) -> None:
    """Raises the LedgerError that a SQL function of the ledger's told, if it did."""
    # SQLAlchemy's error wraps its adapter's, and that one asyncpg's.
    cause = error.orig.__cause__ if error.orig else None
    code: str = getattr(cause, "sqlstate", "")
    if code == _NOT_ENOUGH:
        raise NotEnoughCredits(**json.loads(getattr(cause, "detail", "{}"))) from error
    if code in _ERRORS:
        raise _ERRORS[code](str(cause)) from error
