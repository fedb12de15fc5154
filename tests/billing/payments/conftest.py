"""A shop, whose organization is on the free plan and has no credits."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import httpx
import pytest

from impasto_billing.payments.chores import Chores
from impasto_core.database import Database
from impasto_core.settings import Settings
from tests.api.conftest import MovableClock, app, base_url, client, clock
from tests.billing.payments.real_stripe import RealShop, real_shop
from tests.billing.payments.shop import Books, FakeShop
from tests.fakes import stripe
from tests.support.databases import DatabaseUrls
from tests.support.servers import serve
from tests.support.tenants import Tenant, make_tenant

__all__ = ["app", "base_url", "client", "clock"]

REAL_KEY = os.environ.get("IMPASTO_TEST_STRIPE_KEY")
"""A test key of a real account, which `nox -s stripe` runs the scenarios against."""

PLANS = {"starter": 25_00, "pro": 75_00, "studio": 150_00}


@pytest.fixture
async def account(clock: MovableClock) -> stripe.Account:
    account = stripe.Account(clock)
    for plan, price in PLANS.items():
        account.add_price(f"impasto_{plan}", price)
    return account


@pytest.fixture
async def stripe_url(account: stripe.Account) -> AsyncIterator[str]:
    async with serve(stripe.create_app(account)) as url:
        yield url


@pytest.fixture
def settings(settings: Settings, urls: DatabaseUrls, account: stripe.Account, stripe_url: str) -> Settings:
    payments = {
        "payments_database_url": urls.payments,
        "stripe_secret_key": REAL_KEY or account.secret_key,
        "stripe_webhook_secret": account.webhooks.secret,
        "stripe_api_base": "https://api.stripe.com" if REAL_KEY else stripe_url,
        "payment_return_hosts": ["app.impasto.test"],
    }
    return Settings.model_validate(settings.model_dump() | payments)


@pytest.fixture
async def tenant(owner_database: Database, settings: Settings) -> Tenant:
    return await make_tenant(owner_database, settings, plan="free", balance=0)


@pytest.fixture
async def chores(settings: Settings) -> AsyncIterator[Chores]:
    chores = Chores.of(settings)
    assert chores is not None
    yield chores
    await chores.close()


@pytest.fixture
def books(owner_database: Database, tenant: Tenant, clock: MovableClock) -> Books:
    return Books(owner_database, tenant, clock)


@pytest.fixture
async def shop(
    client: httpx.AsyncClient,
    base_url: str,
    books: Books,
    chores: Chores,
    account: stripe.Account,
    clock: MovableClock,
) -> AsyncIterator[FakeShop | RealShop]:
    account.webhooks.url = f"{base_url}/v1/billing/webhooks/stripe"
    if REAL_KEY:
        async with real_shop(client, books, chores, account.webhooks, clock, REAL_KEY) as shop:
            yield shop
        return
    fake = FakeShop(client, books, chores, account, clock)
    await fake.tend()  # today's reconciliation, before anything happened
    yield fake
    assert await books.drift() == []
