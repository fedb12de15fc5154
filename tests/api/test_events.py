"""GET /v1/jobs/{id}/events: a job's life as it happens, without gap or repeat, to the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from impasto_api.app import create_app
from impasto_api.jobs import hub
from impasto_core.jobs import lifecycle
from impasto_core.jobs.errors import JobError
from impasto_core.settings import Settings
from tests.support.job_desk import until
from tests.support.painters import Painter, lease_of
from tests.support.problems import assert_problem
from tests.support.servers import closed_port, serve
from tests.support.streams import Event, collect, follow
from tests.support.tenants import Tenant

WHOLE_LIFE = [
    ("0-1", "queued"),
    ("1-1", "started"),
    ("1-2", "step"),
    ("1-3", "step"),
    ("1-4", "step"),
    ("1-5", "image"),
    ("1-6", "image"),
    ("final", "succeeded"),
]


async def create(client: httpx.AsyncClient) -> str:
    body = {"pipeline": "text-to-image", "input": {"prompt": "a big red heart", "seed": 7, "n": 2}}
    response = await client.post("/v1/jobs", json=body)
    assert response.status_code == 202, response.text
    job_id: str = response.json()["id"]
    return job_id


def outline(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.id, event.type) for event in events]


def without_urls(job: dict[str, Any]) -> dict[str, Any]:
    """Each answer signs URLs of its own."""
    images = [{name: value for name, value in image.items() if "url" not in name} for image in job["images"]]
    return job | {"images": images}


async def test_who_follows_from_the_start_sees_everything_as_it_happens(
    client: httpx.AsyncClient, painter: Painter
) -> None:
    job_id = await create(client)
    events = follow(client, job_id)
    queued = await anext(events)
    assert (queued.id, queued.type) == ("0-1", "queued")
    assert queued.data == {"type": "queued", "job_id": job_id, "queue": {"position": 1, "eta_seconds": None}}

    job = await painter.claim()
    started = await anext(events)
    assert (started.type, started.data["job_id"], started.data["attempt"]) == ("started", job_id, 1)

    for step in (1, 2, 3):
        await painter.step(job, step, 3)
        seen = (await anext(events)).data
        assert (seen["node"], seen["step"], seen["total"]) == ("denoise_0", step, 3)
        assert seen["progress"] == pytest.approx(step / 3)

    await painter.succeed(job)
    images = [(await anext(events)).data for _ in range(2)]
    assert [(image["index"], image["node"], image["width"]) for image in images] == [
        (0, "image_0", 64),
        (1, "image_1", 64),
    ]
    final = await anext(events)
    assert (final.id, final.type, final.data["type"]) == ("final", "succeeded", "succeeded")
    assert without_urls(final.data["job"]) == without_urls((await client.get(f"/v1/jobs/{job_id}")).json())
    with pytest.raises(StopAsyncIteration):
        await anext(events)


async def test_who_comes_late_sees_everything_too(client: httpx.AsyncClient, painter: Painter) -> None:
    job_id = await create(client)
    await painter.paint_next()
    assert outline(await collect(client, job_id)) == WHOLE_LIFE


async def test_the_stream_is_served_as_one(client: httpx.AsyncClient, painter: Painter) -> None:
    job_id = await create(client)
    await painter.paint_next()
    async with client.stream("GET", f"/v1/jobs/{job_id}/events") as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["x-accel-buffering"] == "no"
        assert response.headers["x-request-id"].startswith("req_")


async def test_a_stream_resumes_after_any_event_without_gap_or_repeat(
    client: httpx.AsyncClient, painter: Painter
) -> None:
    job_id = await create(client)
    await painter.paint_next()
    for place, (event_id, _) in enumerate(WHOLE_LIFE[:-1]):
        assert outline(await collect(client, job_id, after=event_id)) == WHOLE_LIFE[place + 1 :]


async def test_what_happens_while_nobody_is_connected_is_not_missed(
    client: httpx.AsyncClient, painter: Painter
) -> None:
    job_id = await create(client)
    job = await painter.claim()
    seen = []
    async for event in follow(client, job_id):
        seen.append(event)
        if event.type == "started":
            break
    await painter.step(job, 1, 2)
    async for event in follow(client, job_id, after=seen[-1].id):
        seen.append(event)
        break
    await painter.step(job, 2, 2)
    await painter.succeed(job)
    seen += await collect(client, job_id, after=seen[-1].id)
    assert outline(seen) == [
        ("0-1", "queued"),
        ("1-1", "started"),
        ("1-2", "step"),
        ("1-3", "step"),
        ("1-4", "image"),
        ("1-5", "image"),
        ("final", "succeeded"),
    ]


async def test_after_the_final_event_there_is_nothing_more(
    client: httpx.AsyncClient, painter: Painter
) -> None:
    job_id = await create(client)
    await painter.paint_next()
    response = await client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "final"})
    assert (response.status_code, response.content) == (204, b"")


async def test_a_second_attempt_is_part_of_the_same_stream(
    client: httpx.AsyncClient, painter: Painter
) -> None:
    job_id = await create(client)
    first = await painter.claim()
    await painter.step(first, 1, 3)
    async with painter.database.session() as session:
        await lifecycle.give_back(session, lease_of(first))
    await painter.paint_next(steps=1)
    events = await collect(client, job_id)
    assert outline(events) == [
        ("0-1", "queued"),
        ("1-1", "started"),
        ("1-2", "step"),
        ("2-1", "started"),
        ("2-2", "step"),
        ("2-3", "image"),
        ("2-4", "image"),
        ("final", "succeeded"),
    ]
    assert [event.data["attempt"] for event in events if event.type == "started"] == [1, 2]


async def test_a_failure_ends_the_stream_with_its_reason(client: httpx.AsyncClient, painter: Painter) -> None:
    job_id = await create(client)
    await painter.fail(await painter.claim(), JobError(code="node-failed", message="no"))
    events = await collect(client, job_id)
    assert outline(events) == [("0-1", "queued"), ("1-1", "started"), ("final", "failed")]
    assert events[-1].data["job"]["error"]["code"] == "node-failed"


async def test_canceling_a_queued_job_ends_its_streams_at_once(client: httpx.AsyncClient) -> None:
    job_id = await create(client)
    events = follow(client, job_id)
    await anext(events)
    canceled = time.monotonic()
    await client.post(f"/v1/jobs/{job_id}/cancel")
    final = await anext(events)
    assert (final.id, final.type) == ("final", "canceled")
    assert time.monotonic() - canceled < 1.5, "it is told, and does not ask from time to time"


async def test_canceling_a_running_job_ends_its_streams_when_the_worker_has_stopped(
    client: httpx.AsyncClient, painter: Painter
) -> None:
    job_id = await create(client)
    job = await painter.claim()
    await client.post(f"/v1/jobs/{job_id}/cancel")
    await painter.finish_cancel(job)
    assert outline(await collect(client, job_id))[-1] == ("final", "canceled")


async def test_the_stream_ends_with_the_final_state_though_redis_lost_everything(
    client: httpx.AsyncClient, painter: Painter, redis: Redis
) -> None:
    job_id = await create(client)
    events = follow(client, job_id)
    job = await painter.claim()
    assert [(await anext(events)).type for _ in range(2)] == ["queued", "started"]

    await redis.flushall()
    await painter.step(job, 1, 1)
    assert outline([await anext(events)]) == [("1-2", "step")], "and goes on with what comes after"

    await painter.succeed(job)
    await redis.flushall()
    rest = [event async for event in events]
    assert (rest[-1].id, rest[-1].type) == ("final", "succeeded")
    assert len(rest[-1].data["job"]["images"]) == 2

    asked = time.monotonic()
    assert outline(await collect(client, job_id)) == [("0-1", "queued"), ("final", "succeeded")]
    assert outline(await collect(client, job_id, after="1-1")) == [("final", "succeeded")]
    assert time.monotonic() - asked < 1.5, "what has ended is not waited for"


@pytest.fixture
async def without_redis(settings: Settings, tenant: Tenant) -> AsyncIterator[httpx.AsyncClient]:
    """The tenant's client of an API whose Redis is away."""
    with closed_port() as port:
        blind = Settings(**settings.model_dump() | {"redis_url": f"redis://127.0.0.1:{port}/0"})
        async with (
            serve(create_app(blind)) as url,
            httpx.AsyncClient(base_url=url, headers=tenant.headers, timeout=20) as client,
        ):
            yield client


