"""Making jobs and following them to their end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from opentelemetry import metrics, trace

from impasto_api import problems
from impasto_api.auth.keys import Principal
from impasto_api.idempotency import repository as idempotency
from impasto_api.idempotency.key import KeyedRequest
from impasto_api.jobs import drafts, repository
from impasto_api.jobs.schemas import (
    GraphRequest,
    ImageToImageRequest,
    JobView,
    TextToImageRequest,
    WorkflowRun,
)
from impasto_api.jobs.sources import Source, find_sources
from impasto_api.jobs.time_limits import time_limits
from impasto_api.plans.limits import require
from impasto_api.problems import (
    IdempotencyInFlight,
    IdempotencyKeyReused,
    NotEnoughCredits,
    NotFound,
    QuoteAboveMaxCost,
)
from impasto_api.rate_limits.middleware import RequestLimits
from impasto_api.services import Services
from impasto_api.storage_quota import check_storage
from impasto_api.webhooks.urls import check_url
from impasto_billing import creation
from impasto_billing.ledger import service as ledger
from impasto_billing.prices import Quote, price_list_of
from impasto_billing.spending import SpendCapReached
from impasto_core.idempotency.tables import IdempotencyRecord
from impasto_core.ids import format_id, parse_id
from impasto_core.jobs.tables import JobBase, JobStatus
from impasto_core.telemetry import bind, current_traceparent, traced

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
    request: TextToImageRequest | ImageToImageRequest | GraphRequest,
    *,
    keyed: KeyedRequest | None,
    limits: RequestLimits,
    cancel_after: timedelta | None = None,
) -> Answer:
    """Make the job, once for every idempotency key, and wake a worker.

    Raises InvalidInput, InvalidGraph, NotInPlan, QuoteAboveMaxCost, SpendCapReached, NotEnoughCredits,
    StorageQuotaExceeded, IdempotencyInFlight, IdempotencyKeyReused, QuotaExceeded.
    """
    if keyed and (replay := await _replay(services, principal, keyed)):
        return replay
    material = await _gather(services, principal, request)
    job, quote = await _make(services, principal, request, material, cancel_after)
    if request.max_cost is not None and quote.amount > request.max_cost:
        raise QuoteAboveMaxCost(quote=quote.amount, max_cost=request.max_cost)
    if principal.plan.storage_bytes is not None:
        async with services.database.tenant(principal.organization_id) as session:
            await check_storage(session, principal)
    await limits.count_job(principal)  # neither replays nor requests that are wrong
    body = JobView.of(job, [], services).model_dump(mode="json")
    answer = _answer(services, job, keyed, body) if keyed else None
    if earlier := await _store(services, job, quote.amount, answer):
        return _replayed(earlier)
    bind(job_id=format_id("job", job.id))
    jobs_created.add(1, {"pipeline": job.pipeline or "graph", "pool": job.pool})
    services.waker.wake(job.pool)
    return Answer(job.id, body, replayed=False)


def _answer(services: Services, job: JobBase, keyed: KeyedRequest, body: dict[str, Any]) -> IdempotencyRecord:
    return IdempotencyRecord(
        organization_id=job.organization_id,
        key=keyed.key,
        fingerprint=keyed.fingerprint,
        status=202,
        body=body,
        created_at=job.created_at,
        expires_at=job.created_at + timedelta(hours=services.settings.idempotency_hours),
    )


async def _store(
    services: Services, job: JobBase, amount: int, answer: IdempotencyRecord | None
) -> dict[str, Any] | None:
    """The answer of another request that was faster with the same key, if there was one.

    Raises SpendCapReached, NotEnoughCredits, IdempotencyInFlight, IdempotencyKeyReused.
    """
    try:
        return await creation.create_job(services.database, job, quoted=amount, answer=answer)
    except creation.KeyInUse:
        raise IdempotencyInFlight from None
    except creation.KeyReused:
        raise IdempotencyKeyReused from None
    except SpendCapReached as reached:
        raise problems.SpendCapReached(
            required=reached.required,
            spent=reached.spent,
            cap=reached.cap,
            api_key_id=format_id("key", reached.api_key_id) if reached.api_key_id else None,
        ) from None
    except ledger.NotEnoughCredits as short:
        raise NotEnoughCredits(
            required=short.required, available=short.available, top_up_url=services.settings.top_up_url
        ) from None


async def quote(
    services: Services,
    principal: Principal,
    request: TextToImageRequest | ImageToImageRequest | GraphRequest,
) -> tuple[Quote, int]:
    """What the job would be quoted at, and the credits available.

    Raises InvalidInput, InvalidGraph, NotInPlan.
    """
    material = await _gather(services, principal, request, keep=False)
    _, quote = await _make(services, principal, request, material)
    async with services.database.tenant(principal.organization_id) as session:
        balance = await ledger.balance(session, principal.organization_id, services.clock())
    return quote, balance.available


async def _replay(services: Services, principal: Principal, keyed: KeyedRequest) -> Answer | None:
    """First of all: what the request names may be gone by now, and it is not to count again."""
    record = await idempotency.find_answer(
        services.database, principal.organization_id, keyed, services.clock()
    )
    return _replayed(record.body) if record else None


def _replayed(body: dict[str, Any]) -> Answer:
    return Answer(parse_id("job", body["id"]), body, replayed=True)


@dataclass(frozen=True)
class Material:
    """What a job is made from: `checked` only for a graph of the caller's."""

    sources: dict[str, Source]
    checked: drafts.CheckedGraph | None = None


