"""Creating, finding and cancelling jobs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from impasto_core.clock import utc_now
from impasto_core.database import Database
from impasto_core.jobs import lifecycle
from impasto_core.jobs.errors import JobError
from tests.api.conftest import MovableClock, WakeUpsSent
from tests.support.job_desk import until
from tests.support.painters import Painter, lease_of
from tests.support.problems import assert_problem
from tests.support.tenants import register_model

REQUEST: dict[str, Any] = {
    "pipeline": "text-to-image",
    "input": {"prompt": "a big red heart", "seed": 7, "n": 2},
}
Job = dict[str, Any]


async def create(client: httpx.AsyncClient, **changes: Any) -> Job:
    response = await client.post("/v1/jobs", json=REQUEST | changes)
    assert response.status_code == 202, response.text
    job: Job = response.json()
    return job


async def get(client: httpx.AsyncClient, job: Job) -> Job:
    found: Job = (await client.get(f"/v1/jobs/{job['id']}")).json()
    return found


async def test_a_job_is_queued_painted_and_its_images_can_be_downloaded(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, painter: Painter
) -> None:
    created = await client.post("/v1/jobs", json=REQUEST)
    assert created.status_code == 202, created.text
    job = created.json()
    assert created.headers["location"] == f"/v1/jobs/{job['id']}"
    assert job["status"] == "queued"
    assert job["model"] == "impasto-shapes"
    assert job["input"] | REQUEST["input"] == job["input"]
    assert (job["input"]["width"], job["input"]["height"]) == (64, 64)

    await painter.paint_next()

    job = await get(client, job)
    assert job["status"] == "succeeded"
    assert [image["seed"] for image in job["images"]] == [7, 8]
    assert job["queued_seconds"] >= 0
    assert job["running_seconds"] >= 0
    picture = await anonymous.get(job["images"][0]["url"])
    assert picture.headers["content-type"] == "image/png"
    assert len(picture.content) == job["images"][0]["size"]


async def test_a_new_job_can_be_read_back_as_it_was_answered(client: httpx.AsyncClient) -> None:
    job = await create(client, metadata={"customer": "42", "note": "größer, 🖼️"})
    assert await get(client, job) == job | {"queue": {"position": 1, "eta_seconds": None}}
    assert job["metadata"] == {"customer": "42", "note": "größer, 🖼️"}
    assert (job["attempt"], job["cancel_requested"], job["images"], job["error"]) == (0, False, [], None)
    assert (job["started_at"], job["finished_at"]) == (None, None)
    assert (job["queued_seconds"], job["running_seconds"]) == (None, None)
    assert job["mode"] == "live"


async def test_a_seed_is_chosen_where_none_is_given_and_the_caller_learns_which(
    client: httpx.AsyncClient,
) -> None:
    seeds = {(await create(client, input={"prompt": "p"}))["input"]["seed"] for _ in range(3)}
    assert len(seeds) == 3
    assert all(0 <= seed < 2**32 for seed in seeds)


async def test_a_job_runs_on_the_model_it_names_in_that_models_pool(
    client: httpx.AsyncClient, owner_database: Database, painter: Painter, wake_ups: WakeUpsSent
) -> None:
    await register_model(owner_database, "large", pool="gpu", default_width=128, default_height=64)
    job = await create(client, input={"prompt": "p", "model": "large"})
    assert job["model"] == job["input"]["model"] == "large"
    assert (job["input"]["width"], job["input"]["height"]) == (128, 64)
    assert await wake_ups("gpu") == 1
    claimed = await painter.claim(pool="gpu")
    assert claimed.graph["nodes"]["model"]["model"]["name"] == "large"


async def test_a_model_that_was_taken_out_of_service_takes_no_jobs(
    client: httpx.AsyncClient, owner_database: Database
) -> None:
    assert (await client.post("/v1/jobs", json=REQUEST)).status_code == 202
    await register_model(owner_database, enabled=False)

    async def is_refused() -> bool:
        return (await client.post("/v1/jobs", json=REQUEST)).status_code != 202

    await until(is_refused, "a model is remembered that is out of service", within=1)
    response = await client.post("/v1/jobs", json=REQUEST)
    assert_problem(response, 422, "validation-failed", field="input.model")


async def test_every_job_wakes_a_worker(client: httpx.AsyncClient, wake_ups: WakeUpsSent) -> None:
    for _ in range(3):
        await create(client)
    assert await wake_ups() == 3


async def test_a_failed_job_says_which_node_failed(client: httpx.AsyncClient, painter: Painter) -> None:
    job = await create(client)
    error = JobError(code="node-failed", message="no", node_id="denoise_0", node_type="denoise_latents")
    await painter.fail(await painter.claim(), error)
    job = await get(client, job)
    assert job["status"] == "failed"
    assert job["error"] == error.model_dump()
    assert job["images"] == []


async def test_a_job_that_a_worker_lost_shows_its_second_attempt(
    client: httpx.AsyncClient, painter: Painter
) -> None:
    job = await create(client)
    first = await painter.claim()
    async with painter.database.session() as session:
        await lifecycle.give_back(session, lease_of(first))
    assert (await get(client, job))["status"] == "queued"
    assert (await get(client, job))["attempt"] == 1
    await painter.paint_next()
    job = await get(client, job)
    assert (job["status"], job["attempt"], len(job["images"])) == ("succeeded", 2, 2)


async def test_the_times_of_a_job_are_never_negative_though_clocks_differ(
    client: httpx.AsyncClient, clock: MovableClock, painter: Painter
) -> None:
    """The API's clock is a minute ahead of the database's, by which workers claim."""
    clock.advance(minutes=1)
    job = await create(client)
    await painter.paint_next()
    job = await get(client, job)
    assert job["queued_seconds"] == 0
    assert job["running_seconds"] >= 0


# Lists


async def test_jobs_are_listed_newest_first_page_by_page(client: httpx.AsyncClient) -> None:
    made = [(await create(client))["id"] for _ in range(5)]
    pages, cursor = [], None
    while True:
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/v1/jobs", params=query)).json()
        pages.append([job["id"] for job in page["data"]])
        cursor = page["next_cursor"]
        assert page["has_more"] is (cursor is not None)
        if cursor is None:
            break
    assert pages == [[made[4], made[3]], [made[2], made[1]], [made[0]]]


async def test_a_page_that_ends_with_the_last_job_is_the_last_page(client: httpx.AsyncClient) -> None:
    for _ in range(2):
        await create(client)
    page = (await client.get("/v1/jobs?limit=2")).json()
    assert len(page["data"]) == 2
    assert (page["has_more"], page["next_cursor"]) == (False, None)


async def test_a_cursor_still_works_when_new_jobs_came_in_between(client: httpx.AsyncClient) -> None:
    made = [(await create(client))["id"] for _ in range(3)]
    cursor = (await client.get("/v1/jobs?limit=2")).json()["next_cursor"]
    await create(client)
    rest = (await client.get("/v1/jobs", params={"cursor": cursor})).json()["data"]
    assert [job["id"] for job in rest] == [made[0]]


async def test_jobs_are_listed_by_state_pipeline_and_time(
    client: httpx.AsyncClient, clock: MovableClock, painter: Painter
) -> None:
    early = await create(client)
    await painter.paint_next()
    clock.advance(hours=1)
    between = (utc_now() + timedelta(minutes=30)).isoformat()
    late = await create(client)

    async def found(**query: str) -> list[str]:
        return [job["id"] for job in (await client.get("/v1/jobs", params=query)).json()["data"]]

    assert await found() == [late["id"], early["id"]]
    assert await found(status="succeeded") == [early["id"]]
    assert await found(status="queued") == [late["id"]]
    assert await found(status="running") == []
    assert await found(pipeline="text-to-image") == [late["id"], early["id"]]
    assert await found(pipeline="image-to-image") == []
    assert await found(created_after=between) == [late["id"]]
    assert await found(created_before=between) == [early["id"]]
    assert await found(created_after=between, status="succeeded") == []


async def test_a_list_shows_each_job_with_its_own_images(client: httpx.AsyncClient, painter: Painter) -> None:
    for seed in (10, 20):
        await create(client, input={"prompt": "p", "seed": seed, "n": 2})
        await painter.paint_next()
    await create(client)
    listed = (await client.get("/v1/jobs")).json()["data"]
    assert [[image["seed"] for image in job["images"]] for job in listed] == [[], [20, 21], [10, 11]]
    assert [[image["job_id"] for image in job["images"]] for job in listed] == [
        [job["id"]] * len(job["images"]) for job in listed
    ]


# Cancelling


async def test_a_queued_job_is_canceled_at_once(client: httpx.AsyncClient) -> None:
    job = await create(client)
    response = await client.post(f"/v1/jobs/{job['id']}/cancel")
    assert response.status_code == 200
    canceled = response.json()
    assert (canceled["status"], canceled["cancel_requested"]) == ("canceled", True)
    assert canceled["finished_at"] is not None
    assert canceled == await get(client, job)


async def test_a_running_job_is_told_to_stop_and_ends_when_it_has(
    client: httpx.AsyncClient, painter: Painter
) -> None:
    job = await create(client)
    running = await painter.claim()
    response = await client.post(f"/v1/jobs/{job['id']}/cancel")
    assert response.status_code == 200
    assert (response.json()["status"], response.json()["cancel_requested"]) == ("running", True)
    await painter.finish_cancel(running)
    assert (await get(client, job))["status"] == "canceled"


async def test_a_second_cancel_is_refused(client: httpx.AsyncClient, painter: Painter) -> None:
    queued, running = await create(client), await create(client)
    await client.post(f"/v1/jobs/{queued['id']}/cancel")
    again = await client.post(f"/v1/jobs/{queued['id']}/cancel")
    assert_problem(again, 409, "job-already-finished")

    await painter.claim()
    await client.post(f"/v1/jobs/{running['id']}/cancel")
    again = await client.post(f"/v1/jobs/{running['id']}/cancel")
    assert_problem(again, 409, "cancel-already-requested")


@pytest.mark.parametrize("end", ["succeeded", "failed"])
async def test_a_job_that_has_ended_cannot_be_canceled(
    client: httpx.AsyncClient, painter: Painter, end: str
) -> None:
    job = await create(client)
    if end == "succeeded":
        await painter.paint_next()
    else:
        await painter.fail(await painter.claim(), JobError(code="x", message="x"))
    before = await get(client, job)
    assert_problem(await client.post(f"/v1/jobs/{job['id']}/cancel"), 409, "job-already-finished")
    after = await get(client, job)
    assert (after["status"], after["finished_at"]) == (end, before["finished_at"])
    assert after["cancel_requested"] is False
