"""/v1/billing/spend-caps and /v1/billing/spend-alerts"""

from __future__ import annotations

from fastapi import APIRouter
from sqlmodel import select

from impasto_api.api_keys import repository as api_keys
from impasto_api.auth.dependencies import BillingReader, BillingWriter
from impasto_api.pagination import Page, PageDep, make_page
from impasto_api.problems import NotFound, ValidationFailed
from impasto_api.services import ServicesDep
from impasto_api.spend_caps.schemas import SpendAlertView, SpendCapSet, SpendCapView
from impasto_billing.spending import service as spending
from impasto_billing.spending.tables import SpendAlert, SpendCap
from impasto_core.ids import SpendCapId

router = APIRouter(prefix="/v1/billing", tags=["billing"])


@router.get("/spend-caps", operation_id="spend_caps.list", summary="List spend caps")
async def list_caps(services: ServicesDep, principal: BillingReader, page: PageDep) -> Page[SpendCapView]:
    """Each with what is spent of it this month."""
    organization_id = principal.organization_id
    async with services.database.tenant(organization_id) as session:
        rows, next_cursor = await page.select(session, select(SpendCap), SpendCap.id)
        spent = await spending.spent_in(
            session, organization_id, {cap.api_key_id for cap in rows}, services.clock()
        )
    return make_page(rows, next_cursor, lambda cap: SpendCapView.of(cap, spent=spent.get(cap.api_key_id, 0)))


@router.put("/spend-caps", operation_id="spend_caps.set", summary="Set a spend cap")
async def set_cap(services: ServicesDep, principal: BillingWriter, request: SpendCapSet) -> SpendCapView:
    """Cap what a key, or the whole organization, may spend in a month, or change the cap that there is.

    It holds at once. A job whose quote does not fit is refused with 402 `spend-cap-reached`.
    """
    organization_id, now = principal.organization_id, services.clock()
    async with services.database.tenant(organization_id) as session:
        if request.api_key_id and await api_keys.get(session, request.api_key_id) is None:
            raise ValidationFailed.of("body", "api_key_id", "not_found", "There is no such API key.")
        cap = await spending.set_cap(
            session,
            organization_id=organization_id,
            api_key_id=request.api_key_id,
            amount=request.amount,
            now=now,
        )
        spent = await spending.spent_in(session, organization_id, {cap.api_key_id}, now)
    return SpendCapView.of(cap, spent=spent.get(cap.api_key_id, 0))


@router.delete(
    "/spend-caps/{spend_cap_id}",
    operation_id="spend_caps.delete",
    summary="Delete a spend cap",
    status_code=204,
)
async def delete_cap(services: ServicesDep, principal: BillingWriter, spend_cap_id: SpendCapId) -> None:
    """What it capped is no longer capped by it."""
    async with services.database.tenant(principal.organization_id) as session:
        if not await spending.delete_cap(session, spend_cap_id):
            raise NotFound("There is no such spend cap.")


@router.get("/spend-alerts", operation_id="spend_alerts.list", summary="List spend alerts")
async def list_alerts(services: ServicesDep, principal: BillingReader, page: PageDep) -> Page[SpendAlertView]:
    """When spending reached 50, 80 and 100 % of a cap."""
    async with services.database.tenant(principal.organization_id) as session:
        rows, next_cursor = await page.select(session, select(SpendAlert), SpendAlert.id)
    return make_page(rows, next_cursor, SpendAlertView.of)
