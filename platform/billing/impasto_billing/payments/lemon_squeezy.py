"""Lemon Squeezy, over httpx: checkouts, subscriptions, invoices and the portal.

It makes customers by itself when they pay, so whose a checkout was travels with it as custom data, and comes
back in signed events only. What is sold has a variant there, whose id the operator sets. Invoices name no
variant: a plan is known by its price. Requests take no idempotency keys: only reading is tried again.

Source: https://docs.lemonsqueezy.com/api and https://docs.lemonsqueezy.com/help/webhooks
"""

from __future__ import annotations

import asyncio
import calendar
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import httpx

from impasto_billing.payments.provider import (
    Checkout,
    ForgedEvent,
    Hint,
    Invoice,
    NotOffered,
    Payment,
    ProviderError,
    ProviderUnavailable,
    Refused,
    Share,
    Subscription,
    SubscriptionStatus,
    UnknownCursor,
)
from impasto_billing.payments.sold import Pack, packs, price_of, sold_plans
from impasto_billing.plans.plan import Plan
from impasto_core.ids import format_id, parse_id

TIMEOUT_SECONDS = 10
RETRIES = 2
RETRY_SECONDS = 0.5
CHECKOUT_LIFE = timedelta(days=1)

_MEDIA_TYPE = "application/vnd.api+json"

_STATUSES = {
    "on_trial": SubscriptionStatus.TRIALING,
    "active": SubscriptionStatus.ACTIVE,
    "cancelled": SubscriptionStatus.ACTIVE,  # until it expires
    "past_due": SubscriptionStatus.PAST_DUE,
    "unpaid": SubscriptionStatus.UNPAID,
    "paused": SubscriptionStatus.PAUSED,
    "expired": SubscriptionStatus.CANCELED,
}

_PAID = {"paid", "refunded", "partial_refund"}

_KINDS = ("orders", "subscriptions", "subscription-invoices")

Object = Mapping[str, Any]


