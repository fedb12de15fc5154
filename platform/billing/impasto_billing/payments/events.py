"""Events of providers: noted by whoever hears them, handled once by the sweeper.

Each is one transaction: the event's row is locked, then its object, so that who fetched an older state is
never the last to write; what follows is booked; the event is marked. A crash leaves all or nothing, but for
the try, which is written down first: an event that is never finished with does not keep the others waiting.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from opentelemetry import metrics
from sqlalchemy import delete, text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_billing.payments.bookkeeping import Books
from impasto_billing.payments.provider import (
    Hint,
    PaymentProvider,
    ProviderName,
    ProviderUnavailable,
    Refused,
    SubscriptionStatus,
)
from impasto_billing.payments.tables import EventOutcome, ProviderEvent, SubscriptionRow
from impasto_core.database import Database

logger = logging.getLogger(__name__)

RETRY_AFTER = timedelta(seconds=5)
"""Pause after the first try that failed; it doubles with each further one, up to the longest."""

LONGEST_PAUSE = timedelta(hours=1)

RECONCILE = "reconcile"
"""The type of our own daily event, which asks the provider for events that never came."""

RECONCILE_DAYS = 3
"""How far back it looks. Stripe itself tries for three days to deliver an event."""

KEPT = timedelta(days=60)
"""How long handled events are kept. Stripe lists its own for 30 days."""

_handled = metrics.get_meter(__name__).create_counter(
    "impasto.payments.events", "{event}", "Events of payment providers, by what became of them."
)

_LOCK_OBJECT = text("SELECT pg_advisory_xact_lock(hashtextextended(:object, 0))")

Providers = Mapping[ProviderName, PaymentProvider]


async def note(session: AsyncSession, provider: ProviderName, hint: Hint, now: datetime) -> bool:
    """Keep an event to be handled; False if it came before. The API may do this, and cannot read it again."""
    event = ProviderEvent(
        provider=provider,
        event_id=hint.event_id,
        event_type=hint.event_type[:100],
        object_type=hint.object_type,
        object_id=hint.object_id,
        made_for=hint.organization_id,
        received_at=now,
        next_try_at=now,
    )
    noted = await session.exec(insert(ProviderEvent).values(event.model_dump()).on_conflict_do_nothing())
    return noted.rowcount > 0


async def note_reconciliation(session: AsyncSession, provider: ProviderName, now: datetime) -> None:
    """Once a day, however often it is asked for."""
    await note(session, provider, _reconciliation(f"{now:%Y-%m-%d}", RECONCILE_DAYS), now)


def _reconciliation(when: str, days: int) -> Hint:
    return Hint(f"{RECONCILE}:{when}", RECONCILE, "days", str(days))


async def reconcile(
    database: Database, providers: Providers, now: datetime, *, days: int = RECONCILE_DAYS
) -> AsyncIterator[ProviderEvent]:
    """Ask the providers what never came, and handle it: every event, in the state that it was left in."""
    async with database.session() as session:
        for name in providers:
            await note(session, name, _reconciliation(now.isoformat(), days), now)
    while event := await handle_next(database, providers, now):
        yield event


async def handle_next(database: Database, providers: Providers, now: datetime) -> ProviderEvent | None:
    """Handle the event that is due for the longest time; None where none is. Needs the payments role."""
    event_id = await _begin_try(database, providers, now)
    if event_id is None:
        return None
    async with database.session() as session:
        event = await session.get_one(ProviderEvent, event_id, with_for_update=True)
        if event.processed_at is not None:
            return event  # by another sweeper, while this one was held up
        provider = providers[event.provider]  # type: ignore[index]  # the query sees to it
        try:
            async with session.begin_nested():
                changes = await _handle(session, provider, event, now)
        except Refused as error:
            logger.warning("%s %s is refused (%s): %s", provider.name, event.event_id, error.reason, error)
            _close(event, EventOutcome.REFUSED, now, reason=error.reason, detail=str(error))
        except ProviderUnavailable as error:
            logger.warning("%s %s waits: %s", provider.name, event.event_id, error)
            _postpone(event, now, str(error))
        except Exception as error:  # a mistake of ours must not keep the other events from being handled
            logger.exception("%s %s waits", provider.name, event.event_id)
            _postpone(event, now, repr(error))
        else:
            for change in changes or ():
                logger.info("%s %s: %s", provider.name, event.event_id, change)
            outcome = EventOutcome.IGNORED if changes is None else EventOutcome.APPLIED
            _close(event, outcome, now, detail="; ".join(changes or ()) or None)
        session.add(event)
    _handled.add(1, {"provider": provider.name, "outcome": event.outcome or "waiting"})
    return event


async def _begin_try(database: Database, providers: Providers, now: datetime) -> UUID | None:
    """The event to handle. Until its next try is due it is nobody else's, whatever becomes of this one."""
    async with database.session() as session:
        due = (
            select(ProviderEvent)
            .where(
                col(ProviderEvent.processed_at).is_(None),
                ProviderEvent.next_try_at <= now,
                col(ProviderEvent.provider).in_(providers),
            )
            .order_by(col(ProviderEvent.next_try_at), col(ProviderEvent.id))
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        event = (await session.exec(due)).one_or_none()
        if event is None:
            return None
        event.tries += 1
        _postpone(event, now, "A try was cut short.")
        session.add(event)
        return event.id


async def forget_old(session: AsyncSession, now: datetime) -> None:
    """Those that were handled so long ago that no provider sends them again. Misfits stay."""
    old = (
        select(ProviderEvent.id)
        .where(ProviderEvent.processed_at < now - KEPT, ProviderEvent.outcome != EventOutcome.REFUSED)  # type: ignore[operator]
        .limit(1000)
    )
    await session.exec(delete(ProviderEvent).where(col(ProviderEvent.id).in_(old)))


async def _handle(
    session: AsyncSession, provider: PaymentProvider, event: ProviderEvent, now: datetime
) -> list[str] | None:
    """What changed, in words; None where the event is none of our business."""
    if event.event_type == RECONCILE:
        return await _note_missed(session, provider, timedelta(days=int(event.object_id or 0)), now)
    if event.object_type is None or event.object_id is None:
        return None
    connection = await session.connection()
    await connection.execute(_LOCK_OBJECT, {"object": f"{provider.name}:{event.object_id}"})
    found = await provider.look_up(event.object_type, event.object_id)
    if found is None:
        return None
    return await Books(session, provider.name, now).apply(found, event.made_for)


async def _note_missed(
    session: AsyncSession, provider: PaymentProvider, back: timedelta, now: datetime
) -> list[str]:
    """Note the events that never came, and every subscription, to be handled like other events."""
    missed = 0
    async for hint in provider.events_since(now - back):
        missed += await note(session, provider.name, hint, now)
    running = select(SubscriptionRow.subscription_id).where(
        SubscriptionRow.provider == provider.name,
        col(SubscriptionRow.status).not_in([status for status in SubscriptionStatus if status.is_over]),
    )
    for subscription_id in (await session.exec(running)).all():
        event_id = f"{RECONCILE}:{now.isoformat()}:{subscription_id}"
        hint = Hint(event_id, f"{RECONCILE}.subscription", "subscription", subscription_id)
        await note(session, provider.name, hint, now)
    return [f"{missed} events had never come"] if missed else []


def _close(
    event: ProviderEvent,
    outcome: EventOutcome,
    now: datetime,
    *,
    reason: str | None = None,
    detail: str | None = None,
) -> None:
    event.processed_at, event.outcome, event.reason = now, outcome, reason
    event.detail = detail and detail[:1000]


def _postpone(event: ProviderEvent, now: datetime, detail: str) -> None:
    event.next_try_at = now + min(RETRY_AFTER * 2 ** min(event.tries - 1, 20), LONGEST_PAUSE)
    event.detail = detail[:1000]
