"""A month after the other: what is paid, what it gives, and what happens where it is not paid."""

from __future__ import annotations

from datetime import timedelta

from tests.billing.payments.shop import FakeShop
from tests.support.problems import assert_problem


async def view(shop: FakeShop) -> dict[str, object]:
    response = await shop.client.get("/v1/billing/subscription")
    assert response.status_code == 200
    return dict(response.json())


async def test_who_never_subscribed_has_the_free_plan(shop: FakeShop) -> None:
    assert (await view(shop))["status"] == "none"
    assert (await view(shop))["plan"] == "free"


async def test_a_subscription_gives_its_plan_and_a_months_credits(shop: FakeShop) -> None:
    await shop.subscribe("starter")
    assert await shop.books.plan() == "starter"
    assert await shop.books.credits() == 5_000
    seen = await view(shop)
    assert (seen["status"], seen["plan"], seen["next_plan"]) == ("active", "starter", "starter")


async def test_every_paid_month_brings_new_credits_and_the_old_ones_go(shop: FakeShop) -> None:
    subscription = await shop.subscribe("starter")
    await shop.spend(1_000)
    await shop.next_period(subscription)
    await shop.settle()
    assert await shop.books.credits() == 5_000, "not 9,000: last month's are over"
    assert len(await shop.books.purchases()) == 2


async def test_a_dearer_plan_holds_at_once_and_its_difference_is_paid_for_the_rest_of_the_month(
    shop: FakeShop,
) -> None:
    await shop.subscribe("starter")
    start = (await shop.books.subscription()).period_start
    end = (await shop.books.subscription()).period_end
    shop.clock.advance(seconds=((end - start) / 2).total_seconds())
    response = await shop.change_to("pro")
    assert response.status_code == 200, response.text
    assert response.json()["plan"] == "pro"
    await shop.settle()

    assert await shop.books.plan() == "pro"
    difference = (await shop.books.purchases())[-1]
    assert abs(difference.amount - 25_00) <= 1
    assert abs(difference.credits - 5_000) <= 1, "half of the 10,000 that pro has over starter"
    assert difference.period_end == end


async def test_a_dearer_plan_that_cannot_be_paid_changes_nothing(shop: FakeShop) -> None:
    await shop.subscribe("starter")
    await shop.break_card()
    assert_problem(await shop.change_to("pro"), 402, "payment-declined")
    await shop.settle()
    assert await shop.books.plan() == "starter"
    assert await shop.books.credits() == 5_000


async def test_a_cheaper_plan_holds_from_the_next_month_on(shop: FakeShop) -> None:
    subscription = await shop.subscribe("pro")
    changed = (await shop.change_to("starter")).json()
    assert (changed["plan"], changed["next_plan"]) == ("pro", "starter")
    await shop.settle()
    assert await shop.books.plan() == "pro"
    assert await shop.books.credits() == 15_000
    assert (await view(shop))["next_plan"] == "starter"

    await shop.next_period(subscription)
    await shop.settle()
    assert await shop.books.plan() == "starter"
    assert await shop.books.credits() == 5_000


async def test_going_down_and_up_again_in_a_month_is_paid_once(shop: FakeShop) -> None:
    await shop.subscribe("pro")
    await shop.change_to("starter")
    await shop.settle()
    await shop.change_to("pro")
    await shop.settle()
    assert await shop.books.plan() == "pro"
    assert await shop.books.credits() == 15_000
    assert len(await shop.books.purchases()) == 1


async def test_a_cancelled_subscription_lasts_to_the_end_of_its_month(shop: FakeShop) -> None:
    subscription = await shop.subscribe("starter")
    await shop.buy("small")
    cancelled = await shop.cancel()
    assert (cancelled["cancel_at_period_end"], cancelled["next_plan"]) == (True, "free")
    await shop.settle()
    assert await shop.books.plan() == "starter"

    await shop.next_period(subscription)
    await shop.settle()
    assert await shop.books.plan() == "free"
    assert await shop.books.credits() == 2_000, "bought credits stay"
    assert (await view(shop))["status"] == "canceled"


async def test_a_cancellation_can_be_taken_back(shop: FakeShop) -> None:
    subscription = await shop.subscribe("starter")
    await shop.cancel()
    resumed = await shop.resume()
    assert (resumed["cancel_at_period_end"], resumed["next_plan"]) == (False, "starter")
    await shop.next_period(subscription)
    await shop.settle()
    assert await shop.books.plan() == "starter"


