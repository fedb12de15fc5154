"""/v1/usage"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import Row

from impasto_api.auth.dependencies import UsageReader
from impasto_api.examples import USAGE_CSV
from impasto_api.pagination import Page
from impasto_api.services import Services, ServicesDep
from impasto_api.usage import repository
from impasto_api.usage.csv_export import MEDIA_TYPE, CsvResponse, to_csv
from impasto_api.usage.query import UsageQuery, UsageQueryDep, encode
from impasto_api.usage.schemas import StorageView, UsageView
from impasto_core.organizations.service import storage_used

router = APIRouter(prefix="/v1/usage", tags=["billing"])

_COLUMNS = [name for name in UsageView.model_fields if name != "object"]
_CHUNK = 1000


@router.get(
    "",
    operation_id="usage.list",
    summary="List usage",
    response_model=Page[UsageView],
    responses={
        200: {
            "description": "A page of usage, or all of it as CSV where `Accept: text/csv` asks for that",
            "content": {
                MEDIA_TYPE: {
                    "schema": {"type": "string", "contentMediaType": MEDIA_TYPE},
                    "examples": {"two days": {"value": USAGE_CSV}},
                }
            },
        }
    },
)
async def list_usage(
    request: Request,
    services: ServicesDep,
    principal: UsageReader,
    query: UsageQueryDep,
    limit: Annotated[int, Query(ge=1, le=100, description="Items a page.")] = 20,
) -> Response | Page[UsageView]:
    """What the jobs that ended in some days, 366 at most, used and cost: by day, model or API key.

    Latest day first. With `Accept: text/csv` the answer is one stream of all groups.
    """
    organization_id = principal.organization_id
    if MEDIA_TYPE in request.headers.get("accept", ""):
        filename = f"impasto-usage-{query.start}-{query.end}.csv"
        return CsvResponse(_csv(services, organization_id, query), filename=filename)
    async with services.database.tenant(organization_id) as session:
        rows = await repository.usage(session, organization_id, query, limit=limit + 1)
    has_more = len(rows) > limit
    return Page(
        data=[_view(row) for row in rows[:limit]],
        has_more=has_more,
        next_cursor=encode(repository.mark_of(rows[limit - 1])) if has_more else None,
    )


@router.get("/storage", operation_id="usage.storage", summary="Get the storage used")
async def get_storage(services: ServicesDep, principal: UsageReader) -> StorageView:
    """Images count until they are deleted, uploads until they have expired and been removed."""
    async with services.database.tenant(principal.organization_id) as session:
        used = await storage_used(session, principal.organization_id)
    return StorageView(used_bytes=used, limit_bytes=principal.plan.storage_bytes)


async def _csv(services: Services, organization_id: UUID, query: UsageQuery) -> AsyncIterator[str]:
    yield to_csv([_COLUMNS])
    while True:
        # A transaction for each part: nobody holds one open by reading slowly.
        async with services.database.tenant(organization_id) as session:
            rows = await repository.usage(session, organization_id, query, limit=_CHUNK)
        if rows:
            views = (_view(row).model_dump(mode="json") for row in rows)
            yield to_csv([view[name] for name in _COLUMNS] for view in views)
        if len(rows) < _CHUNK:
            return
        query = query.going_on(repository.mark_of(rows[-1]))


def _view(row: Row[Any]) -> UsageView:
    return UsageView.model_validate(
        {name: getattr(row, name, None) or None for name in ("day", "model", "api_key_name")}
        | {"api_key_id": UUID(row.api_key) if row.api_key else None}
        | {name: getattr(row, name) for name in _COLUMNS[4:]}
    )
