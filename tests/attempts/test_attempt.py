"""One attempt at a job, on real PostgreSQL, Redis and S3."""

from __future__ import annotations

import asyncio
import hashlib
import io
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from PIL import Image
from redis.asyncio import Redis
from sqlalchemy import func, update
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_core.clock import utc_now
from impasto_core.database import Database
from impasto_core.jobs import lifecycle
from impasto_core.jobs.errors import RETRIES, ErrorCode
from impasto_core.jobs.events import EventWriter, Fenced, Finished, ImageMade, Started, Step
from impasto_core.jobs.tables import Job
from impasto_core.models.service import folder_digest
from impasto_core.organizations.tables import Organization
from impasto_core.storage import ObjectNotFound, ObjectStore, StorageUnavailable
from impasto_workers import attempt
from impasto_workers.actor import JobRunner
from impasto_workers.runtime import NodeError
from impasto_workers.services import Services
from tests.attempts.brush import STEPS, Brush
from tests.support.databases import DatabaseUrls
from tests.support.job_desk import Jobs, events_of, until
from tests.support.painters import png
from tests.support.tenants import register_model


def fail_loudly() -> None:
    pytest.fail("the device is not stuck")


@pytest.fixture
def runner(services: Services) -> JobRunner:
    return JobRunner(services, on_stuck=fail_loudly)


@asynccontextmanager
async def running(runner: JobRunner, brush: Brush) -> AsyncIterator[asyncio.Task[None]]:
    """A job in the middle of its first picture."""
    brush.hold()
    task = asyncio.create_task(runner.run_next_job("default"))
    try:
        await until(lambda: asyncio.to_thread(brush.is_waiting.wait, 0.1), "the brush was not taken up")
        yield task
    finally:
        brush.release()
        await task


def keys_of(job: Job, attempt_number: int = 1, n: int = 1) -> list[str]:
    folder = f"organizations/{job.organization_id}/jobs/{job.id}/{attempt_number}"
    return [f"{folder}/{index}.{suffix}" for index in range(n) for suffix in ("png", "webp")]


async def exists(store: ObjectStore, key: str) -> bool:
    try:
        await store.head(key)
    except ObjectNotFound:
        return False
    return True


# What a good attempt leaves


async def test_a_painted_job_has_its_images_in_order_each_with_its_seed(
    jobs: Jobs, runner: JobRunner
) -> None:
    job = await jobs.add(n=3, seed=2**32 - 2)
    await runner.run_next_job("default")

    assert (await jobs.get(job)).status == "succeeded"
    assert await jobs.outcomes(job) == ["succeeded"]
    images = await jobs.images(job)
    assert [(image.index, image.node) for image in images] == [(0, "image_0"), (1, "image_1"), (2, "image_2")]
    assert [image.seed for image in images] == [2**32 - 2, 2**32 - 1, 0]
    assert {image.organization_id for image in images} == {job.organization_id}


