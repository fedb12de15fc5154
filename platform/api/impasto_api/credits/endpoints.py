"""/v1/credits"""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter
from sqlmodel import select

from impasto_api.auth.dependencies import UsageReader
from impasto_api.credits import repository
from impasto_api.credits.schemas import SOON_DAYS, CreditBalanceView, CreditEntryView, CreditGrantView
from impasto_api.pagination import Page, PageDep, make_page
from impasto_api.services import ServicesDep
from impasto_billing.ledger import service as ledger
from impasto_billing.ledger.tables import CreditGrant, LedgerTransaction

router = APIRouter(prefix="/v1/credits", tags=["billing"])


@router.get("", operation_id="credits.balance", summary="Get the balance")
async def get_balance(services: ServicesDep, principal: UsageReader) -> CreditBalanceView:
    """What is there to spend."""
    organization_id, now = principal.organization_id, services.clock()
    async with services.database.tenant(organization_id) as session:
        balance = await ledger.balance(session, organization_id, now)
        expiring_soon, next_expiry = await repository.expiring(
            session, organization_id, now=now, within=timedelta(days=SOON_DAYS)
        )
    return CreditBalanceView(
        available=balance.available,
        held=balance.held,
        owed=balance.owed,
        expiring_soon=expiring_soon,
        next_expiry=next_expiry,
    )


@router.get("/grants", operation_id="credits.grants", summary="List credit grants")
async def list_grants(services: ServicesDep, principal: UsageReader, page: PageDep) -> Page[CreditGrantView]:
    """Spent and expired ones too."""
    async with services.database.tenant(principal.organization_id) as session:
        rows, next_cursor = await page.select(session, select(CreditGrant), CreditGrant.id)
        remaining = await repository.remaining(session, [grant.id for grant in rows])
    return make_page(
        rows, next_cursor, lambda grant: CreditGrantView.of(grant, remaining=remaining[grant.id])
    )


@router.get("/entries", operation_id="credits.entries", summary="List credit movements")
async def list_entries(services: ServicesDep, principal: UsageReader, page: PageDep) -> Page[CreditEntryView]:
    """The ledger: every credit that was granted, held, spent, returned, taken back or has expired."""
    async with services.database.tenant(principal.organization_id) as session:
        rows, next_cursor = await page.select(session, select(LedgerTransaction), LedgerTransaction.id)
        amounts = await repository.amounts(session, [transaction.id for transaction in rows])
    return make_page(
        rows, next_cursor, lambda transaction: CreditEntryView.of(transaction, amounts[transaction.id])
    )