async def _gather(
    services: Services,
    principal: Principal,
    request: TextToImageRequest | ImageToImageRequest | GraphRequest,
    *,
    keep: bool = True,
) -> Material:
    """Raises InvalidInput, InvalidGraph, ValidationFailed."""
    organization_id = principal.organization_id
    if request.webhook_url is not None:
        check_url(services, "webhook_url", request.webhook_url)
    if isinstance(request, GraphRequest):
        async with services.database.tenant(organization_id) as session:
            checked = await drafts.check_graph(session, request.graph)
        sources = await drafts.find_graph_sources(services, principal, checked.graph, keep=keep)
        return Material(sources, checked)
    references = request.input.images()
    if not references:
        return Material({})
    return Material(await find_sources(services, organization_id, references, keep=keep))


async def _make(
    services: Services,
    principal: Principal,
    request: TextToImageRequest | ImageToImageRequest | GraphRequest,
    material: Material,
    cancel_after: timedelta | None = None,
) -> tuple[JobBase, Quote]:
    """The job, not stored yet, and its price.

    Raises InvalidInput, InvalidGraph, NotInPlan, ValidationFailed for a time limit that cannot be.
    """
    now = services.clock()
    limits = time_limits(services, request, cancel_after, now)
    if isinstance(request, GraphRequest):
        assert material.checked is not None, "what `_gather` gives for a graph"  # noqa: S101
        draft = await drafts.draft_graph(services, material.checked, material.sources)
    else:
        draft = await drafts.draft_pipeline(services, request, material.sources)
    await require(services.database, principal.plan, draft.needs)
    longest = services.settings.job_time_limit_seconds
    quote = price_list_of(now).quote(
        draft.priced_as,
        draft.work,
        draft.description,
        limit_seconds=min(longest, limits.max_run_seconds or longest),
        discount_percent=principal.plan.discount_percent,
    )
    run = request if isinstance(request, WorkflowRun) else None
    job = JobBase(
        organization_id=principal.organization_id,
        api_key_id=principal.api_key_id,
        mode=principal.mode,
        pool=draft.priced_as.pool,
        pipeline=draft.pipeline,
        workflow=run.workflow.slug if run else None,
        workflow_version=run.workflow.version if run else None,
        input=run.input if run else draft.input,
        models=[model.slug for model in draft.models],
        graph=draft.graph,
        pixel_steps=draft.work.pixel_steps,
        quote=quote.model_dump(mode="json"),
        images_in=draft.images_in,
        user_metadata=request.metadata,
        priority=request.priority,
        webhook_url=request.webhook_url,
        traceparent=current_traceparent(),
        deadline=limits.deadline,
        queue_deadline=limits.queue_deadline,
        max_run_seconds=limits.max_run_seconds,
        created_at=now,
    )
    return job, quote


async def view(services: Services, organization_id: UUID, job_id: UUID) -> JobView:
    """Raises NotFound."""
    found = await repository.find(services.database, organization_id, job_id)
    if found is None:
        raise NotFound("There is no such job.")
    job, made = found
    queue = await services.places.of(job_id) if job.status == JobStatus.QUEUED else None
    return JobView.of(job, made, services, queue)
