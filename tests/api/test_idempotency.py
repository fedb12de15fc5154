"""Idempotency-Key: a retry gets the first try's answer, and never makes a second job."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from sqlalchemy import text

from impasto_core.database import Database
from impasto_core.settings import Settings
from tests.api.conftest import MovableClock, WakeUpsSent
from tests.support.painters import Painter
from tests.support.problems import assert_problem
from tests.support.tenants import Tenant

REQUEST: dict[str, Any] = {
    "pipeline": "text-to-image",
    "input": {"prompt": "a big red heart", "guidance": 7.25, "n": 2},
    "metadata": {"z": "1", "a": "2"},
}
KEY = "8e03978e-40d5-43e8-bc93-6894a57f9324"


async def post(client: httpx.AsyncClient, key: str = KEY, **changes: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key}
    return await client.post("/v1/jobs", json=REQUEST | changes, headers=headers)


async def count_jobs(client: httpx.AsyncClient) -> int:
    return len((await client.get("/v1/jobs?limit=100")).json()["data"])


async def test_a_retry_gets_the_first_answer_byte_for_byte(
    client: httpx.AsyncClient, painter: Painter, wake_ups: WakeUpsSent
) -> None:
    first = await post(client)
    assert first.status_code == 202
    assert "idempotency-replayed" not in first.headers
    await painter.paint_next()
    retry = await post(client)
    assert (retry.status_code, retry.content) == (first.status_code, first.content)
    assert retry.headers["idempotency-replayed"] == "true"
    assert retry.headers["location"] == first.headers["location"]
    assert retry.headers["x-request-id"] != first.headers["x-request-id"]
    assert await count_jobs(client) == 1
    assert await wake_ups() == 1, "nobody is woken for a replay"


async def test_a_key_means_the_same_with_and_without_quotes(client: httpx.AsyncClient) -> None:
    bare = await post(client, KEY)
    quoted = await post(client, f'"{KEY}"')
    assert quoted.content == bare.content
    assert await count_jobs(client) == 1


async def test_the_same_request_in_other_words_is_the_same_request(client: httpx.AsyncClient) -> None:
    first = await post(client)
    written_out = REQUEST["input"] | {"negative_prompt": "", "seed": None}
    retry = await post(client, input=dict(reversed(written_out.items())))
    assert retry.content == first.content


async def test_another_request_with_the_same_key_is_refused(client: httpx.AsyncClient) -> None:
    await post(client)
    for changes in ({"input": {"prompt": "another"}}, {"metadata": {}}):
        response = await post(client, **changes)
        assert_problem(response, 422, "idempotency-key-reused", field="Idempotency-Key")
    assert await count_jobs(client) == 1


async def test_a_retry_while_the_first_try_is_running_is_told_to_come_back(
    client: httpx.AsyncClient, owner_database: Database, tenant: Tenant
) -> None:
    async with owner_database.session() as first_try:
        owning = text("SELECT own_idempotency_key(:organization_id, :key)")
        connection = await first_try.connection()
        await connection.execute(owning, {"organization_id": tenant.organization_id, "key": KEY})
        response = await post(client)
        assert_problem(response, 409, "idempotency-in-flight")
        assert int(response.headers["retry-after"]) >= 1
        assert (await post(client, "another key")).status_code == 202
    assert (await post(client)).status_code == 202


async def test_ten_tries_at_once_make_one_job(client: httpx.AsyncClient, wake_ups: WakeUpsSent) -> None:
    answers = await asyncio.gather(*(post(client) for _ in range(10)))
    made = [answer for answer in answers if answer.status_code == 202]
    assert made
    assert len({answer.content for answer in made}) == 1
    for answer in answers:
        if answer.status_code != 202:
            assert_problem(answer, 409, "idempotency-in-flight")
    assert await count_jobs(client) == 1
    assert await wake_ups() == 1


async def test_a_key_can_be_used_again_after_a_day(client: httpx.AsyncClient, clock: MovableClock) -> None:
    first = await post(client)
    clock.advance(hours=23)
    assert (await post(client)).content == first.content
    clock.advance(hours=2)
    second = await post(client, metadata={"another": "request"})
    assert second.status_code == 202
    assert second.json()["id"] != first.json()["id"]
    assert (await post(client, metadata={"another": "request"})).content == second.content


async def test_the_same_key_of_another_organization_is_another_key(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, stranger: Tenant
) -> None:
    mine = await post(client)
    headers = stranger.headers | {"Idempotency-Key": KEY}
    theirs = await anonymous.post("/v1/jobs", json=REQUEST, headers=headers)
    assert theirs.status_code == 202
    assert theirs.json()["id"] != mine.json()["id"]
    assert "idempotency-replayed" not in theirs.headers


async def test_a_request_that_was_refused_does_not_use_up_its_key(client: httpx.AsyncClient) -> None:
    refused = await post(client, input={"prompt": "p", "model": "huge"})
    assert_problem(refused, 422, "validation-failed", field="input.model")
    assert (await post(client)).status_code == 202


async def test_job_and_record_are_made_together_or_not_at_all(
    client: httpx.AsyncClient, owner_database: Database
) -> None:
    """The record cannot be written: then there is no job either."""
    async with owner_database.session() as session:
        connection = await session.connection()
        await connection.execute(
            text("ALTER TABLE idempotency_records ADD CONSTRAINT ck_never CHECK (key = 'never')")
        )
    assert_problem(await post(client), 500, "internal-error")
    assert await count_jobs(client) == 0


async def test_without_a_key_every_request_makes_a_job(client: httpx.AsyncClient) -> None:
    for _ in range(2):
        assert (await client.post("/v1/jobs", json=REQUEST)).status_code == 202
    assert await count_jobs(client) == 2


async def test_a_retry_may_wait_for_the_job_that_the_first_try_made(
    client: httpx.AsyncClient, painter: Painter, settings: Settings
) -> None:
    first = await post(client)
    await painter.paint_next()
    headers = {"Idempotency-Key": KEY, "Prefer": "wait=10"}
    retry = await client.post("/v1/jobs", json=REQUEST, headers=headers)
    assert retry.status_code == 200
    assert retry.json()["id"] == first.json()["id"]
    assert retry.json()["status"] == "succeeded"
    assert retry.headers["idempotency-replayed"] == "true"
