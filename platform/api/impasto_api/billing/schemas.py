"""What is bought and paid, as callers see it. Prices are US cents, without taxes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from impasto_billing.ledger.tables import MAX_CREDITS
from impasto_billing.payments import provider
from impasto_billing.payments.provider import ProviderName
from impasto_billing.payments.sold import Pack
from impasto_billing.payments.tables import AutoTopUp, SubscriptionRow
from impasto_billing.plans import FREE
from impasto_core.fields import Text

Slug = Annotated[Text, StringConstraints(min_length=1, max_length=63)]
ReturnUrl = Annotated[Text, StringConstraints(min_length=1, max_length=2000)]


class PackView(BaseModel):
    """Credits to buy once. They do not expire."""

    id: str = Field(examples=["small"])
    object: Literal["pack"] = "pack"
    name: str
    credits: int
    price_cents: int
    currency: str

    @classmethod
    def of(cls, pack: Pack, currency: str) -> PackView:
        return cls(
            id=pack.slug,
            name=pack.name,
            credits=pack.credits,
            price_cents=pack.price_cents,
            currency=currency,
        )


class CheckoutSessionCreate(BaseModel):
    """Either a pack or a plan."""

    model_config = ConfigDict(extra="forbid")

    pack: Slug | None = Field(default=None, description="See `GET /v1/billing/packs`.")
    plan: Slug | None = Field(default=None, description="See `GET /v1/plans`.")
    success_url: ReturnUrl = Field(description="Where the customer goes on after paying: https.")
    cancel_url: ReturnUrl = Field(description="Where the customer goes who does not pay: https.")

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if (self.pack is None) == (self.plan is None):
            raise ValueError("name a pack or a plan, and not both")
        return self


class CheckoutSessionView(BaseModel):
    """A page of the payment provider's. The credits come within seconds of the payment."""

    id: str
    object: Literal["checkout_session"] = "checkout_session"
    url: str = Field(description="Send the customer there.")
    expires_at: AwareDatetime

    @classmethod
    def of(cls, checkout: provider.Checkout) -> CheckoutSessionView:
        return cls(id=checkout.id, url=checkout.url, expires_at=checkout.expires_at)


class PortalSessionCreate(BaseModel):
    model_config = ConfigDict(extra="forbid")

    return_url: ReturnUrl = Field(description="Where the customer goes on afterwards: https.")


class PortalSessionView(BaseModel):
    """A page of the payment provider's, to change cards and addresses and to find invoices. Valid briefly."""

    object: Literal["portal_session"] = "portal_session"
    url: str


class SubscriptionChange(BaseModel):
    model_config = ConfigDict(extra="forbid")

    plan: Slug = Field(description="A plan that is sold. To end with none, cancel.")


class SubscriptionView(BaseModel):
    """What the organization pays for every month. `status` is `none` where it never subscribed."""

    object: Literal["subscription"] = "subscription"
    status: Literal[
        "none",
        "incomplete",
        "incomplete_expired",
        "trialing",
        "active",
        "past_due",
        "unpaid",
        "paused",
        "canceled",
    ]
    plan: str = Field(description="The plan that it gives now.")
    next_plan: str = Field(description="The plan after `current_period_end`, as things stand.")
    cancel_at_period_end: bool
    current_period_start: AwareDatetime | None
    current_period_end: AwareDatetime | None
    provider: ProviderName | None

    @classmethod
    def none(cls) -> SubscriptionView:
        return cls(
            status="none",
            plan=FREE,
            next_plan=FREE,
            cancel_at_period_end=False,
            current_period_start=None,
            current_period_end=None,
            provider=None,
        )

    @classmethod
    def of(cls, row: SubscriptionRow) -> SubscriptionView:
        ends = row.cancel_at_period_end or row.effective_plan == FREE
        return cls(
            status=row.status,
            plan=row.effective_plan,
            next_plan=FREE if ends else row.plan,
            cancel_at_period_end=row.cancel_at_period_end,
            current_period_start=row.period_start,
            current_period_end=row.period_end,
            provider=row.provider,
        )


class InvoiceView(BaseModel):
    id: str
    object: Literal["invoice"] = "invoice"
    number: str | None
    status: str = Field(examples=["paid"])
    amount_cents: int = Field(description="Taxes included.")
    currency: str
    created_at: AwareDatetime
    url: str | None = Field(description="Where it can be seen, and paid.")
    pdf_url: str | None

    @classmethod
    def of(cls, invoice: provider.Invoice) -> InvoiceView:
        return cls(
            id=invoice.id,
            number=invoice.number,
            status=invoice.status,
            amount_cents=invoice.amount,
            currency=invoice.currency,
            created_at=invoice.created_at,
            url=invoice.url,
            pdf_url=invoice.pdf_url,
        )


class AutoTopUpSet(BaseModel):
    model_config = ConfigDict(extra="forbid")

    enabled: bool
    threshold: int = Field(ge=1, le=MAX_CREDITS, description="Buy when there are fewer credits than this.")
    pack: Slug = Field(description="What to buy: of at least `threshold` credits.")


class AutoTopUpView(BaseModel):
    """Buying a pack with the saved card whenever credits run low. Three failures in a row switch it off."""

    object: Literal["auto_top_up"] = "auto_top_up"
    enabled: bool
    threshold: int | None
    pack: str | None
    failures: int = Field(description="Purchases that failed in a row.")
    last_error: str | None = Field(description="Why the last one failed.")
    next_try_at: datetime | None = Field(description="After a failure, not before then.")

    @classmethod
    def of(cls, wish: AutoTopUp | None) -> AutoTopUpView:
        if wish is None:
            return cls(
                enabled=False, threshold=None, pack=None, failures=0, last_error=None, next_try_at=None
            )
        return cls(
            enabled=wish.enabled,
            threshold=wish.threshold,
            pack=wish.pack,
            failures=wish.failures,
            last_error=wish.last_error,
            next_try_at=wish.next_try_at if wish.failures else None,
        )
