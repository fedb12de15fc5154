"""What follows from a payment or a subscription, as its provider has it now. Each works out what ought to be,
compares it with what is, and does the difference: the same again, in whatever order, changes nothing.

A plan holds while its subscription is live: the one subscribed to, or the greatest of those that were paid
for the present period. Credits of a period are granted by what its invoice charges: a plan's monthly credits,
and for a change in mid-period their part, as of the price. Credits go back as their money does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from math import floor
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_billing.ledger import service as ledger
from impasto_billing.ledger.tables import GrantSource
from impasto_billing.payments.provider import (
    Payment,
    ProviderName,
    Refused,
    Share,
    Subscription,
    SubscriptionStatus,
)
from impasto_billing.payments.sold import CURRENCY, MAX_CENTS, packs, price_of, sold_plans
from impasto_billing.payments.tables import (
    AutoTopUp,
    BillingCustomer,
    Purchase,
    SubscriptionRow,
    TopUp,
    TopUpStatus,
)
from impasto_billing.plans import FREE
from impasto_billing.plans import service as plans
from impasto_core.database import act_for
from impasto_core.ids import format_id
from impasto_core.webhooks import outbox
from impasto_core.webhooks.payloads import InvoiceData
from impasto_core.webhooks.types import EventType


@dataclass(frozen=True)
class Books:
    """The accounts of one transaction of the payments role."""

    session: AsyncSession
    provider: ProviderName
    now: datetime

    async def apply(self, found: Payment | Subscription, made_for: UUID | None = None) -> list[str]:
        """Everything that changed, in words. Raises Refused, and then nothing did.

        `made_for` is the organization that paid, where the provider says so.
        """
        customer = await self._enter(found.customer_id, made_for)
        organization_id = await self._booked_for(found) or made_for or customer
        await act_for(self.session, organization_id)
        if isinstance(found, Payment):
            return await self._payment(organization_id, found)
        return await self._subscription(organization_id, found)

    async def _enter(self, customer_id: str, made_for: UUID | None) -> UUID:
        """The organization that the customer came with. Their books are ours until the transaction ends."""
        query = (
            select(BillingCustomer.organization_id)
            .where(
                BillingCustomer.provider == self.provider,
                BillingCustomer.customer_id == customer_id,
            )
            .order_by(col(BillingCustomer.id))
            .with_for_update()
        )
        organizations = (await self.session.exec(query)).all()
        if made_for is not None and made_for not in organizations:
            await self._make_customer(customer_id, made_for)
            organizations = (await self.session.exec(query)).all()
        if not organizations:
            raise Refused("unknown-customer", f"{customer_id} is no organization's customer.")
        return organizations[0]

    async def _booked_for(self, found: Payment | Subscription) -> UUID | None:
        """Whose it was before: not every event says it again."""
        if isinstance(found, Payment):
            query = select(Purchase.organization_id).where(
                Purchase.provider == self.provider, Purchase.payment_id == found.id
            )
            if organization_id := (await self.session.exec(query)).one_or_none():
                return organization_id
        subscription_id = found.subscription_id if isinstance(found, Payment) else found.id
        row = await self._row(subscription_id) if subscription_id else None
        return row.organization_id if row else None

    async def _make_customer(self, customer_id: str, organization_id: UUID) -> None:
        row = BillingCustomer(
            organization_id=organization_id, provider=self.provider, customer_id=customer_id
        )
        try:
            async with self.session.begin_nested():
                await self.session.exec(
                    insert(BillingCustomer).values(row.model_dump()).on_conflict_do_nothing()
                )
        except IntegrityError as error:
            raise Refused(
                "unknown-customer", f"{customer_id} was to be an organization that does not exist."
            ) from error

    # Payments

    async def _payment(self, organization_id: UUID, payment: Payment) -> list[str]:
        changes: list[str] = []
        if payment.pack is None and not payment.shares:
            return changes  # usage alone, which gives no credits
        query = select(Purchase).where(Purchase.provider == self.provider, Purchase.payment_id == payment.id)
        purchase = (await self.session.exec(query)).one_or_none()
        if purchase is None and payment.paid:
            purchase = await self._new_purchase(organization_id, payment)
            changes.append(
                f"{format_id('org', organization_id)} got {purchase.credits} credits for {payment.id}"
            )
        if purchase is not None:
            changes += await self._take_back(purchase, payment)
        if payment.top_up_id is not None and payment.paid:
            await self._end_top_up(payment.top_up_id)
        if payment.subscription_id is not None:
            changes += await self._settle_plan(payment.subscription_id)
        return changes

    async def _new_purchase(self, organization_id: UUID, payment: Payment) -> Purchase:
        _check_amounts(payment)
        purchase = Purchase(
            organization_id=organization_id,
            provider=self.provider,
            payment_id=payment.id,
            amount=payment.amount,
            currency=payment.currency,
            credits=0,
        )
        if payment.pack is not None:
            purchase.pack, purchase.credits = payment.pack, _credits_of_pack(payment)
            source, words = GrantSource.PURCHASE, f"Pack {payment.pack}"
        else:
            purchase.plan = _greatest([share.plan for share in payment.shares if share.amount >= 0])
            purchase.subscription_id = payment.subscription_id
            purchase.period_start = min(share.start for share in payment.shares)
            purchase.period_end = max(share.end for share in payment.shares)
            purchase.credits = _credits_of_shares(payment.shares)
            source, words = GrantSource.MONTHLY, f"Plan {purchase.plan}"
            if purchase.period_end <= self.now:
                purchase.credits = 0  # heard of too late: an operator may make good for it
        self.session.add(purchase)
        await self.session.flush()
        if purchase.credits:
            await ledger.grant(
                self.session,
                organization_id=organization_id,
                source=source,
                amount=purchase.credits,
                valid_until=purchase.period_end,
                reference=purchase.reference,
                description=words,
                now=self.now,
            )
        data = InvoiceData.model_validate(purchase, from_attributes=True)
        await outbox.publish(self.session, organization_id, EventType.INVOICE_PAID, data, self.now)
        return purchase

    async def _take_back(self, purchase: Purchase, payment: Payment) -> list[str]:
        """Bring the credits that went back into line with the money that did."""
        if not 0 <= payment.refunded <= purchase.amount:
            raise Refused("amount-out-of-range", f"{payment.refunded} of {purchase.amount} were refunded.")
        purchase.refunded, purchase.disputed = payment.refunded, payment.disputed
        due = purchase.credits
        if not payment.disputed:
            due = purchase.credits * payment.refunded // purchase.amount if purchase.amount else 0
        difference = due - purchase.taken_back
        if difference == 0:
            return []
        purchase.changes += 1
        purchase.taken_back = due
        self.session.add(purchase)
        await self.session.flush()
        reference = f"{purchase.reference}:{purchase.changes}"
        who = format_id("org", purchase.organization_id)
        if difference > 0:
            taken = await ledger.claw_back(
                self.session,
                organization_id=purchase.organization_id,
                amount=difference,
                reference=reference,
                grant_reference=purchase.reference,
                now=self.now,
            )
            return [f"{who} gave back {taken.recovered} credits for {payment.id} and owes {taken.owed}"]
        if purchase.period_end is not None and purchase.period_end <= self.now:
            return []
        await ledger.grant(
            self.session,
            organization_id=purchase.organization_id,
            source=GrantSource.PURCHASE if purchase.pack else GrantSource.MONTHLY,
            amount=-difference,
            valid_until=purchase.period_end,
            reference=reference,
            description="The payment came back",
            now=self.now,
        )
        return [f"{who} got {-difference} credits for {payment.id} again"]

    async def _end_top_up(self, top_up_id: UUID) -> None:
        """It was paid. One that failed is for `top_up` to end, which counts failures."""
        ended = await self.session.exec(
            update(TopUp)
            .where(col(TopUp.id) == top_up_id, col(TopUp.status) == TopUpStatus.PENDING)
            .values(status=TopUpStatus.PAID, finished_at=self.now)
            .returning(col(TopUp.organization_id))
        )
        organization_id = ended.scalar_one_or_none()
        if organization_id is not None:
            await self.session.exec(
                update(AutoTopUp)
                .where(col(AutoTopUp.organization_id) == organization_id)
                .values(failures=0, last_error=None, next_try_at=self.now)
            )

    # Subscriptions

    async def _subscription(self, organization_id: UUID, found: Subscription) -> list[str]:
        row, changes = await self._row(found.id), []
        if row is None:
            row = SubscriptionRow(
                organization_id=organization_id,
                provider=self.provider,
                subscription_id=found.id,
                status=found.status,
                plan=found.plan,
                effective_plan=FREE,
                period_start=found.period_start,
                period_end=found.period_end,
                cancel_at_period_end=found.cancel_at_period_end,
                updated_at=self.now,
            )
            changes.append(f"{format_id('org', organization_id)} subscribed to {found.plan}: {found.id}")
        for name in ("status", "plan", "period_start", "period_end", "cancel_at_period_end"):
            before, after = getattr(row, name), getattr(found, name)
            if before != after:
                changes.append(f"{found.id}: {name} {before} -> {after}")
                setattr(row, name, after)
                row.updated_at = self.now
        self.session.add(row)
        await self.session.flush()
        await self._meter(found)
        return changes + await self._settle_plan(found.id)

    async def _meter(self, found: Subscription) -> None:
        """Report usage from now on, or no longer."""
        metered = found.metered and found.status.is_live
        customer = update(BillingCustomer).where(
            col(BillingCustomer.provider) == self.provider,
            col(BillingCustomer.customer_id) == found.customer_id,
            col(BillingCustomer.metered_since).is_(None) == metered,
        )
        await self.session.exec(customer.values(metered_since=self.now if metered else None))

    async def _settle_plan(self, subscription_id: str) -> list[str]:
        """Put the organization on the plan that its subscription makes due."""
        row = await self._row(subscription_id)
        if row is None:
            return []  # its own event will come
        due = await effective_plan(self.session, row, self.now)
        if due == row.effective_plan:
            return []
        changes = [f"{format_id('org', row.organization_id)}: plan {row.effective_plan} -> {due}"]
        row.effective_plan = due
        self.session.add(row)
        await self.session.flush()
        await plans.assign(self.session, row.organization_id, await self._best_plan(row.organization_id))
        return changes

    async def _best_plan(self, organization_id: UUID) -> str:
        """An organization may have come to a second subscription by another provider."""
        query = select(SubscriptionRow.effective_plan).where(
            SubscriptionRow.organization_id == organization_id
        )
        return _greatest((await self.session.exec(query)).all())

    async def _row(self, subscription_id: str) -> SubscriptionRow | None:
        query = select(SubscriptionRow).where(
            SubscriptionRow.provider == self.provider,
            SubscriptionRow.subscription_id == subscription_id,
        )
        return (await self.session.exec(query)).one_or_none()


async def effective_plan(session: AsyncSession, row: SubscriptionRow, now: datetime) -> str:
    """What the subscription gives now."""
    if not SubscriptionStatus(row.status).is_live:
        return FREE
    paid = select(Purchase.plan).where(
        Purchase.provider == row.provider,
        Purchase.subscription_id == row.subscription_id,
        col(Purchase.period_start) <= now,
        col(Purchase.period_end) > now,
        col(Purchase.refunded) < col(Purchase.amount),
        col(Purchase.disputed).is_(False),
    )
    found = (await session.exec(paid)).all()
    return _greatest([row.plan, *(plan for plan in found if plan)])


def _check_amounts(payment: Payment) -> None:
    if payment.currency != CURRENCY:
        raise Refused("currency-not-sold", f"{payment.id} was paid in {payment.currency}.")
    if not 0 <= payment.amount <= MAX_CENTS:
        raise Refused("amount-out-of-range", f"{payment.id} is of {payment.amount}.")


def _credits_of_pack(payment: Payment) -> int:
    pack = packs().get(payment.pack or "")
    if pack is None:
        raise Refused("unknown-pack", f"{payment.id} is for a pack {payment.pack}, which is not sold.")
    if payment.amount != pack.price_cents:
        raise Refused(
            "wrong-amount",
            f"{payment.id} is of {payment.amount}, and the pack {pack.slug} costs {pack.price_cents}.",
        )
    return pack.credits


def _credits_of_shares(shares: Sequence[Share]) -> int:
    due = Fraction(0)
    for share in shares:
        plan = sold_plans().get(share.plan)
        if plan is None:
            raise Refused("unknown-price", f"The plan {share.plan} is not sold.")
        if not -price_of(plan) <= share.amount <= price_of(plan):
            raise Refused(
                "wrong-amount", f"{share.amount} for {plan.slug}, which costs {price_of(plan)} a month."
            )
        due += Fraction(plan.monthly_credits * share.amount, price_of(plan))
    return max(0, floor(due))


def _greatest(slugs: Sequence[str]) -> str:
    """The plan that costs the most; the free one costs nothing."""
    order = [FREE, *sold_plans()]
    return max([slug for slug in slugs if slug in order], key=order.index, default=FREE)
