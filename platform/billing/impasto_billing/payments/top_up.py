"""Auto top-up: a pack is bought by the saved card whenever there are fewer credits than the customer wants.

A top-up is written down before its card is charged, and the database lets an organization have only one that
is pending: so one crossing of the threshold is paid for once, whoever crashes when. The pack lifts the
balance over the threshold, so that being below it again later is another crossing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text, update
from sqlmodel import col, select

from impasto_billing.ledger import service as ledger
from impasto_billing.payments.bookkeeping import Books
from impasto_billing.payments.provider import (
    PaymentProvider,
    ProviderError,
    ProviderName,
    ProviderUnavailable,
)
from impasto_billing.payments.sold import packs
from impasto_billing.payments.tables import AutoTopUp, BillingCustomer, TopUp, TopUpStatus
from impasto_core.database import DATABASE_ERRORS, Database

logger = logging.getLogger(__name__)

MAX_FAILURES = 3
"""After so many in a row it is switched off, until the customer switches it on again."""

RETRY_AFTER = timedelta(hours=6)

BATCH = 20

_LOW = text(
    """
    SELECT organization_id FROM auto_top_ups AS wish
    WHERE enabled AND next_try_at <= :now
        AND NOT EXISTS (
            SELECT 1 FROM top_ups WHERE top_ups.organization_id = wish.organization_id AND status = 'pending'
        )
        AND threshold > (
            SELECT coalesce(sum(balance), 0)
            FROM ledger_accounts AS account JOIN credit_grants ON credit_grants.id = grant_id
            WHERE account.organization_id = wish.organization_id AND balance > 0 AND valid_from <= :now
                AND (account.valid_until IS NULL OR account.valid_until > :now)
        )
    ORDER BY next_try_at LIMIT :limit
    """
)


async def top_up(
    database: Database, providers: Mapping[ProviderName, PaymentProvider], now: datetime
) -> None:
    """Buy what is due, and bring to an end what was begun. Needs the payments role."""
    async with database.session() as session:
        connection = await session.connection()
        low = (await connection.execute(_LOW, {"now": now, "limit": BATCH})).scalars().all()
    for organization_id in low:
        await _begin(database, organization_id, now)
    async with database.session() as session:
        pending = (
            select(TopUp).where(TopUp.status == TopUpStatus.PENDING).order_by(col(TopUp.id)).limit(BATCH)
        )
        begun = (await session.exec(pending)).all()
    for row in begun:
        try:
            await _charge(database, providers, row, now)
        except DATABASE_ERRORS:
            raise
        except Exception:  # a mistake with one customer is no reason to leave out the others
            logger.exception("top-up %s waits", row.id)


async def _begin(database: Database, organization_id: UUID, now: datetime) -> None:
    async with database.session() as session:
        query = select(AutoTopUp).where(AutoTopUp.organization_id == organization_id).with_for_update()
        wish = (await session.exec(query)).one()
        pending = select(TopUp.id).where(
            TopUp.organization_id == organization_id, TopUp.status == TopUpStatus.PENDING
        )
        balance = await ledger.balance(session, organization_id, now)
        if (await session.exec(pending)).first() or balance.available >= wish.threshold or not wish.enabled:
            return
        if balance.owed:
            # What it bought would go to the debt, and it would be low again at once.
            _count_failure(wish, "Credits are owed after a refund.", now)
            session.add(wish)
            return
        session.add(TopUp(organization_id=organization_id, pack=wish.pack, created_at=now))


async def _charge(
    database: Database, providers: Mapping[ProviderName, PaymentProvider], row: TopUp, now: datetime
) -> None:
    async with database.session() as session:
        query = (
            select(BillingCustomer)
            .where(
                BillingCustomer.organization_id == row.organization_id,
                col(BillingCustomer.provider).in_(providers),
            )
            .order_by(col(BillingCustomer.provider).desc(), col(BillingCustomer.id))
        )
        customer = (await session.exec(query)).first()
    pack = packs().get(row.pack)
    try:
        if customer is None or pack is None:
            raise ProviderError("There is no customer, or the pack is not sold any more.")
        provider = providers[customer.provider]  # type: ignore[index]  # the query sees to it
        payment = await provider.charge(customer.customer_id, pack, top_up_id=row.id)
    except ProviderUnavailable as error:
        logger.warning("top-up %s waits: %s", row.id, error)
    except ProviderError as error:
        logger.warning("top-up %s failed: %s", row.id, error)
        await _give_up(database, row, str(error), now)
    else:
        async with database.session() as session:
            await Books(session, provider.name, now).apply(payment)


async def _give_up(database: Database, row: TopUp, words: str, now: datetime) -> None:
    async with database.session() as session:
        await session.exec(
            update(TopUp)
            .where(col(TopUp.id) == row.id, col(TopUp.status) == TopUpStatus.PENDING)
            .values(status=TopUpStatus.FAILED, error=words[:500], finished_at=now)
        )
        query = select(AutoTopUp).where(AutoTopUp.organization_id == row.organization_id).with_for_update()
        wish = (await session.exec(query)).one()
        _count_failure(wish, words, now)
        session.add(wish)


def _count_failure(wish: AutoTopUp, words: str, now: datetime) -> None:
    wish.failures += 1
    wish.last_error, wish.next_try_at, wish.updated_at = words[:500], now + RETRY_AFTER, now
    if wish.failures >= MAX_FAILURES:
        wish.enabled = False
