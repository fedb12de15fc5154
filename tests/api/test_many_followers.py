"""However many follow, one Redis connection hears of all their jobs, and PostgreSQL is asked once for all."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from redis.asyncio import Redis

from impasto_api.jobs import hub, stream, waiting
from impasto_api.services import Services
from impasto_core.ids import parse_id
from impasto_core.jobs.events import EventWriter, Step, stream_key
from tests.support.job_desk import until
from tests.support.painters import Painter
from tests.support.streams import Event, follow
from tests.support.tenants import Tenant

REQUEST = {"pipeline": "text-to-image", "input": {"prompt": "a big red heart"}}


async def create(client: httpx.AsyncClient) -> str:
    response = await client.post("/v1/jobs", json=REQUEST)
    assert response.status_code == 202, response.text
    job_id: str = response.json()["id"]
    return job_id


def services_of(app: FastAPI) -> Services:
    services: Services = app.state.services
    return services


@pytest.fixture
async def crowd(base_url: str, tenant: Tenant) -> AsyncIterator[httpx.AsyncClient]:
    """The tenant's client with as many connections as it likes."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=base_url, headers=tenant.headers, limits=limits, timeout=60
    ) as client:
        yield client


@asynccontextmanager
async def everyone(*streams: AsyncIterator[Event]) -> AsyncIterator[None]:
    """Followers who leave in the end."""
    async with AsyncExitStack() as stack:
        for events in streams:
            stack.push_async_callback(events.aclose)  # type: ignore[attr-defined]
        yield


async def test_followers_of_many_jobs_share_one_subscribed_connection(
    crowd: httpx.AsyncClient, redis: Redis, painter: Painter
) -> None:
    jobs = [await create(crowd) for _ in range(5)]
    streams = [follow(crowd, job_id) for job_id in jobs for _ in range(8)]
    async with everyone(*streams):
        await anext(streams[0])
        with_one = await redis.info("clients")
        for events in streams[1:]:
            await anext(events)
        with_all = await redis.info("clients")
        assert (with_all["pubsub_clients"], with_all["blocked_clients"]) == (1, 0)
        assert with_all["connected_clients"] - with_one["connected_clients"] < 10
        for _ in jobs:
            await painter.claim()
        started = await asyncio.gather(*(_begun(events) for events in streams))
        assert {event.id for event in started} == {"1-1"}
        channels = {stream_key(parse_id("job", job_id)).encode() for job_id in jobs}
        assert channels <= set(await redis.pubsub_channels("*"))

    async def nobody_listens() -> bool:
        return not channels & set(await redis.pubsub_channels("*"))

    await until(nobody_listens, "jobs that nobody follows are listened to")


