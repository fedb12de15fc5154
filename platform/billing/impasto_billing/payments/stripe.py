"""Stripe, by its own SDK over httpx, at one version of its API.

Plans are Prices with the lookup keys `impasto_<plan>`, made once by an operator; their ids, amounts and
currencies never change, so they are read once. Packs need no Price: their amount travels with the checkout.
A payment intent that pays for a pack says so in its metadata, which only we can write.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import stripe
from stripe.params import InvoiceListParams
from stripe.params.checkout import SessionCreateParams

from impasto_billing.payments.provider import (
    Checkout,
    ForgedEvent,
    Hint,
    Invoice,
    KeyReused,
    Payment,
    PaymentDeclined,
    ProviderError,
    ProviderUnavailable,
    Refused,
    Share,
    Subscription,
    SubscriptionStatus,
    UnknownCursor,
)
from impasto_billing.payments.sold import CURRENCY, Pack, price_of, sold_plans
from impasto_billing.plans.plan import Plan
from impasto_core.ids import format_id, parse_id

logger = logging.getLogger(__name__)

API_VERSION = "2026-10-28.endive"
"""What the pinned SDK was generated for: answers have the shapes that are read here."""

EVENT_TYPES = (
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.dispute.funds_reinstated",
    "charge.dispute.funds_withdrawn",
    "charge.refunded",
    "checkout.session.completed",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.updated",
    "invoice.paid",
    "payment_intent.payment_failed",
    "payment_intent.succeeded",
    "refund.created",
    "refund.failed",
    "refund.updated",
)
"""What the webhook endpoint should be subscribed to. Stripe lists at most 20 types at once."""

METER = "impasto_credits"
"""The event name of the meter that usage is reported to; its Price has the lookup key `impasto_usage`."""

TOLERANCE = timedelta(minutes=5)
"""How old a signature may be."""

TIMEOUT_SECONDS = 10
RETRIES = 2

_USAGE = "usage"
_UNDISPUTED = {"won", "prevented", "warning_closed", "warning_needs_response", "warning_under_review"}
"""States of a dispute in which the bank has not taken the money: an inquiry takes none."""


def lookup_key(item: str) -> str:
    return f"impasto_{item}"


@dataclass(frozen=True)
class _Price:
    item: str
    amount: int | None
    currency: str


class StripeProvider:
    name: Final = "stripe"

    def __init__(self, secret_key: str, webhook_secret: str, *, api_base: str) -> None:
        self._webhook_secret = webhook_secret
        self._http = stripe.HTTPXClient(timeout=TIMEOUT_SECONDS)
        client = stripe.StripeClient(
            secret_key,
            stripe_version=API_VERSION,
            base_addresses={"api": api_base.rstrip("/")},
            http_client=self._http,
            max_network_retries=RETRIES,
        )
        self._stripe = client.v1
        self._prices: dict[str, _Price] = {}

    async def close(self) -> None:
        await self._http.close_async()  # type: ignore[no-untyped-call]

    # What customers ask for

    async def create_customer(self, *, organization_id: UUID) -> str:
        organization = format_id("org", organization_id)
        with _translated():
            customer = await self._stripe.customers.create_async(
                {"metadata": {"organization": organization}},
                {"idempotency_key": f"customer-{organization}"},
            )
        return customer.id

    async def check_out(
        self,
        item: Pack | Plan,
        *,
        organization_id: UUID,
        customer_id: str | None,
        success_url: str,
        cancel_url: str,
        idempotency_key: str,
        now: datetime,
    ) -> Checkout:
        assert customer_id is not None, "Stripe's customers are made before they pay"  # noqa: S101
        params: SessionCreateParams = {
            "customer": customer_id,
            "client_reference_id": format_id("org", organization_id),
            "success_url": success_url,
            "cancel_url": cancel_url,
        }
        if isinstance(item, Pack):
            params |= {
                "mode": "payment",
                "line_items": [
                    {
                        "quantity": 1,
                        "price_data": {
                            "currency": CURRENCY,
                            "unit_amount": item.price_cents,
                            "product_data": {"name": item.name},
                        },
                    }
                ],
                "payment_intent_data": {"metadata": {"pack": item.slug}},
                "invoice_creation": {"enabled": True},
            }
        else:
            params |= {
                "mode": "subscription",
                "line_items": [{"price": await self._price_id(item), "quantity": 1}],
            }
        with _translated():
            session = await self._stripe.checkout.sessions.create_async(
                params, {"idempotency_key": idempotency_key}
            )
        if session.url is None:
            raise ProviderUnavailable("Stripe made a checkout without an address")
        return Checkout(session.id, session.url, _moment(session.expires_at))

    async def portal_url(self, customer_id: str, *, return_url: str) -> str:
        with _translated():
            session = await self._stripe.billing_portal.sessions.create_async(
                {"customer": customer_id, "return_url": return_url}
            )
        return session.url

    async def change_plan(
        self, subscription_id: str, plan: Plan, *, at_once: bool, idempotency_key: str
    ) -> Subscription:
        price = await self._price_id(plan)
        with _translated():
            current = await self._stripe.subscriptions.retrieve_async(subscription_id)
            item, _ = await self._plan_item(current)
            changed = await self._stripe.subscriptions.update_async(
                subscription_id,
                {
                    "items": [{"id": item["id"], "price": price}],
                    # The difference is paid now, or nothing changes.
                    "proration_behavior": "always_invoice" if at_once else "none",
                    "payment_behavior": "error_if_incomplete" if at_once else "allow_incomplete",
                },
                {"idempotency_key": idempotency_key},
            )
        return await self._read_subscription(changed)

    async def cancel(self, subscription_id: str) -> Subscription:
        return await self._set_cancel(subscription_id, True)

    async def resume(self, subscription_id: str) -> Subscription:
        return await self._set_cancel(subscription_id, False)

    async def _set_cancel(self, subscription_id: str, at_period_end: bool) -> Subscription:
        with _translated():
            changed = await self._stripe.subscriptions.update_async(
                subscription_id, {"cancel_at_period_end": at_period_end}
            )
        return await self._read_subscription(changed)

    async def invoices(
        self, customer_id: str, *, limit: int, after: str | None
    ) -> tuple[Sequence[Invoice], str | None]:
        params: InvoiceListParams = {"customer": customer_id, "limit": limit}
        if after is not None:
            params["starting_after"] = after
        try:
            page = await self._stripe.invoices.list_async(params)
        except stripe.InvalidRequestError as error:
            raise UnknownCursor(str(error)) from error
        except stripe.StripeError as error:
            raise _translate(error) from error
        found = [
            Invoice(
                id=invoice.id,
                number=invoice.number,
                status=invoice.status or "draft",
                amount=invoice.total,
                currency=invoice.currency,
                created_at=_moment(invoice.created),
                url=invoice.hosted_invoice_url,
                pdf_url=invoice.invoice_pdf,
            )
            for invoice in page.data
        ]
        return found, found[-1].id if page.has_more else None

    # What happens while they are away

    async def has_saved_card(self, customer_id: str) -> bool:
        return await self._saved_card(customer_id) is not None

    async def _saved_card(self, customer_id: str) -> str | None:
        """The customer's default, or else the newest."""
        with _translated():
            customer = await self._stripe.customers.retrieve_async(customer_id)
            settings = _plain(customer).get("invoice_settings") or {}
            if default := settings.get("default_payment_method"):
                return str(default)
            saved = await self._stripe.customers.payment_methods.list_async(
                customer_id, {"type": "card", "limit": 1}
            )
        return saved.data[0].id if saved.data else None

    async def charge(self, customer_id: str, pack: Pack, *, top_up_id: UUID) -> Payment:
        public_id = format_id("top", top_up_id)
        if found := await self._find_charge(customer_id, public_id):
            return found
        card = await self._saved_card(customer_id)
        if card is None:
            raise PaymentDeclined("No card is saved.")
        with _translated():
            intent = await self._stripe.payment_intents.create_async(
                {
                    "amount": pack.price_cents,
                    "currency": CURRENCY,
                    "customer": customer_id,
                    "payment_method": card,
                    "confirm": True,
                    "off_session": True,
                    "description": pack.name,
                    "metadata": {"pack": pack.slug, "top_up": public_id},
                    "expand": ["latest_charge"],
                },
                {"idempotency_key": public_id},
            )
        return await self._read_intent(_plain(intent))

    async def _find_charge(self, customer_id: str, top_up: str) -> Payment | None:
        """The charge as an earlier try left it: Stripe forgets idempotency keys after some days."""
        with _translated():
            recent = await self._stripe.payment_intents.list_async(
                {"customer": customer_id, "limit": 20, "expand": ["data.latest_charge"]}
            )
        for intent in map(_plain, recent.data):
            if intent["metadata"].get("top_up") == top_up:
                payment = await self._read_intent(intent)
                if payment.failure:
                    raise PaymentDeclined(payment.failure)
                return payment
        return None

    async def report_usage(self, customer_id: str, *, identifier: str, amount: int, at: datetime) -> None:
        try:
            await self._stripe.billing.meter_events.create_async(
                {
                    "event_name": METER,
                    "identifier": identifier,
                    "timestamp": int(at.timestamp()),
                    "payload": {"stripe_customer_id": customer_id, "value": str(amount)},
                },
                {"idempotency_key": identifier},
            )
        except stripe.InvalidRequestError as error:
            if error.code != "duplicate_meter_event":
                raise ProviderError(error.user_message or str(error)) from error
        except stripe.StripeError as error:
            raise _translate(error) from error

    # What Stripe says

    def read_event(self, body: bytes, headers: Mapping[str, str], *, now: datetime) -> Hint:
        header = headers.get("stripe-signature", "")
        try:
            stripe.WebhookSignature.verify_header(body, header, self._webhook_secret)
            signed_at = _moment(int(dict(part.split("=", 1) for part in header.split(",")[:1])["t"]))
            if abs(now - signed_at) > TOLERANCE:
                raise ForgedEvent(f"The signature is of {signed_at}.")
            return _hint(json.loads(body))
        except stripe.SignatureVerificationError as error:
            raise ForgedEvent("The signature does not fit the body.") from error
        except (ArithmeticError, KeyError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise ForgedEvent("This is no event of Stripe's.") from error

    async def events_since(self, since: datetime) -> AsyncIterator[Hint]:
        """Stripe keeps events for 30 days."""
        with _translated():
            page = await self._stripe.events.list_async(
                {"created": {"gte": int(since.timestamp())}, "types": list(EVENT_TYPES), "limit": 100}
            )
            async for event in page.auto_paging_iter():
                yield _hint(_plain(event))

    async def look_up(self, object_type: str, object_id: str) -> Payment | Subscription | None:
        try:
            match object_type:
                case "payment_intent":
                    return await self._payment_of_intent(object_id)
                case "invoice":
                    return await self._payment_of_invoice(object_id)
                case "subscription":
                    found = await self._stripe.subscriptions.retrieve_async(object_id)
                    return await self._read_subscription(found)
        except stripe.InvalidRequestError as error:
            if error.code == "resource_missing":
                raise Refused("unknown-object", f"Stripe has no {object_type} {object_id}.") from error
            raise ProviderUnavailable(str(error)) from error
        except stripe.StripeError as error:
            raise _translate(error) from error
        return None

    async def _payment_of_intent(self, intent_id: str) -> Payment | None:
        intent = _plain(
            await self._stripe.payment_intents.retrieve_async(intent_id, {"expand": ["latest_charge"]})
        )
        if "pack" in intent["metadata"]:
            return await self._read_intent(intent)
        paid = await self._stripe.invoice_payments.list_async(
            {"payment": {"type": "payment_intent", "payment_intent": intent_id}, "limit": 1}
        )
        return await self._payment_of_invoice(str(paid.data[0].invoice)) if paid.data else None

    async def _read_intent(self, intent: Mapping[str, Any]) -> Payment:
        top_up = intent["metadata"].get("top_up")
        refunded, disputed = await self._taken_back(intent)
        failure = intent.get("last_payment_error") or {}
        paid = intent["status"] == "succeeded"
        return Payment(
            id=intent["id"],
            customer_id=intent["customer"] or "",
            paid=paid,
            amount=intent["amount_received"],
            currency=intent["currency"],
            refunded=refunded,
            disputed=disputed,
            pack=intent["metadata"]["pack"],
            top_up_id=_top_up_id(top_up) if top_up else None,
            failure=None if paid or not failure else failure.get("message") or "The card was declined.",
        )

    async def _payment_of_invoice(self, invoice_id: str) -> Payment | None:
        invoice = _plain(await self._stripe.invoices.retrieve_async(invoice_id, {"expand": ["payments"]}))
        parent = (invoice.get("parent") or {}).get("subscription_details")
        if parent is None:
            return None  # the paper for a pack, whose payment speaks for itself
        refunded, disputed = 0, False
        for paid in invoice["payments"]["data"]:
            if paid["status"] == "paid" and (intent_id := paid["payment"].get("payment_intent")):
                intent = await self._stripe.payment_intents.retrieve_async(
                    intent_id, {"expand": ["latest_charge"]}
                )
                back, held = await self._taken_back(_plain(intent))
                refunded, disputed = refunded + back, disputed or held
        if invoice["lines"].get("has_more"):
            raise Refused(
                "unknown-price", f"Invoice {invoice_id} has more lines than a plan of ours can have."
            )
        shares = [share for line in invoice["lines"]["data"] if (share := await self._share(line))]
        return Payment(
            id=invoice["id"],
            customer_id=invoice["customer"] or "",
            paid=invoice["status"] == "paid",
            amount=invoice["amount_paid"],
            currency=invoice["currency"],
            refunded=refunded,
            disputed=disputed,
            subscription_id=parent["subscription"],
            shares=shares,
        )

    async def _taken_back(self, intent: Mapping[str, Any]) -> tuple[int, bool]:
        charge = intent["latest_charge"]
        if not charge:
            return 0, False
        if not charge["disputed"]:
            return charge["amount_refunded"], False
        disputes = await self._stripe.disputes.list_async({"payment_intent": intent["id"], "limit": 10})
        return charge["amount_refunded"], any(found.status not in _UNDISPUTED for found in disputes.data)

    async def _share(self, line: Mapping[str, Any]) -> Share | None:
        pricing = (line.get("pricing") or {}).get("price_details") or {}
        price = await self._price(str(pricing.get("price")))
        if price.item == _USAGE:
            return None
        if line.get("quantity") not in (None, 1):
            raise Refused("wrong-amount", f"Line {line['id']} is for {line['quantity']} of {price.item}.")
        period = line["period"]
        return Share(price.item, line["amount"], _moment(period["start"]), _moment(period["end"]))

    async def _read_subscription(self, found: stripe.Subscription) -> Subscription:
        item, plan = await self._plan_item(found)
        metered = [
            other
            for other in _plain(found)["items"]["data"]
            if other["id"] != item["id"] and (await self._price(other["price"]["id"])).item == _USAGE
        ]
        return Subscription(
            id=found.id,
            customer_id=str(found.customer),
            status=SubscriptionStatus(found.status),
            plan=plan,
            period_start=_moment(item["current_period_start"]),
            period_end=_moment(item["current_period_end"]),
            cancel_at_period_end=found.cancel_at_period_end or found.cancel_at is not None,
            metered=bool(metered),
        )

    async def _plan_item(self, subscription: stripe.Subscription) -> tuple[Mapping[str, Any], str]:
        """The one item of the subscription that is a plan of ours, and which."""
        plans = []
        for item in _plain(subscription)["items"]["data"]:
            price = await self._price(item["price"]["id"])
            if price.item != _USAGE:
                plans.append((item, price.item))
        if len(plans) != 1:
            raise Refused("unknown-price", f"Subscription {subscription.id} is for {len(plans)} plans.")
        return plans[0]

    # What is sold, as Stripe has it

    async def _price(self, price_id: str) -> _Price:
        """What the Price is for. Raises Refused where it is none of ours, or not what our own files say."""
        if price_id not in self._prices:
            await self._read_prices()
        price = self._prices.get(price_id)
        if price is None:
            raise Refused("unknown-price", f"Price {price_id} is of no plan that we sell.")
        self._check(price)
        return price

    async def _price_id(self, plan: Plan) -> str:
        """Raises ProviderUnavailable where the operator has not made it, or made it wrong."""
        for _ in range(2):
            for price_id, price in self._prices.items():
                if price.item == plan.slug:
                    try:
                        self._check(price)
                    except Refused as error:
                        raise ProviderUnavailable(str(error)) from error
                    return price_id
            with _translated():
                await self._read_prices()
        raise ProviderUnavailable(f"Stripe has no active Price with the lookup key {lookup_key(plan.slug)}")

    def _check(self, price: _Price) -> None:
        if price.item == _USAGE:
            return
        plan = sold_plans()[price.item]
        if price.currency != CURRENCY:
            raise Refused("currency-not-sold", f"The Price of {plan.slug} is in {price.currency}.")
        if price.amount != price_of(plan):
            raise Refused(
                "wrong-amount", f"The Price of {plan.slug} is {price.amount}, and not {price_of(plan)}."
            )

    async def _read_prices(self) -> None:
        items = {lookup_key(item): item for item in (*sold_plans(), _USAGE)}
        page = await self._stripe.prices.list_async(
            {"lookup_keys": list(items), "active": True, "limit": 100}
        )
        self._prices |= {
            price.id: _Price(items[price.lookup_key], price.unit_amount, price.currency)
            for price in page.data
            if price.lookup_key is not None
        }


def _hint(event: Mapping[str, Any]) -> Hint:
    about = event["data"]["object"]
    object_type, object_id = _about(about) if event["type"] in EVENT_TYPES else (None, None)
    return Hint(str(event["id"]), str(event["type"]), object_type, object_id)


def _about(about: Mapping[str, Any]) -> tuple[str | None, str | None]:
    match about["object"]:
        case "payment_intent" | "subscription" | "invoice" as kind:
            return kind, str(about["id"])
        case "checkout.session" if about.get("subscription"):
            return "subscription", str(about["subscription"])
        case "checkout.session" | "charge" | "refund" | "dispute" if about.get("payment_intent"):
            return "payment_intent", str(about["payment_intent"])
    return None, None


def _top_up_id(public_id: str) -> UUID | None:
    try:
        return parse_id("top", public_id)
    except ValueError:
        return None


def _plain(found: stripe.StripeObject) -> dict[str, Any]:
    plain: dict[str, Any] = found.to_dict(for_json=True)
    return plain


def _moment(timestamp: int) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)


@contextmanager
def _translated() -> Iterator[None]:
    """Stripe's errors as ours."""
    try:
        yield
    except stripe.StripeError as error:
        raise _translate(error) from error


def _translate(error: stripe.StripeError) -> Exception:
    words = error.user_message or str(error)
    if isinstance(error, stripe.CardError):
        return PaymentDeclined(words)
    if isinstance(error, stripe.IdempotencyError):
        return KeyReused(words)
    if isinstance(error, stripe.InvalidRequestError):
        logger.warning("Stripe refused a request: %s", error)
        return ProviderError(words)
    return ProviderUnavailable(str(error))
