"""What a plan allows, and that a change of plan holds at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from impasto_billing.plans import read_plans
from impasto_billing.plans import service as plans
from impasto_core.database import Database
from impasto_core.jobs import lifecycle
from impasto_core.settings import Settings
from tests.support.job_desk import until
from tests.support.painters import Painter
from tests.support.problems import assert_problem
from tests.support.tenants import Tenant, make_tenant, register_model

Input = dict[str, Any]


@pytest.fixture
async def small(owner_database: Database, settings: Settings, tenant: Tenant) -> Tenant:
    """An organization on the free plan, with models that it may and may not use."""
    for slug, base in (("portrait", "sd-1"), ("landscape", "sdxl"), ("poster", "flux"), ("film", "sd-3")):
        await register_model(owner_database, slug, base=base, max_pixels=2048 * 2048)
    return await make_tenant(owner_database, settings, plan="free")


@pytest.fixture
async def small_client(base_url: str, small: Tenant) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=base_url, headers=small.headers, timeout=20) as client:
        yield client


async def assign(owner: Database, tenant: Tenant, plan: str) -> None:
    async with owner.session() as session:
        await plans.assign(session, tenant.organization_id, plan)


async def post(client: httpx.AsyncClient, path: str = "/v1/jobs", **input_: Any) -> httpx.Response:
    input_ = {"model": "portrait", "prompt": "a big red heart"} | input_
    return await client.post(path, json={"pipeline": "text-to-image", "input": input_})


async def test_everyone_can_see_what_is_sold(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/plans")
    assert response.status_code == 200
    listed = response.json()
    assert not listed["has_more"]
    assert [plan["id"] for plan in listed["data"]] == ["free", "starter", "pro", "studio", "enterprise"]
    for plan, sold in zip(listed["data"], read_plans(), strict=True):
        terms = sold.model_dump(mode="json")
        assert plan == {"id": terms.pop("slug"), "object": "plan"} | terms


NOT_IN_FREE = [
    ({"model": "landscape"}, "input.model", "starter"),
    ({"model": "poster"}, "input.model", "pro"),
    ({"model": "film"}, "input.model", "studio"),
    ({"width": 1024, "height": 1024}, "input.width", "starter"),
    ({"width": 2048, "height": 2048}, "input.width", "studio"),
    ({"n": 2}, "input.n", "starter"),
    ({"n": 4}, "input.n", "pro"),
    ({"n": 2, "width": 1536, "height": 1536}, "input.width", "pro"),
]


async def test_what_the_plan_does_not_include_is_refused_with_the_plan_that_does(
    small_client: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    for asked, field, allowed_by in NOT_IN_FREE:
        for path in ("/v1/jobs", "/v1/quotes"):
            with subtests.test(f"{path} {asked}"):
                refused = await post(small_client, path, **asked)
                problem = assert_problem(refused, 403, "not-in-plan", field=field)
                assert (problem["plan"], problem["allowed_by"]) == ("free", allowed_by)
                assert allowed_by in problem["detail"]


@pytest.mark.parametrize("asked", [{}, {"width": 768, "height": 768}, {"n": 1}])
async def test_what_the_plan_includes_is_made(small_client: httpx.AsyncClient, asked: Input) -> None:
    assert (await post(small_client, **asked)).status_code == 202


async def test_a_change_of_plan_holds_for_the_next_request(
    small_client: httpx.AsyncClient, small: Tenant, owner_database: Database
) -> None:
    assert (await post(small_client, n=2)).status_code == 403

    async def allowed() -> bool:
        return (await post(small_client, "/v1/quotes", n=2)).status_code == 200

    await assign(owner_database, small, "starter")
    await until(allowed, "the process was told and knows the new plan", within=5)


async def test_new_terms_of_a_plan_hold_for_the_next_request(
    small_client: httpx.AsyncClient, owner_database: Database
) -> None:
    assert (await post(small_client, n=2)).status_code == 403
    changed = [
        plan.model_copy(update={"max_images": 2}) if plan.slug == "free" else plan for plan in read_plans()
    ]

    async def allowed() -> bool:
        return (await post(small_client, "/v1/quotes", n=2)).status_code == 200

    async with owner_database.session() as session:
        assert await plans.sync(session, changed) == ["free: max_images 1 -> 2"]
    await until(allowed, "the process was told and knows the new terms", within=5)


async def test_a_plan_with_a_discount_takes_it_off_every_job(
    small_client: httpx.AsyncClient, owner_database: Database
) -> None:
    changed = [
        plan.model_copy(update={"discount_percent": 25}) if plan.slug == "free" else plan
        for plan in read_plans()
    ]
    async with owner_database.session() as session:
        await plans.sync(session, changed)
    quote = (await post(small_client, "/v1/quotes", width=512, height=512, steps=50)).json()
    [item] = quote["line_items"]
    assert (item["amount"], item["discount"], item["discount_percent"]) == (4, 2, 25)  # of 5.24 and 3.93
    assert quote["amount"] == 4


async def test_a_change_of_plan_holds_for_queued_jobs_at_once(
    small_client: httpx.AsyncClient, small: Tenant, owner_database: Database, painter: Painter
) -> None:
    for _ in range(3):
        await post(small_client)

    async def claim_another() -> bool:
        async with painter.database.session() as session:
            job = await lifecycle.claim(session, pool="default", worker="painter", lease_seconds=30)
        return job is not None

    assert await claim_another()
    assert not await claim_another(), "the free plan runs one job at once"
    await assign(owner_database, small, "studio")
    assert await claim_another()
    assert await claim_another()
