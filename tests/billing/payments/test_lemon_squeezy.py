"""Lemon Squeezy behind the same interface."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import httpx
import pytest

from impasto_billing.payments.chores import Chores
from impasto_core.database import Database
from impasto_core.settings import Settings
from tests.api.conftest import MovableClock
from tests.billing.payments.shop import URLS, Books
from tests.fakes import lemon_squeezy
from tests.fakes.lemon_squeezy.store import Object, Problem
from tests.support.databases import DatabaseUrls
from tests.support.problems import assert_problem
from tests.support.servers import serve
from tests.support.tenants import Tenant, make_tenant

VARIANTS = {"starter": "11", "pro": "12", "small": "21"}
PRICES = {"11": 25_00, "12": 75_00, "21": 12_00}


@pytest.fixture
def store(clock: MovableClock) -> lemon_squeezy.Store:
    store = lemon_squeezy.Store(clock)
    store.variants = dict(PRICES)
    return store


@pytest.fixture
async def store_url(store: lemon_squeezy.Store) -> AsyncIterator[str]:
    async with serve(lemon_squeezy.create_app(store, plans={"11", "12"})) as url:
        yield url


@pytest.fixture
def settings(settings: Settings, urls: DatabaseUrls, store: lemon_squeezy.Store, store_url: str) -> Settings:
    payments = {
        "stripe_secret_key": None,
        "lemon_squeezy_api_key": store.api_key,
        "lemon_squeezy_webhook_secret": store.secret,
        "lemon_squeezy_store_id": store.id,
        "lemon_squeezy_variants": VARIANTS,
        "lemon_squeezy_api_base": store_url,
    }
    return Settings.model_validate(settings.model_dump() | payments)


class LemonShop:
    def __init__(
        self,
        client: httpx.AsyncClient,
        books: Books,
        chores: Chores,
        store: lemon_squeezy.Store,
        clock: MovableClock,
    ) -> None:
        self.client, self.books, self.store, self.clock = client, books, store, clock
        self._chores = chores

    async def check_out(self, **item: str) -> str:
        response = await self.client.post("/v1/billing/checkout-sessions", json={**item, **URLS})
        assert response.status_code == 201, response.text
        return str(response.json()["id"])

    async def buy(self, **item: str) -> Object:
        order = self.store.pay(await self.check_out(**item))
        await self.settle()
        return order

    @property
    def subscription(self) -> Object:
        return self.store.all("subscriptions")[0]

    async def next_month(self, **how: Any) -> None:
        end = datetime.fromisoformat(self.subscription["attributes"]["renews_at"])
        self.clock.advance(seconds=(end - self.clock()).total_seconds() + 60)
        self.store.renew(self.subscription, **how)
        await self.settle()

    async def settle(self, **delivery: Any) -> None:
        await self.store.deliver(**delivery)
        await self._chores.do(self.clock())


@pytest.fixture
async def shop(
    client: httpx.AsyncClient,
    base_url: str,
    books: Books,
    chores: Chores,
    store: lemon_squeezy.Store,
    clock: MovableClock,
) -> LemonShop:
    store.webhook_url = f"{base_url}/v1/billing/webhooks/lemon-squeezy"
    shop = LemonShop(client, books, chores, store, clock)
    await shop.settle()  # today's reconciliation, before anything happened
    return shop


async def test_a_paid_pack_becomes_credits_and_a_refund_takes_them_back(shop: LemonShop) -> None:
    order = await shop.buy(pack="small")
    assert await shop.books.credits() == 2_000
    shop.store.refund(order, 7_20)
    await shop.settle()
    assert await shop.books.credits() == 1_000
    shop.store.refund(order)
    await shop.settle()
    assert await shop.books.credits() == 0


async def test_a_subscription_gives_its_plan_and_credits_month_by_month(shop: LemonShop) -> None:
    await shop.buy(plan="starter")
    assert await shop.books.plan() == "starter"
    assert await shop.books.credits() == 5_000
    await shop.next_month()
    assert await shop.books.credits() == 5_000
    assert len(await shop.books.purchases()) == 2


async def test_a_dearer_plan_holds_at_once_and_a_cheaper_one_from_the_next_month(shop: LemonShop) -> None:
    await shop.buy(plan="starter")
    change = "/v1/billing/subscription/change"
    changed = (await shop.client.post(change, json={"plan": "pro"})).json()
    assert changed["plan"] == "pro"
    await shop.settle()
    assert await shop.books.plan() == "pro"
    assert abs(await shop.books.credits() - 15_000) <= 20

    changed = (await shop.client.post(change, json={"plan": "starter"})).json()
    assert (changed["plan"], changed["next_plan"]) == ("pro", "starter")
    await shop.settle()
    assert await shop.books.plan() == "pro"
    await shop.next_month()
    assert await shop.books.plan() == "starter"


async def test_a_cancelled_subscription_lasts_to_the_end_of_its_month_and_may_be_resumed(
    shop: LemonShop,
) -> None:
    await shop.buy(plan="starter")
    cancelled = (await shop.client.post("/v1/billing/subscription/cancel")).json()
    assert (cancelled["plan"], cancelled["next_plan"]) == ("starter", "free")
    resumed = (await shop.client.post("/v1/billing/subscription/resume")).json()
    assert resumed["next_plan"] == "starter"
    await shop.client.post("/v1/billing/subscription/cancel")
    await shop.settle()
    assert await shop.books.plan() == "starter"
    await shop.next_month()
    assert await shop.books.plan() == "free"


async def test_a_failed_payment_brings_no_credits(shop: LemonShop) -> None:
    await shop.buy(plan="starter")
    await shop.next_month(paid=False)
    assert (await shop.books.subscription()).status == "past_due"
    assert await shop.books.credits() == 0
    assert await shop.books.plan() == "starter"


@pytest.mark.parametrize("seed", [None, 1, 2])
async def test_events_in_any_order_and_twice_come_to_the_same(shop: LemonShop, seed: int | None) -> None:
    shop.store.pay(await shop.check_out(pack="small"))
    shop.store.pay(await shop.check_out(plan="starter"))
    await shop.settle(times=2, seed=seed)
    for name, body in shop.store.sent:
        assert (await shop.store.send(name, body)).status_code == 200
    await shop.settle()
    # An invoice that comes before whose customer it is must wait for the order: the day's list mends it.
    shop.clock.advance(days=1)
    await shop.settle()
    assert await shop.books.credits() == 7_000
    assert await shop.books.plan() == "starter"


async def test_events_that_never_came_are_found(shop: LemonShop) -> None:
    await shop.buy(pack="small")
    shop.store.pay(await shop.check_out(pack="small"))
    shop.store.pending.clear()
    shop.clock.advance(days=1)
    await shop.settle()
    assert await shop.books.credits() == 4_000


async def test_a_forged_event_is_refused(shop: LemonShop) -> None:
    shop.store.pay(await shop.check_out(pack="small"))
    [(name, body)] = shop.store.pending
    for signature in ("", "0" * 64, b"\xe4" * 64):
        response = await shop.store.send(name, body, signature=signature)
        assert_problem(response, 400, "webhook-refused")
    for forged in (b"", b"{}", b"[]", b"null"):
        assert_problem(await shop.store.send(name, forged), 400, "webhook-refused")


@pytest.mark.parametrize("organization", [None, "org_00000000000000000000000000", "nobody"])
async def test_money_for_nobody_we_know_moves_nothing(shop: LemonShop, organization: str | None) -> None:
    checkout = shop.store.get("checkouts", await shop.check_out(pack="small"))
    checkout["attributes"]["checkout_data"] = {"custom": {"organization": organization}}
    shop.store.pay(checkout["id"])
    await shop.settle()
    assert await shop.books.refusals() == {"unknown-customer"}
    assert await shop.books.credits() == 0


async def test_another_currency_amount_or_variant_moves_nothing(shop: LemonShop) -> None:
    shop.store.pay(await shop.check_out(pack="small"), currency="EUR")
    await shop.settle()
    assert await shop.books.refusals() == {"currency-not-sold"}

    shop.store.variants["21"] = 1_00
    shop.store.pay(await shop.check_out(pack="small"))
    await shop.settle()
    assert "wrong-amount" in await shop.books.refusals()

    order = shop.store.pay(await shop.check_out(pack="small"))
    order["attributes"]["first_order_item"]["variant_id"] = 99
    await shop.settle()
    assert "unknown-price" in await shop.books.refusals()
    assert await shop.books.credits() == 0


async def test_an_expired_checkout_cannot_be_paid(shop: LemonShop) -> None:
    checkout = await shop.check_out(pack="small")
    shop.clock.advance(days=2)
    with pytest.raises(Problem, match="expired"):
        shop.store.pay(checkout)


async def test_the_portal_and_invoices_come_with_the_first_subscription(shop: LemonShop) -> None:
    portal = {"return_url": "https://app.impasto.test/"}
    response = await shop.client.post("/v1/billing/portal-sessions", json=portal)
    assert_problem(response, 501, "not-offered")
    assert (await shop.client.get("/v1/billing/invoices")).json()["data"] == []

    await shop.buy(plan="starter")
    response = await shop.client.post("/v1/billing/portal-sessions", json=portal)
    assert response.json()["url"].startswith(shop.store.public_url)
    [invoice] = (await shop.client.get("/v1/billing/invoices")).json()["data"]
    assert (invoice["amount_cents"], invoice["status"]) == (30_00, "paid")


async def test_nobody_is_charged_who_is_not_there(shop: LemonShop) -> None:
    await shop.buy(pack="small")
    body = {"enabled": True, "threshold": 100, "pack": "small"}
    response = await shop.client.put("/v1/billing/auto-top-up", json=body)
    assert_problem(response, 409, "payment-method-needed")


async def test_an_organization_pays_for_its_own_credits(
    shop: LemonShop, owner_database: Database, settings: Settings, base_url: str
) -> None:
    stranger: Tenant = await make_tenant(owner_database, settings, plan="free", balance=0)
    await shop.buy(pack="small")
    theirs = Books(owner_database, stranger, shop.clock)
    assert await theirs.credits() == 0
    async with httpx.AsyncClient(base_url=base_url, headers=stranger.headers) as client:
        made = await client.post("/v1/billing/checkout-sessions", json={"pack": "small", **URLS})
    shop.store.pay(made.json()["id"], email="somebody.else@example.com")
    await shop.settle()
    assert await theirs.credits() == 2_000
    assert await shop.books.credits() == 2_000


async def test_who_pays_for_two_organizations_pays_for_each_of_them(
    shop: LemonShop, owner_database: Database, settings: Settings, base_url: str
) -> None:
    second: Tenant = await make_tenant(owner_database, settings, plan="free", balance=0)
    theirs = Books(owner_database, second, shop.clock)
    await shop.buy(plan="starter")
    async with httpx.AsyncClient(base_url=base_url, headers=second.headers) as client:
        for item in ({"pack": "small"}, {"plan": "pro"}):
            made = await client.post("/v1/billing/checkout-sessions", json={**item, **URLS})
            order = shop.store.pay(made.json()["id"])
            await shop.settle()
            if "pack" in item:
                shop.store.refund(order, 7_20)
                await shop.settle()
        portal = await client.post("/v1/billing/portal-sessions", json={"return_url": URLS["cancel_url"]})
        assert portal.json()["url"].startswith(shop.store.public_url)
    assert (await shop.books.plan(), await shop.books.credits()) == ("starter", 5_000)
    assert (await theirs.plan(), await theirs.credits()) == ("pro", 1_000 + 15_000)
