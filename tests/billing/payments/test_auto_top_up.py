"""Buying a pack by itself whenever credits run low: once each time they do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlmodel import col, select

from impasto_billing.payments.chores import Chores
from impasto_billing.payments.tables import TopUp
from tests.billing.payments.shop import FakeShop
from tests.support.problems import assert_problem


async def wish(shop: FakeShop, **changes: Any) -> dict[str, Any]:
    body = {"enabled": True, "threshold": 1_000, "pack": "small"} | changes
    response = await shop.client.put("/v1/billing/auto-top-up", json=body)
    assert response.status_code == 200, response.text
    return dict(response.json())


async def seen(shop: FakeShop) -> dict[str, Any]:
    return dict((await shop.client.get("/v1/billing/auto-top-up")).json())


async def top_ups(shop: FakeShop) -> list[str]:
    async with shop.books.owner.session() as session:
        return list((await session.exec(select(TopUp.status).order_by(col(TopUp.id)))).all())


@pytest.fixture
async def wishful(shop: FakeShop) -> FakeShop:
    """2,000 credits, a saved card, and the wish to have 1,000 at least."""
    await shop.buy("small")
    shop.account.add_card(shop.account.all("customer")[0]["id"])
    await wish(shop)
    return shop


async def test_nothing_is_bought_while_there_is_enough(wishful: FakeShop) -> None:
    await wishful.spend(1_000)
    await wishful.tend()
    assert await wishful.books.credits() == 1_000


async def test_a_pack_is_bought_when_credits_run_low(wishful: FakeShop) -> None:
    await wishful.spend(1_001)
    await wishful.tend()
    assert await wishful.books.credits() == 999 + 2_000
    assert await top_ups(wishful) == ["paid"]


async def test_once_for_one_crossing_however_often_the_sweeper_looks_and_events_come(
    wishful: FakeShop,
) -> None:
    await wishful.spend(1_500)
    for _ in range(3):
        await wishful.tend()
    await wishful.settle(times=2)
    assert await wishful.books.credits() == 500 + 2_000


async def test_once_for_one_crossing_with_many_sweepers_at_once(wishful: FakeShop, settings: Any) -> None:
    await wishful.spend(1_500)
    sweepers = [sweeper for _ in range(4) if (sweeper := Chores.of(settings))]
    await asyncio.gather(*(sweeper.do(wishful.clock()) for sweeper in sweepers), return_exceptions=True)
    for sweeper in sweepers:
        await sweeper.close()
    await wishful.settle()
    assert await wishful.books.credits() == 500 + 2_000
    assert await top_ups(wishful) == ["paid"]


async def test_again_when_credits_run_low_again(wishful: FakeShop) -> None:
    for _ in range(2):
        await wishful.spend(await wishful.books.credits() - 10)
        await wishful.settle()
    assert await wishful.books.credits() == 2_010
    assert await top_ups(wishful) == ["paid", "paid"]


async def test_a_crash_after_the_charge_does_not_charge_again(
    wishful: FakeShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: object) -> None:
        raise OSError("the power went out")

    await wishful.spend(1_500)
    with monkeypatch.context() as patch:
        patch.setattr("impasto_billing.payments.top_up.Books.apply", crash)
        with pytest.raises(OSError, match="power"):
            await wishful.tend()
    assert await wishful.books.credits() == 500
    assert await top_ups(wishful) == ["pending"]

    wishful.clock.advance(days=3)  # long enough for Stripe to forget idempotency keys
    await wishful.tend()
    assert await wishful.books.credits() == 500 + 2_000
    paid = [intent for intent in wishful.account.all("payment_intent") if intent["status"] == "succeeded"]
    assert len(paid) == 2, "the first purchase and one top-up"


async def test_a_declined_card_is_recorded_tried_again_and_in_the_end_switches_it_off(
    wishful: FakeShop,
) -> None:
    await wishful.break_card()
    await wishful.spend(1_500)
    for failures in (1, 2, 3):
        await wishful.settle()
        now = await seen(wishful)
        assert now["failures"] == failures
        assert "declined" in now["last_error"]
        assert now["enabled"] == (failures < 3)
        await wishful.settle()
        assert (await seen(wishful))["failures"] == failures, "not before it is time"
        wishful.clock.advance(hours=7)
    await wishful.settle()
    assert await top_ups(wishful) == ["failed"] * 3
    assert await wishful.books.credits() == 500

    await wishful.mend_card()
    assert (await wish(wishful))["failures"] == 0
    await wishful.tend()
    assert await wishful.books.credits() == 500 + 2_000


async def test_a_success_forgets_earlier_failures(wishful: FakeShop) -> None:
    await wishful.break_card()
    await wishful.spend(1_500)
    await wishful.settle()
    await wishful.mend_card()
    wishful.clock.advance(hours=7)
    await wishful.settle()
    assert (await seen(wishful))["failures"] == 0
    assert (await seen(wishful))["last_error"] is None


async def test_who_owes_credits_is_not_charged_for_the_debt(wishful: FakeShop) -> None:
    [payment] = wishful.account.all("payment_intent")
    await wishful.spend(1_900)
    await wishful.refund(payment["id"])
    await wishful.settle()
    assert (await wishful.books.balance()).owed > 0
    assert await top_ups(wishful) == []
    assert "owed" in (await seen(wishful))["last_error"]


async def test_the_card_of_a_subscription_will_do(shop: FakeShop) -> None:
    await shop.subscribe("starter")
    await wish(shop)
    await shop.spend(4_500)
    await shop.tend()
    assert await shop.books.credits() == 500 + 2_000


async def test_switched_off_it_buys_nothing(wishful: FakeShop) -> None:
    await wish(wishful, enabled=False)
    await wishful.spend(1_500)
    await wishful.tend()
    assert await wishful.books.credits() == 500


async def test_without_a_saved_card_it_cannot_be_switched_on(shop: FakeShop) -> None:
    await shop.buy("small")
    body = {"enabled": True, "threshold": 1_000, "pack": "small"}
    response = await shop.client.put("/v1/billing/auto-top-up", json=body)
    assert_problem(response, 409, "payment-method-needed")
    assert (await seen(shop))["enabled"] is False


SENSELESS_WISHES = [
    ({"threshold": 0}, "threshold"),
    ({"threshold": -1}, "threshold"),
    ({"threshold": 2**63}, "threshold"),
    ({"threshold": 2_001}, "threshold"),
    ({"threshold": 1.5}, "threshold"),
    ({"pack": "enormous"}, "pack"),
    ({"pack": "\x00"}, "pack"),
    ({"enabled": None}, "enabled"),
    ({"more": 1}, "more"),
]


async def test_a_wish_that_makes_no_sense_is_refused_by_field(
    shop: FakeShop, subtests: pytest.Subtests
) -> None:
    for changes, field in SENSELESS_WISHES:
        with subtests.test(str(changes)):
            body = {"enabled": True, "threshold": 1_000, "pack": "small"} | changes
            response = await shop.client.put("/v1/billing/auto-top-up", json=body)
            assert_problem(response, 422, "validation-failed", field=field)