class LemonSqueezyProvider:
    name: Final = "lemon-squeezy"

    def __init__(
        self,
        api_key: str,
        webhook_secret: str,
        *,
        store_id: str,
        variants: Mapping[str, str],
        api_base: str,
    ) -> None:
        self._webhook_secret = webhook_secret.encode()
        self._store_id = store_id
        self._variants = variants
        self._items = {variant: item for item, variant in variants.items()}
        self._http = httpx.AsyncClient(
            base_url=api_base,
            headers={
                "Authorization": f"Bearer {api_key}",
                "Accept": _MEDIA_TYPE,
                "Content-Type": _MEDIA_TYPE,
            },
            timeout=TIMEOUT_SECONDS,
        )

    async def close(self) -> None:
        await self._http.aclose()

    # What customers ask for

    async def create_customer(self, *, organization_id: UUID) -> None:
        return None

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
        expires_at = now + CHECKOUT_LIFE
        made = await self._send(
            "POST",
            "/v1/checkouts",
            {
                "type": "checkouts",
                "attributes": {
                    "product_options": {
                        "redirect_url": success_url,
                        "enabled_variants": [int(self._variant(item))],
                    },
                    "checkout_data": {"custom": {"organization": format_id("org", organization_id)}},
                    "expires_at": expires_at.isoformat(),
                },
                "relationships": {
                    "store": {"data": {"type": "stores", "id": self._store_id}},
                    "variant": {"data": {"type": "variants", "id": self._variant(item)}},
                },
            },
        )
        return Checkout(str(made["id"]), str(made["attributes"]["url"]), expires_at)

    async def portal_url(self, customer_id: str, *, return_url: str) -> str:
        customer = await self._get("customers", customer_id)
        url = customer["attributes"]["urls"]["customer_portal"]
        if url is None:
            raise ProviderError("The portal opens with the first subscription.")
        return str(url)

    async def change_plan(
        self, subscription_id: str, plan: Plan, *, at_once: bool, idempotency_key: str
    ) -> Subscription:
        timing = {"invoice_immediately": True} if at_once else {"disable_prorations": True}
        return await self._update(subscription_id, variant_id=int(self._variant(plan)), **timing)

    async def cancel(self, subscription_id: str) -> Subscription:
        return self._read_subscription(await self._send("DELETE", f"/v1/subscriptions/{subscription_id}"))

    async def resume(self, subscription_id: str) -> Subscription:
        return await self._update(subscription_id, cancelled=False)

    async def _update(self, subscription_id: str, **attributes: object) -> Subscription:
        document = {"type": "subscriptions", "id": subscription_id, "attributes": attributes}
        changed = await self._send("PATCH", f"/v1/subscriptions/{subscription_id}", document)
        return self._read_subscription(changed)

    async def invoices(
        self, customer_id: str, *, limit: int, after: str | None
    ) -> tuple[Sequence[Invoice], str | None]:
        """Those of the customer's subscriptions. Packs have receipts, in the mail and in the portal."""
        if after is not None and not after.isdecimal():
            raise UnknownCursor(after)
        page = int(after or 1)
        customer = await self._document(
            "GET", f"/v1/customers/{customer_id}", params={"include": "subscriptions"}
        )
        found: list[Invoice] = []
        for subscription in customer.get("included", ()):
            listed = await self._document(
                "GET",
                "/v1/subscription-invoices",
                params={
                    "filter[subscription_id]": subscription["id"],
                    "page[number]": page,
                    "page[size]": limit,
                },
            )
            found += [_invoice(item) for item in listed["data"]]
        found.sort(key=lambda invoice: invoice.created_at, reverse=True)
        return found, str(page + 1) if len(found) >= limit else None

    # What happens while they are away

    async def has_saved_card(self, customer_id: str) -> bool:
        return False

    async def charge(self, customer_id: str, pack: Pack, *, top_up_id: UUID) -> Payment:
        raise NotOffered("Lemon Squeezy charges nobody who is not there.")

    async def report_usage(self, customer_id: str, *, identifier: str, amount: int, at: datetime) -> None:
        raise NotOffered("Usage is reported to Stripe only.")

    # What Lemon Squeezy says

    def read_event(self, body: bytes, headers: Mapping[str, str], *, now: datetime) -> Hint:
        """Events have neither id nor time: the same body again is the same event."""
        expected = hmac.new(self._webhook_secret, body, hashlib.sha256).hexdigest()
        given = headers.get("x-signature", "")
        if not given.isascii() or not hmac.compare_digest(expected, given):
            raise ForgedEvent("The signature does not fit the body.")
        try:
            event = json.loads(body)
            kind, event_name = str(event["data"]["type"]), str(event["meta"]["event_name"])
            custom = event["meta"].get("custom_data") or {}
            return Hint(
                event_id=hashlib.sha256(body).hexdigest(),
                event_type=event_name,
                object_type=kind if kind in _KINDS else None,
                object_id=str(event["data"]["id"]) if kind in _KINDS else None,
                organization_id=_organization(custom.get("organization")),
            )
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ForgedEvent("This is no event of Lemon Squeezy's.") from error

    async def events_since(self, since: datetime) -> AsyncIterator[Hint]:
        """There is no list of events: every object that is newer, or changed since, stands for one."""
        for kind in _KINDS:
            page = 1
            while True:
                listed = await self._document(
                    "GET",
                    f"/v1/{kind}",
                    params={
                        "filter[store_id]": self._store_id,
                        "page[number]": page,
                        "page[size]": 100,
                    },
                )
                for item in listed["data"]:
                    changed = item["attributes"]["updated_at"]
                    if datetime.fromisoformat(changed) >= since:
                        yield Hint(f"{kind}:{item['id']}:{changed}", "missed", kind, str(item["id"]))
                if page >= listed["meta"]["page"]["lastPage"]:
                    break
                page += 1

    async def look_up(self, object_type: str, object_id: str) -> Payment | Subscription | None:
        kind = "subscriptions" if object_type == "subscription" else object_type
        try:
            found = await self._get(kind, object_id)
        except ProviderError as error:
            raise Refused("unknown-object", f"Lemon Squeezy has no {object_type} {object_id}.") from error
        if str(found["attributes"]["store_id"]) != self._store_id:
            raise Refused("unknown-object", f"{object_type} {object_id} is of another store.")
        match kind:
            case "subscriptions":
                return self._read_subscription(found)
            case "subscription-invoices":
                return await self._payment_of_invoice(found)
            case _:
                return self._payment_of_order(found)

    def _payment_of_order(self, order: Object) -> Payment | None:
        values = order["attributes"]
        variant = str(values["first_order_item"]["variant_id"])
        item = self._item(variant)
        if item in sold_plans():
            return None  # its subscription's invoice is what counts
        return Payment(
            id=f"order:{order['id']}",
            customer_id=str(values["customer_id"]),
            paid=values["status"] in _PAID,
            amount=values["subtotal"],
            currency=values["currency"].lower(),
            refunded=_refunded(values),
            pack=item,
        )

    async def _payment_of_invoice(self, invoice: Object) -> Payment:
        values = invoice["attributes"]
        subscription = await self._get("subscriptions", str(values["subscription_id"]))
        variant = self._item(str(subscription["attributes"]["variant_id"]))
        start = datetime.fromisoformat(values["created_at"])
        if values["billing_reason"] == "updated":
            # The difference to what was paid before, until the period ends.
            end = datetime.fromisoformat(subscription["attributes"]["renews_at"] or values["created_at"])
            shares = [Share(variant, values["subtotal"], start, end)]
        else:
            plans = [plan for plan in sold_plans().values() if price_of(plan) == values["subtotal"]]
            if not plans:
                raise Refused("wrong-amount", f"No plan costs {values['subtotal']}.")
            shares = [Share(plans[0].slug, values["subtotal"], start, month_after(start))]
        return Payment(
            id=f"invoice:{invoice['id']}",
            customer_id=str(values["customer_id"]),
            paid=values["status"] in _PAID,
            amount=values["subtotal"],
            currency=values["currency"].lower(),
            refunded=_refunded(values),
            subscription_id=str(values["subscription_id"]),
            shares=shares,
        )

    def _read_subscription(self, found: Object) -> Subscription:
        values = found["attributes"]
        ends = datetime.fromisoformat(values["ends_at"] or values["renews_at"])
        return Subscription(
            id=str(found["id"]),
            customer_id=str(values["customer_id"]),
            status=_STATUSES[values["status"]],
            plan=self._plan(str(values["variant_id"])),
            period_start=month_before(ends),
            period_end=ends,
            cancel_at_period_end=bool(values["cancelled"]),
        )

    # What is sold, as the operator has set it up there

    def _variant(self, item: Pack | Plan) -> str:
        if item.slug not in self._variants:
            raise ProviderUnavailable(f"IMPASTO_LEMON_SQUEEZY_VARIANTS has no {item.slug}")
        return self._variants[item.slug]

    def _item(self, variant: str) -> str:
        item = self._items.get(variant)
        if item is None or (item not in sold_plans() and item not in packs()):
            raise Refused("unknown-price", f"Variant {variant} is of nothing that we sell.")
        return item

    def _plan(self, variant: str) -> str:
        item = self._item(variant)
        if item not in sold_plans():
            raise Refused("unknown-price", f"Variant {variant} is of {item}, which is no plan.")
        return item

    # HTTP

    async def _get(self, kind: str, id_: str) -> Object:
        return await self._send("GET", f"/v1/{kind}/{id_}")

    async def _send(self, method: str, path: str, data: Object | None = None) -> Object:
        found: Object = (await self._document(method, path, data))["data"]
        return found

    async def _document(
        self, method: str, path: str, data: Object | None = None, params: Mapping[str, Any] | None = None
    ) -> Object:
        """Raises ProviderUnavailable, and ProviderError where the request itself is refused."""
        for attempt in range(RETRIES + 1):
            try:
                response = await self._http.request(
                    method, path, json=None if data is None else {"data": data}, params=params
                )
                if response.is_success:
                    document: Object = response.json()
                    return document
                if response.status_code in (400, 404, 409, 422):
                    raise ProviderError(_words(response))
                trouble = f"Lemon Squeezy answered {response.status_code}"
            except httpx.TransportError as error:
                trouble = f"Lemon Squeezy cannot be reached: {error!r}"
            if method != "GET" or attempt == RETRIES:
                break
            await asyncio.sleep(RETRY_SECONDS * 2**attempt)
        raise ProviderUnavailable(trouble)


