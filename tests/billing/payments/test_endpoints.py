"""/v1/billing: what is refused, and who may ask."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from impasto_api.app import create_app
from impasto_core.api_keys.scopes import Scope
from impasto_core.database import Database
from impasto_core.settings import Settings
from tests.billing.payments.shop import URLS, FakeShop
from tests.support.problems import assert_problem
from tests.support.servers import serve
from tests.support.tenants import make_tenant

OPERATIONS: list[tuple[str, str, dict[str, Any] | None]] = [
    ("POST", "/v1/billing/checkout-sessions", {"pack": "small", **URLS}),
    ("POST", "/v1/billing/portal-sessions", {"return_url": "https://app.impasto.test/"}),
    ("POST", "/v1/billing/subscription/change", {"plan": "pro"}),
    ("POST", "/v1/billing/subscription/cancel", None),
    ("POST", "/v1/billing/subscription/resume", None),
    ("PUT", "/v1/billing/auto-top-up", {"enabled": False, "threshold": 1, "pack": "small"}),
    ("GET", "/v1/billing/invoices", None),
]


async def test_packs_are_listed_with_their_prices(shop: FakeShop) -> None:
    page = (await shop.client.get("/v1/billing/packs")).json()
    assert page["has_more"] is False
    small = page["data"][0]
    assert (small["id"], small["credits"], small["price_cents"], small["currency"]) == (
        "small",
        2_000,
        12_00,
        "usd",
    )


SENSELESS_CHECKOUTS = [
    ({"pack": "enormous"}, "pack"),
    ({"pack": None, "plan": "enterprise"}, "plan"),
    ({"pack": None, "plan": "free"}, "plan"),
    ({"pack": None, "plan": "gold"}, "plan"),
    ({"pack": ""}, "pack"),
    ({"pack": "small", "plan": "pro"}, "body"),
    ({"pack": None}, "body"),
    ({"price": 1}, "price"),
    ({"amount": -1}, "amount"),
    ({"success_url": "http://app.impasto.test/"}, "success_url"),
    ({"success_url": "https://evil.test/"}, "success_url"),
    ({"success_url": "https://app.impasto.test@evil.test/"}, "success_url"),
    ({"success_url": "https://app.impasto.test.evil.test/"}, "success_url"),
    ({"success_url": "https://evil.test\\@app.impasto.test/"}, "success_url"),
    ({"success_url": "https://app.impasto.test:x/"}, "success_url"),
    ({"success_url": "//app.impasto.test/"}, "success_url"),
    ({"success_url": "javascript:alert(1)"}, "success_url"),
    ({"success_url": "https://app.impasto.test/\n"}, "success_url"),
    ({"success_url": "https://" + "a" * 3000}, "success_url"),
    ({"cancel_url": "https://evil.test/"}, "cancel_url"),
]


async def test_a_checkout_that_makes_no_sense_is_refused_by_field(
    shop: FakeShop, subtests: pytest.Subtests
) -> None:
    for changes, field in SENSELESS_CHECKOUTS:
        with subtests.test(str(changes)):
            body = {"pack": "small", **URLS, **changes}
            body = {name: value for name, value in body.items() if value is not None}
            response = await shop.client.post("/v1/billing/checkout-sessions", json=body)
            assert_problem(response, 422, "validation-failed", field=field)
            assert shop.account.all("checkout.session") == []


async def test_the_portal_leads_back_to_our_own_pages_only(shop: FakeShop) -> None:
    response = await shop.client.post(
        "/v1/billing/portal-sessions", json={"return_url": "https://evil.test/"}
    )
    assert_problem(response, 422, "validation-failed", field="return_url")


@pytest.mark.parametrize("cursor", ["x", "%", "aW5fMS8uLg", "aW5fOTk5OTk5"])
async def test_a_cursor_that_is_none_is_refused(shop: FakeShop, cursor: str) -> None:
    await shop.buy("small")
    response = await shop.client.get("/v1/billing/invoices", params={"cursor": cursor})
    assert_problem(response, 422, "validation-failed", field="cursor")


async def test_a_key_that_may_only_read_changes_nothing(
    shop: FakeShop, owner_database: Database, settings: Settings, base_url: str
) -> None:
    reader = await make_tenant(owner_database, settings, scopes=[Scope.BILLING_READ])
    async with httpx.AsyncClient(base_url=base_url, headers=reader.headers) as client:
        for method, path, body in OPERATIONS:
            response = await client.request(method, path, json=body)
            if method == "GET":
                assert response.status_code == 200
            else:
                assert_problem(response, 403, "forbidden")


async def test_a_usual_key_cannot_spend_money(
    shop: FakeShop, owner_database: Database, settings: Settings, base_url: str
) -> None:
    made = (await shop.client.post("/v1/api-keys", json={"name": "usual"})).json()
    headers = {"Authorization": f"Bearer {made['secret']}"}
    async with httpx.AsyncClient(base_url=base_url, headers=headers) as client:
        response = await client.post("/v1/billing/checkout-sessions", json={"pack": "small", **URLS})
        assert_problem(response, 403, "forbidden")


async def test_an_installation_without_a_provider_says_so(
    settings: Settings, shop: FakeShop, subtests: pytest.Subtests
) -> None:
    bare = settings.model_copy(update={"stripe_secret_key": None})
    async with (
        serve(create_app(bare)) as url,
        httpx.AsyncClient(base_url=url, headers=dict(shop.client.headers), timeout=20) as client,
    ):
        for method, path, body in OPERATIONS:
            with subtests.test(path):
                response = await client.request(method, path, json=body)
                assert_problem(response, 501, "payments-not-configured")
        assert (await client.get("/v1/billing/packs")).status_code == 200
        assert (await client.get("/v1/billing/subscription")).json()["status"] == "none"


async def test_a_provider_that_is_away_is_a_problem_and_nothing_is_stored(
    shop: FakeShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stripe.HTTPXClient.INITIAL_DELAY", 0)
    monkeypatch.setattr("stripe.HTTPXClient.MAX_DELAY", 0)
    shop.account.broken = True
    response = await shop.client.post("/v1/billing/checkout-sessions", json={"pack": "small", **URLS})
    assert_problem(response, 503, "service-unavailable")
    shop.account.broken = False
    await shop.buy("small")
    assert await shop.books.credits() == 2_000


async def test_organizations_see_nothing_of_each_others_payments(
    shop: FakeShop, owner_database: Database, settings: Settings, base_url: str
) -> None:
    await shop.subscribe("starter")
    await shop.client.put(
        "/v1/billing/auto-top-up", json={"enabled": True, "threshold": 100, "pack": "small"}
    )
    stranger = await make_tenant(owner_database, settings, plan="free", balance=0)
    async with httpx.AsyncClient(base_url=base_url, headers=stranger.headers) as other:
        assert (await other.get("/v1/billing/subscription")).json()["status"] == "none"
        assert (await other.get("/v1/billing/auto-top-up")).json()["enabled"] is False
        assert (await other.get("/v1/billing/invoices")).json()["data"] == []
        for what in ("cancel", "resume"):
            assert_problem(await other.post(f"/v1/billing/subscription/{what}"), 409, "no-subscription")
        portal = await other.post(
            "/v1/billing/portal-sessions", json={"return_url": "https://app.impasto.test/"}
        )
        assert portal.status_code == 201
    sessions = shop.account.all("billing_portal.session")
    customers = {customer["id"]: customer["metadata"] for customer in shop.account.all("customer")}
    assert len(customers) == 2
    assert customers[sessions[0]["customer"]] != customers[shop.account.all("subscription")[0]["customer"]]
    assert (await shop.books.subscription()).cancel_at_period_end is False
