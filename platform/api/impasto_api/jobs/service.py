"""Making jobs and following them to their end."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from opentelemetry import metrics, trace
from opentelemetry.trace import SpanKind
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_api.auth.keys import Principal
from impasto_api.idempotency import repository as idempotency
from impasto_api.images import repository as images
from impasto_api.jobs import repository
from impasto_api.jobs.schemas import ImageToImageRequest, JobView, TextToImageRequest
from impasto_api.jobs.sources import Source, find_sources
from impasto_api.problems import NotFound
from impasto_api.rate_limits.middleware import RequestLimits
from impasto_api.services import Services
from impasto_core.ids import format_id, parse_id
from impasto_core.jobs.tables import Job
from impasto_core.models.service import find_model
from impasto_core.pipelines import PIPELINES, InvalidInput, PipelineInput
from impasto_core.queue import QueueUnavailable
from impasto_core.telemetry import bind, current_traceparent, traced

logger = logging.getLogger(__name__)
tracer = trace.get_tracer(__name__)
jobs_created = metrics.get_meter(__name__).create_counter("impasto.jobs.created", "{job}", "Jobs made.")


@dataclass(frozen=True)
class Answer:
    """What `create` answers: the job as it was made, and whether an earlier request made it."""

    job_id: UUID
    body: dict[str, Any]
    replayed: bool


@traced(tracer, "jobs.create")
async def create(
    services: Services,
    principal: Principal,
    request: TextToImageRequest | ImageToImageRequest,
    *,
    key: str | None,
    fingerprint: bytes,
    limits: RequestLimits,
) -> Answer:
    """Make the job, once for every idempotency key, and wake a worker.

    Raises InvalidInput, IdempotencyInFlight, IdempotencyKeyReused, QuotaExceeded.
    """
    organization_id = principal.organization_id
    references = request.input.images()
    sources: dict[str, Source] = {}
    if references:
        # Reading pictures takes time, and no transaction should wait for it. A replay comes first: the
        # pictures of a request that was answered once may be gone by now.
        async with services.database.tenant(organization_id) as session:
            if replay := await _replay(services, session, key, fingerprint):
                return replay
        sources = await find_sources(services, organization_id, references)

    async with services.database.tenant(organization_id) as session:
        if key is not None:
            await idempotency.lock(session, organization_id, key)
            if replay := await _replay(services, session, key, fingerprint):
                return replay
        job = await _make(services, session, principal, request, sources)
        await limits.count_job(principal)  # neither replays nor requests that are wrong
        session.add(job)
        body = JobView.of(job, [], services).model_dump(mode="json")
        if key is not None:
            idempotency.save(
                session,
                organization_id=organization_id,
                key=key,
                fingerprint=fingerprint,
                status=202,
                body=body,
                expires_at=services.clock() + timedelta(hours=services.settings.idempotency_hours),
            )
    bind(job_id=format_id("job", job.id))
    jobs_created.add(1, {"pipeline": job.pipeline, "pool": job.pool})
    await _wake(services, job.pool)
    return Answer(job.id, body, replayed=False)


async def _replay(
    services: Services, session: AsyncSession, key: str | None, fingerprint: bytes
) -> Answer | None:
    if key is None:
        return None
    record = await idempotency.find(session, key, fingerprint, services.clock())
    if record is None:
        return None
    return Answer(parse_id("job", record.body["id"]), record.body, replayed=True)


async def _make(
    services: Services,
    session: AsyncSession,
    principal: Principal,
    request: TextToImageRequest | ImageToImageRequest,
    sources: dict[str, Source],
) -> Job:
    slug = request.input.model or services.settings.default_model
    model = await find_model(session, slug)
    if model is None:
        raise InvalidInput("model", "not_found", f"There is no model {slug}: see GET /v1/models.")
    init = next(iter(sources.values()), None)
    resolved: PipelineInput = request.input.resolve(
        model, init_size=(init.width, init.height) if init else None
    )
    return Job(
        organization_id=principal.organization_id,
        api_key_id=principal.api_key_id,
        model_id=model.id,
        mode=principal.mode,
        pool=model.pool,
        pipeline=request.pipeline,
        input=resolved.model_dump(mode="json"),
        graph=PIPELINES[request.pipeline].build(resolved, model),
        pixel_steps=resolved.work().pixel_steps,
        images_in={reference: sources[field].object_key for field, reference in resolved.images().items()},
        user_metadata=request.metadata,
        traceparent=current_traceparent(),
        created_at=services.clock(),
    )


@traced(tracer, "wake-up", kind=SpanKind.PRODUCER)
async def _wake(services: Services, pool: str) -> None:
    try:
        await services.wake_ups.send(pool)
    except QueueUnavailable:
        logger.warning("no wake-up was sent to pool %s: the sweeper will", pool, exc_info=True)


async def view(services: Services, organization_id: UUID, job_id: UUID) -> JobView:
    """Raises NotFound."""
    async with services.database.tenant(organization_id) as session:
        job = await repository.get(session, job_id)
        if job is None:
            raise NotFound("There is no such job.")
        made = await images.of_jobs(session, [job_id]) if job.finished_at else []
    return JobView.of(job, made, services)
