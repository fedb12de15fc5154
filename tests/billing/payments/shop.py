"""A shop to buy credits in: the API, the sweeper's part of payments, and a provider with its customer.

Scenarios speak only to this, so that the same ones run against the fake Stripe and against a real test key.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
from sqlmodel import col, select

from impasto_billing.ledger import service as ledger
from impasto_billing.ledger.verify import Finding, verify
from impasto_billing.payments.chores import Chores
from impasto_billing.payments.tables import ProviderEvent, Purchase, SubscriptionRow
from impasto_billing.plans.service import assign, plan_of
from impasto_core.clock import Clock
from impasto_core.database import Database
from impasto_core.ids import new_id
from tests.fakes.stripe import Account
from tests.support.tenants import Tenant

URLS = {
    "success_url": "https://app.impasto.test/thanks?session={CHECKOUT_SESSION_ID}",
    "cancel_url": "https://app.impasto.test/credits",
}


@dataclass
class Books:
    """What the database says about one organization, seen with the owner's eyes."""

    owner: Database
    tenant: Tenant
    clock: Clock

    async def balance(self) -> ledger.Balance:
        async with self.owner.session() as session:
            return await ledger.balance(session, self.tenant.organization_id, self.clock())

    async def credits(self) -> int:
        return (await self.balance()).available

    async def plan(self) -> str:
        async with self.owner.session() as session:
            return (await plan_of(session, self.tenant.organization_id)).slug

    async def purchases(self) -> list[Purchase]:
        query = select(Purchase).where(Purchase.organization_id == self.tenant.organization_id)
        async with self.owner.session() as session:
            return list((await session.exec(query.order_by(col(Purchase.id)))).all())

    async def subscription(self) -> SubscriptionRow:
        query = select(SubscriptionRow).where(SubscriptionRow.organization_id == self.tenant.organization_id)
        async with self.owner.session() as session:
            return (await session.exec(query)).one()

    async def events(self) -> list[ProviderEvent]:
        async with self.owner.session() as session:
            return list((await session.exec(select(ProviderEvent).order_by(col(ProviderEvent.id)))).all())

    async def drift(self) -> list[Finding]:
        """What `impastoctl ledger verify` would find wrong."""
        async with self.owner.session() as session:
            return [finding for finding in await verify(session) if finding.wrong]

    async def refusals(self) -> set[str | None]:
        return {event.reason for event in await self.events() if event.outcome == "refused"}


class Shop:
    """What is the same for the fake and for the real Stripe: our side."""

    def __init__(self, client: httpx.AsyncClient, books: Books, chores: Chores) -> None:
        self.client = client
        self.books = books
        self._chores = chores

    async def check_out(self, **item: str) -> dict[str, Any]:
        response = await self.client.post("/v1/billing/checkout-sessions", json={**item, **URLS})
        assert response.status_code == 201, response.text
        return dict(response.json())

    async def change_to(self, plan: str) -> httpx.Response:
        return await self.client.post("/v1/billing/subscription/change", json={"plan": plan})

    async def cancel(self) -> dict[str, Any]:
        response = await self.client.post("/v1/billing/subscription/cancel")
        assert response.status_code == 200, response.text
        return dict(response.json())

    async def resume(self) -> dict[str, Any]:
        response = await self.client.post("/v1/billing/subscription/resume")
        assert response.status_code == 200, response.text
        return dict(response.json())

    async def spend(self, amount: int) -> None:
        """A job of so many credits, from beginning to end."""
        job_id, organization_id, now = new_id(), self.books.tenant.organization_id, self.books.clock()
        async with self.books.owner.session() as session:
            await ledger.hold(
                session,
                organization_id=organization_id,
                job_id=job_id,
                amount=amount,
                api_key_id=None,
                now=now,
            )
            await ledger.settle(session, organization_id=organization_id, job_id=job_id, cost=amount, now=now)

    async def give_plan(self, plan: str) -> None:
        """As an operator does."""
        async with self.books.owner.session() as session:
            await assign(session, self.books.tenant.organization_id, plan)

    async def buy(self, pack: str) -> str:
        """A pack, paid and booked; the payment's id."""
        payment = await self.pay(await self.check_out(pack=pack), pack=pack)
        await self.settle()
        return payment

    async def subscribe(self, plan: str) -> str:
        """A plan, paid and booked; the subscription's id."""
        subscription = await self.pay(await self.check_out(plan=plan), plan=plan)
        await self.settle()
        return subscription

    async def tend(self) -> None:
        """A pass of the sweeper."""
        await self._chores.do(self.books.clock())

    # What the customer, the bank and time do

    async def pay(self, checkout: dict[str, Any], **item: str) -> str:
        """What was paid for: a payment's id, or a subscription's."""
        raise NotImplementedError

    async def settle(self, **delivery: Any) -> None:
        """Webhooks arrive and are handled."""
        raise NotImplementedError


class FakeShop(Shop):
    """Stripe is the fake, and its time the test's."""

    def __init__(
        self, client: httpx.AsyncClient, books: Books, chores: Chores, account: Account, clock: Any
    ) -> None:
        super().__init__(client, books, chores)
        self.account = account
        self.clock = clock

    async def pay(self, checkout: dict[str, Any], **item: str) -> str:
        session = self.account.complete_checkout(checkout["id"])
        return str(session["payment_intent"] or session["subscription"])

    async def refund(self, payment: str, amount: int | None = None) -> None:
        self.account.refund(payment, amount)

    async def break_card(self) -> None:
        """From now on the customer's bank declines."""
        self.account.declining |= {card["id"] for card in self.account.all("payment_method")}

    async def mend_card(self) -> None:
        self.account.declining.clear()

    async def next_period(self, subscription: str) -> None:
        """A month goes by: Stripe renews the subscription, or ends it."""
        found = self.account.get("subscription", subscription)
        end = found["items"]["data"][0]["current_period_end"]
        self.clock.advance(seconds=(datetime.fromtimestamp(end, UTC) - self.clock()).total_seconds() + 60)
        self.account.end_period(subscription)

    async def settle(self, **delivery: Any) -> None:
        await self.account.webhooks.deliver(**delivery)
        await self.tend()
