"""`impastoctl billing reconcile`: what never came is found, mended and printed."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import update
from sqlmodel import col
from typer.testing import CliRunner, Result

from impasto_billing.payments.tables import SubscriptionRow
from impasto_core.database import Database
from impasto_core.settings import Settings
from impasto_ctl.main import app
from tests.billing.payments.shop import FakeShop
from tests.support.databases import DatabaseUrls


@pytest.fixture(autouse=True)
def environment(
    settings: Settings, urls: DatabaseUrls, stripe_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.stripe_secret_key
    assert settings.stripe_webhook_secret
    for name, value in {
        "DATABASE_URL": urls.owner,
        "STRIPE_SECRET_KEY": settings.stripe_secret_key.get_secret_value(),
        "STRIPE_WEBHOOK_SECRET": settings.stripe_webhook_secret.get_secret_value(),
        "STRIPE_API_BASE": stripe_url,
    }.items():
        monkeypatch.setenv(f"IMPASTO_{name}", value)


async def reconcile(*arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, ["billing", "reconcile", *arguments])


async def test_missed_events_are_found_mended_and_printed(shop: FakeShop) -> None:
    payment = await shop.pay(await shop.check_out(pack="small"))
    await shop.pay(await shop.check_out(plan="starter"))
    shop.account.webhooks.lose()

    done = await reconcile()
    assert done.exit_code == 0, done.output
    assert f"2000 credits for {payment}" in done.stdout
    assert "plan free -> starter" in done.stdout
    assert await shop.books.credits() == 7_000
    assert await shop.books.plan() == "starter"


async def test_where_nothing_differs_nothing_is_mended(shop: FakeShop) -> None:
    await shop.subscribe("starter")
    done = await reconcile("--days", "30")
    assert done.exit_code == 0
    assert ", 0 mended, 0 left" in done.stdout


async def test_a_subscription_that_we_have_wrong_is_put_right(
    shop: FakeShop, owner_database: Database
) -> None:
    await shop.subscribe("starter")
    async with owner_database.session() as session:
        await session.exec(update(SubscriptionRow).values({col(SubscriptionRow.status): "past_due"}))
    done = await reconcile()
    assert "status past_due -> active" in done.stdout


async def test_what_cannot_be_mended_is_printed_with_its_reason(shop: FakeShop) -> None:
    await shop.check_out(pack="small")
    [customer] = shop.account.all("customer")
    card = shop.account.add_card(customer["id"])
    intent = shop.account.make_intent(
        customer=customer["id"],
        amount=1,
        currency="usd",
        metadata={"pack": "small"},
        payment_method=card["id"],
    )
    shop.account.confirm(intent)
    shop.account.webhooks.lose()
    done = await reconcile()
    assert done.exit_code == 1
    assert "wrong-amount" in done.stdout


async def test_without_a_provider_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMPASTO_STRIPE_SECRET_KEY")
    done = await reconcile()
    assert done.exit_code == 1
    assert "No payment provider is configured" in done.stderr
