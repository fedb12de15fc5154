"""Events that come twice, late, in any order, not at all, from nobody we know, or from a forger."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from impasto_billing.payments.stripe import StripeProvider
from impasto_billing.payments.tables import ProviderEvent
from impasto_core.database import Database
from tests.api.conftest import MovableClock
from tests.billing.payments.shop import FakeShop
from tests.fakes.stripe.webhooks import Delivery, shuffled
from tests.support.problems import assert_problem


async def whole_story(shop: FakeShop) -> str:
    """A pack and three months of two plans, with a refund; nothing of it has been delivered yet."""
    payment = await shop.pay(await shop.check_out(pack="small"))
    subscription = await shop.pay(await shop.check_out(plan="starter"))
    await shop.refund(payment, 6_00)
    shop.account.end_period(subscription)
    await shop.break_card()
    shop.account.end_period(subscription)
    await shop.mend_card()
    shop.account.retry_payment(subscription)
    return subscription


async def state(shop: FakeShop) -> dict[str, Any]:
    subscription = await shop.books.subscription()
    purchases = {
        purchase.payment_id: (purchase.credits, purchase.taken_back)
        for purchase in await shop.books.purchases()
    }
    return {
        "credits": await shop.books.credits(),
        "plan": await shop.books.plan(),
        "purchases": purchases,
        "subscription": (subscription.status, subscription.plan, subscription.period_end),
    }


@pytest.mark.parametrize(
    "order", [None, reversed, shuffled(1), shuffled(2), shuffled(3)], ids=["happened", "reversed", 1, 2, 3]
)
async def test_the_same_comes_of_events_in_any_order_delivered_twice_and_replayed(
    shop: FakeShop, order: Callable[[list[Any]], Any] | None
) -> None:
    await whole_story(shop)
    await shop.settle(order=order, times=2)
    once = await state(shop)
    assert once["credits"] == 1_000 + 3 * 5_000
    assert once["plan"] == "starter"
    assert list(once["purchases"].values()).count((5_000, 0)) == 3

    await shop.account.webhooks.replay()
    await shop.tend()
    assert await state(shop) == once
    events = await shop.books.events()
    assert len(events) == len({event.event_id for event in events})
    assert {event.outcome for event in events} == {"applied", "ignored"}


async def test_an_old_event_that_comes_late_does_not_turn_things_back(shop: FakeShop) -> None:
    subscription = await shop.subscribe("starter")
    created, *_ = [
        delivery
        for delivery in shop.account.webhooks.sent
        if json.loads(delivery.body)["type"] == "customer.subscription.created"
    ]
    await shop.cancel()
    await shop.next_period(subscription)
    await shop.settle()
    assert await shop.books.plan() == "free"

    # Its contents say that the subscription is only beginning.
    late = json.loads(created.body) | {"id": "evt_late"}
    await shop.account.webhooks.sign(late).send(shop.account.webhooks.url)
    await shop.tend()
    assert (await shop.books.subscription()).status == "canceled"
    assert await shop.books.plan() == "free"


async def test_events_may_be_handled_by_many_at_once(
    shop: FakeShop, settings: Any, owner_database: Database
) -> None:
    from impasto_billing.payments.chores import Chores

    await whole_story(shop)
    await shop.account.webhooks.deliver(times=2)
    sweepers = [Chores.of(settings) for _ in range(3)]
    await asyncio.gather(*(sweeper.do(shop.clock()) for sweeper in sweepers if sweeper))
    for sweeper in sweepers:
        assert sweeper is not None
        await sweeper.close()
    await shop.tend()
    assert (await state(shop))["credits"] == 1_000 + 3 * 5_000


async def test_events_that_never_came_are_asked_for_once_a_day(shop: FakeShop, clock: MovableClock) -> None:
    await whole_story(shop)
    shop.account.webhooks.lose()
    await shop.tend()
    assert await shop.books.credits() == 0

    clock.advance(days=1)
    await shop.tend()
    assert (await state(shop))["credits"] == 1_000 + 3 * 5_000


async def test_handled_events_are_forgotten_after_two_months_and_misfits_are_not(
    shop: FakeShop, clock: MovableClock
) -> None:
    await shop.buy("small")
    pay_for_pack(shop, foreign_customer(shop), 12_00)
    await shop.settle()
    clock.advance(days=61)
    await shop.tend()
    kept = [event for event in await shop.books.events() if event.processed_at and not is_new(event, clock)]
    assert {event.outcome for event in kept} == {"refused"}


def is_new(event: ProviderEvent, clock: MovableClock) -> bool:
    return event.received_at > clock() - timedelta(days=1)


async def test_an_event_that_trips_us_up_does_not_keep_the_others_from_being_handled(
    shop: FakeShop, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from impasto_billing.payments.bookkeeping import Books as Booking

    first, second = [await shop.pay(await shop.check_out(pack="small")) for _ in range(2)]
    apply = Booking.apply

    async def trip(self: Booking, found: Any, made_for: Any = None) -> list[str]:
        if found.id == first:
            await (await self.session.connection()).execute(text("SELECT 1 / 0"))
        return await apply(self, found, made_for)

    with monkeypatch.context() as patch:
        patch.setattr(Booking, "apply", trip)
        await shop.settle()
    assert [purchase.payment_id for purchase in await shop.books.purchases()] == [second]
    clock.advance(seconds=10)
    await shop.tend()
    assert await shop.books.credits() == 4_000


async def test_an_event_whose_handling_is_cut_short_does_not_keep_the_others_from_being_handled(
    shop: FakeShop, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = [await shop.pay(await shop.check_out(pack="small")) for _ in range(2)]
    await shop.account.webhooks.deliver()
    look_up, reached = StripeProvider.look_up, asyncio.Event()

    async def hang(self: StripeProvider, object_type: str, object_id: str) -> Any:
        if object_id == first:
            reached.set()
            await asyncio.Event().wait()
        return await look_up(self, object_type, object_id)

    async def pass_cut_short() -> None:
        reached.clear()
        sweeping = asyncio.create_task(shop.tend())
        hanging = asyncio.create_task(reached.wait())
        await asyncio.wait((sweeping, hanging), return_when=asyncio.FIRST_COMPLETED)
        for task in (sweeping, hanging):
            task.cancel()
        await asyncio.gather(sweeping, hanging, return_exceptions=True)

    with monkeypatch.context() as patch:
        patch.setattr(StripeProvider, "look_up", hang)
        for _ in range(len(await shop.books.events())):
            await pass_cut_short()
        assert [purchase.payment_id for purchase in await shop.books.purchases()] == [second]
    clock.advance(seconds=10)
    await shop.tend()
    assert await shop.books.credits() == 4_000


async def test_a_provider_that_is_away_is_asked_again_later(
    shop: FakeShop, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stripe.HTTPXClient.INITIAL_DELAY", 0)
    monkeypatch.setattr("stripe.HTTPXClient.MAX_DELAY", 0)
    await shop.pay(await shop.check_out(pack="small"))
    shop.account.broken = True
    await shop.settle()
    assert await shop.books.credits() == 0
    waiting = [event for event in await shop.books.events() if event.processed_at is None]
    assert waiting
    assert all(event.next_try_at > clock() for event in waiting)

    shop.account.broken = False
    await shop.tend()
    assert await shop.books.credits() == 0, "not before it is time"
    clock.advance(seconds=10)
    await shop.tend()
    assert await shop.books.credits() == 2_000


# Forgers


async def refused(shop: FakeShop, delivery: Delivery) -> None:
    assert_problem(await delivery.send(shop.account.webhooks.url), 400, "webhook-refused")
    await shop.tend()
    assert [event for event in await shop.books.events() if event.event_type != "reconcile"] == []
    assert await shop.books.credits() == 0


async def paid_but_not_told(shop: FakeShop) -> Delivery:
    await shop.pay(await shop.check_out(pack="small"))
    [event] = [
        event for event in shop.account.webhooks.pending if event["type"] == "payment_intent.succeeded"
    ]
    return shop.account.webhooks.sign(event)


async def test_an_event_that_was_changed_on_its_way_is_refused(shop: FakeShop) -> None:
    delivery = await paid_but_not_told(shop)
    await refused(shop, replace(delivery, body=delivery.body.replace("1200", "9900")))


async def test_an_event_signed_by_somebody_else_is_refused(shop: FakeShop) -> None:
    delivery = await paid_but_not_told(shop)
    shop.account.webhooks.secret = "whsec_guessed"
    await refused(shop, shop.account.webhooks.sign(json.loads(delivery.body)))


async def test_a_signature_that_is_none_is_refused(shop: FakeShop, subtests: pytest.Subtests) -> None:
    delivery = await paid_but_not_told(shop)
    for signature in (
        "",
        "t=1",
        "v1=00",
        "t=x,v1=00",
        "t=1,v1=",
        "t=1,v1=" + "0" * 64,
        "garbage",
        "t=9" * 99,
    ):
        with subtests.test(signature):
            await refused(shop, replace(delivery, signature=signature))


async def test_a_recorded_event_cannot_be_played_back_hours_later(
    shop: FakeShop, clock: MovableClock
) -> None:
    delivery = await paid_but_not_told(shop)
    clock.advance(minutes=6)
    await refused(shop, delivery)


async def test_a_signature_from_the_future_is_refused(shop: FakeShop, clock: MovableClock) -> None:
    clock.advance(minutes=6)
    delivery = await paid_but_not_told(shop)
    clock.advance(minutes=-6)
    await refused(shop, delivery)


@pytest.mark.parametrize(
    "body", ["", "null", "[]", "{}", '{"id": 1, "type": "x"}', '{"data": {"object": 3}}']
)
async def test_a_signed_body_that_is_no_event_is_refused(shop: FakeShop, body: str) -> None:
    from stripe import WebhookSignature

    secret = shop.account.webhooks.secret
    signature = WebhookSignature.generate_signature_header(body, secret, shop.account.now())
    await refused(shop, Delivery(body, signature))


async def test_where_no_provider_is_configured_there_is_no_webhook(shop: FakeShop) -> None:
    url = shop.account.webhooks.url.replace("stripe", "lemon-squeezy")
    async with httpx.AsyncClient() as client:
        assert_problem(await client.post(url, content=b"{}"), 501, "payments-not-configured")


# Events that are genuine, and do not fit what we sell or know: recorded with a reason, and nothing moves


async def nothing_moved(shop: FakeShop, reason: str) -> None:
    await shop.settle()
    assert await shop.books.refusals() == {reason}
    assert await shop.books.credits() == 0
    assert await shop.books.plan() == "free"
    assert await shop.books.purchases() == []


def pay_for_pack(
    shop: FakeShop, customer: str, amount: int, currency: str = "usd", pack: str = "small"
) -> None:
    card = shop.account.add_card(customer)
    intent = shop.account.make_intent(
        customer=customer,
        amount=amount,
        currency=currency,
        metadata={"pack": pack},
        payment_method=card["id"],
    )
    shop.account.confirm(intent)


@pytest.fixture
async def customer(shop: FakeShop) -> str:
    """The organization's."""
    await shop.check_out(pack="small")
    return str(shop.account.all("customer")[0]["id"])


