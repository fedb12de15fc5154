"""A Stripe account: its objects, and what customers, banks and time do to them.

What happens by itself at Stripe (a renewal, a retry) happens here when a test says so.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.fakes.stripe.errors import CardDeclined, InvalidRequest, Missing
from tests.fakes.stripe.webhooks import Webhooks

API_VERSION = "2026-10-28.endive"
LIVE = {"active", "trialing", "past_due"}

Object = dict[str, Any]


class Account:
    def __init__(
        self,
        clock: Callable[[], datetime],
        *,
        secret_key: str = "sk_test_fake",
        webhook_secret: str = "whsec_fake",
    ) -> None:
        self._clock = clock
        self.secret_key = secret_key
        self.webhooks = Webhooks(self.now, secret=webhook_secret, api_version=API_VERSION)
        self.objects: dict[str, Object] = {}
        self.declining: set[str] = set()
        """Payment methods that are declined."""
        self.broken = False
        """Whether every request is answered with 500."""
        self.meter_events: dict[str, Object] = {}
        self.public_url = "https://checkout.stripe.test"
        self._counts: dict[str, int] = {}
        self._payments: dict[str, Object] = {}  # invoice payments, by the id of their payment intent

    def now(self) -> int:
        return int(self._clock().timestamp())

    # Objects

    def make(self, prefix: str, kind: str, **values: Any) -> Object:
        self._counts[prefix] = self._counts.get(prefix, 0) + 1
        id_ = f"{prefix}_{self._counts[prefix]:06}"
        made = {"id": id_, "object": kind, "created": self.now(), "livemode": False} | values
        self.objects[id_] = made
        return made

    def get(self, kind: str, id_: str, param: str = "id") -> Object:
        found = self.objects.get(id_)
        if found is None or found["object"] != kind:
            raise Missing(kind.replace("_", " "), id_, param)
        return found

    def all(self, kind: str) -> list[Object]:
        """Newest first."""
        return [found for found in reversed(self.objects.values()) if found["object"] == kind]

    def invoice_payments(self) -> list[Object]:
        return list(reversed(self._payments.values()))

    # What the shop keeper sets up in the dashboard

    def add_price(
        self,
        lookup_key: str | None,
        unit_amount: int,
        *,
        currency: str = "usd",
        metered: bool = False,
    ) -> Object:
        product = self.make("prod", "product", name=lookup_key, active=True)
        return self.make(
            "price",
            "price",
            active=True,
            currency=currency,
            unit_amount=unit_amount,
            lookup_key=lookup_key,
            product=product["id"],
            metadata={},
            type="recurring",
            recurring={
                "interval": "month",
                "interval_count": 1,
                "usage_type": "metered" if metered else "licensed",
            },
        )

    # What customers do

    def add_card(self, customer: str, *, default: bool = True) -> Object:
        """As the portal does. A subscription saves its card too, though not as the default; a pack none."""
        card = self.make(
            "pm", "payment_method", type="card", customer=customer, card={"brand": "visa", "last4": "4242"}
        )
        if default:
            self.get("customer", customer)["invoice_settings"]["default_payment_method"] = card["id"]
        return card

    def complete_checkout(self, session_id: str, *, card_declines: bool = False) -> Object:
        """The customer enters a card and pays. Raises CardDeclined, and the session stays open."""
        session = self.get("checkout.session", session_id)
        if session["status"] != "open" or session["expires_at"] <= self.now():
            session["status"] = "expired" if session["status"] == "open" else session["status"]
            raise InvalidRequest("This Checkout Session is no longer open.", "checkout_session_not_open")
        if card_declines:
            raise CardDeclined
        if session["mode"] == "payment":
            self._pay_once(session, self.make("pm", "payment_method", type="card", customer=None))
        else:
            self._subscribe(session, self.add_card(session["customer"], default=False))
        session |= {"status": "complete", "payment_status": "paid"}
        self.webhooks.announce("checkout.session.completed", session)
        return session

    def expire_checkout(self, session_id: str) -> None:
        session = self.get("checkout.session", session_id)
        session["status"] = "expired"
        self.webhooks.announce("checkout.session.expired", session)

    def _pay_once(self, session: Object, card: Object) -> None:
        intent = self.make_intent(
            customer=session["customer"],
            amount=session["amount_total"],
            currency=session["currency"],
            metadata=session["_payment_intent_metadata"],
            payment_method=card["id"],
        )
        session["payment_intent"] = intent["id"]
        self.confirm(intent)
        if session["_invoice"]:
            invoice = self._make_invoice(session["customer"], session["currency"], "manual", None, [])
            invoice |= {"amount_due": intent["amount"], "total": intent["amount"]}
            self._mark_paid(invoice, intent)
            session["invoice"] = invoice["id"]

    def _subscribe(self, session: Object, card: Object) -> None:
        prices = [self.get("price", item["price"]) for item in session["_line_items"]]
        subscription = self.subscribe(session["customer"], prices, card["id"])
        session["subscription"] = subscription["id"]

    def subscribe(self, customer: str, prices: list[Object], card: str) -> Object:
        start, end = self.now(), _month_after(self.now())
        subscription = self.make(
            "sub",
            "subscription",
            customer=customer,
            status="incomplete",
            currency=prices[0]["currency"],
            cancel_at_period_end=False,
            cancel_at=None,
            canceled_at=None,
            ended_at=None,
            default_payment_method=card,
            metadata={},
            latest_invoice=None,
            billing_cycle_anchor=start,
        )
        subscription["items"] = _list(
            [self._make_item(subscription["id"], price, start, end) for price in prices]
        )
        self.webhooks.announce("customer.subscription.created", subscription)
        self._bill_period(subscription, "subscription_create")
        return subscription

    def _make_item(self, subscription: str, price: Object, start: int, end: int) -> Object:
        return self.make(
            "si",
            "subscription_item",
            subscription=subscription,
            price=price,
            quantity=1,
            metadata={},
            current_period_start=start,
            current_period_end=end,
        )

    # What the bank does

    def refund(self, intent_id: str, amount: int | None = None) -> Object:
        intent = self.get("payment_intent", intent_id)
        charge = self.get("charge", intent["latest_charge"])
        amount = amount if amount is not None else charge["amount"] - charge["amount_refunded"]
        charge["amount_refunded"] += amount
        charge["refunded"] = charge["amount_refunded"] == charge["amount"]
        refund = self.make(
            "re",
            "refund",
            amount=amount,
            currency=charge["currency"],
            charge=charge["id"],
            payment_intent=intent_id,
            status="succeeded",
        )
        self.webhooks.announce("refund.created", refund)
        self.webhooks.announce("charge.refunded", charge)
        return refund

    def fail_refund(self, refund_id: str) -> None:
        """The customer's bank sends the money back to us."""
        refund = self.get("refund", refund_id)
        refund["status"] = "failed"
        charge = self.get("charge", refund["charge"])
        charge["amount_refunded"] -= refund["amount"]
        charge["refunded"] = False
        self.webhooks.announce("refund.failed", refund)

    def dispute(self, intent_id: str) -> Object:
        intent = self.get("payment_intent", intent_id)
        charge = self.get("charge", intent["latest_charge"])
        charge["disputed"] = True
        dispute = self.make(
            "du",
            "dispute",
            amount=charge["amount"],
            currency=charge["currency"],
            charge=charge["id"],
            payment_intent=intent_id,
            reason="fraudulent",
            status="needs_response",
        )
        self.webhooks.announce("charge.dispute.created", dispute)
        return dispute

    def close_dispute(self, dispute_id: str, *, won: bool) -> None:
        dispute = self.get("dispute", dispute_id)
        dispute["status"] = "won" if won else "lost"
        self.webhooks.announce("charge.dispute.closed", dispute)

    # Payments

    def make_intent(self, **values: Any) -> Object:
        defaults: Object = {
            "status": "requires_payment_method",
            "amount_received": 0,
            "latest_charge": None,
            "last_payment_error": None,
            "metadata": {},
            "payment_method": None,
        }
        intent = self.make("pi", "payment_intent", **defaults | values)
        self.webhooks.announce("payment_intent.created", intent)
        return intent

    def confirm(self, intent: Object) -> None:
        """Charge its payment method. Raises CardDeclined."""
        charge = self.make(
            "ch",
            "charge",
            amount=intent["amount"],
            amount_refunded=0,
            currency=intent["currency"],
            customer=intent["customer"],
            payment_intent=intent["id"],
            disputed=False,
            refunded=False,
            paid=True,
            receipt_url=f"{self.public_url}/receipts/{intent['id']}",
            status="succeeded",
        )
        intent["latest_charge"] = charge["id"]
        if intent["payment_method"] in self.declining:
            charge |= {"paid": False, "status": "failed"}
            declined = CardDeclined(payment_intent=intent)
            intent["last_payment_error"] = {"code": "card_declined", "type": "card_error"}
            self.webhooks.announce("charge.failed", charge)
            self.webhooks.announce("payment_intent.payment_failed", intent)
            raise declined
        intent |= {"status": "succeeded", "amount_received": intent["amount"]}
        self.webhooks.announce("charge.succeeded", charge)
        self.webhooks.announce("payment_intent.succeeded", intent)

    # Subscriptions

    def change_price(
        self, subscription: Object, price: Object, proration: str, payment_behavior: str
    ) -> None:
        item = subscription["items"]["data"][0]
        old = item["price"]
        if proration == "always_invoice":
            start, end = item["current_period_start"], item["current_period_end"]
            part = (end - self.now()) / (end - start)
            period = {"start": self.now(), "end": end}
            lines = [
                self._make_line(old, -round(old["unit_amount"] * part), period, subscription, proration=True),
                self._make_line(
                    price, round(price["unit_amount"] * part), period, subscription, proration=True
                ),
            ]
            invoice = self._make_invoice(
                subscription["customer"], subscription["currency"], "subscription_update", subscription, lines
            )
            if not self._try_to_pay(invoice, subscription) and payment_behavior == "error_if_incomplete":
                invoice["status"] = "void"
                raise CardDeclined
        item["price"] = price
        self.webhooks.announce("customer.subscription.updated", subscription)

    def end_period(self, subscription_id: str) -> None:
        """The period is over, as far as Stripe's clock is concerned: renew it, or end the subscription."""
        subscription = self.get("subscription", subscription_id)
        if subscription["cancel_at_period_end"]:
            self.end(subscription)
            return
        for item in subscription["items"]["data"]:
            item["current_period_start"] = item["current_period_end"]
            item["current_period_end"] = _month_after(item["current_period_start"])
        self.webhooks.announce("customer.subscription.updated", subscription)
        self._bill_period(subscription, "subscription_cycle")

    def retry_payment(self, subscription_id: str) -> None:
        """One of the attempts that Stripe makes on an invoice that could not be paid."""
        subscription = self.get("subscription", subscription_id)
        self._settle(self.get("invoice", subscription["latest_invoice"]), subscription)

    def give_up(self, subscription_id: str, status: str) -> None:
        """After the last attempt: `unpaid` or `canceled`, as the account's settings say."""
        subscription = self.get("subscription", subscription_id)
        if status == "canceled":
            self.end(subscription)
        else:
            subscription["status"] = status
            self.webhooks.announce("customer.subscription.updated", subscription)

    def end(self, subscription: Object) -> None:
        subscription |= {"status": "canceled", "ended_at": self.now(), "canceled_at": self.now()}
        self.webhooks.announce("customer.subscription.deleted", subscription)

    def _bill_period(self, subscription: Object, reason: str) -> None:
        lines = []
        for item in subscription["items"]["data"]:
            metered = item["price"]["recurring"]["usage_type"] == "metered"
            period = {"start": item["current_period_start"], "end": item["current_period_end"]}
            amount = 0 if metered else item["price"]["unit_amount"]
            lines.append(self._make_line(item["price"], amount, period, subscription, proration=False))
        invoice = self._make_invoice(
            subscription["customer"], subscription["currency"], reason, subscription, lines
        )
        subscription["latest_invoice"] = invoice["id"]
        self._settle(invoice, subscription)

    def _settle(self, invoice: Object, subscription: Object) -> None:
        paid = self._try_to_pay(invoice, subscription)
        first = invoice["billing_reason"] == "subscription_create"
        status = "active" if paid else "incomplete" if first else "past_due"
        if status != subscription["status"]:
            subscription["status"] = status
            self.webhooks.announce("customer.subscription.updated", subscription)

    def _try_to_pay(self, invoice: Object, subscription: Object) -> bool:
        if invoice["amount_due"] <= 0:
            self._mark_paid(invoice, None)
            return True
        customer = self.get("customer", invoice["customer"])
        default = customer["invoice_settings"]["default_payment_method"]
        intent = self.make_intent(
            customer=invoice["customer"],
            amount=invoice["amount_due"],
            currency=invoice["currency"],
            payment_method=default or subscription["default_payment_method"],
        )
        invoice["attempt_count"] += 1
        try:
            self.confirm(intent)
        except CardDeclined:
            self.webhooks.announce("invoice.payment_failed", invoice)
            return False
        self._mark_paid(invoice, intent)
        return True

    def _make_line(
        self, price: Object, amount: int, period: Object, subscription: Object, *, proration: bool
    ) -> Object:
        return self.make(
            "il",
            "line_item",
            amount=amount,
            currency=price["currency"],
            quantity=1,
            period=period,
            pricing={
                "type": "price_details",
                "price_details": {"price": price["id"], "product": price["product"]},
                "unit_amount_decimal": str(price["unit_amount"]),
            },
            parent={
                "type": "subscription_item_details",
                "subscription_item_details": {"proration": proration, "subscription": subscription["id"]},
            },
        )

    def _make_invoice(
        self, customer: str, currency: str, reason: str, subscription: Object | None, lines: list[Object]
    ) -> Object:
        total = sum(line["amount"] for line in lines)
        parent = subscription and {
            "type": "subscription_details",
            "subscription_details": {"subscription": subscription["id"], "metadata": {}},
        }
        invoice = self.make(
            "in",
            "invoice",
            customer=customer,
            currency=currency,
            billing_reason=reason,
            status="open",
            amount_due=max(total, 0),
            amount_paid=0,
            total=total,
            attempt_count=0,
            lines=_list(lines),
            parent=parent,
            number=f"IMP-{len(self.all('invoice')) + 1:04}",
        )
        invoice["hosted_invoice_url"] = f"{self.public_url}/invoices/{invoice['id']}"
        invoice["invoice_pdf"] = f"{self.public_url}/invoices/{invoice['id']}/pdf"
        self.webhooks.announce("invoice.created", invoice)
        return invoice

    def _mark_paid(self, invoice: Object, intent: Object | None) -> None:
        invoice |= {"status": "paid", "amount_paid": intent["amount"] if intent else 0}
        invoice["status_transitions"] = {"paid_at": self.now()}
        if intent:
            self._payments[intent["id"]] = self.make(
                "inpay",
                "invoice_payment",
                invoice=invoice["id"],
                amount_paid=intent["amount"],
                status="paid",
                payment={"type": "payment_intent", "payment_intent": intent["id"]},
            )
        self.webhooks.announce("invoice.paid", invoice)


def _list(data: list[Object]) -> Object:
    return {"object": "list", "data": data, "has_more": False}


def _month_after(moment: int) -> int:
    start = datetime.fromtimestamp(moment, UTC)
    year, month = (start.year + 1, 1) if start.month == 12 else (start.year, start.month + 1)
    day = min(start.day, calendar.monthrange(year, month)[1])
    return int(start.replace(year=year, month=month, day=day).timestamp())
