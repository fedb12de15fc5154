"""Jobs in the hands of real worker processes: InvokeAI, PostgreSQL, Redis and S3."""

from __future__ import annotations

import io
import json
import signal
import time
from typing import Any

from PIL import Image
from redis.asyncio import Redis

from impasto_core.database import Database
from impasto_core.jobs import lifecycle
from impasto_core.jobs.events import Finished, ImageMade, Node, Started, Step
from impasto_core.jobs.tables import Job
from impasto_core.queue import WakeUps
from impasto_core.storage import ObjectStore
from tests.support.job_desk import Jobs, events_of, until
from tests.workers.process.conftest import TIME_LIMIT_SECONDS, Program, Worker, Workshop

LONG: dict[str, Any] = {"width": 256, "height": 256, "steps": 100, "n": 4}
"""Takes far longer than any test looks on."""

SOME_SECONDS: dict[str, Any] = {"width": 128, "height": 128, "steps": 60}


async def pixels(store: ObjectStore, key: str) -> Image.Image:
    return Image.open(io.BytesIO(await store.get(key)))


async def until_denoising(redis: Redis, job: Job) -> None:
    async def has_step() -> bool:
        return any(isinstance(event, Step) for event in await events_of(redis, job))

    await until(has_step, "no step was made")


async def claimant(jobs: Jobs, job: Job, workers: list[Worker]) -> Worker:
    """The worker that runs the job."""
    name = (await jobs.get(job)).worker
    assert name is not None
    [worker] = [worker for worker in workers if name.endswith(f":{worker.pid}")]
    return worker


async def test_a_job_is_painted(jobs: Jobs, wake_ups: WakeUps, redis: Redis, store: ObjectStore) -> None:
    job = await jobs.add(steps=6, width=96, height=64, prompt="a big red heart")
    await wake_ups.send("default")
    done = await jobs.until_status(job, "succeeded", "failed")
    assert (done.status, done.error, done.attempt) == ("succeeded", None, 1)

    [image] = await jobs.images(job)
    picture = await pixels(store, image.object_key)
    assert (picture.format, picture.size) == ("PNG", (96, 64))
    assert (image.width, image.height, image.seed, image.node) == (96, 64, 7, "image_0")
    metadata = json.loads(picture.info["invokeai_metadata"])
    assert (metadata["positive_prompt"], metadata["seed"]) == ("a big red heart", 7)
    thumbnail = await pixels(store, image.thumbnail_key)
    assert (thumbnail.format, thumbnail.size) == ("WEBP", (96, 64))


async def test_its_events_tell_the_whole_story(jobs: Jobs, wake_ups: WakeUps, redis: Redis) -> None:
    job = await jobs.add(steps=6)
    await wake_ups.send("default")
    await jobs.until_status(job, "succeeded")

    async def has_ended() -> bool:
        return Finished() in await events_of(redis, job)

    await until(has_ended, "the end was not announced")
    events = await events_of(redis, job)
    assert events[0] == Started(job_id=job.id, attempt=1)
    steps = [event for event in events if isinstance(event, Step)]
    assert [(step.step, step.total) for step in steps] == [(number, 6) for number in range(1, 7)]
    assert steps[-1].progress == 1
    assert str(steps[0].preview).startswith("data:image/jpeg;base64,/9j/")
    nodes = [(event.node, event.state) for event in events if isinstance(event, Node)]
    assert ("image_0", "completed") in nodes
    assert [e.index for e in events if isinstance(e, ImageMade)] == [0]
    assert events[-1] == Finished()


async def test_several_images_are_those_of_their_seeds_in_order(
    jobs: Jobs, wake_ups: WakeUps, store: ObjectStore
) -> None:
    together = await jobs.add(n=3, seed=41, steps=2)
    alone = [await jobs.add(seed=41 + index, steps=2) for index in range(3)]
    await wake_ups.send("default", 4)
    await jobs.until_status(together, "succeeded")
    images = await jobs.images(together)
    assert [(image.index, image.node, image.seed) for image in images] == [
        (0, "image_0", 41),
        (1, "image_1", 42),
        (2, "image_2", 43),
    ]
    for image, job in zip(images, alone, strict=True):
        await jobs.until_status(job, "succeeded")
        [single] = await jobs.images(job)
        expected = await pixels(store, single.object_key)
        assert (await pixels(store, image.object_key)).tobytes() == expected.tobytes()


async def test_a_picture_is_painted_anew(jobs: Jobs, wake_ups: WakeUps, store: ObjectStore) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (100, 60), "blue").save(buffer, "PNG")
    await store.put("a/picture.png", buffer.getvalue(), "image/png")
    name = "upl_01jcp0f85v6zg8yq0gs8zfwdq4"
    values: dict[str, Any] = {"init_image": name, "strength": 0.5, "steps": 4, "width": 96, "height": 64}
    job = await jobs.add("image-to-image", {name: "a/picture.png"}, **values)
    await wake_ups.send("default")
    done = await jobs.until_status(job, "succeeded", "failed")
    assert done.error is None
    [image] = await jobs.images(job)
    assert (image.width, image.height) == (96, 64)