def foreign_customer(shop: FakeShop) -> str:
    made = shop.account.make(
        "cus", "customer", metadata={}, invoice_settings={"default_payment_method": None}
    )
    return str(made["id"])


async def test_money_of_an_unknown_customer_moves_nothing(shop: FakeShop) -> None:
    pay_for_pack(shop, foreign_customer(shop), 12_00)
    await nothing_moved(shop, "unknown-customer")


async def test_a_subscription_of_an_unknown_customer_moves_nothing(shop: FakeShop) -> None:
    stranger = foreign_customer(shop)
    card = shop.account.add_card(stranger)
    [starter] = [price for price in shop.account.all("price") if price["lookup_key"] == "impasto_starter"]
    shop.account.subscribe(stranger, [starter], card["id"])
    await nothing_moved(shop, "unknown-customer")


@pytest.mark.parametrize("amount", [11_99, 12_01, 1, 250_00])
async def test_a_pack_paid_with_another_amount_moves_nothing(
    shop: FakeShop, customer: str, amount: int
) -> None:
    pay_for_pack(shop, customer, amount)
    await nothing_moved(shop, "wrong-amount")


@pytest.mark.parametrize("amount", [-12_00, 2**31, 2**63, 2**70])
async def test_negative_and_overflowing_amounts_move_nothing(
    shop: FakeShop, customer: str, amount: int
) -> None:
    pay_for_pack(shop, customer, amount)
    await nothing_moved(shop, "amount-out-of-range")


