"""The account's HTTP API, at the one version that Impasto is pinned to."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from stripe import params

from tests.fakes.stripe.account import API_VERSION, LIVE, Account, Object
from tests.fakes.stripe.errors import InvalidRequest, KeyReused, Missing, StripeProblem, Unauthorized
from tests.fakes.stripe.parameters import check, decode

Handler = Callable[[Account, dict[str, Any], dict[str, str]], Object]

CHECKOUT_SECONDS = 86400
METER = "impasto_credits"
"""The only meter of the account."""


def create_app(account: Account) -> Starlette:
    routes = [_route(account, *definition) for definition in ENDPOINTS]
    return Starlette(routes=[*routes, Route("/{rest:path}", _unknown_url, methods=["GET", "POST", "DELETE"])])


async def _unknown_url(request: Request) -> Response:
    problem = InvalidRequest(f"Unrecognized request URL ({request.method}: {request.url.path}).")
    return JSONResponse(problem.body, 404)


def _route(account: Account, method: str, path: str, schema: type, handler: Handler) -> Route:
    answers: dict[str, tuple[tuple[str, bytes], int, Any]] = {}

    async def endpoint(request: Request) -> Response:
        if account.broken:
            return JSONResponse({"error": {"type": "api_error", "message": "Something broke."}}, 500)
        try:
            _authenticate(account, request)
            body = await request.body()
            sent = body.decode() if method == "POST" else request.url.query
            values = check(decode(sent), schema)
            key = request.headers.get("idempotency-key")
            if method == "POST" and key is not None and key in answers:
                fingerprint, status, answer = answers[key]
                if fingerprint != (request.url.path, body):
                    raise KeyReused(
                        "Keys for idempotent requests can only be used with the same parameters they were"
                        f" first used with. Try using a key other than '{key}'."
                    )
                return JSONResponse(answer, status, headers={"Idempotent-Replayed": "true"})
            try:
                status, answer = 200, _public(handler(account, values, request.path_params))
            except StripeProblem as problem:
                status, answer = problem.status, _public(problem.body)
            if method == "POST" and key is not None:
                answers[key] = ((request.url.path, body), status, json.loads(json.dumps(answer)))
            return JSONResponse(answer, status)
        except StripeProblem as problem:
            return JSONResponse(problem.body, problem.status)

    call: Callable[[Request], Awaitable[Response]] = endpoint
    return Route(path, call, methods=[method])


def _authenticate(account: Account, request: Request) -> None:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme == "Basic":
        given = base64.b64decode(given).decode().removesuffix(":")
    if given != account.secret_key:
        raise Unauthorized("Invalid API Key provided.")
    if request.headers.get("stripe-version") != API_VERSION:
        raise InvalidRequest(f"Invalid Stripe API version: send Stripe-Version: {API_VERSION}.")
    if request.method == "POST" and "idempotency-key" not in request.headers:
        raise InvalidRequest("The fake insists: a POST needs an Idempotency-Key.")


def _public(value: Any) -> Any:
    """Without what the account keeps to itself."""
    if isinstance(value, dict):
        return {name: _public(inner) for name, inner in value.items() if not name.startswith("_")}
    return [_public(item) for item in value] if isinstance(value, list) else value


def _page(url: str, found: list[Object], values: dict[str, Any]) -> Object:
    limit = values.get("limit", 10)
    if not 1 <= limit <= 100:
        raise InvalidRequest("This value must be between 1 and 100.", "parameter_invalid_integer", "limit")
    created = values.get("created", {})
    if isinstance(created, dict) and "gte" in created:
        found = [item for item in found if item["created"] >= created["gte"]]
    if after := values.get("starting_after"):
        places = [place for place, item in enumerate(found) if item["id"] == after]
        if not places:
            raise Missing("object", after, "starting_after")
        found = found[places[0] + 1 :]
    return {"object": "list", "url": url, "data": found[:limit], "has_more": len(found) > limit}


def _where(found: list[Object], values: dict[str, Any], *names: str) -> list[Object]:
    wanted = {name: values[name] for name in names if name in values}
    return [item for item in found if all(item.get(name) == value for name, value in wanted.items())]


def _expanded(account: Account, intent: Object, values: dict[str, Any], prefix: str = "") -> Object:
    if f"{prefix}latest_charge" in values.get("expand", []) and intent["latest_charge"]:
        return intent | {"latest_charge": account.get("charge", intent["latest_charge"])}
    return intent


# Customers and prices


def create_customer(account: Account, values: dict[str, Any], _: dict[str, str]) -> Object:
    settings = {"default_payment_method": None} | values.pop("invoice_settings", {})
    defaults: Object = {"email": None, "name": None, "metadata": {}}
    return account.make("cus", "customer", **defaults | values, invoice_settings=settings)


def get_customer(account: Account, values: dict[str, Any], path: dict[str, str]) -> Object:
    return account.get("customer", path["id"])


def list_payment_methods(account: Account, values: dict[str, Any], path: dict[str, str]) -> Object:
    found = _where(account.all("payment_method"), {"customer": path["id"], **values}, "customer", "type")
    return _page(f"/v1/customers/{path['id']}/payment_methods", found, values)


def list_prices(account: Account, values: dict[str, Any], _: dict[str, str]) -> Object:
    found = _where(account.all("price"), values, "active", "currency", "type")
    if keys := values.get("lookup_keys"):
        if len(keys) > 10:
            raise InvalidRequest("At most 10 lookup keys.", "parameter_invalid", "lookup_keys")
        found = [price for price in found if price["lookup_key"] in keys]
    return _page("/v1/prices", found, values)


# Checkout and portal


def create_session(account: Account, values: dict[str, Any], _: dict[str, str]) -> Object:
    account.get("customer", values.get("customer", ""), "customer")
    items = values.get("line_items", [])
    if not items:
        raise InvalidRequest("Missing required param: line_items.", "parameter_missing", "line_items")
    mode = values.get("mode", "payment")
    for name, only_in in {"payment_intent_data": "payment", "subscription_data": "subscription"}.items():
        if name in values and mode != only_in:
            raise InvalidRequest(f"You can not pass `{name}` in `{mode}` mode.", None, name)
    if "invoice_creation" in values and mode != "payment":
        raise InvalidRequest("`invoice_creation` is for `payment` mode.", None, "invoice_creation")
    amounts = [_amount_of(account, item, mode) for item in items]
    session = account.make(
        "cs_test",
        "checkout.session",
        mode=mode,
        status="open",
        payment_status="unpaid",
        customer=values["customer"],
        client_reference_id=values.get("client_reference_id"),
        currency=amounts[0][1],
        amount_total=sum(amount for amount, _ in amounts),
        metadata=values.get("metadata", {}),
        payment_intent=None,
        subscription=None,
        invoice=None,
        success_url=values.get("success_url"),
        cancel_url=values.get("cancel_url"),
        expires_at=values.get("expires_at", account.now() + CHECKOUT_SECONDS),
        _line_items=items,
        _invoice=values.get("invoice_creation", {}).get("enabled", False),
        _payment_intent_metadata=values.get("payment_intent_data", {}).get("metadata", {}),
    )
    session["url"] = f"{account.public_url}/pay/{session['id']}"
    return session


def _amount_of(account: Account, item: Object, mode: str) -> tuple[int, str]:
    if "price" in item:
        price = account.get("price", item["price"], "line_items[0][price]")
        if (price["type"] == "recurring") != (mode == "subscription"):
            raise InvalidRequest(f"You must provide a price fit for `{mode}` mode.", None, "line_items")
        if price["recurring"]["usage_type"] == "metered" and "quantity" in item:
            raise InvalidRequest("Quantity should not be specified where usage is metered.", None, "quantity")
        return (0 if price["recurring"]["usage_type"] == "metered" else price["unit_amount"]), price[
            "currency"
        ]
    data = item.get("price_data", {})
    if "product_data" not in data and "product" not in data:
        raise InvalidRequest("One of product or product_data is needed.", "parameter_missing", "price_data")
    return data["unit_amount"] * item["quantity"], data["currency"]


def create_portal_session(account: Account, values: dict[str, Any], _: dict[str, str]) -> Object:
    account.get("customer", values.get("customer", ""), "customer")
    session = account.make("bps", "billing_portal.session", **values)
    return session | {"url": f"{account.public_url}/portal/{session['id']}"}


# Subscriptions and invoices


def get_subscription(account: Account, values: dict[str, Any], path: dict[str, str]) -> Object:
    return account.get("subscription", path["id"])


def list_subscriptions(account: Account, values: dict[str, Any], _: dict[str, str]) -> Object:
    found = _where(account.all("subscription"), values, "customer")
    status = values.get("status")
    if status != "all":
        found = [item for item in found if item["status"] != "canceled" and status in (None, item["status"])]
    return _page("/v1/subscriptions", found, values)


def update_subscription(account: Account, values: dict[str, Any], path: dict[str, str]) -> Object:
    subscription = account.get("subscription", path["id"])
    if subscription["status"] not in LIVE:
        raise InvalidRequest(f"This subscription is {subscription['status']}.", "resource_missing", "id")
    for item in values.get("items", []):
        if item.get("id") not in {known["id"] for known in subscription["items"]["data"]}:
            raise Missing("subscription item", item.get("id", ""), "items[0][id]")
        account.change_price(
            subscription,
            account.get("price", item["price"], "items[0][price]"),
            values.get("proration_behavior", "create_prorations"),
            values.get("payment_behavior", "allow_incomplete"),
        )
    if "cancel_at_period_end" in values:
        subscription["cancel_at_period_end"] = values["cancel_at_period_end"]
        account.webhooks.announce("customer.subscription.updated", subscription)
    return subscription


def cancel_subscription(account: Account, values: dict[str, Any], path: dict[str, str]) -> Object:
    subscription = account.get("subscription", path["id"])
    account.end(subscription)
    return subscription


def get_invoice(account: Account, values: dict[str, Any], path: dict[str, str]) -> Object:
    return _with_payments(account, account.get("invoice", path["id"]), values, "payments")


def _with_payments(account: Account, invoice: Object, values: dict[str, Any], expand: str) -> Object:
    if expand not in values.get("expand", []):
        return invoice
    payments = [item for item in account.invoice_payments() if item["invoice"] == invoice["id"]]
    return invoice | {"payments": {"object": "list", "data": payments, "has_more": False}}


def list_invoices(account: Account, values: dict[str, Any], _: dict[str, str]) -> Object:
    found = _where(account.all("invoice"), values, "customer", "status")
    page = _page("/v1/invoices", found, values)
    data = [_with_payments(account, item, values, "data.payments") for item in page["data"]]
    return page | {"data": data}


def list_invoice_payments(account: Account, values: dict[str, Any], _: dict[str, str]) -> Object:
    found = _where(account.invoice_payments(), values, "invoice", "status")
    if payment := values.get("payment"):
        found = [item for item in found if item["payment"]["payment_intent"] == payment["payment_intent"]]
    return _page("/v1/invoice_payments", found, values)


# Payments


def create_intent(account: Account, values: dict[str, Any], _: dict[str, str]) -> Object:
    if values["amount"] < 50:
        raise InvalidRequest("Amount must be at least $0.50 usd", "amount_too_small", "amount")
    if values.get("off_session") and not values.get("confirm"):
        raise InvalidRequest("`off_session` needs `confirm`.", None, "off_session")
    method = account.get("payment_method", values.get("payment_method", ""), "payment_method")
    if method["customer"] != values.get("customer"):
        raise InvalidRequest("The payment method belongs to another customer.", None, "payment_method")
    intent = account.make_intent(
        **{
            name: values[name]
            for name in ("amount", "currency", "customer", "payment_method", "metadata", "description")
            if name in values
        }
    )
    if values.get("confirm"):
        account.confirm(intent)
    return _expanded(account, intent, values)


def get_intent(account: Account, values: dict[str, Any], path: dict[str, str]) -> Object:
    return _expanded(account, account.get("payment_intent", path["id"], "intent"), values)


def list_intents(account: Account, values: dict[str, Any], _: dict[str, str]) -> Object:
    page = _page("/v1/payment_intents", _where(account.all("payment_intent"), values, "customer"), values)
    return page | {"data": [_expanded(account, item, values, "data.") for item in page["data"]]}


def list_refunds(account: Account, values: dict[str, Any], _: dict[str, str]) -> Object:
    return _page("/v1/refunds", _where(account.all("refund"), values, "payment_intent", "charge"), values)


def list_disputes(account: Account, values: dict[str, Any], _: dict[str, str]) -> Object:
    return _page("/v1/disputes", _where(account.all("dispute"), values, "payment_intent", "charge"), values)


# Events and usage


def list_events(account: Account, values: dict[str, Any], _: dict[str, str]) -> Object:
    types = values.get("types", [])
    if len(types) > 20:
        raise InvalidRequest("At most 20 types.", "parameter_invalid", "types")
    found = [event for event in reversed(account.webhooks.history) if not types or event["type"] in types]
    return _page("/v1/events", found, values)


def create_meter_event(account: Account, values: dict[str, Any], _: dict[str, str]) -> Object:
    payload = values["payload"]
    if values["event_name"] != METER:
        raise InvalidRequest(
            f"No active meter found for event name {values['event_name']}.", None, "event_name"
        )
    account.get("customer", payload.get("stripe_customer_id", ""), "payload[stripe_customer_id]")
    if not payload.get("value", "").isdecimal():
        raise InvalidRequest("The value must be a number.", None, "payload[value]")
    identifier = values.get("identifier", "")
    if identifier in account.meter_events:
        raise InvalidRequest(
            f"An event already exists with identifier {identifier}.", "duplicate_meter_event", "identifier"
        )
    event = {"object": "billing.meter_event", "created": account.now(), "livemode": False, **values}
    account.meter_events[identifier] = event
    return event


ENDPOINTS: list[tuple[str, str, type, Handler]] = [
    ("POST", "/v1/customers", params.CustomerCreateParams, create_customer),
    ("GET", "/v1/customers/{id}", params.CustomerRetrieveParams, get_customer),
    (
        "GET",
        "/v1/customers/{id}/payment_methods",
        params.CustomerListPaymentMethodsParams,
        list_payment_methods,
    ),
    ("GET", "/v1/prices", params.PriceListParams, list_prices),
    ("POST", "/v1/checkout/sessions", params.checkout.SessionCreateParams, create_session),
    ("POST", "/v1/billing_portal/sessions", params.billing_portal.SessionCreateParams, create_portal_session),
    ("GET", "/v1/subscriptions", params.SubscriptionListParams, list_subscriptions),
    ("GET", "/v1/subscriptions/{id}", params.SubscriptionRetrieveParams, get_subscription),
    ("POST", "/v1/subscriptions/{id}", params.SubscriptionUpdateParams, update_subscription),
    ("DELETE", "/v1/subscriptions/{id}", params.SubscriptionCancelParams, cancel_subscription),
    ("GET", "/v1/invoices", params.InvoiceListParams, list_invoices),
    ("GET", "/v1/invoices/{id}", params.InvoiceRetrieveParams, get_invoice),
    ("GET", "/v1/invoice_payments", params.InvoicePaymentListParams, list_invoice_payments),
    ("POST", "/v1/payment_intents", params.PaymentIntentCreateParams, create_intent),
    ("GET", "/v1/payment_intents", params.PaymentIntentListParams, list_intents),
    ("GET", "/v1/payment_intents/{id}", params.PaymentIntentRetrieveParams, get_intent),
    ("GET", "/v1/refunds", params.RefundListParams, list_refunds),
    ("GET", "/v1/disputes", params.DisputeListParams, list_disputes),
    ("GET", "/v1/events", params.EventListParams, list_events),
    ("POST", "/v1/billing/meter_events", params.billing.MeterEventCreateParams, create_meter_event),
]
