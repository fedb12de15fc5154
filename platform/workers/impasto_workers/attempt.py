"""The life of one attempt: from a claimed job to its settled end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TypeVar

from opentelemetry.trace import SpanKind

from impasto_billing.settlement import Usage
from impasto_core.database import DATABASE_ERRORS
from impasto_core.graphs import InvalidGraph
from impasto_core.graphs.connections import Connections
from impasto_core.graphs.estimate import estimate
from impasto_core.graphs.references import networks_of
from impasto_core.graphs.validation import check
from impasto_core.jobs import fair_queue
from impasto_core.jobs.events import EventWriter, Finished, Started
from impasto_core.jobs.lifecycle import JobError, Lease, LeaseLost
from impasto_core.jobs.tables import AttemptOutcome, Job, JobStatus
from impasto_core.models.tables import Model
from impasto_core.queue import QueueUnavailable
from impasto_core.storage import ObjectNotFound, StorageUnavailable
from impasto_core.telemetry import span
from impasto_workers.endings import Ending, canceled, failed, returned, settle, succeeded
from impasto_workers.event_feed import EventFeed
from impasto_workers.model_files import ModelUnavailable
from impasto_workers.narrator import Narrator
from impasto_workers.pictures import Picture, make_pictures, size_of
from impasto_workers.runtime import Event, NodeError, RunResult
from impasto_workers.services import Services
from impasto_workers.stop import Stop, Stopped, StopReason
from impasto_workers.telemetry import NodeSpans, count_attempt, stage, tracer
from impasto_workers.watch import watch

logger = logging.getLogger(__name__)

T = TypeVar("T")

STORAGE_PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds between tries to reach the object store; each try is three of boto's."""

STORAGE_ATTEMPTS = 8
"""As many attempts, over some four minutes, before a job fails because the object store is away."""


class JobFailed(Exception):
    """The job cannot succeed; `error` is for its owner."""

    def __init__(self, error: JobError) -> None:
        super().__init__(error.message)
        self.error = error


class RuntimeStuck(Exception):
    """The device's thread does not come back: this process can run no other job."""


