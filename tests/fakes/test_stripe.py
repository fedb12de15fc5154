"""The fake is as strict as Stripe, or tests against it would prove little."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from impasto_core.clock import utc_now
from tests.fakes.stripe import Account, create_app
from tests.fakes.stripe.account import API_VERSION
from tests.support.servers import serve


@pytest.fixture
def account() -> Account:
    return Account(utc_now)


@pytest.fixture
async def client(account: Account) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {account.secret_key}", "Stripe-Version": API_VERSION}
    async with (
        serve(create_app(account)) as url,
        httpx.AsyncClient(base_url=url, headers=headers) as client,
    ):
        yield client


async def post(
    client: httpx.AsyncClient, path: str, data: dict[str, str], key: str = "once"
) -> httpx.Response:
    return await client.post(path, data=data, headers={"Idempotency-Key": key})


@pytest.mark.parametrize(
    ("data", "code", "param"),
    [
        ({"nickname": "x"}, "parameter_unknown", "nickname"),
        ({"invoice_settings[card]": "x"}, "parameter_unknown", "invoice_settings[card]"),
        ({"tax_exempt": "sometimes"}, "parameter_invalid", "tax_exempt"),
        ({"balance": "much"}, "parameter_invalid", "balance"),
    ],
)
async def test_it_refuses_what_stripe_does_not_know(
    client: httpx.AsyncClient, data: dict[str, str], code: str, param: str
) -> None:
    response = await post(client, "/v1/customers", data)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)


async def test_it_misses_what_stripe_needs(client: httpx.AsyncClient) -> None:
    response = await post(client, "/v1/payment_intents", {"currency": "usd"})
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("parameter_missing", "amount")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Stripe-Version": ""}, 400),
        ({"Stripe-Version": "2020-08-27"}, 400),
        ({"Authorization": "Bearer sk_test_other"}, 401),
        ({"Authorization": ""}, 401),
    ],
)
async def test_it_wants_the_key_and_the_version(
    client: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    assert (await client.get("/v1/prices", headers=headers)).status_code == status


async def test_it_honours_idempotency_keys(client: httpx.AsyncClient, account: Account) -> None:
    first = await post(client, "/v1/customers", {"name": "Ada"})
    again = await post(client, "/v1/customers", {"name": "Ada"})
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    other = await post(client, "/v1/customers", {"name": "Bea"})
    assert other.json()["error"]["type"] == "idempotency_error"
    assert len(account.all("customer")) == 1


async def test_it_pages(client: httpx.AsyncClient, account: Account) -> None:
    for plan in ("a", "b", "c"):
        account.add_price(plan, 100)
    page = (await client.get("/v1/prices", params={"limit": 2})).json()
    assert ([price["lookup_key"] for price in page["data"]], page["has_more"]) == (["c", "b"], True)
    after = {"limit": 2, "starting_after": page["data"][-1]["id"]}
    page = (await client.get("/v1/prices", params=after)).json()
    assert ([price["lookup_key"] for price in page["data"]], page["has_more"]) == (["a"], False)


async def test_it_knows_no_other_address(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/everything")
    assert response.status_code == 404
    assert "Unrecognized request URL" in response.json()["error"]["message"]
