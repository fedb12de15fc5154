"""What a job can cost is known before it is made, and it never costs more."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from impasto_billing.ledger import service as ledger
from impasto_core.clock import utc_now
from impasto_core.database import Database
from impasto_core.ids import format_id
from impasto_core.jobs.errors import JobError
from tests.support.jobs import queue_job
from tests.support.painters import Painter, png
from tests.support.problems import assert_problem
from tests.support.tenants import Tenant, register_model

HEART = {"prompt": "a big red heart", "seed": 7}
LARGE = HEART | {"width": 512, "height": 512, "steps": 50}
"""13.1 million pixel-steps, at 0.4 credits a million: 5.2 credits."""


def body(input_: dict[str, Any] = LARGE, **more: Any) -> dict[str, Any]:
    return {"pipeline": "text-to-image", "input": {"model": "portrait"} | input_} | more


@pytest.fixture(autouse=True)
async def model(owner_database: Database, tenant: Tenant) -> None:
    """One with the price of its base."""
    await register_model(owner_database, "portrait")


async def make(client: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    response = await client.post("/v1/jobs", json=body(**more))
    assert response.status_code == 202, response.text
    job: dict[str, Any] = response.json()
    return job


async def balance(owner: Database, tenant: Tenant) -> tuple[int, int]:
    async with owner.session() as session:
        found = await ledger.balance(session, tenant.organization_id, utc_now())
    return found.available, found.held


async def test_a_quote_says_what_is_counted_and_what_it_costs(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/quotes", json=body())
    assert response.status_code == 200
    assert response.json() == {
        "object": "quote",
        "amount": 6,
        "price_list": "2026-11-01",
        "line_items": [
            {
                "description": "text-to-image, 1 image of 512 x 512 pixels, 50 steps",
                "model": "portrait",
                "meter": "pixel_steps",
                "units": 512 * 512 * 50,
                "unit_price": "0.4",
                "per": 1_000_000,
                "discount_percent": 0,
                "discount": 0,
                "amount": 6,
            }
        ],
        "available": 1_000_000,
        "covered": True,
    }


async def test_a_quote_stores_nothing(
    client: httpx.AsyncClient, owner_database: Database, tenant: Tenant
) -> None:
    await client.post("/v1/quotes", json=body())
    assert (await client.get("/v1/jobs")).json()["data"] == []
    assert await balance(owner_database, tenant) == (1_000_000, 0)


async def test_the_job_carries_the_quote_and_that_much_is_held(
    client: httpx.AsyncClient, owner_database: Database, tenant: Tenant
) -> None:
    quote = (await client.post("/v1/quotes", json=body())).json()
    job = await make(client)
    assert job["quote"] == {name: quote[name] for name in ("amount", "price_list", "line_items")}
    assert job["cost"] is None
    assert await balance(owner_database, tenant) == (999_994, 6)


@pytest.mark.parametrize(
    "wrong",
    [
        body(LARGE | {"width": 510}),
        body(LARGE | {"model": "nowhere"}),
        body(LARGE, metadata={"": "x"}),
        {"pipeline": "image-to-image", "input": LARGE | {"init_image": f"upl_{'0' * 26}"}},
    ],
)
async def test_a_quote_is_refused_as_the_job_would_be(
    client: httpx.AsyncClient, wrong: dict[str, Any]
) -> None:
    quote, job = [(await client.post(path, json=wrong)) for path in ("/v1/quotes", "/v1/jobs")]
    assert quote.status_code == job.status_code == 422
    assert quote.json()["errors"] == job.json()["errors"]


async def test_a_quote_looks_at_a_fresh_upload_and_leaves_it_as_it_was(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    picture = png(128, 64)
    upload = (
        await client.post("/v1/uploads", json={"content_type": "image/png", "size": len(picture)})
    ).json()
    await anonymous.put(upload["url"], content=picture, headers=upload["headers"])
    request = {
        "pipeline": "image-to-image",
        "input": HEART | {"init_image": upload["id"], "steps": 20, "strength": 0.5},
    }
    quote = await client.post("/v1/quotes", json=request)
    assert quote.json()["line_items"][0]["units"] == 128 * 64 * 10
    after = (await client.get(f"/v1/uploads/{upload['id']}")).json()
    assert (after["status"], after["expires_at"]) == ("pending", upload["expires_at"])
    job = await client.post("/v1/jobs", json=request)
    assert job.json()["quote"]["line_items"] == quote.json()["line_items"]


async def test_a_job_above_its_max_cost_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/jobs", json=body(max_cost=5))
    problem = assert_problem(response, 422, "quote-above-max-cost", field="max_cost")
    assert (problem["quote"], problem["max_cost"]) == (6, 5)
    assert (await client.get("/v1/jobs")).json()["data"] == []
    assert (await make(client, max_cost=6))["quote"]["amount"] == 6
    assert (await client.post("/v1/quotes", json=body(max_cost=5))).json()["amount"] == 6


async def test_the_smallest_job_costs_one_credit(client: httpx.AsyncClient) -> None:
    small = {"model": "impasto-shapes", "prompt": "a dot", "width": 64, "height": 64, "steps": 1}
    assert (await client.post("/v1/quotes", json=body(small))).json()["amount"] == 1


async def test_a_job_that_succeeded_costs_its_quote(
    client: httpx.AsyncClient, painter: Painter, owner_database: Database, tenant: Tenant
) -> None:
    job = await make(client)
    await painter.paint_next()
    done = (await client.get(f"/v1/jobs/{job['id']}")).json()
    assert done["quote"] == job["quote"]
    assert done["cost"] == job["quote"] | {"refunded": 0}
    assert await balance(owner_database, tenant) == (999_994, 0)


async def test_a_job_that_failed_costs_nothing(
    client: httpx.AsyncClient, painter: Painter, owner_database: Database, tenant: Tenant
) -> None:
    job = await make(client)
    await painter.fail(await painter.claim(), JobError(code="node-failed", message="No."))
    done = (await client.get(f"/v1/jobs/{job['id']}")).json()
    assert done["cost"] == {"amount": 0, "refunded": 6, "price_list": "2026-11-01", "line_items": []}
    assert await balance(owner_database, tenant) == (1_000_000, 0)


async def test_a_job_canceled_in_the_queue_costs_nothing(
    client: httpx.AsyncClient, owner_database: Database, tenant: Tenant
) -> None:
    job = await make(client)
    canceled = (await client.post(f"/v1/jobs/{job['id']}/cancel")).json()
    assert (canceled["cost"]["amount"], canceled["cost"]["refunded"]) == (0, 6)
    assert (await client.get(f"/v1/jobs/{job['id']}")).json()["cost"] == canceled["cost"]
    assert await balance(owner_database, tenant) == (1_000_000, 0)


async def test_a_running_job_that_is_asked_to_stop_has_no_cost_yet(
    client: httpx.AsyncClient, painter: Painter, owner_database: Database, tenant: Tenant
) -> None:
    job = await make(client)
    await painter.claim()
    assert (await client.post(f"/v1/jobs/{job['id']}/cancel")).json()["cost"] is None
    assert await balance(owner_database, tenant) == (999_994, 6)


async def test_a_retry_with_the_same_idempotency_key_is_held_for_once(
    client: httpx.AsyncClient, owner_database: Database, tenant: Tenant
) -> None:
    headers = {"Idempotency-Key": '"once"'}
    first, again = [await client.post("/v1/jobs", json=body(), headers=headers) for _ in range(2)]
    assert first.json() == again.json()
    assert await balance(owner_database, tenant) == (999_994, 6)


async def test_a_job_from_before_there_were_prices_still_ends(
    client: httpx.AsyncClient, painter: Painter, owner_database: Database, tenant: Tenant
) -> None:
    job = await queue_job(owner_database, tenant.organization_id, await register_model(owner_database))
    await painter.paint_next()
    done = (await client.get(f"/v1/jobs/{format_id('job', job.id)}")).json()
    assert (done["status"], done["quote"], done["cost"]) == ("succeeded", None, None)
