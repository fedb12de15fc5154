"""Storage: counted exactly whatever happens at once, and refused where something new begins."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy import func, update
from sqlmodel import col, select

from impasto_core.database import Database
from impasto_core.images.tables import Image
from impasto_core.jobs import lifecycle
from impasto_core.organizations.service import storage_used
from impasto_core.settings import Settings
from impasto_core.uploads.tables import Upload
from tests.support.painters import Painter
from tests.support.problems import assert_problem
from tests.support.tenants import Tenant, make_customer, register_model

REQUEST: dict[str, Any] = {"pipeline": "text-to-image", "input": {"prompt": "a big red heart"}}


@pytest.fixture
async def tenant(owner_database: Database, settings: Settings) -> Tenant:
    await register_model(owner_database)
    return await make_customer(owner_database, settings, storage_bytes=10_000)


@pytest.fixture
async def others(base_url: str, stranger: Tenant) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=base_url, headers=stranger.headers, timeout=20) as client:
        yield client


async def announce(client: httpx.AsyncClient, size: int) -> httpx.Response:
    return await client.post("/v1/uploads", json={"content_type": "image/png", "size": size})


async def counted(owner: Database, tenant: Tenant) -> int:
    """What is counted, which is what there is."""
    async with owner.session() as session:
        of_images = select(func.coalesce(func.sum(Image.size), 0)).where(
            Image.organization_id == tenant.organization_id, col(Image.deleted_at).is_(None)
        )
        of_uploads = select(func.coalesce(func.sum(Upload.size), 0)).where(
            Upload.organization_id == tenant.organization_id
        )
        there = (await session.exec(of_images)).one() + (await session.exec(of_uploads)).one()
        used = await storage_used(session, tenant.organization_id)
    assert used == there
    return used


async def test_uploads_at_once_fill_the_quota_and_never_more(
    client: httpx.AsyncClient, owner_database: Database, tenant: Tenant, others: httpx.AsyncClient
) -> None:
    answers = await asyncio.gather(*(announce(client, 1500) for _ in range(20)))
    assert Counter(answer.status_code for answer in answers) == {201: 6, 403: 14}
    problem = assert_problem(await announce(client, 1001), 403, "storage-quota-exceeded")
    assert (problem["used_bytes"], problem["limit_bytes"]) == (9000, 10_000)
    assert "DELETE /v1/images" in problem["detail"]
    assert (await announce(client, 1000)).status_code == 201, "the last byte is for use too"
    assert await counted(owner_database, tenant) == 10_000
    assert (await announce(others, 5000)).status_code == 201, "and others have a quota of their own"


async def test_no_job_is_taken_while_there_is_no_room_for_its_images(
    client: httpx.AsyncClient, painter: Painter, owner_database: Database, tenant: Tenant
) -> None:
    assert (await client.post("/v1/jobs", json=REQUEST)).status_code == 202
    running = await painter.claim()
    assert (await announce(client, 10_000)).status_code == 201
    problem = assert_problem(await client.post("/v1/jobs", json=REQUEST), 403, "storage-quota-exceeded")
    assert problem["used_bytes"] == problem["limit_bytes"] == 10_000

    await painter.succeed(running)
    images = (await client.get("/v1/images")).json()["data"]
    assert len(images) == 1, "what was painted is never thrown away"
    assert await counted(owner_database, tenant) == 10_000 + images[0]["size"]

    await painter.forget_uploads()
    assert await counted(owner_database, tenant) == images[0]["size"]
    assert (await client.post("/v1/jobs", json=REQUEST)).status_code == 202, "as the upload has gone"


async def test_a_deleted_image_makes_room_at_once(
    client: httpx.AsyncClient, painter: Painter, owner_database: Database, tenant: Tenant
) -> None:
    await client.post("/v1/jobs", json=REQUEST)
    await painter.paint_next()
    [image] = (await client.get("/v1/images")).json()["data"]
    assert_problem(await announce(client, 10_000), 403, "storage-quota-exceeded")
    assert (await client.delete(f"/v1/images/{image['id']}")).status_code == 204
    assert (await client.delete(f"/v1/images/{image['id']}")).status_code == 404
    assert (await announce(client, 10_000)).status_code == 201
    assert await counted(owner_database, tenant) == 10_000


async def test_a_result_that_came_too_late_counts_for_nothing(
    client: httpx.AsyncClient, painter: Painter, owner_database: Database, tenant: Tenant
) -> None:
    await client.post("/v1/jobs", json=REQUEST)
    job = await painter.claim()
    async with owner_database.session() as session:
        await lifecycle.give_back(session, lifecycle.Lease(job.id, job.attempt))
    with pytest.raises(lifecycle.LeaseLost):
        await painter.succeed(job)
    assert await counted(owner_database, tenant) == 0


async def test_the_count_is_what_there_is_after_anything_at_once(
    client: httpx.AsyncClient, painter: Painter, owner_database: Database, tenant: Tenant
) -> None:
    chance = random.Random(7)
    for _ in range(4):
        await client.post("/v1/jobs", json={**REQUEST, "input": {**REQUEST["input"], "n": 4}})
        await painter.paint_next()
    images = [image["id"] for image in (await client.get("/v1/images")).json()["data"]]

    async def restore() -> None:
        async with owner_database.session() as session:
            await session.exec(update(Image).values(deleted_at=None))

    moves = [announce(client, chance.randint(1, 900)) for _ in range(12)]
    moves += [client.delete(f"/v1/images/{image}") for image in images * 2]
    chance.shuffle(moves)
    await asyncio.gather(*moves, painter.forget_uploads(), restore())
    await counted(owner_database, tenant)
    await restore()
    assert await counted(owner_database, tenant) > 0
