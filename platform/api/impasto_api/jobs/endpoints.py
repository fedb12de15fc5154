"""/v1/jobs"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Header, Query, Request, Response
from fastapi.responses import JSONResponse

from impasto_api.auth.dependencies import JobsReader, JobsWriter
from impasto_api.auth.keys import Principal
from impasto_api.examples import EVENTS, GRAPH
from impasto_api.idempotency.key import IdempotencyKey, KeyedRequest
from impasto_api.images import repository as images
from impasto_api.jobs import repository, service, waiting
from impasto_api.jobs.prefer import WaitSeconds
from impasto_api.jobs.schemas import GraphView, JobRequest, JobView
from impasto_api.jobs.stream import FINAL_ID, EventStream, resume_point, stream
from impasto_api.jobs.time_limits import CancelAfter
from impasto_api.pagination import Page, PageDep, make_page
from impasto_api.problems import NotFound, TooManyFollowers
from impasto_api.rate_limits.middleware import RequestLimitsDep
from impasto_api.services import Services, ServicesDep
from impasto_billing.settlement import settle
from impasto_core.database import DATABASE_ERRORS
from impasto_core.fields import Moment, Text
from impasto_core.ids import JobId, format_id
from impasto_core.images.tables import Image
from impasto_core.jobs import lifecycle
from impasto_core.jobs.events import announce_end
from impasto_core.jobs.tables import Job, JobStatus

logger = logging.getLogger(__name__)

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_EXAMPLES = {
    "text-to-image": {
        "summary": "A picture of a prompt",
        "value": {"pipeline": "text-to-image", "input": {"prompt": "a big red heart"}},
    },
    "image-to-image": {
        "summary": "A picture painted anew",
        "value": {
            "pipeline": "image-to-image",
            "input": {
                "prompt": "a big red heart",
                "init_image": "upl_01jcp0f85v6zg8yq0gs8zfwdq4",
                "strength": 0.6,
            },
        },
    },
    "graph": {"summary": "A graph of InvokeAI's nodes", "value": {"graph": GRAPH}},
}


JobBody = Annotated[JobRequest, Body(openapi_examples=_EXAMPLES)]
"""The body of a job and of a quote for it."""


_CREATED_HEADERS = {
    name: {"description": description, "schema": {"type": "string"}}
    for name, description in {
        "Location": "Where the job is found.",
        "Idempotency-Replayed": "`true` where an earlier request with the same key made the job.",
        "Preference-Applied": "What was honoured of `Prefer`.",
    }.items()
}
CREATED: dict[int | str, dict[str, Any]] = {
    200: {
        "model": JobView,
        "description": "The job ended within the time of `Prefer: wait`",
        "headers": _CREATED_HEADERS,
    },
    202: {"description": "The job is queued or running", "headers": _CREATED_HEADERS},
}
"""What operations answer that make a job."""


@router.post(
    "",
    operation_id="jobs.create",
    summary="Create a job",
    status_code=202,
    response_model=JobView,
    responses=CREATED,
)
async def create_job(
    request: Request,
    services: ServicesDep,
    principal: JobsWriter,
    limits: RequestLimitsDep,
    job_request: JobBody,
    key: IdempotencyKey,
    wait: WaitSeconds,
    after: CancelAfter,
) -> Response:
    """Queue a picture to be painted.

    With `Idempotency-Key` a retry cannot make a second job. With `Prefer: wait=N` the answer is 200 and holds
    the finished job, if it ends in time.
    """
    answer = await service.create(
        services,
        principal,
        job_request,
        keyed=KeyedRequest.of(key, request, job_request),
        limits=limits,
        cancel_after=after,
    )
    return await answer_created(services, principal, answer, wait)


async def answer_created(
    services: Services, principal: Principal, answer: service.Answer, wait: int | None
) -> Response:
    """The job, once it has ended or the time to wait is over."""
    headers = {"Location": f"/v1/jobs/{format_id('job', answer.job_id)}"}
    if answer.replayed:
        headers["Idempotency-Replayed"] = "true"
    if wait is None:
        return JSONResponse(answer.body, status_code=202, headers=headers)
    try:
        await waiting.wait(services, principal.organization_id, answer.job_id, wait)
        job = await service.view(services, principal.organization_id, answer.job_id)
    except (TooManyFollowers, *DATABASE_ERRORS):
        # The job is made: an error now would only invite another one.
        logger.warning("could not wait for job %s", answer.job_id, exc_info=True)
        return JSONResponse(answer.body, status_code=202, headers=headers)
    headers["Preference-Applied"] = f"wait={wait}"
    return JSONResponse(
        job.model_dump(mode="json"), status_code=200 if job.status.is_final else 202, headers=headers
    )


@router.get("", operation_id="jobs.list", summary="List jobs")
async def list_jobs(
    services: ServicesDep,
    principal: JobsReader,
    page: PageDep,
    status: Annotated[JobStatus | None, Query(description="Only jobs in this state.")] = None,
    pipeline: Annotated[Text | None, Query(max_length=63, description="Only jobs of this pipeline.")] = None,
    created_after: Annotated[Moment | None, Query(description="Only later jobs.")] = None,
    created_before: Annotated[Moment | None, Query(description="Only earlier jobs.")] = None,
) -> Page[JobView]:
    """Newest first. Filters add up."""
    query = repository.matching(
        status=status, pipeline=pipeline, created_after=created_after, created_before=created_before
    )
    async with services.database.tenant(principal.organization_id) as session:
        rows, next_cursor = await page.select(session, query, Job.id)
        made: defaultdict[UUID, list[Image]] = defaultdict(list)
        for image in await images.of_jobs(session, [job.id for job in rows if job.finished_at]):
            made[image.job_id].append(image)
    # A page may hold hundreds of signed URLs: too much work for the event loop.
    return await asyncio.to_thread(
        make_page, rows, next_cursor, lambda job: JobView.of(job, made[job.id], services)
    )


@router.get("/{job_id}", operation_id="jobs.get", summary="Get a job")
async def get_job(services: ServicesDep, principal: JobsReader, job_id: JobId) -> JobView:
    """As it is now. URLs of its images are signed anew every time."""
    return await service.view(services, principal.organization_id, job_id)


@router.get("/{job_id}/graph", operation_id="jobs.graph", summary="Get a job's graph")
async def get_graph(services: ServicesDep, principal: JobsReader, job_id: JobId) -> GraphView:
    """The graph as it runs: your own, or what the pipeline made of your input. You can send it as `graph`."""
    async with services.database.tenant(principal.organization_id) as session:
        graph = await repository.get_graph(session, job_id)
    if graph is None:
        raise NotFound("There is no such job.")
    return GraphView.model_validate(graph)


@router.post("/{job_id}/cancel", operation_id="jobs.cancel", summary="Cancel a job")
async def cancel_job(services: ServicesDep, principal: JobsWriter, job_id: JobId) -> JobView:
    """A queued job is canceled at once. A running one is told to stop and ends within moments."""
    async with services.database.tenant(principal.organization_id) as session:
        job = await lifecycle.cancel(session, job_id)
        await settle(session, job)
    if job.status == JobStatus.CANCELED:
        await announce_end(services.redis, job)
    return JobView.of(job, [], services)


@router.get(
    "/{job_id}/events",
    operation_id="jobs.events",
    summary="Follow a job",
    status_code=200,
    response_class=EventStream,
    responses={
        200: {
            "description": "Server-sent events, the last of which holds the finished job",
            "content": {
                EventStream.media_type: {
                    "schema": {
                        "type": "string",
                        "contentMediaType": EventStream.media_type,
                        "contentSchema": {"$ref": "#/components/schemas/JobEvent"},
                    },
                    "examples": {"the beginning": {"value": EVENTS}},
                }
            },
        },
        204: {"description": "The final event was received before: there is nothing more"},
    },
)
async def stream_events(
    services: ServicesDep,
    principal: JobsReader,
    job_id: JobId,
    last_event_id: Annotated[
        str | None, Header(alias="Last-Event-ID", description="Go on after this event.", examples=["1-12"])
    ] = None,
) -> Response:
    """Server-sent events: `queued`, `started`, `node`, `step`, `image`, and at last `succeeded`, `failed` or
    `canceled` with the whole job.

    Send the last id received as `Last-Event-ID` to go on without gap or repeat.
    """
    job = await service.view(services, principal.organization_id, job_id)
    if last_event_id == FINAL_ID and job.status.is_final:
        return Response(status_code=204)
    after = resume_point(last_event_id)
    waiting.check_room(services, principal.organization_id)
    return EventStream(stream(services, principal.organization_id, job, after))