def _words(response: httpx.Response) -> str:
    try:
        return str(response.json()["errors"][0]["detail"])
    except (LookupError, TypeError, ValueError):
        return f"Lemon Squeezy answered {response.status_code}"


def _refunded(values: Object) -> int:
    """Of the amount without taxes, which go back in proportion."""
    if not values["total"]:
        return 0
    if values["refunded"]:
        return int(values["subtotal"])
    return int(values["subtotal"] * (values.get("refunded_amount") or 0) // values["total"])


def _invoice(found: Object) -> Invoice:
    values = found["attributes"]
    return Invoice(
        id=str(found["id"]),
        number=None,
        status="open" if values["status"] == "pending" else values["status"],
        amount=values["total"],
        currency=values["currency"].lower(),
        created_at=datetime.fromisoformat(values["created_at"]),
        url=values["urls"]["invoice_url"],
        pdf_url=values["urls"]["invoice_url"],
    )


def _organization(public_id: object) -> UUID | None:
    try:
        return parse_id("org", str(public_id))
    except ValueError:
        return None


def month_after(moment: datetime) -> datetime:
    year, month = (moment.year + 1, 1) if moment.month == 12 else (moment.year, moment.month + 1)
    return moment.replace(year=year, month=month, day=min(moment.day, calendar.monthrange(year, month)[1]))


def month_before(moment: datetime) -> datetime:
    year, month = (moment.year - 1, 12) if moment.month == 1 else (moment.year, moment.month - 1)
    return moment.replace(year=year, month=month, day=min(moment.day, calendar.monthrange(year, month)[1]))
