"""Creating, finding, following and cancelling jobs."""

from __future__ import annotations

import httpx

from impasto_core.jobs.lifecycle import JobError
from tests.support.painters import Painter

REQUEST = {"pipeline": "text-to-image", "input": {"prompt": "a big red heart", "seed": 7, "n": 2}}


async def test_a_job_is_queued_painted_and_its_images_can_be_downloaded(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, painter: Painter
) -> None:
    created = await client.post("/v1/jobs", json=REQUEST)
    assert created.status_code == 202, created.text
    job = created.json()
    assert created.headers["location"] == f"/v1/jobs/{job['id']}"
    assert job["status"] == "queued"
    assert job["model"] == "impasto-tiny"
    assert job["input"] | REQUEST["input"] == job["input"]
    assert (job["input"]["width"], job["input"]["height"]) == (64, 64)

    await painter.paint_next()

    job = (await client.get(f"/v1/jobs/{job['id']}")).json()
    assert job["status"] == "succeeded"
    assert [image["seed"] for image in job["images"]] == [7, 8]
    assert job["queued_seconds"] >= 0
    assert job["running_seconds"] >= 0
    picture = await anonymous.get(job["images"][0]["url"])
    assert picture.headers["content-type"] == "image/png"
    assert len(picture.content) == job["images"][0]["size"]


async def test_a_failed_job_says_which_node_failed(client: httpx.AsyncClient, painter: Painter) -> None:
    job_id = (await client.post("/v1/jobs", json=REQUEST)).json()["id"]
    error = JobError(code="node-failed", message="no", node_id="denoise_0", node_type="denoise_latents")
    await painter.fail(await painter.claim(), error)
    job = (await client.get(f"/v1/jobs/{job_id}")).json()
    assert job["status"] == "failed"
    assert job["error"] == error.model_dump()
    assert job["images"] == []
