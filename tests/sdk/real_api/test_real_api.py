"""What a user of the SDK does, on the real API, database, event streams and object store."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from PIL import Image as Pillow

import impasto
from impasto import Progress
from impasto_core.database import Database
from impasto_core.jobs.errors import JobError
from impasto_core.settings import Settings
from tests.sdk.conftest import Sdk
from tests.sdk.real_api.conftest import connect
from tests.support.painters import Painter, png
from tests.support.tenants import Tenant, make_customer, register_model

PROMPT = "a big red heart"


def create(client: Any) -> Any:
    return client.jobs.create("text-to-image", {"prompt": PROMPT})


def size(content: bytes) -> tuple[int, int]:
    return Pillow.open(io.BytesIO(content)).size


@pytest.mark.usefixtures("busy_painter")
async def test_a_prompt_in_a_picture_out(sdk: Sdk, tmp_path: Path) -> None:
    seen: list[Progress] = []
    images = await sdk(
        lambda client: client.images.generate(
            PROMPT,
            negative_prompt="blue",
            model="impasto-shapes",
            width=72,
            height=64,
            steps=3,
            guidance=4.5,
            scheduler="ddim",
            seed=7,
            n=2,
            metadata={"order": "7"},
            on_progress=seen.append,
        )
    )
    assert [image.seed for image in images] == [7, 8]
    assert images.job.metadata == {"order": "7"}
    assert images.job.input["scheduler"] == "ddim"
    assert images.job.queued_seconds >= 0
    assert images.job.running_seconds >= 0
    path = await sdk(lambda _: images[1].save(tmp_path / "heart.png"))
    assert size(path.read_bytes()) == (72, 64)
    assert len(await sdk(lambda _: images[0].bytes)) == images[0].size
    assert [(progress.status, progress.step, progress.total) for progress in seen] == [
        ("queued", 0, 0),
        ("running", 0, 0),
        ("running", 1, 3),
        ("running", 2, 3),
        ("running", 3, 3),
        ("succeeded", 3, 3),
    ]


@pytest.mark.usefixtures("busy_painter")
async def test_a_picture_in_another_out(sdk: Sdk, tmp_path: Path) -> None:
    sketch = tmp_path / "sketch.png"
    sketch.write_bytes(png(128, 96))
    first = await sdk(lambda client: client.images.transform(sketch, PROMPT, strength=0.5))
    assert (first[0].width, first[0].height) == (128, 96)
    assert first.job.input["strength"] == 0.5
    upload = await sdk(lambda client: client.uploads.get(first.job.input["init_image"]))
    assert (upload.status, upload.width, upload.height) == ("verified", 128, 96)
    second = await sdk(lambda client: client.images.transform(first[0], PROMPT))
    assert second.job.input["init_image"] == first[0].id
    assert (await sdk(lambda _: second[0].pil())).size == (128, 96)


async def test_what_is_no_picture_is_refused_before_anything_is_made(sdk: Sdk, tmp_path: Path) -> None:
    fake = b"\x89PNG\r\n\x1a\n" + b"this is not a picture"
    with pytest.raises(impasto.InvalidRequestError) as caught:
        await sdk(lambda client: client.images.transform(fake, PROMPT))
    assert caught.value.errors[0].field == "input.init_image"
    assert await sdk.all(lambda client: client.jobs.list()) == []


async def test_events_can_be_followed_left_and_taken_up_again(sdk: Sdk, painter: Painter) -> None:
    job = await sdk(create)
    await painter.paint_next(steps=3)
    events = await sdk.all(lambda client: client.jobs.events(job.id))
    assert [event.type for event in events] == [
        *["queued", "started", "step", "step", "step", "image", "succeeded"]
    ]
    assert events[-1].job.images[0].width == 64
    left_after = events[3].id
    rest = await sdk.all(lambda client: client.jobs.events(job.id, last_event_id=left_after))
    assert [(event.id, event.type) for event in rest] == [(event.id, event.type) for event in events[4:]]
    assert await sdk.all(lambda client: client.jobs.events(job.id, last_event_id="final")) == []


async def test_a_failed_job_says_where(sdk: Sdk, painter: Painter) -> None:
    job = await sdk(create)
    error = JobError(code="node-failed", message="no", node_id="denoise_0", node_type="denoise_latents")
    await painter.fail(await painter.claim(), error)
    with pytest.raises(impasto.JobFailed, match=r"node denoise_0 \(denoise_latents\): no") as caught:
        await sdk(lambda client: client.jobs.wait(job.id))
    assert caught.value.job_id == job.id


async def test_cancel(sdk: Sdk, painter: Painter) -> None:
    queued = await sdk(create)
    assert (await sdk(lambda client: client.jobs.cancel(queued.id))).status == "canceled"
    with pytest.raises(impasto.JobAlreadyFinishedError):
        await sdk(lambda client: client.jobs.cancel(queued.id))
    with pytest.raises(impasto.JobCanceled):
        await sdk(lambda client: client.jobs.wait(queued.id))

    running = await sdk(create)
    claimed = await painter.claim()
    assert (await sdk(lambda client: client.jobs.cancel(running.id))).cancel_requested
    with pytest.raises(impasto.CancelAlreadyRequestedError):
        await sdk(lambda client: client.jobs.cancel(running.id))
    await painter.finish_cancel(claimed)
    with pytest.raises(impasto.JobCanceled):
        await sdk(lambda client: client.jobs.wait(running.id))


@pytest.mark.parametrize(
    "transport", ["sync-http", "async-http"]
)  # over ASGI, httpx hands over whole streams
async def test_a_wait_that_is_too_short_names_the_job(sdk: Sdk) -> None:
    with pytest.raises(impasto.WaitTimeout) as caught:
        await sdk(lambda client: client.images.generate(PROMPT, timeout=0.3))
    assert (await sdk(lambda client: client.jobs.get(caught.value.job_id))).status == "queued"


@pytest.mark.usefixtures("busy_painter")
async def test_the_api_may_hold_the_answer_until_the_job_has_ended(sdk: Sdk) -> None:
    job = await sdk(lambda client: client.jobs.create("text-to-image", {"prompt": PROMPT}, wait=20))
    assert job.status == "succeeded"
    assert job.response.headers["preference-applied"] == "wait=20"


async def test_wrong_fields_are_named(sdk: Sdk) -> None:
    with pytest.raises(impasto.InvalidRequestError) as caught:
        await sdk(lambda client: client.images.generate(PROMPT, width=500, steps=10**9))
    assert {error.field for error in caught.value.errors} == {"input.width", "input.steps"}
    assert "input.width: " in str(caught.value)
    assert caught.value.request_id
    assert caught.value.type == "https://docs.impasto.dev/problems/validation-failed"


async def test_one_key_makes_one_job(sdk: Sdk) -> None:
    def order(prompt: str) -> Any:
        return sdk(
            lambda client: client.jobs.create("text-to-image", {"prompt": prompt}, idempotency_key='my "7"')
        )

    first, again = await order(PROMPT), await order(PROMPT)
    assert again.id == first.id
    assert again.response.headers["idempotency-replayed"] == "true"
    with pytest.raises(impasto.IdempotencyKeyReusedError):
        await order("something else")


async def test_strangers_see_nothing(
    sdk: Sdk, transport: str, base_url: str, app: FastAPI, stranger: Tenant
) -> None:
    job = await sdk(create)
    async with connect(transport, base_url, app, stranger.api_key) as other:
        for act in ("get", "cancel", "wait"):
            with pytest.raises(impasto.NotFoundError):
                await other(lambda client, act=act: getattr(client.jobs, act)(job.id))  # type: ignore[misc]
        with pytest.raises(impasto.NotFoundError):
            await other.all(lambda client: client.jobs.events(job.id))
        assert await other.all(lambda client: client.jobs.list()) == []
    async with connect(transport, base_url, app, "imp_live_nonsense") as nobody:
        with pytest.raises(impasto.AuthenticationError):
            await nobody(lambda client: client.jobs.get(job.id))


async def test_lists_are_paged_and_filtered(sdk: Sdk, painter: Painter) -> None:
    created = [await sdk(create) for _ in range(5)]
    await painter.paint_next()
    newest_first = [job.id for job in reversed(created)]
    assert [job.id for job in await sdk.all(lambda client: client.jobs.list(limit=2))] == newest_first
    page = await sdk(lambda client: client.jobs.list(limit=2))
    assert (len(page.data), page.has_more) == (2, True)
    done = await sdk.all(lambda client: client.jobs.list(status="succeeded"))
    assert [job.id for job in done] == [created[0].id]
    middle = created[2].created_at
    later = await sdk.all(lambda client: client.jobs.list(created_after=middle))
    assert {job.id for job in later} == set(newest_first[:2])
    earlier = await sdk.all(lambda client: client.jobs.list(created_before=middle, pipeline="text-to-image"))
    assert {job.id for job in earlier} == set(newest_first[3:])


async def test_images_can_be_found_and_deleted(sdk: Sdk, painter: Painter) -> None:
    job = await sdk(create)
    await painter.paint_next()
    (image,) = await sdk.all(lambda client: client.images.list(job_id=job.id))
    assert (await sdk(lambda client: client.images.get(image.id))).sha256 == image.sha256
    assert size(await sdk(lambda _: image.bytes)) == (image.width, image.height)
    await sdk(lambda client: client.images.delete(image.id))
    with pytest.raises(impasto.NotFoundError):
        await sdk(lambda client: client.images.get(image.id))


async def test_models_and_pipelines(sdk: Sdk) -> None:
    (model,) = await sdk.all(lambda client: client.models.list())
    assert model == await sdk(lambda client: client.models.get(model.id))
    assert model.default
    assert model.max_pixels == 512 * 512
    pipelines = await sdk.all(lambda client: client.pipelines.list())
    assert [pipeline.id for pipeline in pipelines] == ["text-to-image", "image-to-image"]
    pipeline = await sdk(lambda client: client.pipelines.get("text-to-image"))
    assert pipeline.input_schema["properties"]["prompt"]["maxLength"] == pipeline.limits.max_prompt_length


async def test_a_keys_life(sdk: Sdk, transport: str, base_url: str, app: FastAPI) -> None:
    scopes = ["jobs:read", "models:read"]
    key = await sdk(lambda client: client.api_keys.create("nightly", mode="test", scopes=scopes))
    assert key.secret.startswith("imp_test_")
    assert (key.name, key.mode, key.scopes) == ("nightly", "test", scopes)
    assert key.id in [each.id for each in await sdk.all(lambda client: client.api_keys.list())]
    async with connect(transport, base_url, app, key.secret) as limited:
        await limited.all(lambda client: client.jobs.list())
        with pytest.raises(impasto.PermissionDeniedError):
            await limited(create)
    rolled = await sdk(lambda client: client.api_keys.roll(key.id, grace_seconds=0))
    assert rolled.id != key.id
    assert rolled.scopes == scopes
    revoked = await sdk(lambda client: client.api_keys.revoke(rolled.id))
    assert revoked.revoked_at is not None
    assert not hasattr(await sdk(lambda client: client.api_keys.get(rolled.id)), "secret")
    async with connect(transport, base_url, app, rolled.secret) as late:
        for _ in range(50):  # it stops working within a second
            try:
                await late.all(lambda client: client.jobs.list())
            except impasto.AuthenticationError:
                return
            await asyncio.sleep(0.02)
    pytest.fail("a revoked key goes on working")


@pytest.mark.usefixtures("busy_painter")
async def test_what_was_made_and_what_it_cost(sdk: Sdk) -> None:
    before = await sdk(lambda client: client.credits.balance())
    images = await sdk(lambda client: client.images.generate(PROMPT, n=2))
    after = await sdk(lambda client: client.credits.balance())
    cost = images.job.cost.amount
    assert (after.available, after.held) == (before.available - cost, 0)
    [row] = await sdk.all(lambda client: client.usage.list(group_by=["model", "api_key"]))
    assert (row.model, row.api_key_name, row.day) == ("impasto-shapes", "tests", None)
    assert (row.jobs_succeeded, row.images, row.credits) == (1, 2, cost)
    exported = await sdk(lambda client: client.usage.csv(group_by="model"))
    assert [line.split(",")[1] for line in exported.splitlines()] == ["model", "impasto-shapes"]
    entries = await sdk.all(lambda client: client.credits.entries(limit=1))
    assert [entry.kind for entry in entries] == ["settle", "hold", "grant"]
    [grant] = await sdk.all(lambda client: client.credits.grants())
    assert grant.amount - grant.remaining == cost
    storage = await sdk(lambda client: client.usage.storage())
    assert (storage.used_bytes, storage.limit_bytes) == (sum(image.size for image in images), None)


async def test_who_asks_too_often_is_told_which_limit_it_was(
    transport: str, base_url: str, app: FastAPI, owner_database: Database, settings: Settings
) -> None:
    await register_model(owner_database)
    customer = await make_customer(owner_database, settings, jobs_per_hour=1)
    async with connect(transport, base_url, app, customer.api_key) as sdk:
        first = await sdk(create)
        assert first.response.headers["ratelimit"] == '"job-creations";r=0;t=3600'
        with pytest.raises(impasto.RateLimitError, match="1 jobs an hour") as caught:
            await sdk(create)
        assert caught.value.violated_policies == ["job-creations"]
