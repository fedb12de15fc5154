"""The life of one attempt: from a claimed job to its settled end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from opentelemetry.trace import SpanKind

from impasto_billing.settlement import NOTHING, Usage
from impasto_core.graphs import InvalidGraph
from impasto_core.graphs.connections import Connections
from impasto_core.graphs.estimate import estimate
from impasto_core.graphs.references import networks_of
from impasto_core.graphs.validation import check
from impasto_core.jobs.errors import ErrorCode, JobError
from impasto_core.jobs.events import EventWriter, Finished, Started
from impasto_core.jobs.lifecycle import Lease, LeaseLost
from impasto_core.jobs.tables import AttemptOutcome, CancelReason, Job, JobStatus
from impasto_core.models.tables import Model
from impasto_core.storage import ObjectNotFound, StorageUnavailable
from impasto_core.telemetry import span
from impasto_workers.endings import Ending, canceled, failed, out_of_time, returned, settle, succeeded
from impasto_workers.event_feed import EventFeed
from impasto_workers.model_files import ModelUnavailable
from impasto_workers.narrator import Narrator
from impasto_workers.pictures import Picture, make_pictures, size_of
from impasto_workers.runtime import Event, NodeError, RunResult
from impasto_workers.services import Services
from impasto_workers.stop import Stop, Stopped, StopReason
from impasto_workers.telemetry import NodeSpans, count_attempt, stage, tracer
from impasto_workers.time_limits import Hold, TimeLimits
from impasto_workers.waking import wake_others
from impasto_workers.watch import watch

logger = logging.getLogger(__name__)

T = TypeVar("T")

STORAGE_PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds between tries to reach the object store; each try is three of boto's."""


class AttemptFailed(Exception):
    """The attempt cannot succeed; `error` is for the job's owner."""

    def __init__(self, error: JobError) -> None:
        super().__init__(error.message)
        self.error = error


class RuntimeStuck(Exception):
    """The device failed, or its thread does not come back: this process can run no other job."""