async def test_a_currency_that_is_not_sold_moves_nothing(shop: FakeShop, customer: str) -> None:
    pay_for_pack(shop, customer, 12_00, currency="jpy")
    await nothing_moved(shop, "currency-not-sold")


async def test_a_pack_that_is_not_sold_moves_nothing(shop: FakeShop, customer: str) -> None:
    pay_for_pack(shop, customer, 12_00, pack="enormous")
    await nothing_moved(shop, "unknown-pack")


async def test_a_price_of_something_else_gives_no_plan(shop: FakeShop, customer: str) -> None:
    other = shop.account.add_price("somebody_elses_product", 25_00)
    shop.account.subscribe(customer, [other], shop.account.add_card(customer)["id"])
    await nothing_moved(shop, "unknown-price")


async def test_a_price_that_is_another_plans_gives_no_plan(shop: FakeShop, customer: str) -> None:
    """The operator, or whoever got into the account, gave studio's name to a price of starter's amount."""
    [studio] = [price for price in shop.account.all("price") if price["lookup_key"] == "impasto_studio"]
    studio["lookup_key"] = None
    cheap = shop.account.add_price("impasto_studio", 25_00)
    shop.account.subscribe(customer, [cheap], shop.account.add_card(customer)["id"])
    await nothing_moved(shop, "wrong-amount")


