"""Places in the queue and priorities, as callers see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, update
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_api.jobs import hub
from impasto_api.jobs import places as places_module
from impasto_api.jobs.places import Places
from impasto_core.database import Database
from impasto_core.ids import parse_id
from impasto_core.jobs.tables import Job
from tests.support.painters import Painter
from tests.support.problems import assert_problem
from tests.support.streams import follow
from tests.support.tenants import Tenant

REQUEST = {"pipeline": "text-to-image", "input": {"prompt": "a big red heart", "seed": 7}}


async def create(client: httpx.AsyncClient, **fields: object) -> str:
    response = await client.post("/v1/jobs", json=REQUEST | fields)
    assert response.status_code == 202, response.text
    job_id: str = response.json()["id"]
    return job_id


async def get(client: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = (await client.get(f"/v1/jobs/{job_id}")).json()
    return job


@pytest.fixture
async def client_of_stranger(base_url: str, stranger: Tenant) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=base_url, headers=stranger.headers, timeout=20) as client:
        yield client


async def test_a_queued_job_tells_its_place_among_everybodys_jobs(
    client: httpx.AsyncClient, client_of_stranger: httpx.AsyncClient
) -> None:
    mine = [await create(client) for _ in range(3)]
    theirs = await create(client_of_stranger)
    places = [(await get(client, job_id))["queue"]["position"] for job_id in mine]
    place = (await get(client_of_stranger, theirs))["queue"]["position"]
    assert sorted([*places, place]) == [1, 2, 3, 4]
    assert places == sorted(places)
    assert place <= 2, "the first job of each organization comes before the second of any"


async def test_a_job_that_has_started_has_no_place_any_more(
    client: httpx.AsyncClient, painter: Painter
) -> None:
    job_id = await create(client)
    await painter.claim()
    job = await get(client, job_id)
    assert (job["status"], job["queue"]) == ("running", None)


async def test_the_time_until_a_job_starts_is_estimated_by_the_pools_latest_jobs(
    client: httpx.AsyncClient, painter: Painter, owner_database: Database
) -> None:
    await create(client)
    done = await painter.paint_next()
    async with owner_database.session() as session:
        took = {"started_at": func.now() - timedelta(seconds=14), "finished_at": func.now()}
        await session.exec(update(Job).where(col(Job.id) == done.id).values(**took))
    jobs = [await create(client) for _ in range(3)]
    estimates = [(await get(client, job_id))["queue"]["eta_seconds"] for job_id in jobs]
    assert estimates == [0.0, 14.0, 28.0]


async def test_lists_do_not_tell_places(client: httpx.AsyncClient) -> None:
    await create(client)
    assert (await client.get("/v1/jobs")).json()["data"][0]["queue"] is None


async def test_a_stream_tells_the_place_and_again_when_it_changes(
    client: httpx.AsyncClient, painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "ASK_SECONDS", 0.1)
    first, second = await create(client), await create(client)
    events = follow(client, second)
    event = await anext(events)
    assert (event.id, event.type, event.data["queue"]["position"]) == ("0-1", "queued", 2)

    await client.post(f"/v1/jobs/{first}/cancel")
    event = await anext(events)
    assert (event.id, event.type, event.data["queue"]["position"]) == ("0-1", "queued", 1)

    await painter.paint_next()
    assert (await anext(events)).type == "started"


async def test_who_resumes_a_stream_hears_the_place_too(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "ASK_SECONDS", 0.1)
    event = await anext(follow(client, await create(client), after="0-1"))
    assert (event.id, event.type, event.data["queue"]["position"]) == ("0-1", "queued", 1)


async def test_all_who_ask_at_once_ask_the_database_together(
    client: httpx.AsyncClient, owner_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [parse_id("job", await create(client)) for _ in range(20)]
    questions = 0
    session = owner_database.session

    def counted() -> Any:
        nonlocal questions
        questions += 1
        return session()

    monkeypatch.setattr(owner_database, "session", counted)
    places = Places(owner_database)
    found = await asyncio.gather(*(places.of(job_id) for job_id in jobs))
    assert [place and place.position for place in found] == list(range(1, 21))
    assert questions == 1


async def test_nobody_waits_for_a_place_that_was_told_moments_ago(
    client: httpx.AsyncClient, owner_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = parse_id("job", await create(client))
    places = Places(owner_database)
    known = await places.of(job_id)
    answer = asyncio.Event()
    session = owner_database.session

    @asynccontextmanager
    async def slow() -> AsyncIterator[AsyncSession]:
        await answer.wait()
        async with session() as current:
            yield current

    monkeypatch.setattr(owner_database, "session", slow)
    later = asyncio.get_running_loop().time() + 2
    monkeypatch.setattr(places_module, "_now", lambda: later)
    assert await places.of(job_id) == known
    question = places._next
    assert question is not None, "it asks anew all the same"
    answer.set()
    await question
    assert await places.of(job_id) == known
    assert places._next is None, "and not again"


async def test_jobs_start_by_their_priority_and_then_in_order(
    client: httpx.AsyncClient, painter: Painter
) -> None:
    names = {
        await create(client, priority=priority): name
        for name, priority in (("low", -10), ("first", 0), ("second", 0), ("high", 10))
    }
    assert {(await get(client, job_id))["priority"] for job_id in names} == {-10, 0, 10}
    started = [(await painter.claim()).id for _ in names]
    by_id = {parse_id("job", job_id): name for job_id, name in names.items()}
    assert [by_id[job_id] for job_id in started] == ["high", "first", "second", "low"]


@pytest.mark.parametrize("priority", [11, -11, 0.5, "high", 10**30, None])
async def test_a_priority_is_a_small_whole_number(client: httpx.AsyncClient, priority: object) -> None:
    response = await client.post("/v1/jobs", json=REQUEST | {"priority": priority})
    assert_problem(response, 422, "validation-failed", field="priority")
    assert (await client.get("/v1/jobs")).json()["data"] == []
