"""/v1/billing: buying, subscribing and paying. The money itself moves at a payment provider."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from fastapi import APIRouter, Query

from impasto_api.auth.dependencies import BillingReader, BillingWriter
from impasto_api.billing import repository, return_urls, service
from impasto_api.billing.schemas import (
    AutoTopUpSet,
    AutoTopUpView,
    CheckoutSessionCreate,
    CheckoutSessionView,
    InvoiceView,
    PackView,
    PortalSessionCreate,
    PortalSessionView,
    SubscriptionChange,
    SubscriptionView,
)
from impasto_api.idempotency.key import IdempotencyKey
from impasto_api.pagination import Page
from impasto_api.problems import NotOffered, PaymentMethodNeeded, ValidationFailed
from impasto_api.services import ServicesDep
from impasto_billing.payments.provider import UnknownCursor
from impasto_billing.payments.sold import CURRENCY, packs
from impasto_billing.payments.tables import AutoTopUp

router = APIRouter(prefix="/v1/billing", tags=["billing"])


@router.get("/packs", operation_id="billing.packs", summary="List credit packs")
async def list_packs(principal: BillingReader) -> Page[PackView]:
    """All of them on one page: they come with the release, not from the database."""
    return Page(data=[PackView.of(pack, CURRENCY) for pack in packs().values()], has_more=False)


@router.post(
    "/checkout-sessions",
    operation_id="billing.create_checkout_session",
    summary="Check out a pack or a plan",
    status_code=201,
)
async def create_checkout_session(
    services: ServicesDep, principal: BillingWriter, request: CheckoutSessionCreate, key: IdempotencyKey
) -> CheckoutSessionView:
    """A page where the customer pays. The same `Idempotency-Key` leads to the same page."""
    service.default_provider(services)
    item = service.find_item(request.pack, request.plan)
    return_urls.check(services.settings, "success_url", request.success_url)
    return_urls.check(services.settings, "cancel_url", request.cancel_url)
    checkout = await service.check_out(
        services,
        principal.organization_id,
        item,
        success_url=request.success_url,
        cancel_url=request.cancel_url,
        key=key,
    )
    return CheckoutSessionView.of(checkout)


@router.post(
    "/portal-sessions",
    operation_id="billing.create_portal_session",
    summary="Open the customer portal",
    status_code=201,
)
async def create_portal_session(
    services: ServicesDep, principal: BillingWriter, request: PortalSessionCreate
) -> PortalSessionView:
    """A page where the customer changes cards and addresses and finds invoices."""
    service.default_provider(services)
    return_urls.check(services.settings, "return_url", request.return_url)
    with service.answering():
        payer, customer = await service.find_or_make_customer(services, principal.organization_id)
        if customer is None:
            raise NotOffered("The portal opens with the first purchase.")
        url = await payer.portal_url(customer, return_url=request.return_url)
    return PortalSessionView(url=url)


@router.get("/subscription", operation_id="billing.get_subscription", summary="Get the subscription")
async def get_subscription(services: ServicesDep, principal: BillingReader) -> SubscriptionView:
    """The plan that is paid for, until when, and what becomes of it then."""
    async with services.database.tenant(principal.organization_id) as session:
        row = await repository.find_subscription(session)
    return SubscriptionView.of(row) if row else SubscriptionView.none()


@router.post(
    "/subscription/change", operation_id="billing.change_subscription", summary="Change the subscription"
)
async def change_subscription(
    services: ServicesDep, principal: BillingWriter, request: SubscriptionChange, key: IdempotencyKey
) -> SubscriptionView:
    """A dearer plan holds at once, and its difference for what is left of the period is paid now; if that
    fails with 402, nothing has changed. A cheaper one holds from the next period on.
    """
    plan = service.find_plan(request.plan)
    return SubscriptionView.of(await service.change_plan(services, principal.organization_id, plan, key=key))


@router.post(
    "/subscription/cancel", operation_id="billing.cancel_subscription", summary="Cancel the subscription"
)
async def cancel_subscription(services: ServicesDep, principal: BillingWriter) -> SubscriptionView:
    """At the end of the period that is paid for. Then the organization is on the free plan."""
    return SubscriptionView.of(await service.set_cancel(services, principal.organization_id, cancel=True))


@router.post(
    "/subscription/resume", operation_id="billing.resume_subscription", summary="Resume the subscription"
)
async def resume_subscription(services: ServicesDep, principal: BillingWriter) -> SubscriptionView:
    """Take a cancellation back, as long as the period lasts."""
    return SubscriptionView.of(await service.set_cancel(services, principal.organization_id, cancel=False))


@router.get("/invoices", operation_id="billing.invoices", summary="List invoices")
async def list_invoices(
    services: ServicesDep,
    principal: BillingReader,
    limit: Annotated[int, Query(ge=1, le=100, description="Items a page.")] = 20,
    cursor: Annotated[
        str | None, Query(max_length=400, description="`next_cursor` of the page before.")
    ] = None,
) -> Page[InvoiceView]:
    """As the payment provider has them, newest first."""
    after = _decode(cursor) if cursor else None
    payer, customer = await service.find_payer(services, principal.organization_id)
    if customer is None:
        return Page(data=[], has_more=False)
    try:
        with service.answering():
            found, more = await payer.invoices(customer, limit=limit, after=after)
    except UnknownCursor:
        raise _no_cursor() from None
    return Page(
        data=[InvoiceView.of(invoice) for invoice in found],
        has_more=more is not None,
        next_cursor=_encode(more) if more else None,
    )


@router.get("/auto-top-up", operation_id="billing.get_auto_top_up", summary="Get the automatic purchase")
async def get_auto_top_up(services: ServicesDep, principal: BillingReader) -> AutoTopUpView:
    """When credits are bought by themselves, and how many."""
    async with services.database.tenant(principal.organization_id) as session:
        return AutoTopUpView.of(await repository.find_auto_top_up(session))


@router.put("/auto-top-up", operation_id="billing.set_auto_top_up", summary="Set the automatic purchase")
async def set_auto_top_up(
    services: ServicesDep, principal: BillingWriter, request: AutoTopUpSet
) -> AutoTopUpView:
    """Buy a pack with the saved card whenever credits run low, once each time they do.

    To save a card, open the portal. Switching it on again forgets earlier failures.
    """
    payer, customer = await service.find_payer(services, principal.organization_id)
    pack = service.find_pack(request.pack)
    if pack.credits < request.threshold:
        raise ValidationFailed.of(
            "body", "threshold", "above_pack", f"The pack has {pack.credits} credits: use no more than that."
        )
    if request.enabled:
        with service.answering():
            if customer is None or not await payer.has_saved_card(customer):
                raise PaymentMethodNeeded("No card is saved: open the portal and add one first.")
    now = services.clock()
    async with services.database.tenant(principal.organization_id) as session:
        wish = await repository.find_auto_top_up(session, lock=True)
        if wish is None:
            wish = AutoTopUp(
                organization_id=principal.organization_id, enabled=False, threshold=1, pack=pack.slug
            )
        session.add(
            wish.sqlmodel_update(
                {
                    "enabled": request.enabled,
                    "threshold": request.threshold,
                    "pack": pack.slug,
                    "failures": 0,
                    "last_error": None,
                    "next_try_at": now,
                    "updated_at": now,
                }
            )
        )
    return AutoTopUpView.of(wish)


def _encode(cursor: str) -> str:
    return base64.urlsafe_b64encode(cursor.encode()).decode().rstrip("=")


def _decode(cursor: str) -> str:
    try:
        decoded = base64.urlsafe_b64decode(cursor + "==").decode("ascii")
    except (ValueError, binascii.Error):
        decoded = ""
    if not decoded.replace("_", "").isalnum():
        raise _no_cursor()
    return decoded


def _no_cursor() -> ValidationFailed:
    return ValidationFailed.of(
        "query", "cursor", "invalid", "Not a cursor: pass next_cursor of the page before, unchanged."
    )