async def test_however_many_jobs_are_followed_postgresql_is_asked_once_for_all(
    crowd: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = [follow(crowd, await create(crowd)) for _ in range(20)]
    async with everyone(*streams):
        await asyncio.gather(*(anext(events) for events in streams))
        asked: list[int] = []
        get_statuses = hub.repository.get_statuses

        async def counted(session: Any, job_ids: Any) -> Any:
            asked.append(len(job_ids))
            return await get_statuses(session, job_ids)

        monkeypatch.setattr(hub.repository, "get_statuses", counted)
        monkeypatch.setattr(hub, "ASK_SECONDS", 0.05)
        await until(lambda: _true(len(asked) >= 3), "PostgreSQL is not asked")
        assert set(asked) == {20}


async def test_each_organization_is_asked_about_apart(
    client: httpx.AsyncClient, stranger: Tenant, painter: Painter, redis: Redis, app: FastAPI
) -> None:
    """In one transaction, and yet row-level security shows each job to its own organization only."""
    async with httpx.AsyncClient(base_url=client.base_url, headers=stranger.headers) as other:
        mine, theirs = await create(client), await create(other)
        streams = [follow(client, mine), follow(other, theirs)]
        await asyncio.gather(*(anext(events) for events in streams))
        for _ in streams:
            await painter.paint_next()
        await redis.flushall()
        for events, job_id in zip(streams, (mine, theirs), strict=True):
            *_, last = [event async for event in events]
            assert (last.type, last.data["job"]["id"]) == ("succeeded", job_id)


async def test_who_is_far_behind_misses_nothing_of_what_the_process_has_forgotten(
    client: httpx.AsyncClient, painter: Painter, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_KEPT_BYTES", 500)
    job_id = await create(client)
    early = follow(client, job_id)
    await anext(early)
    job = await painter.claim()
    for step in range(1, 201):
        await painter.step(job, step, 200)
    late = follow(client, job_id, after="1-7")
    first_of_late = await anext(late)
    await painter.succeed(job)
    everything = [event.id async for event in early]
    assert everything == [*(f"1-{number}" for number in range(1, 203)), "final"]
    assert [first_of_late.id, *[event.id async for event in late]] == everything[7:]


async def test_streams_go_on_when_redis_has_cut_all_connections(
    client: httpx.AsyncClient, painter: Painter, redis: Redis
) -> None:
    job_id = await create(client)
    events = follow(client, job_id)
    job = await painter.claim()
    assert [(await anext(events)).id for _ in range(2)] == ["0-1", "1-1"]
    for kind in ("pubsub", "normal"):
        await redis.client_kill_filter(_type=kind)
    for step in (1, 2, 3):
        await painter.step(job, step, 3)
    assert [(await anext(events)).id for _ in range(3)] == ["1-2", "1-3", "1-4"]
    await painter.succeed(job)
    assert [event.type async for event in events] == ["image", "succeeded"]


async def test_whoever_comes_and_goes_whenever_sees_everything_once_and_in_order(
    crowd: httpx.AsyncClient, painter: Painter, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers who leave after a few events and come back, while Redis cuts connections and little is kept."""
    monkeypatch.setattr(hub, "_KEPT_BYTES", 1000)
    monkeypatch.setattr(hub, "RETRY_SECONDS", 0.02)
    job_id, chance = await create(crowd), random.Random(1)
    job = await painter.claim()

    async def read() -> list[str]:
        seen = ["0-1"]
        while seen[-1] != "final":
            few = chance.randint(1, 9)
            async with aclosing(follow(crowd, job_id, after=seen[-1])) as events:
                async for event in events:
                    if event.type != "queued":
                        seen.append(event.id)
                        few -= 1
                    if not few:
                        break
        return seen[1:]

    readers = [asyncio.create_task(read()) for _ in range(8)]
    for step in range(1, 61):
        await painter.step(job, step, 60)
        await asyncio.sleep(chance.choice([0, 0, 0.01]))
        if step % 15 == 0:
            await redis.client_kill_filter(_type="pubsub")
        if step % 20 == 0:
            await redis.client_kill_filter(_type="normal")
    await painter.succeed(job)
    for seen in await asyncio.gather(*readers):
        assert seen == [*(f"1-{number}" for number in range(1, 63)), "final"]


async def test_while_nothing_happens_a_stream_says_that_it_lives(
    client: httpx.AsyncClient, painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "HEARTBEAT_SECONDS", 0.01)
    job_id = await create(client)
    await painter.claim()
    async with client.stream(
        "GET", f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "1-1"}
    ) as response:
        beats = response.aiter_lines()
        assert [await anext(beats) for _ in range(6)] == [": waiting", ""] * 3


async def test_a_reader_that_does_not_read_is_dropped_and_can_resume(
    client: httpx.AsyncClient,
    base_url: str,
    tenant: Tenant,
    app: FastAPI,
    painter: Painter,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "PATIENCE_SECONDS", 0.1)
    job_id = await create(client)
    job = await painter.claim()
    url = httpx.URL(base_url)
    reader, writer = await asyncio.open_connection(url.host, url.port, limit=1024)
    request = (
        f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tenant.api_key}\r\n\r\n"
    )
    writer.write(request.encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")

    steps = EventWriter(redis, job.id, job.attempt + 1)
    for number in range(1, 101):  # more than all buffers between us can hold
        await steps.write(Step(node="d", step=number, total=100, progress=0, preview="x" * 200_000))

    followers = services_of(app).followers
    await until(lambda: _true(not followers[tenant.organization_id]), "a stream is kept for nobody")
    received = await reader.read(-1)
    writer.close()
    assert not received.endswith(b"0\r\n\r\n"), "it was cut and not ended"
    ids = re.findall(r"id: (\S+)", received.decode())
    assert 1 < len(ids) < 100

    monkeypatch.setattr(stream, "PATIENCE_SECONDS", 20)
    assert (await anext(follow(client, job_id, after=ids[-2]))).id == ids[-1]


async def test_a_stopping_process_ends_streams_and_waits_so_that_clients_go_on_elsewhere(
    client: httpx.AsyncClient, app: FastAPI, painter: Painter
) -> None:
    waiting_for = asyncio.create_task(client.post("/v1/jobs", json=REQUEST, headers={"Prefer": "wait=60"}))
    job_id = await create(client)
    events = follow(client, job_id)
    await anext(events)
    services_of(app).hub.close()
    assert [event async for event in events] == [], "it ends, and says nothing of the job"
    answered = await waiting_for
    assert (answered.status_code, answered.json()["status"]) == (202, "queued")


async def _true(value: bool) -> bool:
    return value


async def _begun(events: AsyncIterator[Event]) -> Event:
    """The first event after `queued`, which comes again where the job's place has changed."""
    while (event := await anext(events)).type == "queued":
        pass
    return event
