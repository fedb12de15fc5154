"""/v1/plans"""

from __future__ import annotations

from fastapi import APIRouter

from impasto_api.auth.dependencies import BillingReader
from impasto_api.pagination import Page
from impasto_api.plans.schemas import PlanView
from impasto_api.services import ServicesDep
from impasto_billing.plans.service import all_plans

router = APIRouter(prefix="/v1/plans", tags=["billing"])


@router.get("", operation_id="plans.list", summary="List plans")
async def list_plans(services: ServicesDep, principal: BillingReader) -> Page[PlanView]:
    """All that are sold, on one page, from the smallest to the largest."""
    async with services.database.tenant(principal.organization_id) as session:
        plans = await all_plans(session)
    return Page(data=[PlanView.of(plan) for plan in plans], has_more=False)