class Attempt:
    """One claim of one job. `run` it once, on the event loop."""

    def __init__(self, services: Services, job: Job, models: Sequence[Model], stop: Stop) -> None:
        self._services = services
        self._job = job
        self._models = models
        self._stop = stop
        self._lease = Lease(job.id, job.attempt)
        self._feed = EventFeed(EventWriter(services.redis, job.id, job.attempt))
        self._narrator = Narrator(job.graph)
        self._gpu_seconds = 0.0
        self._uploaded: list[str] = []
        self._left_run_behind = False

    async def run(self) -> None:
        """Raises RuntimeStuck once the job is settled, and one of DATABASE_ERRORS where it could not be.

        In the latter case the uploads stay: the commit that would name them may have been made.
        """
        lease_seconds = self._services.settings.lease_seconds
        watching = asyncio.create_task(
            watch(self._services.database, self._lease, self._stop, lease_seconds=lease_seconds)
        )
        self._feed.put(Started(job_id=self._job.id, attempt=self._job.attempt))
        try:
            ending = await self._work()
            with stage("settle"):
                usage = Usage(self._narrator.denoised, self._gpu_seconds)
                job = await settle(self._services.database, self._lease, ending, usage)
            count_attempt(job, ending.outcome)
            await self._settled(job, ending.outcome)
        except LeaseLost:
            logger.warning("the attempt lost its lease, its results are dropped")
            await self._delete_uploads()
        finally:
            watching.cancel()
            await self._feed.close()
        if self._left_run_behind and self._stop.reason is not StopReason.SHUTDOWN:
            raise RuntimeStuck

    async def _work(self) -> Ending:
        """Do the job, or say why it was not done. Raises LeaseLost."""
        try:
            return succeeded(await self._make_pictures())
        except Stopped as stopped:
            return self._stopped(stopped.reason)
        except JobFailed as failure:
            return failed(failure.error)
        except StorageUnavailable as error:
            return self._without_storage(error)
        except Exception:  # ours to repair; the job must come to an end all the same
            logger.exception("the attempt broke")
            message = "The job failed because of an error on our side."
            return failed(JobError(code="internal", message=message, retryable=True))

    async def _make_pictures(self) -> list[Picture]:
        with stage("model"):
            edges = self._check_graph()
            await self._load_models()
        with stage("inputs"):
            given = await self._stop.race(self._given_images())
            self._expect(edges, given)
        with stage("graph"):
            result = await self._paint(given)
            if result.error is not None:
                raise JobFailed(self._node_failed(result.error))
        with stage("encode"):
            pictures = await asyncio.to_thread(make_pictures, self._job, result.images)
        with stage("upload"):
            # Uploads under way are waited for, so that what they wrote can be deleted.
            await self._stop.race(self._upload(pictures), patience=lambda reason: 5)
        return pictures

    def _check_graph(self) -> Connections:
        """Once more: what lies in the database may be older than our rules. InvokeAI looks at it as well."""
        try:
            return check(self._job.graph)
        except InvalidGraph as invalid:
            logger.error("the graph is not sound: %s", invalid)
            message = f"The graph cannot be run: {invalid}."
            raise JobFailed(JobError(code="invalid-graph", message=message)) from None

    def _expect(self, edges: Connections, given: Mapping[str, bytes]) -> None:
        """Progress, and what a job pays that is stopped on its way, go by the share of the work."""
        references = networks_of(self._models) | {name: size_of(data) for name, data in given.items()}
        try:
            estimated = estimate(self._job.graph, edges, references)
        except InvalidGraph:  # then by the share of its nodes
            logger.warning("the work of the graph cannot be told", exc_info=True)
        else:
            self._narrator.expect(estimated.denoising)

    async def _load_models(self) -> None:
        missing = set(self._job.models) - {model.slug for model in self._models}
        if missing:
            raise JobFailed(model_unavailable(min(missing)))
        for model in self._models:
            try:
                await self._stop.race(self._services.models.ensure(model))
            except ModelUnavailable as error:
                logger.error("a model cannot be used: %s", error)
                raise JobFailed(model_unavailable(model.slug)) from None

    async def _given_images(self) -> dict[str, bytes]:
        return {name: await self._given_image(name, key) for name, key in self._job.images_in.items()}

    async def _given_image(self, name: str, key: str) -> bytes:
        try:
            return await self._patiently(lambda: self._services.store.get(key))
        except ObjectNotFound:
            error = JobError(code="input-missing", message=f"The image {name} no longer exists.")
            raise JobFailed(error) from None

    async def _paint(self, given: dict[str, bytes]) -> RunResult:
        loop = asyncio.get_running_loop()
        spans = NodeSpans()

        def on_event(event: Event) -> None:  # called in the device's thread
            spans.tell(event)
            loop.call_soon_threadsafe(self._tell, event)

        run = self._services.gpu.run(
            self._services.runtime.run,
            self._job.graph,
            images=given,
            on_event=on_event,
            cancel=self._stop.flag,
        )
        limit = self._services.settings.job_time_limit_seconds
        alarm = loop.call_later(limit, self._stop.pull, StopReason.TIME_LIMIT)
        began = loop.time()
        try:
            result = await self._stop.race(run, patience=patience_with_runtime)
            spans.close(result.error)
            return result
        finally:
            spans.close()
            alarm.cancel()
            self._gpu_seconds = loop.time() - began
            self._left_run_behind = self._services.gpu.is_busy

    def _tell(self, event: Event) -> None:
        self._feed.put(self._narrator.tell(event))

    async def _upload(self, pictures: list[Picture]) -> None:
        for error in await asyncio.gather(*map(self._upload_one, pictures), return_exceptions=True):
            if error is not None:
                raise error

    async def _upload_one(self, picture: Picture) -> None:
        await self._put(picture.object_key, picture.png, "image/png")
        await self._put(picture.thumbnail_key, picture.thumbnail, "image/webp")

    async def _put(self, key: str, data: bytes, content_type: str) -> None:
        self._uploaded.append(key)
        attributes: dict[str, str | int] = {"aws.s3.key": key, "http.request.body.size": len(data)}
        with span(tracer, "S3 PutObject", kind=SpanKind.CLIENT, attributes=attributes):
            await self._patiently(lambda: self._services.store.put(key, data, content_type))

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """A picture is worth waiting a while for the object store. Raises StorageUnavailable, Stopped."""
        for pause in STORAGE_PAUSES:
            try:
                return await call()
            except StorageUnavailable as error:
                logger.warning("trying again in %g s: %s", pause, error)
                await self._stop.sleep(pause)
        return await call()

    def _stopped(self, reason: StopReason) -> Ending:
        logger.info("the attempt was stopped: %s", reason.value)
        match reason:
            case StopReason.CANCELED:
                return canceled()
            case StopReason.TIME_LIMIT:
                limit = self._services.settings.job_time_limit_seconds
                message = f"The job was stopped after running for {limit:g} seconds."
                return failed(JobError(code="time-limit", message=message))
            case StopReason.SHUTDOWN:
                return returned()
            case StopReason.LEASE_LOST:
                raise LeaseLost

    def _node_failed(self, error: NodeError) -> JobError:
        """What the owner may know: the kind of error, since its text may hold our paths."""
        logger.warning("the graph failed\n%s", error.traceback)
        place = f"The node {error.node} ({error.node_type})" if error.node else "The graph"
        code, message = "node-failed", f"{place} failed: {error.type}."
        if error.out_of_memory:
            code, message = "out-of-memory", f"{place} needed more memory than there is: try a smaller size."
        return JobError(
            code=code,
            message=message,
            node_id=error.node,
            node_type=error.node_type,
            retryable=error.out_of_memory,
        )

    def _without_storage(self, error: StorageUnavailable) -> Ending:
        """Back to the queue for a while, since the next worker may reach what this one cannot.

        Letting the lease run out instead would count the worker as lost, and fail the job at the third time.
        """
        logger.error("the object store is away: %s", error)
        if self._job.attempt >= STORAGE_ATTEMPTS:
            message = "The images could not be read or stored."
            return failed(JobError(code="storage-unavailable", message=message, retryable=True))
        return returned(delay=timedelta(seconds=min(60, 2**self._job.attempt)))

    async def _settled(self, job: Job, outcome: AttemptOutcome) -> None:
        logger.info("the attempt ended: %s", outcome.value)
        if JobStatus(job.status).is_final:
            self._feed.put(Finished())
        if outcome is not AttemptOutcome.SUCCEEDED:
            await self._delete_uploads()
        await self._wake_others(job)

    async def _delete_uploads(self) -> None:
        """Best effort: an object that stays is named by no row and costs only its room."""
        try:
            await self._services.store.delete(self._uploaded)
        except StorageUnavailable as error:
            logger.warning("could not delete %s: %s", ", ".join(self._uploaded), error)

    async def _wake_others(self, job: Job) -> None:
        """For the job itself, where it is queued again, and for those that had to wait for it to end."""
        pools = {job.pool} if job.status == JobStatus.QUEUED else set()
        try:
            async with self._services.database.session() as session:
                pools |= set(await fair_queue.pools_to_wake(session, job.organization_id))
            for pool in pools:
                await self._services.wake_ups.send(pool)
        except (QueueUnavailable, *DATABASE_ERRORS):
            logger.warning("no worker was woken, the sweeper will")


def model_unavailable(slug: str) -> JobError:
    message = f"The model {slug} could not be loaded."
    return JobError(code="model-unavailable", message=message, retryable=True)


def patience_with_runtime(reason: StopReason) -> float:
    """Seconds that a run gets to notice that it is to stop: more than any denoising step takes.

    In a shutdown it does not matter whether it has: the job is given back, and the fencing token keeps order.
    """
    return 2 if reason is StopReason.SHUTDOWN else 60
