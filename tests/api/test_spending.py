"""Nobody spends more than they have, or than they allow themselves; not even with 200 requests at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from impasto_billing.ledger import service as ledger
from impasto_core.clock import utc_now
from impasto_core.database import Database
from impasto_core.jobs.errors import JobError
from impasto_core.settings import Settings
from tests.api.conftest import MovableClock
from tests.support.painters import Painter
from tests.support.problems import assert_problem
from tests.support.tenants import Tenant, make_tenant

ONE_CREDIT = {"pipeline": "text-to-image", "input": {"prompt": "a big red heart"}}
SIX_CREDITS = {
    "pipeline": "text-to-image",
    "input": {"prompt": "a big red heart", "width": 512, "height": 512, "steps": 100, "n": 2},
}
"""52.4 million pixel-steps, at 0.1 credits a million."""


@pytest.fixture
async def poor(owner_database: Database, settings: Settings, tenant: Tenant) -> Tenant:
    """An organization with 50 credits."""
    return await make_tenant(owner_database, settings, balance=50)


@pytest.fixture
async def poor_client(base_url: str, poor: Tenant) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=base_url, headers=poor.headers, timeout=60) as client:
        yield client


async def create_many(client: httpx.AsyncClient, count: int) -> Counter[int]:
    """The statuses of that many requests sent at once, each repeated while the platform is too busy."""

    async def create() -> int:
        while True:
            status = (await client.post("/v1/jobs", json=ONE_CREDIT)).status_code
            if status != 503:
                return status

    return Counter(await asyncio.gather(*(create() for _ in range(count))))


async def count_jobs(client: httpx.AsyncClient) -> int:
    page = (await client.get("/v1/jobs", params={"limit": 100})).json()
    assert not page["has_more"]
    return len(page["data"])


async def set_cap(client: httpx.AsyncClient, amount: int, **key: str) -> dict[str, Any]:
    response = await client.put("/v1/billing/spend-caps", json={"amount": amount} | key)
    assert response.status_code == 200, response.text
    cap: dict[str, Any] = response.json()
    return cap


async def list_of(client: httpx.AsyncClient, what: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (await client.get(f"/v1/billing/{what}")).json()["data"]
    return listed


async def test_two_hundred_jobs_at_once_on_a_balance_for_fifty_make_fifty(
    poor_client: httpx.AsyncClient, poor: Tenant, owner_database: Database
) -> None:
    assert await create_many(poor_client, 200) == {202: 50, 402: 150}
    assert await count_jobs(poor_client) == 50
    async with owner_database.session() as session:
        balance = await ledger.balance(session, poor.organization_id, utc_now())
    assert (balance.available, balance.held) == (0, 50)


async def test_two_hundred_jobs_at_once_under_a_cap_for_fifty_make_fifty(client: httpx.AsyncClient) -> None:
    await set_cap(client, 50)
    assert await create_many(client, 200) == {202: 50, 402: 150}
    assert await count_jobs(client) == 50
    [cap] = await list_of(client, "spend-caps")
    assert (cap["amount"], cap["spent"]) == (50, 50)


async def test_jobs_beyond_the_balance_are_refused_with_what_is_missing(
    poor_client: httpx.AsyncClient, settings: Settings
) -> None:
    for _ in range(8):
        assert (await poor_client.post("/v1/jobs", json=SIX_CREDITS)).status_code == 202
    problem = assert_problem(await poor_client.post("/v1/jobs", json=SIX_CREDITS), 402, "not-enough-credits")
    assert {name: problem[name] for name in ("required", "available", "top_up_url")} == {
        "required": 6,
        "available": 2,
        "top_up_url": settings.top_up_url,
    }
    quote = (await poor_client.post("/v1/quotes", json=SIX_CREDITS)).json()
    assert (quote["available"], quote["covered"]) == (2, False)
    assert (await poor_client.post("/v1/jobs", json=ONE_CREDIT)).status_code == 202


async def test_a_refused_job_is_not_counted_against_the_cap(poor_client: httpx.AsyncClient) -> None:
    await set_cap(poor_client, 1000)
    assert await create_many(poor_client, 60) == {202: 50, 402: 10}
    [cap] = await list_of(poor_client, "spend-caps")
    assert cap["spent"] == 50


async def test_a_job_over_the_cap_is_refused_with_the_cap(client: httpx.AsyncClient) -> None:
    await set_cap(client, 10)
    assert (await client.post("/v1/jobs", json=SIX_CREDITS)).status_code == 202
    problem = assert_problem(await client.post("/v1/jobs", json=SIX_CREDITS), 402, "spend-cap-reached")
    assert {name: problem[name] for name in ("required", "spent", "cap", "api_key_id")} == {
        "required": 6,
        "spent": 6,
        "cap": 10,
        "api_key_id": None,
    }


async def test_a_key_with_a_cap_stops_and_the_others_go_on(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    key = (await client.post("/v1/api-keys", json={"name": "intern"})).json()
    await set_cap(client, 2, api_key_id=key["id"])
    capped = {"Authorization": f"Bearer {key['secret']}"}
    statuses = [
        (await anonymous.post("/v1/jobs", json=ONE_CREDIT, headers=capped)).status_code for _ in range(3)
    ]
    assert statuses == [202, 202, 402]
    assert (await client.post("/v1/jobs", json=ONE_CREDIT)).status_code == 202
    response = await anonymous.post("/v1/jobs", json=ONE_CREDIT, headers=capped)
    assert assert_problem(response, 402, "spend-cap-reached")["api_key_id"] == key["id"]


async def test_a_rolled_key_is_capped_like_the_one_before(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    key = (await client.post("/v1/api-keys", json={"name": "intern"})).json()
    await set_cap(client, 2, api_key_id=key["id"])
    rolled = (await client.post(f"/v1/api-keys/{key['id']}/roll", json={"grace_seconds": 60})).json()
    for secret in (rolled["secret"], key["secret"]):
        statuses = [
            (
                await anonymous.post(
                    "/v1/jobs", json=ONE_CREDIT, headers={"Authorization": f"Bearer {secret}"}
                )
            ).status_code
            for _ in range(3)
        ]
        assert statuses == [202, 202, 402]


async def test_spending_counts_before_there_is_a_cap(client: httpx.AsyncClient) -> None:
    await client.post("/v1/jobs", json=SIX_CREDITS)
    assert (await set_cap(client, 10))["spent"] == 6


async def test_what_is_refunded_can_be_spent_again(client: httpx.AsyncClient, painter: Painter) -> None:
    await set_cap(client, 6)
    await client.post("/v1/jobs", json=SIX_CREDITS)
    assert (await client.post("/v1/jobs", json=ONE_CREDIT)).status_code == 402
    await painter.fail(await painter.claim(), JobError(code="node-failed", message="No."))
    [cap] = await list_of(client, "spend-caps")
    assert cap["spent"] == 0
    assert (await client.post("/v1/jobs", json=SIX_CREDITS)).status_code == 202


async def test_a_cap_is_for_a_calendar_month(client: httpx.AsyncClient, clock: MovableClock) -> None:
    await set_cap(client, 6)
    assert (await client.post("/v1/jobs", json=SIX_CREDITS)).status_code == 202
    assert (await client.post("/v1/jobs", json=ONE_CREDIT)).status_code == 402
    clock.advance(days=31)
    assert (await client.post("/v1/jobs", json=SIX_CREDITS)).status_code == 202


async def test_a_job_canceled_in_the_next_month_is_refunded_in_its_own(
    client: httpx.AsyncClient, clock: MovableClock
) -> None:
    await set_cap(client, 100)
    job = (await client.post("/v1/jobs", json=SIX_CREDITS)).json()
    clock.advance(days=31)
    await client.post("/v1/jobs", json=ONE_CREDIT)
    assert (await client.post(f"/v1/jobs/{job['id']}/cancel")).status_code == 200
    [cap] = await list_of(client, "spend-caps")
    assert cap["spent"] == 1
    clock.advance(days=-31)
    [cap] = await list_of(client, "spend-caps")
    assert cap["spent"] == 0


async def test_alerts_are_recorded_once_at_fifty_eighty_and_a_hundred_percent(
    client: httpx.AsyncClient,
) -> None:
    await set_cap(client, 10)
    for _ in range(10):
        assert (await client.post("/v1/jobs", json=ONE_CREDIT)).status_code == 202
    alerts = await list_of(client, "spend-alerts")
    assert [(alert["percent"], alert["spent"]) for alert in reversed(alerts)] == [(50, 5), (80, 8), (100, 10)]
    job = (await client.get("/v1/jobs")).json()["data"][0]
    await client.post(f"/v1/jobs/{job['id']}/cancel")
    await client.post("/v1/jobs", json=ONE_CREDIT)
    assert await list_of(client, "spend-alerts") == alerts


async def test_one_job_can_reach_several_alerts_and_webhooks_tell_of_each(client: httpx.AsyncClient) -> None:
    await client.post("/v1/webhook-endpoints", json={"url": "https://example.com/hooks"})
    await set_cap(client, 7)
    await client.post("/v1/jobs", json=SIX_CREDITS)
    assert {alert["percent"] for alert in await list_of(client, "spend-alerts")} == {50, 80}
    deliveries = (await client.get("/v1/webhook-deliveries")).json()["data"]
    assert [delivery["event_type"] for delivery in deliveries] == ["spend_cap.alert", "spend_cap.alert"]


async def test_a_cap_that_is_reached_when_it_is_set_alerts_at_once(client: httpx.AsyncClient) -> None:
    await client.post("/v1/jobs", json=SIX_CREDITS)
    await set_cap(client, 12)
    [alert] = await list_of(client, "spend-alerts")
    assert (alert["percent"], alert["cap"], alert["spent"]) == (50, 12, 6)


async def test_a_cap_can_be_changed_and_deleted(client: httpx.AsyncClient) -> None:
    cap = await set_cap(client, 0)
    assert (await client.post("/v1/jobs", json=ONE_CREDIT)).status_code == 402
    changed = await set_cap(client, 1)
    assert changed["id"] == cap["id"]
    assert await list_of(client, "spend-caps") == [changed]
    assert (await client.delete(f"/v1/billing/spend-caps/{cap['id']}")).status_code == 204
    assert await list_of(client, "spend-caps") == []
    assert (await client.post("/v1/jobs", json=SIX_CREDITS)).status_code == 202
    assert_problem(await client.delete(f"/v1/billing/spend-caps/{cap['id']}"), 404, "not-found")


@pytest.mark.parametrize("amount", [-1, 1.5, "many", 10**12 + 1, 10**30, None])
async def test_a_cap_is_a_whole_number_of_credits(client: httpx.AsyncClient, amount: object) -> None:
    response = await client.put("/v1/billing/spend-caps", json={"amount": amount})
    assert_problem(response, 422, "validation-failed", field="amount")
