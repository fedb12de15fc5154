"""Until when a job may wait and run, as its owner says it: in the header Cancel-After and in the body."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.api.conftest import MovableClock
from tests.support.painters import Painter
from tests.support.problems import assert_problem

REQUEST: dict[str, Any] = {"pipeline": "text-to-image", "input": {"prompt": "a big red heart"}}


async def create(client: httpx.AsyncClient, after: str | None = None, **terms: Any) -> httpx.Response:
    headers = {} if after is None else {"Cancel-After": after}
    return await client.post("/v1/jobs", json=REQUEST | terms, headers=headers)


def seconds_until(job: dict[str, Any], name: str) -> float:
    return (datetime.fromisoformat(job[name]) - datetime.fromisoformat(job["created_at"])).total_seconds()


async def test_a_job_has_a_day_where_nothing_is_said(client: httpx.AsyncClient) -> None:
    job = (await create(client)).json()
    assert seconds_until(job, "deadline") == 24 * 3600
    assert (job["queue_deadline"], job["max_run_seconds"], job["cancel_reason"]) == (None, None, None)


async def test_cancel_after_is_a_time_from_now(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    for after, seconds in {"90": 90, "90s": 90, "5m": 300, "1h": 3600, "1h30m5s": 5405}.items():
        with subtests.test(after):
            assert seconds_until((await create(client, after)).json(), "deadline") == seconds


async def test_a_cancel_after_that_cannot_be_is_refused(
    client: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    for after in ("", "soon", "-5", "5 m", "0", "0h", "5m1h", "25h", "999999h", "1.5m"):
        with subtests.test(after):
            assert_problem(await create(client, after), 422, "validation-failed", field="Cancel-After")


async def test_the_body_says_it_as_well_and_the_earlier_holds(
    client: httpx.AsyncClient, clock: MovableClock
) -> None:
    deadline = clock() + timedelta(minutes=2)
    job = (
        await create(client, deadline=deadline.isoformat(), max_queue_seconds=30, max_run_seconds=9)
    ).json()
    assert datetime.fromisoformat(job["deadline"]) == deadline
    assert (seconds_until(job, "queue_deadline"), job["max_run_seconds"]) == (30, 9)
    sooner = (await create(client, "60s", deadline=deadline.isoformat())).json()
    assert seconds_until(sooner, "deadline") == 60


async def test_a_limit_in_the_body_that_cannot_be_is_refused(
    client: httpx.AsyncClient, clock: MovableClock, subtests: pytest.Subtests
) -> None:
    past, far = clock() - timedelta(seconds=1), clock() + timedelta(days=2)
    for field, value in [
        ("deadline", past.isoformat()),
        ("deadline", far.isoformat()),
        ("deadline", "2026-11-22T05:41:30"),
        ("max_queue_seconds", 0),
        ("max_run_seconds", -1),
        ("max_run_seconds", "1m"),
    ]:
        with subtests.test(f"{field} {value}"):
            assert_problem(await create(client, **{field: value}), 422, "validation-failed", field=field)


async def test_a_retry_after_the_deadline_still_gets_the_first_answer(
    client: httpx.AsyncClient, clock: MovableClock
) -> None:
    body = REQUEST | {"deadline": (clock() + timedelta(minutes=1)).isoformat()}
    headers = {"Idempotency-Key": "once"}
    first = await client.post("/v1/jobs", json=body, headers=headers)
    clock.advance(minutes=2)
    assert (await client.post("/v1/jobs", json=body, headers=headers)).content == first.content


async def test_a_job_canceled_by_its_owner_says_so(client: httpx.AsyncClient, painter: Painter) -> None:
    job = (await create(client)).json()
    canceled = (await client.post(f"/v1/jobs/{job['id']}/cancel")).json()
    assert canceled["cancel_reason"] == "requested"
