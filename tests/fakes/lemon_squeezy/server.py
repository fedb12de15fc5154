"""The store's HTTP API, as https://docs.lemonsqueezy.com/api describes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.fakes.lemon_squeezy.store import Object, Problem, Store, public

MEDIA_TYPE = "application/vnd.api+json"

CHECKOUT = {
    "custom_price": {},
    "product_options": {
        "name": {},
        "description": {},
        "media": {},
        "redirect_url": {},
        "receipt_button_text": {},
        "receipt_link_url": {},
        "receipt_thank_you_note": {},
        "enabled_variants": {},
    },
    "checkout_options": {},
    "checkout_data": {
        "email": {},
        "name": {},
        "billing_address": {},
        "tax_number": {},
        "discount_code": {},
        "custom": {},
        "variant_quantities": {},
    },
    "expires_at": {},
    "preview": {},
    "test_mode": {},
}
SUBSCRIPTION: dict[str, Any] = {
    "variant_id": {},
    "cancelled": {},
    "billing_anchor": {},
    "invoice_immediately": {},
    "disable_prorations": {},
    "pause": {},
    "trial_ends_at": {},
}
LISTED = {
    "orders": {"filter[store_id]", "filter[user_email]"},
    "subscriptions": {"filter[store_id]", "filter[order_id]", "filter[status]"},
    "subscription-invoices": {"filter[store_id]", "filter[subscription_id]", "filter[status]"},
}


def create_app(store: Store, *, plans: set[str]) -> Starlette:
    """`plans` are the variants that are subscribed to."""

    def route(path: str, method: str, handle: Callable[[Request, Object], Any]) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                _authenticate(store, request)
                document = (await request.json())["data"] if method in ("POST", "PATCH") else {}
                return JSONResponse(handle(request, document), media_type=MEDIA_TYPE)
            except Problem as problem:
                errors = [{"status": str(problem.status), "detail": str(problem)}]
                return JSONResponse({"errors": errors}, problem.status, media_type=MEDIA_TYPE)

        return Route(path, endpoint, methods=[method])

    def create_checkout(request: Request, document: Object) -> Any:
        _check(document["attributes"], CHECKOUT)
        related = document["relationships"]
        if related["store"]["data"] != {"type": "stores", "id": store.id}:
            raise Problem(404, "There is no such store.")
        variant = related["variant"]["data"]["id"]
        if variant not in store.variants:
            raise Problem(404, "There is no such variant.")
        attributes = {"checkout_data": {}, **document["attributes"]}
        made = store.make("checkouts", variant_id=int(variant), subscription=variant in plans, **attributes)
        made["attributes"]["url"] = f"{store.public_url}/checkout/custom/{made['id']}"
        return {"data": public(made)}

    def get(request: Request, _: Object) -> Any:
        kind, id_ = request.path_params["kind"], request.path_params["id"]
        found = store.get(kind, id_)
        answer = {"data": public(found)}
        if kind == "customers" and request.query_params.get("include") == "subscriptions":
            answer["included"] = [  # type: ignore[assignment]
                public(item)
                for item in store.all("subscriptions")
                if str(item["attributes"]["customer_id"]) == id_
            ]
        return answer

    def list_(request: Request, _: Object) -> Any:
        kind = request.path_params["kind"]
        if kind not in LISTED:
            raise Problem(404, "There is nothing here.")
        number, size = 1, 10
        found = store.all(kind)
        for name, value in request.query_params.items():
            if name == "page[number]":
                number = int(value)
            elif name == "page[size]":
                size = int(value)
            elif name in LISTED[kind]:
                attribute = name.removeprefix("filter[").removesuffix("]")
                found = [item for item in found if str(item["attributes"][attribute]) == value]
            else:
                raise Problem(400, f"The parameter {name} is not allowed.")
        if not 1 <= size <= 100:
            raise Problem(400, "The page size must be between 1 and 100.")
        last = max(1, -(-len(found) // size))
        page = found[(number - 1) * size : number * size]
        return {
            "meta": {"page": {"currentPage": number, "lastPage": last, "perPage": size, "total": len(found)}},
            "data": [public(item) for item in page],
        }

    def update(request: Request, document: Object) -> Any:
        subscription = store.get("subscriptions", request.path_params["id"])
        attributes = document["attributes"]
        _check(attributes, SUBSCRIPTION)
        if document["id"] != subscription["id"]:
            raise Problem(400, "The id is another one's.")
        if subscription["attributes"]["status"] == "expired":
            raise Problem(422, "The subscription has expired.")
        if "variant_id" in attributes:
            invoice = attributes.get("invoice_immediately", False)
            store.change(subscription, str(attributes["variant_id"]), invoice=invoice)
        if "cancelled" in attributes:
            store.set_cancelled(subscription, attributes["cancelled"])
        return {"data": public(subscription)}

    def cancel(request: Request, _: Object) -> Any:
        subscription = store.get("subscriptions", request.path_params["id"])
        store.set_cancelled(subscription, True)
        return {"data": public(subscription)}

    return Starlette(
        routes=[
            route("/v1/checkouts", "POST", create_checkout),
            route("/v1/subscriptions/{id}", "PATCH", update),
            route("/v1/subscriptions/{id}", "DELETE", cancel),
            route("/v1/{kind}/{id}", "GET", get),
            route("/v1/{kind}", "GET", list_),
        ]
    )


def _authenticate(store: Store, request: Request) -> None:
    if request.headers.get("authorization") != f"Bearer {store.api_key}":
        raise Problem(401, "Unauthenticated.")
    if request.headers.get("accept") != MEDIA_TYPE:
        raise Problem(406, f"Accept {MEDIA_TYPE}.")
    if request.method in ("POST", "PATCH") and request.headers.get("content-type") != MEDIA_TYPE:
        raise Problem(415, f"Send {MEDIA_TYPE}.")


def _check(attributes: Object, known: dict[str, Any], where: str = "attributes") -> None:
    for name, value in attributes.items():
        if name not in known:
            raise Problem(422, f"The field {where}.{name} is not allowed.")
        if known[name] and isinstance(value, dict):
            _check(value, known[name], f"{where}.{name}")
