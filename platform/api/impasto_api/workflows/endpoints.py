"""/v1/workflows"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from impasto_api.auth.dependencies import JobsWriter, WorkflowsReader, WorkflowsWriter
from impasto_api.idempotency.key import IdempotencyKey, KeyedRequest
from impasto_api.jobs.endpoints import CREATED, answer_created
from impasto_api.jobs.prefer import WaitSeconds
from impasto_api.jobs.schemas import JobView
from impasto_api.jobs.service import create as create_job
from impasto_api.jobs.time_limits import CancelAfter
from impasto_api.pagination import Page, PageDep, make_page
from impasto_api.problems import ValidationFailed
from impasto_api.rate_limits.middleware import RequestLimitsDep
from impasto_api.services import ServicesDep
from impasto_api.workflows import repository, service
from impasto_api.workflows.schemas import (
    WorkflowCreate,
    WorkflowRunCreate,
    WorkflowVersionCreate,
    WorkflowVersionDetailsView,
    WorkflowVersionView,
    WorkflowView,
)
from impasto_core.fields import Text
from impasto_core.graphs import InvalidGraph
from impasto_core.workflows.diff import WorkflowDiff, diff
from impasto_core.workflows.tables import Workflow

router = APIRouter(prefix="/v1/workflows", tags=["graphs"])

SlugPath = Annotated[Text, Path(max_length=63, examples=["product-shot"])]
VersionPath = Annotated[int, Path(ge=1, le=2**31 - 1, examples=[1])]


@router.post("", operation_id="workflows.create", summary="Save a workflow", status_code=201)
async def create_workflow(
    services: ServicesDep, principal: WorkflowsWriter, request: WorkflowCreate
) -> WorkflowView:
    """Save a workflow of InvokeAI's editor under a slug. The fields that it exposes become typed input."""
    return WorkflowView.of(await service.create(services, principal, request))


@router.get("", operation_id="workflows.list", summary="List workflows")
async def list_workflows(
    services: ServicesDep,
    principal: WorkflowsReader,
    page: PageDep,
    archived: Annotated[bool, Query(description="Archived ones too.")] = False,
) -> Page[WorkflowView]:
    """Newest first."""
    async with services.database.tenant(principal.organization_id) as session:
        rows, cursor = await page.select(session, repository.matching(archived=archived), Workflow.id)
    return make_page(rows, cursor, WorkflowView.of)


@router.get("/{slug}", operation_id="workflows.get", summary="Get a workflow")
async def get_workflow(services: ServicesDep, principal: WorkflowsReader, slug: SlugPath) -> WorkflowView:
    """Its name, and the number of its latest version."""
    async with services.database.tenant(principal.organization_id) as session:
        return WorkflowView.of(await service.find(session, slug))


@router.post("/{slug}/archive", operation_id="workflows.archive", summary="Archive a workflow")
async def archive_workflow(services: ServicesDep, principal: WorkflowsWriter, slug: SlugPath) -> WorkflowView:
    """It can still be read, but neither run nor changed. Its slug stays taken."""
    return WorkflowView.of(await service.archive(services, principal, slug))


@router.post(
    "/{slug}/versions", operation_id="workflows.add_version", summary="Save a version", status_code=201
)
async def add_version(
    services: ServicesDep, principal: WorkflowsWriter, slug: SlugPath, request: WorkflowVersionCreate
) -> WorkflowVersionView:
    """Runs that name no version use this one from now on."""
    version = await service.add_version(services, principal, slug, request.workflow)
    return WorkflowVersionView.of(slug, version)


@router.get("/{slug}/versions", operation_id="workflows.versions", summary="List versions")
async def list_versions(
    services: ServicesDep,
    principal: WorkflowsReader,
    slug: SlugPath,
    limit: Annotated[int, Query(ge=1, le=100, description="Items a page.")] = 20,
    cursor: Annotated[
        Text | None, Query(max_length=64, description="`next_cursor` of the page before.")
    ] = None,
) -> Page[WorkflowVersionView]:
    """Newest first, without their workflows."""
    if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 10):
        detail = "Not a cursor: pass next_cursor of the page before, unchanged."
        raise ValidationFailed.of("query", "cursor", "invalid", detail)
    async with services.database.tenant(principal.organization_id) as session:
        workflow = await service.find(session, slug)
        below = None if cursor is None else int(cursor)
        rows = await repository.versions(session, workflow, below=below, limit=limit + 1)
    page = rows[:limit]
    next_cursor = str(page[-1].number) if len(rows) > limit else None
    return make_page(page, next_cursor, lambda version: WorkflowVersionView.of(slug, version))


@router.get("/{slug}/versions/{version}", operation_id="workflows.get_version", summary="Get a version")
async def get_version(
    services: ServicesDep, principal: WorkflowsReader, slug: SlugPath, version: VersionPath
) -> WorkflowVersionDetailsView:
    """With the workflow as it was saved: InvokeAI's editor can open it."""
    async with services.database.tenant(principal.organization_id) as session:
        workflow = await service.find(session, slug)
        found = await service.find_version(session, workflow, version)
    return WorkflowVersionDetailsView.detailed(slug, found)


@router.get("/{slug}/diff", operation_id="workflows.diff", summary="Compare two versions")
async def diff_versions(
    services: ServicesDep,
    principal: WorkflowsReader,
    slug: SlugPath,
    before: Annotated[int, Query(ge=1, le=2**31 - 1, description="A version.", examples=[1])],
    after: Annotated[int, Query(ge=1, le=2**31 - 1, description="Another version.", examples=[2])],
) -> WorkflowDiff:
    """Nodes, values, edges and inputs that differ. How the editor arranges them makes no difference."""
    async with services.database.tenant(principal.organization_id) as session:
        workflow = await service.find(session, slug)
        old = await service.find_version(session, workflow, before)
        new = await service.find_version(session, workflow, after)
    return diff(before, old.graph, old.input_schema, after, new.graph, new.input_schema)


@router.post(
    "/{slug}/runs",
    operation_id="workflows.create_run",
    summary="Run a workflow",
    status_code=202,
    response_model=JobView,
    responses=CREATED,
)
async def run_workflow(
    request: Request,
    services: ServicesDep,
    principal: JobsWriter,
    slug: SlugPath,
    run_request: WorkflowRunCreate,
    key: IdempotencyKey,
    wait: WaitSeconds,
    after: CancelAfter,
    limits: RequestLimitsDep,
) -> Response:
    """Make a job of the workflow, with your input. Headers and answer are those of `POST /v1/jobs`."""
    run, inputs = await service.prepare_run(services, principal, slug, run_request)
    try:
        answer = await create_job(
            services,
            principal,
            run,
            keyed=KeyedRequest.of(key, request, run_request),
            limits=limits,
            cancel_after=after,
        )
    except InvalidGraph as invalid:
        raise service.refusal(invalid, inputs) from None
    return await answer_created(services, principal, answer, wait)
