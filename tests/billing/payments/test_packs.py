"""Buying credits once, and giving them back."""

from __future__ import annotations

import asyncio

import pytest
from sqlmodel import select

from impasto_core.webhooks.tables import WebhookEndpoint, WebhookEvent
from tests.billing.payments.shop import URLS, FakeShop


async def test_a_paid_pack_becomes_credits(shop: FakeShop) -> None:
    checkout = await shop.check_out(pack="small")
    assert checkout["url"].startswith("https://")
    await shop.settle()
    assert await shop.books.credits() == 0, "nothing is paid yet"

    await shop.pay(checkout)
    await shop.settle()
    assert await shop.books.credits() == 2_000
    assert await shop.books.plan() == "free"


async def test_a_payment_is_told_to_who_wants_to_know_once(shop: FakeShop) -> None:
    organization_id = shop.books.tenant.organization_id
    async with shop.books.owner.session() as session:
        session.add(WebhookEndpoint(organization_id=organization_id, url="https://example.com/"))
    payment = await shop.buy("small")
    await shop.refund(payment, 6_00)
    await shop.settle()
    async with shop.books.owner.session() as session:
        [event] = (await session.exec(select(WebhookEvent))).all()
    assert (event.type, event.organization_id) == ("invoice.paid", organization_id)
    told = {name: event.data[name] for name in ("pack", "amount", "currency", "credits")}
    assert told == {"pack": "small", "amount": 12_00, "currency": "usd", "credits": 2_000}


async def test_bought_credits_stay_when_months_go_by(shop: FakeShop) -> None:
    await shop.buy("small")
    shop.clock.advance(days=400)
    assert await shop.books.credits() == 2_000


async def test_a_refund_takes_the_credits_back(shop: FakeShop) -> None:
    payment = await shop.buy("small")
    await shop.refund(payment)
    await shop.settle()
    assert await shop.books.credits() == 0


async def test_half_a_refund_takes_half_of_the_credits_and_the_other_half_the_rest(shop: FakeShop) -> None:
    payment = await shop.buy("small")
    for left in (1_000, 0):
        await shop.refund(payment, 6_00)
        await shop.settle()
        assert await shop.books.credits() == left


async def test_credits_that_were_spent_are_owed_after_a_refund(shop: FakeShop) -> None:
    payment = await shop.buy("small")
    await shop.spend(1_500)
    await shop.refund(payment)
    await shop.settle()
    balance = await shop.books.balance()
    assert (balance.available, balance.owed) == (0, 1_500)

    await shop.buy("small")
    balance = await shop.books.balance()
    assert (balance.available, balance.owed) == (500, 0)


async def test_a_refund_that_the_bank_sends_back_gives_the_credits_back(shop: FakeShop) -> None:
    payment = await shop.buy("small")
    refund = shop.account.refund(payment)
    await shop.settle()
    assert await shop.books.credits() == 0
    shop.account.fail_refund(refund["id"])
    await shop.settle()
    assert await shop.books.credits() == 2_000


async def test_a_dispute_takes_the_credits_until_it_is_won(shop: FakeShop) -> None:
    payment = await shop.buy("small")
    dispute = shop.account.dispute(payment)
    await shop.settle()
    assert await shop.books.credits() == 0
    shop.account.close_dispute(dispute["id"], won=True)
    await shop.settle()
    assert await shop.books.credits() == 2_000


async def test_a_dispute_that_is_lost_takes_the_credits_once(shop: FakeShop) -> None:
    payment = await shop.buy("small")
    dispute = shop.account.dispute(payment)
    await shop.settle()
    shop.account.close_dispute(dispute["id"], won=False)
    await shop.settle()
    balance = await shop.books.balance()
    assert (balance.available, balance.owed) == (0, 0)


async def test_a_declined_card_buys_nothing_and_another_one_may_be_tried(shop: FakeShop) -> None:
    checkout = await shop.check_out(pack="small")
    with pytest.raises(Exception, match="declined"):
        shop.account.complete_checkout(checkout["id"], card_declines=True)
    await shop.settle()
    assert await shop.books.credits() == 0
    await shop.pay(checkout)
    await shop.settle()
    assert await shop.books.credits() == 2_000


async def test_a_checkout_that_has_expired_cannot_be_paid(shop: FakeShop) -> None:
    checkout = await shop.check_out(pack="small")
    shop.clock.advance(days=2)
    with pytest.raises(Exception, match="no longer open"):
        await shop.pay(checkout)
    shop.account.expire_checkout(checkout["id"])
    await shop.settle()
    assert await shop.books.credits() == 0


async def test_the_same_idempotency_key_leads_to_the_same_checkout(shop: FakeShop) -> None:
    urls = {"success_url": "https://app.impasto.test/", "cancel_url": "https://app.impasto.test/"}
    headers = {"Idempotency-Key": "once"}
    answers = [
        await shop.client.post("/v1/billing/checkout-sessions", json={"pack": pack, **urls}, headers=headers)
        for pack in ("small", "small", "large")
    ]
    assert answers[0].json() == answers[1].json()
    assert answers[2].status_code == 422
    assert answers[2].json()["code"] == "idempotency-key-reused"
    assert len(shop.account.all("customer")) == 1


async def test_idempotency_keys_that_differ_in_their_last_character_only_lead_to_two_checkouts(
    shop: FakeShop,
) -> None:
    checkouts = set()
    for key in ("k" * 254 + "1", "k" * 254 + "2"):
        response = await shop.client.post(
            "/v1/billing/checkout-sessions",
            json={"pack": "small", **URLS},
            headers={"Idempotency-Key": key},
        )
        checkouts.add(response.json()["id"])
    assert len(checkouts) == 2


async def test_two_first_checkouts_at_once_make_one_customer(shop: FakeShop) -> None:
    await asyncio.gather(*(shop.check_out(pack="small") for _ in range(4)))
    assert len(shop.account.all("customer")) == 1


async def test_two_checkouts_that_are_both_paid_are_both_granted(shop: FakeShop) -> None:
    for checkout in [await shop.check_out(pack="small"), await shop.check_out(pack="small")]:
        await shop.pay(checkout)
    await shop.settle()
    assert await shop.books.credits() == 4_000
