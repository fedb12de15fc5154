"""/v1/quotes"""

from __future__ import annotations

from fastapi import APIRouter

from impasto_api.auth.dependencies import JobsWriter
from impasto_api.jobs import service
from impasto_api.jobs.endpoints import JobBody
from impasto_api.quotes.schemas import QuoteWithBalance
from impasto_api.services import ServicesDep

router = APIRouter(prefix="/v1/quotes", tags=["jobs"])


@router.post("", operation_id="quotes.create", summary="Quote a job")
async def create_quote(
    services: ServicesDep, principal: JobsWriter, job_request: JobBody
) -> QuoteWithBalance:
    """What the same body sent to `POST /v1/jobs` can cost at most. Nothing is run and nothing stored.

    A request that could not be made into a job is refused in the same way. `max_cost` is not looked at.
    """
    quote, available = await service.quote(services, principal, job_request)
    return QuoteWithBalance.of(quote, available=available)