async def test_an_unpaid_month_keeps_the_plan_while_payment_is_tried_again_but_brings_no_credits(
    shop: FakeShop,
) -> None:
    subscription = await shop.subscribe("starter")
    await shop.break_card()
    await shop.next_period(subscription)
    await shop.settle()
    assert (await view(shop))["status"] == "past_due"
    assert await shop.books.plan() == "starter"
    assert await shop.books.credits() == 0

    await shop.mend_card()
    shop.account.retry_payment(subscription)
    await shop.settle()
    assert (await view(shop))["status"] == "active"
    assert await shop.books.credits() == 5_000


async def test_who_does_not_pay_in_the_end_is_on_the_free_plan_and_keeps_what_was_bought(
    shop: FakeShop,
) -> None:
    subscription = await shop.subscribe("starter")
    await shop.buy("small")
    await shop.break_card()
    await shop.next_period(subscription)
    shop.account.give_up(subscription, "unpaid")
    await shop.settle()
    assert (await view(shop))["status"] == "unpaid"
    assert await shop.books.plan() == "free"
    assert await shop.books.credits() == 2_000

    await shop.mend_card()
    await shop.buy("small")
    assert await shop.books.credits() == 4_000, "packs can still be bought"

    shop.account.retry_payment(subscription)
    await shop.settle()
    assert await shop.books.plan() == "starter"


async def test_a_subscription_that_ends_for_want_of_payment_falls_back_to_free(shop: FakeShop) -> None:
    subscription = await shop.subscribe("studio")
    await shop.break_card()
    await shop.next_period(subscription)
    shop.account.give_up(subscription, "canceled")
    await shop.settle()
    assert await shop.books.plan() == "free"


async def test_after_the_end_one_may_subscribe_anew(shop: FakeShop) -> None:
    subscription = await shop.subscribe("starter")
    await shop.cancel()
    await shop.next_period(subscription)
    await shop.settle()
    await shop.subscribe("pro")
    assert await shop.books.plan() == "pro"


async def test_a_refunded_month_takes_its_credits_back(shop: FakeShop) -> None:
    await shop.subscribe("starter")
    [intent] = shop.account.all("payment_intent")
    await shop.refund(intent["id"])
    await shop.settle()
    assert await shop.books.credits() == 0


async def test_nobody_subscribes_twice(shop: FakeShop) -> None:
    await shop.subscribe("starter")
    body = {
        "plan": "pro",
        "success_url": "https://app.impasto.test/",
        "cancel_url": "https://app.impasto.test/",
    }
    response = await shop.client.post("/v1/billing/checkout-sessions", json=body)
    assert_problem(response, 409, "already-subscribed")


async def test_without_a_subscription_there_is_nothing_to_change(shop: FakeShop) -> None:
    assert_problem(await shop.change_to("pro"), 409, "no-subscription")
    for what in ("cancel", "resume"):
        assert_problem(await shop.client.post(f"/v1/billing/subscription/{what}"), 409, "no-subscription")


async def test_a_plan_that_an_operator_gave_is_left_alone_by_packs(shop: FakeShop) -> None:
    await shop.give_plan("studio")
    payment = await shop.buy("small")
    await shop.refund(payment)
    await shop.settle()
    assert await shop.books.plan() == "studio"


async def test_a_month_heard_of_when_it_is_over_is_recorded_and_gives_no_credits(shop: FakeShop) -> None:
    await shop.pay(await shop.check_out(plan="starter"))
    shop.clock.advance(days=40)
    await shop.settle()
    [purchase] = await shop.books.purchases()
    assert purchase.credits == 0
    assert purchase.period_end is not None
    assert purchase.period_end < shop.clock() - timedelta(days=5)


async def test_invoices_are_listed_newest_first_page_by_page(shop: FakeShop) -> None:
    subscription = await shop.subscribe("starter")
    for _ in range(2):
        await shop.next_period(subscription)
    await shop.buy("small")
    seen, cursor = [], None
    while True:
        params = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = (await shop.client.get("/v1/billing/invoices", params=params)).json()
        seen += page["data"]
        cursor = page["next_cursor"]
        assert page["has_more"] == (cursor is not None)
        if cursor is None:
            break
    assert [invoice["amount_cents"] for invoice in seen] == [12_00, 25_00, 25_00, 25_00]
    assert {invoice["status"] for invoice in seen} == {"paid"}
    assert len({invoice["id"] for invoice in seen}) == 4


async def test_the_portal_is_the_customers_own(shop: FakeShop) -> None:
    await shop.buy("small")
    response = await shop.client.post(
        "/v1/billing/portal-sessions", json={"return_url": "https://app.impasto.test/account"}
    )
    assert response.status_code == 201, response.text
    [session] = shop.account.all("billing_portal.session")
    [customer] = shop.account.all("customer")
    assert session["customer"] == customer["id"]