class Attempt:
    """One claim of one job. `run` it once, on the event loop.

    on_painted: called once the device is free for another job.
    """

    def __init__(
        self,
        services: Services,
        job: Job,
        models: Sequence[Model],
        stop: Stop,
        hold: Hold,
        on_painted: Callable[[], None],
    ) -> None:
        self._services = services
        self._job = job
        self._models = models
        self._stop = stop
        self._lease = Lease(job.id, job.attempt)
        self._limits = TimeLimits(self._lease, stop, hold)
        self._on_painted = on_painted
        self._feed = EventFeed(EventWriter(services.redis, job.id, job.attempt))
        self._narrator = Narrator(job.graph)
        self._gpu_seconds = 0.0
        self._uploaded: list[str] = []
        self._left_run_behind = False
        self._device_failed = False

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
            with self._limits.limit(StopReason.DEADLINE, self._seconds_left()):
                ending = await self._work()
            with stage("settle"):
                job = await settle(self._services.database, self._lease, ending, self._usage(ending))
            count_attempt(job, ending.outcome, ending.error)
            await self._settled(job, ending.outcome)
        except LeaseLost:
            logger.warning("the attempt lost its lease, its results are dropped")
            await self._delete_uploads()
        finally:
            watching.cancel()
            await self._feed.close()
        if self._device_failed or (self._left_run_behind and self._stop.reason is not StopReason.SHUTDOWN):
            raise RuntimeStuck

    def _seconds_left(self) -> float:
        """Until the deadline, by the database's clock, which was read when the job was claimed."""
        if self._job.deadline is None or self._job.started_at is None:
            return self._services.settings.job_total_limit_seconds
        return (self._job.deadline - self._job.started_at).total_seconds()

    def _usage(self, ending: Ending) -> Usage:
        """What failed is not its owner's to pay, even if the job was canceled meanwhile."""
        if ending.outcome is AttemptOutcome.FAILED:
            return NOTHING
        return Usage(self._narrator.denoised, self._gpu_seconds)

    async def _work(self) -> Ending:
        """Do the job, or say why it was not done. Raises LeaseLost."""
        try:
            return succeeded(await self._make_pictures())
        except Stopped as stopped:
            return self._stopped(stopped.reason)
        except AttemptFailed as failure:
            return failed(failure.error)
        except StorageUnavailable as error:
            logger.error("the object store is away: %s", error)
            message = "The images could not be read or stored."
            return failed(JobError.of(ErrorCode.STORAGE_UNAVAILABLE, message))
        except Exception:  # ours to repair; the job must come to an end all the same
            logger.exception("the attempt broke")
            message = "The job failed because of an error on our side."
            return failed(JobError.of(ErrorCode.INTERNAL, message))

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
                self._device_failed = result.error.kind == "device-failed"
                raise AttemptFailed(self._node_failed(result.error))
        self._on_painted()
        with stage("encode"):
            pictures = await self._stop.race(asyncio.to_thread(make_pictures, self._job, result.images))
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
            raise AttemptFailed(JobError.of(ErrorCode.INVALID_GRAPH, message)) from None

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
            message = f"The model {min(missing)} is not offered any more."
            raise AttemptFailed(JobError.of(ErrorCode.MODEL_REMOVED, message))
        for model in self._models:
            try:
                await self._stop.race(self._services.models.ensure(model))
            except ModelUnavailable as error:
                logger.error("a model cannot be used: %s", error)
                message = f"The model {model.slug} could not be loaded."
                raise AttemptFailed(JobError.of(ErrorCode.MODEL_UNAVAILABLE, message)) from None

    async def _given_images(self) -> dict[str, bytes]:
        return {name: await self._given_image(name, key) for name, key in self._job.images_in.items()}

    async def _given_image(self, name: str, key: str) -> bytes:
        try:
            return await self._patiently(lambda: self._services.store.get(key))
        except ObjectNotFound:
            error = JobError.of(ErrorCode.INPUT_MISSING, f"The image {name} no longer exists.")
            raise AttemptFailed(error) from None

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
        began = loop.time()
        try:
            with self._limits.limit(*self._run_limit()):
                result = await self._stop.race(run, patience=patience_with_runtime)
            spans.close(result.error)
            return result
        finally:
            spans.close()
            self._gpu_seconds = loop.time() - began
            self._left_run_behind = self._services.gpu.is_busy

    def _run_limit(self) -> tuple[StopReason, float]:
        ours, theirs = self._services.settings.job_time_limit_seconds, self._job.max_run_seconds
        if theirs is not None and theirs < ours:
            return StopReason.RUN_LIMIT, theirs
        return StopReason.TIME_LIMIT, ours

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
                return canceled(CancelReason.REQUESTED)
            case StopReason.TIME_LIMIT | StopReason.RUN_LIMIT | StopReason.DEADLINE:
                return out_of_time(reason, self._services.settings.job_time_limit_seconds)
            case StopReason.SHUTDOWN:
                return returned()
            case StopReason.LEASE_LOST:
                raise LeaseLost

    def _node_failed(self, error: NodeError) -> JobError:
        """What the owner may know: the kind of error, since its text may hold our paths."""
        logger.warning("the graph failed\n%s", error.traceback)
        place = f"The node {error.node} ({error.node_type})" if error.node else "The graph"
        match error.kind:
            case "out-of-memory":
                message = f"{place} needed more memory than there is: try a smaller size."
            case "device-failed":
                message = f"{place} failed with the device."
            case "node-failed":
                message = f"{place} failed: {error.type}."
        return JobError.of(ErrorCode(error.kind), message, node_id=error.node, node_type=error.node_type)

    async def _settled(self, job: Job, outcome: AttemptOutcome) -> None:
        logger.info("the attempt ended: %s", outcome.value)
        if JobStatus(job.status).is_final:
            self._feed.put(Finished(organization_id=job.organization_id))
        if outcome is not AttemptOutcome.SUCCEEDED:
            await self._delete_uploads()
        await wake_others(self._services.database, self._services.wake_ups, job)

    async def _delete_uploads(self) -> None:
        """Best effort: an object that stays is named by no row and costs only its room."""
        try:
            await self._services.store.delete(self._uploaded)
        except StorageUnavailable as error:
            logger.warning("could not delete %s: %s", ", ".join(self._uploaded), error)


def patience_with_runtime(reason: StopReason) -> float:
    """Seconds that a run gets to notice that it is to stop: more than any denoising step takes.

    In a shutdown it does not matter whether it has: the job is given back, and the fencing token keeps order.
    """
    return 2 if reason is StopReason.SHUTDOWN else 60