async def test_a_failing_node_is_named(jobs: Jobs, wake_ups: WakeUps) -> None:
    name = "upl_01jcp0f85v6zg8yq0gs8zfwdq4"
    job = await jobs.add("image-to-image", {}, init_image=name, steps=4)  # nobody gives it the picture
    await wake_ups.send("default")
    error = (await jobs.until_status(job, "failed")).error
    assert error is not None
    assert (error["code"], error["node_id"], error["node_type"]) == ("node-failed", "resize", "img_resize")
    assert error["message"].startswith("The node resize (img_resize) failed: ")


async def test_a_job_is_canceled_in_the_middle_of_denoising(
    jobs: Jobs, wake_ups: WakeUps, redis: Redis, owner: Database
) -> None:
    job = await jobs.add(**LONG)
    await wake_ups.send("default")
    await until_denoising(redis, job)
    async with owner.session() as session:
        await lifecycle.cancel(session, job.id)
    asked_at = time.monotonic()
    await jobs.until_status(job, "canceled", within=10)
    assert time.monotonic() - asked_at < 5
    assert await jobs.images(job) == []


async def test_a_job_whose_wake_up_was_lost_is_painted(jobs: Jobs, sweeper: Program, redis: Redis) -> None:
    job = await jobs.add()
    await redis.flushall()
    await jobs.until_status(job, "succeeded")


async def test_a_job_over_its_time_limit_is_stopped(jobs: Jobs, wake_ups: WakeUps) -> None:
    job = await jobs.add(**LONG | {"width": 512, "height": 512})
    await wake_ups.send("default")
    error = (await jobs.until_status(job, "failed", within=TIME_LIMIT_SECONDS + 20)).error
    assert error is not None
    assert error["code"] == "time-limit"


async def test_a_worker_that_stalled_is_replaced_and_does_not_come_between(
    fragile_workers: list[Worker],
    fragile_jobs: Jobs,
    sweeper: Program,
    wake_ups: WakeUps,
    redis: Redis,
    store: ObjectStore,
) -> None:
    job = await fragile_jobs.add(**SOME_SECONDS)
    await wake_ups.send("fragile")
    await until_denoising(redis, job)
    stalled = await claimant(fragile_jobs, job, fragile_workers)
    stalled.send(signal.SIGSTOP)
    try:
        done = await fragile_jobs.until_status(job, "succeeded", within=90)
        events = await events_of(redis, job)
    finally:
        stalled.send(signal.SIGCONT)
    assert (done.attempt, await fragile_jobs.outcomes(job)) == (2, ["lost", "succeeded"])

    async def has_noticed() -> bool:
        return "lost its lease" in stalled.log.read_text()

    await until(has_noticed, "the stalled worker did not notice")
    assert [image.object_key.split("/")[-2] for image in await fragile_jobs.images(job)] == ["2"]
    assert (await events_of(redis, job))[: len(events)] == events
    assert (await events_of(redis, job))[-1] == Finished()


async def test_a_killed_workers_job_ends_elsewhere(
    fragile_workers: list[Worker],
    fragile_jobs: Jobs,
    sweeper: Program,
    wake_ups: WakeUps,
    redis: Redis,
) -> None:
    job = await fragile_jobs.add(**SOME_SECONDS)
    await wake_ups.send("fragile")
    await until_denoising(redis, job)
    killed = await claimant(fragile_jobs, job, fragile_workers)
    killed.send(signal.SIGKILL)
    killed.wait()
    done = await fragile_jobs.until_status(job, "succeeded", within=90)
    assert (done.attempt, await fragile_jobs.outcomes(job)) == (2, ["lost", "succeeded"])
    assert len(await fragile_jobs.images(job)) == 1


async def test_a_worker_told_to_stop_twice_gives_its_job_back_at_once(
    fragile_workers: list[Worker], fragile_jobs: Jobs, wake_ups: WakeUps, redis: Redis
) -> None:
    [worker] = fragile_workers
    job = await fragile_jobs.add(**LONG)
    await wake_ups.send("fragile")
    await until_denoising(redis, job)
    worker.send(signal.SIGTERM)

    async def is_closing() -> bool:
        return not worker.ready_file.exists()

    await until(is_closing, "it did not hear")
    assert (await fragile_jobs.get(job)).status == "running"
    worker.send(signal.SIGTERM)
    assert worker.wait(within=20) == 0, worker.log.read_text()
    returned = await fragile_jobs.get(job)
    assert (returned.status, returned.started_at) == ("queued", None)
    assert await fragile_jobs.outcomes(job) == ["returned"]
    assert await wake_ups.waiting("fragile") == 1


async def test_a_worker_told_to_stop_may_finish_its_job_first(
    worker: Worker, jobs: Jobs, wake_ups: WakeUps, redis: Redis
) -> None:
    job = await jobs.add(**SOME_SECONDS)
    behind = await jobs.add()
    await wake_ups.send("default", 2)
    await until_denoising(redis, job)
    worker.send(signal.SIGTERM)
    assert worker.wait(within=60) == 0, worker.log.read_text()
    assert await jobs.outcomes(job) == ["succeeded"]
    assert (await jobs.get(behind)).status == "queued"
    assert await wake_ups.waiting("default") == 1


async def test_a_worker_told_to_stop_while_it_starts_ends_at_once(workshop: Workshop) -> None:
    worker = workshop.start_worker("default")

    async def is_importing() -> bool:
        return (worker.folder / "runtime").exists()

    await until(is_importing, "it did not begin")
    worker.send(signal.SIGTERM)
    assert worker.wait(within=10) == 0, worker.log.read_text()