async def test_each_image_is_stored_as_a_png_and_a_small_webp(
    jobs: Jobs, runner: JobRunner, services: Services
) -> None:
    job = await jobs.add()
    await runner.run_next_job("default")

    [image] = await jobs.images(job)
    assert [image.object_key, image.thumbnail_key] == keys_of(job)
    data = await services.store.get(image.object_key)
    assert (image.size, image.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert (await services.store.head(image.object_key)).content_type == "image/png"
    thumbnail = Image.open(io.BytesIO(await services.store.get(image.thumbnail_key)))
    assert (thumbnail.format, thumbnail.size) == ("WEBP", (256, 128))


async def test_the_stream_tells_what_happened_in_order(jobs: Jobs, runner: JobRunner, redis: Redis) -> None:
    job = await jobs.add(n=2)
    await runner.run_next_job("default")

    events = await events_of(redis, job)
    assert events[0] == Started(job_id=job.id, attempt=1)
    assert events[-1] == Finished()
    steps = [event for event in events if isinstance(event, Step)]
    assert [(step.node, step.step, step.total) for step in steps] == [
        (f"denoise_{index}", step, STEPS) for index in range(2) for step in range(1, STEPS + 1)
    ]
    assert [step.progress for step in steps] == [pytest.approx(i / 6, abs=1e-4) for i in range(1, 7)]
    assert steps[0].preview == "data:image/jpeg;base64,anBlZw=="
    assert steps[1].preview is None
    assert [event.index for event in events if isinstance(event, ImageMade)] == [0, 1]


async def test_a_graph_is_given_the_pictures_it_reads(
    jobs: Jobs, runner: JobRunner, services: Services, brush: Brush
) -> None:
    picture = png(64, 64, "blue")
    await services.store.put("somewhere/verified.png", picture, "image/png")
    name = "upl_01jcp0f85v6zg8yq0gs8zfwdq4"
    job = await jobs.add("image-to-image", {name: "somewhere/verified.png"}, init_image=name, steps=4)
    await runner.run_next_job("default")
    assert (await jobs.get(job)).status == "succeeded"
    assert brush.given == {name: picture}


async def test_a_wake_up_without_a_job_does_nothing(runner: JobRunner, brush: Brush) -> None:
    await runner.run_next_job("default")
    assert brush.runs == 0


async def test_a_model_is_registered_once(jobs: Jobs, runner: JobRunner, brush: Brush) -> None:
    for _ in range(2):
        await jobs.add()
        await runner.run_next_job("default")
    assert list(brush.models) == [str(jobs.model.id)]


async def test_a_model_that_an_operator_changed_is_loaded_anew(
    jobs: Jobs, runner: JobRunner, brush: Brush, owner_database: Database, tmp_path: Path
) -> None:
    await jobs.add()
    await runner.run_next_job("default")
    changed = tmp_path / "changed"
    changed.mkdir()
    await register_model(
        owner_database, jobs.model.slug, source=changed.as_uri(), digest=folder_digest(changed)
    )
    job = await jobs.add()
    await runner.run_next_job("default")
    assert (await jobs.get(job)).status == "succeeded"
    assert brush.models == {str(jobs.model.id): changed}


async def test_every_model_that_a_graph_names_is_registered(
    jobs: Jobs, runner: JobRunner, brush: Brush, owner_database: Database, model_folder: Path
) -> None:
    lora = await register_model(owner_database, "lora", type="lora", source=model_folder.as_uri())
    job = await jobs.add()
    await jobs.change(job, models=[jobs.model.slug, "lora"])
    await runner.run_next_job("default")
    assert (await jobs.get(job)).status == "succeeded"
    assert brush.models.keys() == {str(jobs.model.id), str(lora.id)}


async def test_a_model_that_is_no_more_fails_the_job(jobs: Jobs, runner: JobRunner) -> None:
    job = await jobs.add()
    await jobs.change(job, models=[jobs.model.slug, "gone"])
    await runner.run_next_job("default")
    error = (await jobs.get(job)).error
    assert error is not None
    assert (error["code"], error["message"]) == ("model-removed", "The model gone is not offered any more.")


async def test_a_graph_that_is_not_sound_never_reaches_the_device(
    jobs: Jobs, runner: JobRunner, brush: Brush
) -> None:
    """Whatever way it came into the database."""
    job = await jobs.add()
    graph = {"nodes": {"spy": {"id": "spy", "type": "prompt_from_file", "file_path": "/etc/passwd"}}}
    await jobs.change(job, graph=graph)
    await runner.run_next_job("default")
    error = (await jobs.get(job)).error
    assert error is not None
    assert error["code"] == "invalid-graph"
    assert brush.models == {}


# While it runs


async def test_the_lease_is_renewed_for_as_long_as_the_job_runs(
    jobs: Jobs, services: Services, brush: Brush
) -> None:
    short = services.settings.model_copy(update={"lease_seconds": 0.6})
    runner = JobRunner(replace(services, settings=short), on_stuck=fail_loudly)
    job = await jobs.add()
    async with running(runner, brush):
        first = (await jobs.get(job)).lease_expires_at

        async def has_outlived_three_leases() -> bool:
            now = (await jobs.get(job)).lease_expires_at
            assert first is not None
            assert now is not None
            return now - first > 3 * timedelta(seconds=0.6)

        await until(has_outlived_three_leases, "the lease was not renewed")
    assert await jobs.outcomes(job) == ["succeeded"]


async def test_a_cancel_stops_the_run_and_leaves_nothing(
    jobs: Jobs, runner: JobRunner, brush: Brush, owner_database: Database, redis: Redis
) -> None:
    job = await jobs.add()
    async with running(runner, brush) as task:
        async with owner_database.session() as session:
            await lifecycle.cancel(session, job.id)
        await task
    assert (await jobs.get(job)).status == "canceled"
    assert await jobs.outcomes(job) == ["canceled"]
    assert await jobs.images(job) == []
    assert (await events_of(redis, job))[-1] == Finished()


async def test_a_cancel_does_not_wait_for_a_model_to_load(
    jobs: Jobs, runner: JobRunner, brush: Brush, owner_database: Database
) -> None:
    brush.slow_models = True
    job = await jobs.add()
    async with running(runner, brush) as task:
        async with owner_database.session() as session:
            await lifecycle.cancel(session, job.id)
        await task
    assert (await jobs.get(job)).status == "canceled"
    assert brush.runs == 0


async def test_a_job_over_its_time_limit_fails(jobs: Jobs, services: Services, brush: Brush) -> None:
    hasty = services.settings.model_copy(update={"job_time_limit_seconds": 0.1})
    job = await jobs.add()
    async with running(JobRunner(replace(services, settings=hasty), on_stuck=fail_loudly), brush) as task:
        await task
    assert (await jobs.get(job)).error == {
        "code": "time-limit",
        "message": "The job was stopped after running for 0.1 seconds.",
        "node_id": None,
        "node_type": None,
        "retryable": False,
    }


async def test_a_job_over_a_limit_that_its_owner_set_is_canceled_and_says_which(
    jobs: Jobs, runner: JobRunner, brush: Brush
) -> None:
    long, overdue = await jobs.add(), await jobs.add()
    await jobs.change(long, max_run_seconds=1)
    await jobs.change(overdue, deadline=func.now() + timedelta(seconds=1))
    for job, reason in ((long, "run-limit"), (overdue, "deadline")):
        async with running(runner, brush) as task:
            await task
        canceled = await jobs.get(job)
        assert (canceled.status, canceled.cancel_reason, canceled.error) == ("canceled", reason, None)
        assert await jobs.outcomes(job) == ["canceled"]


async def test_a_deadline_holds_while_pictures_are_encoded(
    jobs: Jobs, runner: JobRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    monkeypatch.setattr(attempt, "make_pictures", lambda *_: over.wait(60))
    job = await jobs.add()
    await jobs.change(job, deadline=func.now() + timedelta(seconds=1))
    try:
        async with asyncio.timeout(20):
            await runner.run_next_job("default")
    finally:
        over.set()
    assert (await jobs.get(job)).cancel_reason == "deadline"


async def test_a_job_claimed_after_its_deadline_never_reaches_the_device(
    jobs: Jobs, runner: JobRunner, brush: Brush
) -> None:
    job = await jobs.add()
    await jobs.change(job, deadline=func.now() - timedelta(seconds=1))
    await runner.run_next_job("default")
    assert (await jobs.get(job)).cancel_reason == "deadline"
    assert brush.runs == 0


async def test_an_attempt_that_was_overtaken_leaves_nothing_behind(
    jobs: Jobs, runner: JobRunner, brush: Brush, worker_database: Database, services: Services, redis: Redis
) -> None:
    job = await jobs.add()
    async with running(runner, brush) as task:
        await jobs.expire_lease(job)
        async with worker_database.session() as session:
            await lifecycle.return_expired_leases(session)
        await jobs.change(job, available_at=utc_now() - timedelta(seconds=1))
        async with worker_database.session() as session:
            successor = await lifecycle.claim(session, pool="default", worker="another", lease_seconds=30)
        assert successor is not None
        await EventWriter(redis, job.id, successor.attempt).write(Started(job_id=job.id, attempt=2))
        await task

    assert (await jobs.get(job)).status == "running"
    assert await jobs.outcomes(job) == ["lost", None]
    assert await jobs.images(job) == []
    assert not any([await exists(services.store, key) for key in keys_of(job)])
    assert (await events_of(redis, job))[-1] == Started(job_id=job.id, attempt=2)
    with pytest.raises(Fenced):
        await EventWriter(redis, job.id, 1).write(Finished())


async def test_an_attempt_overtaken_at_the_last_moment_deletes_what_it_uploaded(
    jobs: Jobs, services: Services, worker_database: Database
) -> None:
    job = await jobs.add()

    class SlowStore(ObjectStore):
        """While it stores the last object, the sweeper takes the job away."""

        async def put(self, key: str, data: bytes, content_type: str) -> None:
            await super().put(key, data, content_type)
            if key.endswith(".webp"):
                await jobs.expire_lease(job)
                async with worker_database.session() as session:
                    await lifecycle.return_expired_leases(session)

    store = SlowStore(services.settings)
    await JobRunner(replace(services, store=store), on_stuck=fail_loudly).run_next_job("default")
    assert (await jobs.get(job)).status == "queued"
    assert await jobs.outcomes(job) == ["lost"]
    assert not any([await exists(store, key) for key in keys_of(job)])


async def test_a_late_worker_cannot_upload_over_what_its_successor_made(
    jobs: Jobs, services: Services, worker_database: Database
) -> None:
    job = await jobs.add()

    class LateStore(ObjectStore):
        """Before it stores anything, the job is lost to a successor, who ends it."""

        overtaken = False

        async def put(self, key: str, data: bytes, content_type: str) -> None:
            if not self.overtaken:
                self.overtaken = True
                await jobs.expire_lease(job)
                async with worker_database.session() as session:
                    await lifecycle.return_expired_leases(session)
                await JobRunner(services, on_stuck=fail_loudly).run_next_job("default")
            await super().put(key, b"late", content_type)

    late = LateStore(services.settings)
    await JobRunner(replace(services, store=late), on_stuck=fail_loudly).run_next_job("default")
    assert await jobs.outcomes(job) == ["lost", "succeeded"]
    [image] = await jobs.images(job)
    assert [image.object_key, image.thumbnail_key] == keys_of(job, attempt_number=2)
    assert hashlib.sha256(await services.store.get(image.object_key)).hexdigest() == image.sha256
    assert not any([await exists(services.store, key) for key in keys_of(job, attempt_number=1)])


# How it may go wrong


async def test_a_failing_node_is_named_but_its_words_are_ours(
    jobs: Jobs, runner: JobRunner, brush: Brush
) -> None:
    brush.error = NodeError(
        node="denoise_0",
        node_type="denoise_latents",
        type="ValueError",
        message="cannot read /secret/path",
        kind="node-failed",
        traceback="/secret/path line 1",
    )
    job = await jobs.add()
    await runner.run_next_job("default")
    failed = await jobs.get(job)
    assert failed.status == "failed"
    assert failed.error == {
        "code": "node-failed",
        "message": "The node denoise_0 (denoise_latents) failed: ValueError.",
        "node_id": "denoise_0",
        "node_type": "denoise_latents",
        "retryable": False,
    }


async def fail_again_and_again(jobs: Jobs, runner: JobRunner, code: ErrorCode) -> Job:
    """A job that does so as often as it is tried, and not once more."""
    job = await jobs.add()
    for attempt_number in range(1, RETRIES[code].attempts + 1):
        waiting = await jobs.get(job)
        assert (waiting.status, waiting.attempt, waiting.error) == ("queued", attempt_number - 1, None)
        await jobs.change(job, available_at=utc_now() - timedelta(seconds=1))
        await runner.run_next_job("default")
    failed = await jobs.get(job)
    assert failed.error is not None
    assert (failed.status, failed.error["code"], failed.error["retryable"]) == ("failed", code, True)
    assert await jobs.outcomes(job) == ["failed"] * RETRIES[code].attempts
    assert (await jobs.balance()).held == 0
    return failed


async def test_a_job_that_does_not_fit_into_memory_is_tried_once_more_by_a_worker_that_goes_on(
    jobs: Jobs, runner: JobRunner, brush: Brush
) -> None:
    brush.error = NodeError("image_0", "l2i", "OutOfMemoryError", "", kind="out-of-memory", traceback="")
    failed = await fail_again_and_again(jobs, runner, ErrorCode.OUT_OF_MEMORY)
    assert (failed.error or {})["node_id"] == "image_0"
    brush.error = None
    after = await jobs.add()
    await runner.run_next_job("default")
    assert (await jobs.get(after)).status == "succeeded"


async def test_a_worker_whose_device_has_failed_ends_and_its_job_runs_elsewhere(
    jobs: Jobs, services: Services, brush: Brush
) -> None:
    brush.error = NodeError("denoise_0", "l2i", "AcceleratorError", "", kind="device-failed", traceback="")
    stuck: list[str] = []
    job = await jobs.add()
    await JobRunner(services, on_stuck=lambda: stuck.append("stuck")).run_next_job("default")
    assert stuck == ["stuck"]
    brush.error = None
    await JobRunner(services, on_stuck=fail_loudly).run_next_job("default")
    assert await jobs.outcomes(job) == ["failed", "succeeded"]
    assert (await jobs.get(job)).error is None


async def test_a_picture_that_was_deleted_meanwhile_is_missed(jobs: Jobs, runner: JobRunner) -> None:
    name = "img_01jcp0f85v6zg8yq0gs8zfwdq4"
    job = await jobs.add("image-to-image", {name: "never/was"}, init_image=name, steps=4)
    await runner.run_next_job("default")
    error = (await jobs.get(job)).error
    assert error is not None
    assert (error["code"], error["message"]) == ("input-missing", f"The image {name} no longer exists.")


async def test_a_model_without_files_fails_the_job_in_the_end_and_not_the_worker(
    jobs: Jobs, runner: JobRunner, model_folder: Path
) -> None:
    model_folder.rmdir()  # noqa: ASYNC240
    failed = await fail_again_and_again(jobs, runner, ErrorCode.MODEL_UNAVAILABLE)
    assert str(model_folder) not in str(failed.error)


async def test_our_own_mistakes_stay_in_our_log(
    jobs: Jobs, runner: JobRunner, brush: Brush, caplog: pytest.LogCaptureFixture
) -> None:
    brush.crash = RuntimeError("a secret of ours")
    failed = await fail_again_and_again(jobs, runner, ErrorCode.INTERNAL)
    assert "secret" not in str(failed.error)
    assert "a secret of ours" in caplog.text


# When something is away


async def test_without_redis_a_job_is_painted_all_the_same(
    jobs: Jobs, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    away = Redis.from_url("redis://127.0.0.1:9", socket_connect_timeout=1)
    job = await jobs.add()
    await JobRunner(replace(services, redis=away), on_stuck=fail_loudly).run_next_job("default")
    assert (await jobs.get(job)).status == "succeeded"
    assert caplog.text.count("an event was dropped") == 1


class Away(ObjectStore):
    async def put(self, key: str, data: bytes, content_type: str) -> None:
        raise StorageUnavailable

    async def delete(self, keys: Iterable[str]) -> None:
        raise StorageUnavailable


@pytest.fixture
def without_storage(services: Services, monkeypatch: pytest.MonkeyPatch) -> Services:
    """Nobody answers for the object store, and nobody waits long for it."""
    monkeypatch.setattr(attempt, "STORAGE_PAUSES", (0.01,))
    return replace(services, store=Away(services.settings))


async def test_without_the_object_store_a_job_goes_back_for_a_while(
    jobs: Jobs, without_storage: Services
) -> None:
    job = await jobs.add()
    await JobRunner(without_storage, on_stuck=fail_loudly).run_next_job("default")
    waiting = await jobs.get(job)
    assert waiting.status == "queued"
    assert waiting.available_at - waiting.created_at > timedelta(seconds=1)
    assert await jobs.outcomes(job) == ["failed"]


async def test_a_job_does_not_wait_for_the_object_store_for_ever(
    jobs: Jobs, without_storage: Services
) -> None:
    runner = JobRunner(without_storage, on_stuck=fail_loudly)
    await fail_again_and_again(jobs, runner, ErrorCode.STORAGE_UNAVAILABLE)


class Flaky(Database):
    """A database whose connection breaks once it is told to, before or after the next commit."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.breaks: list[str] = []

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        async with super().session() as session:
            yield session
            wrote = bool(session.identity_map)
            if wrote and self.breaks[:1] == ["before"]:
                self.breaks.pop(0)
                raise ConnectionResetError("before the commit")
        if wrote and self.breaks[:1] == ["after"]:
            self.breaks.pop(0)
            raise ConnectionResetError("after the commit")


@pytest.mark.parametrize("moments", [["before"], ["after"], ["before", "before", "after"]], ids="-".join)
async def test_a_broken_connection_neither_loses_nor_doubles_the_result(
    jobs: Jobs, services: Services, brush: Brush, urls: DatabaseUrls, moments: list[str]
) -> None:
    flaky = Flaky(urls.worker)
    job = await jobs.add(n=2)
    async with running(JobRunner(replace(services, database=flaky), on_stuck=fail_loudly), brush):
        flaky.breaks = list(moments)
    await flaky.close()

    assert flaky.breaks == []
    assert (await jobs.get(job)).status == "succeeded"
    images = await jobs.images(job)
    assert [image.index for image in images] == [0, 1]
    assert all([await exists(services.store, key) for key in keys_of(job, n=2)])


# When the worker is told to stop


async def test_a_worker_that_closes_lets_its_job_end(jobs: Jobs, runner: JobRunner, brush: Brush) -> None:
    job = await jobs.add()
    async with running(runner, brush) as task:
        runner.close(grace_seconds=60)
        brush.release()
        await task
    assert await jobs.outcomes(job) == ["succeeded"]


async def test_after_the_grace_period_it_gives_the_job_back_and_wakes_another(
    jobs: Jobs, runner: JobRunner, services: Services, brush: Brush
) -> None:
    job = await jobs.add()
    async with running(runner, brush) as task:
        runner.close(grace_seconds=0)
        await task
    assert (await jobs.get(job)).status == "queued"
    assert await jobs.outcomes(job) == ["returned"]
    assert await services.wake_ups.waiting("default") == 1

    await JobRunner(services, on_stuck=fail_loudly).run_next_job("default")
    assert await jobs.outcomes(job) == ["returned", "succeeded"]


async def test_a_job_to_be_canceled_is_not_given_back(
    jobs: Jobs, runner: JobRunner, brush: Brush, owner_database: Database
) -> None:
    job = await jobs.add()
    async with running(runner, brush) as task:
        async with owner_database.session() as session:
            await lifecycle.cancel(session, job.id)
        runner.give_back()
        await task
    assert (await jobs.get(job)).status == "canceled"


async def test_it_does_not_wait_for_a_run_that_does_not_listen(
    jobs: Jobs, runner: JobRunner, services: Services, brush: Brush, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "patience_with_runtime", lambda reason: 0.05)
    brush.deaf = True
    job = await jobs.add()
    async with running(runner, brush) as task:
        runner.give_back()
        await task
        assert services.gpu.is_busy
        assert (await jobs.get(job)).status == "queued"


async def test_the_end_of_a_job_wakes_a_worker_for_those_that_its_organizations_limit_kept(
    jobs: Jobs, runner: JobRunner, services: Services, owner_database: Database
) -> None:
    first, second = await jobs.add(), await jobs.add()
    await runner.run_next_job("default")
    assert await services.wake_ups.waiting("default") == 0, "the second job has a wake-up of its own"

    async with owner_database.session() as session:
        await session.exec(update(Organization).values(concurrent_jobs=1))
    third = await jobs.add()
    await runner.run_next_job("default")
    assert await services.wake_ups.waiting("default") == 1
    statuses = [(await jobs.get(job)).status for job in (first, second, third)]
    assert statuses == ["succeeded", "succeeded", "queued"]


async def test_a_closing_worker_passes_wake_ups_on(jobs: Jobs, runner: JobRunner, services: Services) -> None:
    job = await jobs.add()
    runner.close(grace_seconds=60)
    await runner.run_next_job("default")
    assert (await jobs.get(job)).status == "queued"
    assert await services.wake_ups.waiting("default") == 1


async def test_a_device_that_never_comes_back_ends_the_worker_and_not_only_the_job(
    jobs: Jobs, services: Services, brush: Brush, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "patience_with_runtime", lambda reason: 0.05)
    brush.deaf = True
    stuck: list[str] = []
    hasty = services.settings.model_copy(update={"job_time_limit_seconds": 0.1})
    runner = JobRunner(replace(services, settings=hasty), on_stuck=lambda: stuck.append("stuck"))
    job = await jobs.add()
    async with running(runner, brush) as task:
        await task
    assert stuck == ["stuck"]
    error = (await jobs.get(job)).error
    assert error is not None
    assert error["code"] == "time-limit"