async def test_a_price_in_another_currency_gives_no_plan(shop: FakeShop, customer: str) -> None:
    [studio] = [price for price in shop.account.all("price") if price["lookup_key"] == "impasto_studio"]
    studio["lookup_key"] = None
    other = shop.account.add_price("impasto_studio", 150_00, currency="jpy")
    shop.account.subscribe(customer, [other], shop.account.add_card(customer)["id"])
    await nothing_moved(shop, "currency-not-sold")


async def test_more_than_one_of_a_plan_gives_none(shop: FakeShop, customer: str) -> None:
    [starter] = [price for price in shop.account.all("price") if price["lookup_key"] == "impasto_starter"]
    shop.account.subscribe(customer, [starter, starter], shop.account.add_card(customer)["id"])
    await shop.settle()
    assert await shop.books.plan() == "free"
    assert "unknown-price" in await shop.books.refusals()


async def test_an_event_about_what_the_provider_does_not_know_moves_nothing(
    shop: FakeShop, customer: str
) -> None:
    shop.account.webhooks.announce(
        "payment_intent.succeeded", {"id": "pi_nowhere", "object": "payment_intent"}
    )
    await nothing_moved(shop, "unknown-object")


async def test_more_refunded_than_was_paid_moves_nothing_more(shop: FakeShop) -> None:
    payment = await shop.buy("small")
    shop.account.refund(payment, 13_00)
    await shop.settle()
    assert await shop.books.refusals() == {"amount-out-of-range"}
    assert await shop.books.credits() == 2_000


async def test_events_of_other_kinds_are_ignored(shop: FakeShop) -> None:
    shop.account.webhooks.announce("account.updated", {"id": "acct_1", "object": "account"})
    await shop.settle()
    [event] = [event for event in await shop.books.events() if event.event_type == "account.updated"]
    assert event.outcome == "ignored"


async def test_the_api_can_note_events_and_not_read_them(shop: FakeShop, settings: Any) -> None:
    database = Database(settings.database_url.get_secret_value(), pool_size=1)
    for statement in (
        "SELECT * FROM provider_events",
        "UPDATE provider_events SET outcome = NULL",
        "DELETE FROM provider_events",
        "INSERT INTO purchases SELECT * FROM purchases",
        "UPDATE subscriptions SET effective_plan = 'studio'",
    ):
        with pytest.raises(ProgrammingError, match="permission denied"):
            async with database.session() as session:
                await (await session.connection()).execute(text(statement))
    await database.close()
