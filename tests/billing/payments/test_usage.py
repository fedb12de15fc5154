"""Pay-as-you-go: each finished job's credits are reported to the provider's meter, once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from impasto_billing.payments.tables import BillingCustomer
from impasto_core.database import Database
from impasto_core.settings import Settings
from tests.billing.payments.shop import Books, FakeShop
from tests.support.tenants import make_tenant


@pytest.fixture
async def metered(shop: FakeShop) -> FakeShop:
    """A subscription with an item whose usage is metered, as an operator adds it at Stripe."""
    shop.account.add_price("impasto_usage", 1, metered=True)
    await shop.subscribe("starter")
    [subscription] = shop.account.all("subscription")
    usage = shop.account.all("price")[0]
    item = shop.account.make(
        "si",
        "subscription_item",
        subscription=subscription["id"],
        price=usage,
        quantity=None,
        metadata={},
        current_period_start=subscription["created"],
        current_period_end=subscription["items"]["data"][0]["current_period_end"],
    )
    subscription["items"]["data"].append(item)
    shop.account.webhooks.announce("customer.subscription.updated", subscription)
    await shop.settle()
    return shop


def reported(shop: FakeShop) -> list[int]:
    return [int(event["payload"]["value"]) for event in shop.account.meter_events.values()]


async def test_each_job_is_reported_once(metered: FakeShop) -> None:
    await metered.spend(7)
    await metered.spend(11)
    for _ in range(3):
        await metered.tend()
    assert reported(metered) == [7, 11]
    assert all(name.startswith("job_") for name in metered.account.meter_events)


async def test_a_crash_between_report_and_note_does_not_report_twice(
    metered: FakeShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(**_: object) -> None:
        raise OSError("the power went out")

    await metered.spend(7)
    with monkeypatch.context() as patch:
        patch.setattr("impasto_billing.payments.usage.UsageReport", crash)
        with pytest.raises(OSError, match="power"):
            await metered.tend()
    assert reported(metered) == [7]
    metered.clock.advance(seconds=1)
    await metered.tend()
    await metered.tend()
    assert reported(metered) == [7]


async def test_a_provider_that_is_away_hears_of_it_later(
    metered: FakeShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stripe.HTTPXClient.INITIAL_DELAY", 0)
    monkeypatch.setattr("stripe.HTTPXClient.MAX_DELAY", 0)
    await metered.spend(7)
    metered.account.broken = True
    await metered.tend()
    metered.account.broken = False
    await metered.tend()
    assert reported(metered) == [7]


async def test_a_customer_that_the_provider_has_lost_does_not_keep_others_from_being_reported(
    metered: FakeShop, owner_database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("impasto_billing.payments.usage.BATCH", 2)
    stranger = await make_tenant(owner_database, settings, plan="free", balance=100)
    async with owner_database.session() as session:
        lost = BillingCustomer(
            organization_id=stranger.organization_id,
            provider="stripe",
            customer_id="cus_lost",
            metered_since=metered.clock() - timedelta(days=1),
        )
        session.add(lost)
    theirs = FakeShop(
        metered.client,
        Books(owner_database, stranger, metered.clock),
        metered._chores,
        metered.account,
        metered.clock,
    )
    for _ in range(2):
        await theirs.spend(1)
    await metered.spend(7)
    await metered.tend()
    assert reported(metered) == [7]


async def test_who_is_not_metered_is_not_reported(shop: FakeShop) -> None:
    await shop.buy("small")
    await shop.spend(7)
    await shop.tend()
    assert reported(shop) == []


async def test_reports_end_with_the_subscription(metered: FakeShop) -> None:
    [subscription] = metered.account.all("subscription")
    metered.account.end(subscription)
    await metered.settle()
    await metered.buy("small")
    await metered.spend(7)
    await metered.tend()
    assert reported(metered) == []
