"""`Prefer: wait=N`: the answer comes when the job has ended, or when the time is up."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest
from redis.asyncio import Redis

from impasto_api.jobs.prefer import wait_seconds
from tests.support.job_desk import until
from tests.support.painters import Painter

REQUEST = {"pipeline": "text-to-image", "input": {"prompt": "a big red heart"}}


async def post(client: httpx.AsyncClient, prefer: str) -> httpx.Response:
    return await client.post("/v1/jobs", json=REQUEST, headers={"Prefer": prefer})


async def until_queued(client: httpx.AsyncClient) -> str:
    async def is_queued() -> bool:
        return bool((await client.get("/v1/jobs?status=queued")).json()["data"])

    await until(is_queued, "no job is queued")
    job_id: str = (await client.get("/v1/jobs")).json()["data"][0]["id"]
    return job_id


async def test_the_answer_waits_for_the_finished_job(client: httpx.AsyncClient, painter: Painter) -> None:
    waiting = asyncio.create_task(post(client, "wait=20"))
    await until_queued(client)
    await painter.paint_next()
    ended = time.monotonic()
    response = await waiting
    assert time.monotonic() - ended < 1.5, "it is woken, and does not ask from time to time"
    assert response.status_code == 200
    assert response.headers["preference-applied"] == "wait=20"
    job = response.json()
    assert (job["status"], len(job["images"])) == ("succeeded", 1)
    assert response.headers["location"] == f"/v1/jobs/{job['id']}"


async def test_the_answer_comes_with_the_end_whatever_it_is(
    client: httpx.AsyncClient, painter: Painter
) -> None:
    waiting = asyncio.create_task(post(client, "wait=20"))
    job_id = await until_queued(client)
    await client.post(f"/v1/jobs/{job_id}/cancel")
    response = await waiting
    assert (response.status_code, response.json()["status"]) == (200, "canceled")


async def test_when_the_time_is_up_the_job_is_answered_as_it_is(
    client: httpx.AsyncClient, painter: Painter
) -> None:
    response = await post(client, "wait=0")
    assert (response.status_code, response.json()["status"]) == (202, "queued")
    assert response.headers["preference-applied"] == "wait=0"

    await painter.claim()
    response = await post(client, "wait=1")
    assert (response.status_code, response.json()["status"]) == (202, "queued")


async def test_waiting_ends_though_redis_has_lost_everything(
    client: httpx.AsyncClient, painter: Painter, redis: Redis
) -> None:
    waiting = asyncio.create_task(post(client, "wait=20"))
    await until_queued(client)
    await painter.paint_next()
    await redis.flushall()
    assert (await waiting).status_code == 200


async def test_without_the_preference_nothing_is_waited_for(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/jobs", json=REQUEST)
    assert response.status_code == 202
    assert "preference-applied" not in response.headers


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("wait=10", 10),
        ("respond-async, wait=10", 10),
        ("wait=10, wait=20", 10),
        ("WAIT = 10", 10),
        ('wait="10"', 10),
        ("wait=10; foo=bar", 10),
        ("wait=61", 60),
        ("wait=999999", 60),
        ("wait=0", 0),
        ("wait", None),
        ("wait=", None),
        ("wait=soon", None),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("wait=99999999999999999999", None),
        ("await=10", None),
        ("respond-async", None),
        ("", None),
        (None, None),
    ],
)
async def test_a_preference_that_makes_no_sense_is_ignored(prefer: str | None, seconds: int | None) -> None:
    assert await wait_seconds(prefer) == seconds
