"""Asking the payment provider for things. What comes of it is booked when its events are handled."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

from impasto_api.billing import repository
from impasto_api.problems import (
    AlreadySubscribed,
    IdempotencyKeyReused,
    NoSubscription,
    NotOffered,
    PaymentDeclined,
    PaymentsNotConfigured,
    ServiceUnavailable,
    ValidationFailed,
)
from impasto_api.services import Services
from impasto_billing.payments import events, provider
from impasto_billing.payments.bookkeeping import effective_plan
from impasto_billing.payments.provider import Hint, PaymentProvider, SubscriptionStatus
from impasto_billing.payments.sold import Pack, packs, price_of, sold_plans
from impasto_billing.payments.tables import SubscriptionRow
from impasto_billing.plans.plan import Plan
from impasto_core.ids import format_id

logger = logging.getLogger(__name__)


def default_provider(services: Services) -> PaymentProvider:
    """The one that new customers go to. Raises PaymentsNotConfigured."""
    for found in services.providers.values():
        return found
    raise PaymentsNotConfigured


def find_item(pack: str | None, plan: str | None) -> Pack | Plan:
    """Raises ValidationFailed where it is not sold."""
    return find_pack(pack) if pack is not None else find_plan(plan or "")


def find_pack(slug: str) -> Pack:
    if slug not in packs():
        raise ValidationFailed.of(
            "body", "pack", "not_sold", f"There is no pack {slug}: {', '.join(packs())}."
        )
    return packs()[slug]


def find_plan(slug: str) -> Plan:
    if slug not in sold_plans():
        known = ", ".join(sold_plans())
        raise ValidationFailed.of("body", "plan", "not_sold", f"{slug} cannot be subscribed to: {known} can.")
    return sold_plans()[slug]


@contextmanager
def answering() -> Iterator[None]:
    """What the provider says, as our problems."""
    try:
        yield
    except provider.PaymentDeclined as error:
        raise PaymentDeclined(str(error)) from error
    except provider.KeyReused as error:
        raise IdempotencyKeyReused from error
    except provider.NotOffered as error:
        raise NotOffered(str(error)) from error
    except (provider.ProviderError, provider.ProviderUnavailable, provider.Refused) as error:
        logger.error("the payment provider: %s", error, exc_info=error)
        raise ServiceUnavailable(
            "The payment provider does not answer as it should. Try again in a moment."
        ) from error


async def check_out(
    services: Services,
    organization_id: UUID,
    item: Pack | Plan,
    *,
    success_url: str,
    cancel_url: str,
    key: str | None,
) -> provider.Checkout:
    """Raises AlreadySubscribed, PaymentsNotConfigured, IdempotencyKeyReused."""
    async with services.database.tenant(organization_id) as session:
        row = await repository.find_subscription(session)
    if isinstance(item, Plan) and row is not None and SubscriptionStatus(row.status).is_owed:
        raise AlreadySubscribed(f"The subscription to {row.plan} is {row.status}: change it instead.")
    with answering():
        payer, customer = await find_or_make_customer(services, organization_id)
        return await payer.check_out(
            item,
            organization_id=organization_id,
            customer_id=customer,
            success_url=success_url,
            cancel_url=cancel_url,
            idempotency_key=provider_key(organization_id, "checkout", key),
            now=services.clock(),
        )


def provider_key(organization_id: UUID, what: str, key: str | None) -> str:
    """Keys are an organization's own, and the provider's account is one for all. It takes 255 characters."""
    unique = hashlib.sha256(key.encode()).hexdigest() if key else uuid4()
    return f"{format_id('org', organization_id)}:{what}:{unique}"


async def find_payer(services: Services, organization_id: UUID) -> tuple[PaymentProvider, str | None]:
    """The provider that the organization is a customer of, and as which; else the one it would go to.

    Raises PaymentsNotConfigured.
    """
    async with services.database.tenant(organization_id) as session:
        for name, payer in services.providers.items():
            if customer := await repository.find_customer(session, name):
                return payer, customer
    return default_provider(services), None


async def find_or_make_customer(
    services: Services, organization_id: UUID
) -> tuple[PaymentProvider, str | None]:
    """No customer where the provider makes them when they pay."""
    payer, customer = await find_payer(services, organization_id)
    if customer is None:
        customer = await payer.create_customer(organization_id=organization_id)
        if customer is not None:
            async with services.database.tenant(organization_id) as session:
                await repository.save_customer(session, organization_id, payer.name, customer)
    return payer, customer


async def live_subscription(
    services: Services, organization_id: UUID
) -> tuple[SubscriptionRow, PaymentProvider]:
    """Raises NoSubscription, PaymentsNotConfigured."""
    async with services.database.tenant(organization_id) as session:
        row = await repository.find_subscription(session)
    if row is None or SubscriptionStatus(row.status).is_over:
        if not services.providers:
            raise PaymentsNotConfigured
        raise NoSubscription("There is none to change: check out a plan first.")
    for name, payer in services.providers.items():
        if name == row.provider:
            return row, payer
    raise PaymentsNotConfigured


async def change_plan(
    services: Services, organization_id: UUID, plan: Plan, *, key: str | None
) -> SubscriptionRow:
    """A dearer plan at once, a cheaper one from the next period on.

    Raises NoSubscription, PaymentDeclined, IdempotencyKeyReused.
    """
    row, payer = await live_subscription(services, organization_id)
    held = sold_plans().get(row.effective_plan)
    dearer = held is None or price_of(plan) > price_of(held)
    with answering():
        changed = await payer.change_plan(
            row.subscription_id,
            plan,
            at_once=dearer,
            idempotency_key=provider_key(organization_id, f"change:{plan.slug}", key),
        )
    return await _seen(services, row, payer, changed)


async def set_cancel(services: Services, organization_id: UUID, *, cancel: bool) -> SubscriptionRow:
    """Raises NoSubscription."""
    row, payer = await live_subscription(services, organization_id)
    with answering():
        changed = await (payer.cancel if cancel else payer.resume)(row.subscription_id)
    return await _seen(services, row, payer, changed)


async def _seen(
    services: Services, row: SubscriptionRow, payer: PaymentProvider, found: provider.Subscription
) -> SubscriptionRow:
    """The row as it will be. Its event is noted by ourselves too, should the provider's be lost."""
    for name in ("status", "plan", "period_start", "period_end", "cancel_at_period_end"):
        setattr(row, name, getattr(found, name))
    async with services.database.tenant(row.organization_id) as session:
        hint = Hint(f"api:{uuid4()}", "subscription.changed", "subscription", row.subscription_id)
        await events.note(session, payer.name, hint, services.clock())
        row.effective_plan = await effective_plan(session, row, services.clock())
        session.expunge_all()
    return row
