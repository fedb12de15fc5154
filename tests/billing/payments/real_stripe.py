"""The same shop in front of Stripe itself, with a test key.

What a person does in a browser is done with Stripe's API and its test cards: a payment intent, or a
subscription, like those that the checkout would make. Months go by on a test clock. Webhooks cannot reach a
laptop: events are listed, signed with our own secret and sent. What only the fake can do is skipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Never

import httpx
import pytest
import stripe

from impasto_billing.payments.chores import Chores
from impasto_billing.payments.sold import CURRENCY, packs, price_of, sold_plans
from impasto_billing.payments.stripe import API_VERSION, EVENT_TYPES, lookup_key
from impasto_billing.payments.tables import BillingCustomer
from tests.api.conftest import MovableClock
from tests.billing.payments.shop import Books, Shop
from tests.fakes.stripe.webhooks import Webhooks

QUIET_SECONDS = 5
"""Stripe lists an event within moments: when no new one has come for so long, there is none."""


class RealShop(Shop):
    def __init__(
        self,
        client: httpx.AsyncClient,
        books: Books,
        chores: Chores,
        webhooks: Webhooks,
        clock: MovableClock,
        api: Any,
        customer: str,
        test_clock: str,
    ) -> None:
        super().__init__(client, books, chores)
        self._webhooks = webhooks
        self._own_clock = clock
        self._api = api
        self._customer = customer
        self._test_clock = test_clock
        self._began = int(datetime.now(UTC).timestamp())
        self._delivered: set[str] = set()

    @property
    def account(self) -> Never:
        pytest.skip("only the fake can be made to do this")

    @property
    def clock(self) -> Never:
        pytest.skip("only the fake goes by our clock")

    async def pay(self, checkout: dict[str, Any], **item: str) -> str:
        if "pack" in item:
            pack = packs()[item["pack"]]
            intent = await self._api.payment_intents.create_async(
                {
                    "amount": pack.price_cents,
                    "currency": CURRENCY,
                    "customer": self._customer,
                    "payment_method": await self._card("pm_card_visa"),
                    "confirm": True,
                    "off_session": True,
                    "metadata": {"pack": pack.slug},
                }
            )
            return str(intent.id)
        await self._card("pm_card_visa")
        price = await ensure_price(self._api, item["plan"])
        subscription = await self._api.subscriptions.create_async(
            {"customer": self._customer, "items": [{"price": price}]}
        )
        return str(subscription.id)

    async def _card(self, name: str) -> str:
        """Save one of Stripe's test cards as the customer's default."""
        card = await self._api.payment_methods.attach_async(name, {"customer": self._customer})
        await self._api.customers.update_async(
            self._customer, {"invoice_settings": {"default_payment_method": card.id}}
        )
        return str(card.id)

    async def refund(self, payment: str, amount: int | None = None) -> None:
        await self._api.refunds.create_async(
            {"payment_intent": payment} | ({"amount": amount} if amount else {})
        )

    async def break_card(self) -> None:
        await self._card("pm_card_chargeCustomerFail")

    async def mend_card(self) -> None:
        await self._card("pm_card_visa")

    async def next_period(self, subscription: str) -> None:
        found = await self._api.subscriptions.retrieve_async(subscription)
        end = datetime.fromtimestamp(found["items"]["data"][0]["current_period_end"], UTC)
        # A renewal's invoice is open for an hour before it is paid.
        await self._api.test_helpers.test_clocks.advance_async(
            self._test_clock, {"frozen_time": int((end + timedelta(hours=2)).timestamp())}
        )
        while True:
            test_clock = await self._api.test_helpers.test_clocks.retrieve_async(self._test_clock)
            if test_clock.status == "ready":
                break
            await asyncio.sleep(1)
        self._own_clock.advance(seconds=(end - self._own_clock()).total_seconds() + 7200)

    async def settle(self, **delivery: Any) -> None:
        quiet = 0
        while quiet < QUIET_SECONDS:
            page = await self._api.events.list_async(
                {"created": {"gte": self._began - 60}, "types": list(EVENT_TYPES), "limit": 100}
            )
            events = [event.to_dict(for_json=True) async for event in page.auto_paging_iter()]
            new = [event for event in reversed(events) if event["id"] not in self._delivered]
            new = [event for event in new if self._customer in str(event["data"]["object"])]
            for event in new:
                response = await self._webhooks.sign(event).send(self._webhooks.url)
                assert response.status_code == 200, response.text
                self._delivered.add(event["id"])
            quiet = 0 if new else quiet + 1
            await asyncio.sleep(1)
        await self.tend()


async def ensure_price(api: Any, plan: str) -> str:
    found = await api.prices.list_async({"lookup_keys": [lookup_key(plan)], "active": True})
    if found.data:
        return str(found.data[0].id)
    made = await api.prices.create_async(
        {
            "lookup_key": lookup_key(plan),
            "currency": CURRENCY,
            "unit_amount": price_of(sold_plans()[plan]),
            "recurring": {"interval": "month"},
            "product_data": {"name": sold_plans()[plan].name},
        }
    )
    return str(made.id)


@asynccontextmanager
async def real_shop(
    client: httpx.AsyncClient,
    books: Books,
    chores: Chores,
    webhooks: Webhooks,
    clock: MovableClock,
    key: str,
) -> AsyncIterator[RealShop]:
    """A customer of its own on a test clock of its own, which takes all it had with it."""
    if not key.startswith(("sk_test_", "rk_test_")):
        raise ValueError("IMPASTO_TEST_STRIPE_KEY must be a test key")
    http = stripe.HTTPXClient(timeout=30)
    api = stripe.StripeClient(key, stripe_version=API_VERSION, http_client=http, max_network_retries=2).v1
    for plan in sold_plans():
        await ensure_price(api, plan)
    test_clock = await api.test_helpers.test_clocks.create_async({"frozen_time": int(clock().timestamp())})
    try:
        customer = await api.customers.create_async({"test_clock": test_clock.id})
        async with books.owner.session() as session:
            session.add(
                BillingCustomer(
                    organization_id=books.tenant.organization_id,
                    provider="stripe",
                    customer_id=customer.id,
                )
            )
        yield RealShop(client, books, chores, webhooks, clock, api, customer.id, test_clock.id)
    finally:
        await api.test_helpers.test_clocks.delete_async(test_clock.id)
        await http.close_async()
