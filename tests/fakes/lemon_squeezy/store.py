"""A store: its variants, and what customers, banks and time do. Webhooks leave when a test says so."""

from __future__ import annotations

import calendar
import hashlib
import hmac
import json
import random
from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx

Object = dict[str, Any]


class Problem(Exception):
    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Store:
    def __init__(
        self, clock: Callable[[], datetime], *, api_key: str = "ls_fake", secret: str = "ls_secret"
    ) -> None:
        self.clock = clock
        self.api_key = api_key
        self.secret = secret
        self.id = "77"
        self.webhook_url = ""
        self.public_url = "https://impasto.lemonsqueezy.test"
        self.variants: dict[str, int] = {}
        """Prices in cents, by the ids of the variants."""
        self.objects: dict[tuple[str, str], Object] = {}
        self.pending: list[tuple[str, bytes]] = []
        self.sent: list[tuple[str, bytes]] = []

    def make(self, kind: str, **attributes: Any) -> Object:
        id_ = str(len(self.objects) + 1)
        moment = self._now()
        attributes = {"store_id": int(self.id), "created_at": moment, "updated_at": moment, **attributes}
        made = {"type": kind, "id": id_, "attributes": attributes}
        self.objects[kind, id_] = made
        return made

    def get(self, kind: str, id_: str) -> Object:
        if (kind, id_) not in self.objects:
            raise Problem(404, "The related resource does not exist.")
        return self.objects[kind, id_]

    def all(self, kind: str) -> list[Object]:
        """Newest first."""
        return [found for (its, _), found in reversed(self.objects.items()) if its == kind]

    def touch(self, found: Object, **attributes: Any) -> None:
        found["attributes"] |= {"updated_at": self._now(), **attributes}

    def _now(self) -> str:
        return self.clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    # What customers do

    def pay(self, checkout_id: str, *, email: str = "someone@example.com", currency: str = "USD") -> Object:
        """The order."""
        checkout = self.get("checkouts", checkout_id)["attributes"]
        if datetime.fromisoformat(checkout["expires_at"]) <= self.clock():
            raise Problem(410, "This checkout has expired.")
        custom = checkout["checkout_data"].get("custom", {})
        variant = str(checkout["variant_id"])
        customer = self._customer(email)
        order = self.make(
            "orders",
            customer_id=int(customer["id"]),
            currency=currency,
            status="paid",
            refunded=False,
            refunded_amount=0,
            first_order_item={"variant_id": int(variant), "price": self.variants[variant]},
            **_amounts(self.variants[variant]),
        )
        self.announce("order_created", order, custom)
        if checkout["subscription"]:
            self._subscribe(order, variant, custom)
        return order

    def _customer(self, email: str) -> Object:
        for customer in self.all("customers"):
            if customer["attributes"]["email"] == email:
                return customer
        return self.make("customers", email=email, urls={"customer_portal": None})

    def _subscribe(self, order: Object, variant: str, custom: Object) -> None:
        customer = self.get("customers", str(order["attributes"]["customer_id"]))
        customer["attributes"]["urls"]["customer_portal"] = f"{self.public_url}/billing"
        subscription = self.make(
            "subscriptions",
            customer_id=int(customer["id"]),
            order_id=int(order["id"]),
            variant_id=int(variant),
            status="active",
            cancelled=False,
            renews_at=_month_after(self.clock()).isoformat(),
            ends_at=None,
            _custom=custom,
        )
        self.announce("subscription_created", subscription, custom)
        self._invoice(subscription, "initial", self.variants[variant])

    def _invoice(self, subscription: Object, reason: str, amount: int, *, paid: bool = True) -> Object:
        values = subscription["attributes"]
        invoice = self.make(
            "subscription-invoices",
            subscription_id=int(subscription["id"]),
            customer_id=values["customer_id"],
            billing_reason=reason,
            currency="USD",
            status="paid" if paid else "pending",
            refunded=False,
            refunded_amount=0,
            urls={"invoice_url": f"{self.public_url}/invoices/{len(self.objects)}" if paid else None},
            **_amounts(amount),
        )
        name = "subscription_payment_success" if paid else "subscription_payment_failed"
        self.announce(name, invoice, values["_custom"])
        return invoice

    # What banks and time do

    def refund(self, order: Object, amount: int | None = None) -> None:
        values = order["attributes"]
        back = values["refunded_amount"] + (amount or values["total"] - values["refunded_amount"])
        whole = back == values["total"]
        self.touch(
            order, refunded_amount=back, refunded=whole, status="refunded" if whole else "partial_refund"
        )
        self.announce("order_refunded", order, {})

    def renew(self, subscription: Object, *, paid: bool = True) -> None:
        values = subscription["attributes"]
        if values["cancelled"]:
            self.touch(subscription, status="expired")
            self.announce("subscription_expired", subscription, values["_custom"])
            return
        renews_at = _month_after(datetime.fromisoformat(values["renews_at"])).isoformat()
        self.touch(subscription, renews_at=renews_at, status="active" if paid else "past_due")
        self.announce("subscription_updated", subscription, values["_custom"])
        self._invoice(subscription, "renewal", self.variants[str(values["variant_id"])], paid=paid)

    def change(self, subscription: Object, variant: str, *, invoice: bool) -> None:
        before = self.variants[str(subscription["attributes"]["variant_id"])]
        self.touch(subscription, variant_id=int(variant))
        self.announce("subscription_updated", subscription, subscription["attributes"]["_custom"])
        if invoice:
            values = subscription["attributes"]
            left = datetime.fromisoformat(values["renews_at"]) - self.clock()
            month = _month_after(self.clock()) - self.clock()
            self._invoice(subscription, "updated", round((self.variants[variant] - before) * (left / month)))

    def set_cancelled(self, subscription: Object, cancelled: bool) -> None:
        values = subscription["attributes"]
        self.touch(
            subscription,
            cancelled=cancelled,
            status="cancelled" if cancelled else "active",
            ends_at=values["renews_at"] if cancelled else None,
        )
        name = "subscription_cancelled" if cancelled else "subscription_resumed"
        self.announce(name, subscription, values["_custom"])

    # Webhooks

    def announce(self, name: str, about: Object, custom: Object) -> None:
        meta = {"event_name": name, "test_mode": True} | ({"custom_data": custom} if custom else {})
        self.pending.append((name, json.dumps({"meta": meta, "data": public(about)}).encode()))

    async def deliver(self, *, times: int = 1, seed: int | None = None) -> None:
        pending, self.pending = self.pending, []
        if seed is not None:
            pending = random.Random(seed).sample(pending, len(pending))
        self.sent += pending
        for name, body in pending:
            for _ in range(times):
                response = await self.send(name, body)
                assert response.status_code == 200, response.text

    async def send(self, name: str, body: bytes, *, signature: str | bytes | None = None) -> httpx.Response:
        signed = hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {
            "X-Event-Name": name,
            "X-Signature": signed if signature is None else signature,
            "Content-Type": "application/json",
        }
        async with httpx.AsyncClient() as client:
            return await client.post(self.webhook_url, content=body, headers=headers)


def public(found: Object) -> Object:
    attributes = {name: value for name, value in found["attributes"].items() if not name.startswith("_")}
    return found | {"attributes": attributes}


def _amounts(price: int) -> Object:
    tax = price // 5
    return {"subtotal": price, "discount_total": 0, "tax": tax, "total": price + tax}


def _month_after(moment: datetime) -> datetime:
    year, month = (moment.year + 1, 1) if moment.month == 12 else (moment.year, moment.month + 1)
    return moment.replace(year=year, month=month, day=min(moment.day, calendar.monthrange(year, month)[1]))