async def test_the_stream_ends_with_the_final_state_though_redis_is_away(
    without_redis: httpx.AsyncClient, painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "ASK_SECONDS", 0.1)
    job_id = await create(without_redis)
    events = follow(without_redis, job_id)
    assert (await anext(events)).type == "queued"
    await painter.paint_next()
    assert outline([event async for event in events]) == [("final", "succeeded")]


async def test_more_than_a_hundred_can_follow_at_once(
    client: httpx.AsyncClient, base_url: str, tenant: Tenant, painter: Painter
) -> None:
    job_id = await create(client)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=base_url, headers=tenant.headers, limits=limits, timeout=60
    ) as crowd:
        streams = [follow(crowd, job_id) for _ in range(110)]
        await asyncio.gather(*(anext(events) for events in streams))
        job = await painter.claim()
        started = await asyncio.gather(*(anext(events) for events in streams))
        assert {event.id for event in started} == {"1-1"}
        await painter.succeed(job)
        finals = await asyncio.gather(*(_last(events) for events in streams))
        assert {event.type for event in finals} == {"succeeded"}


async def test_a_client_that_leaves_holds_nothing_back(
    client: httpx.AsyncClient, redis: Redis, painter: Painter
) -> None:
    job_id = await create(client)
    events = follow(client, job_id)
    await anext(events)
    await events.aclose()  # type: ignore[attr-defined]

    async def nobody_waits() -> bool:
        return (await redis.info("clients"))["blocked_clients"] == 0

    await until(nobody_waits, "a reader was left behind", within=10)


async def test_an_id_that_no_stream_has_is_refused(
    client: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    job_id = await create(client)
    for wrong in ("nonsense", "1", "1-", "-1", "1-1-1", "1 1", "*", "$", "99999999999999999999-1", "x" * 999):
        with subtests.test(wrong):
            response = await client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": wrong})
            problem = assert_problem(response, 422, "validation-failed", field="Last-Event-ID")
            assert problem["errors"][0]["location"] == "header"


async def test_a_strangers_job_cannot_be_followed(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, stranger: Tenant
) -> None:
    job_id = await create(client)
    for resume in ({}, {"Last-Event-ID": "0-1"}, {"Last-Event-ID": "final"}):
        response = await anonymous.get(f"/v1/jobs/{job_id}/events", headers=stranger.headers | resume)
        assert_problem(response, 404, "not-found")


async def _last(events: AsyncIterator[Event]) -> Event:
    return [event async for event in events][-1]
