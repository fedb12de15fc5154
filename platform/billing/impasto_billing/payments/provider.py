"""What Impasto asks of a payment provider, and what it believes of the answers.

Amounts are integers in the currency's minor unit, as the provider has them: they are checked where they are
used, never where they are read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol
from uuid import UUID

from impasto_billing.payments.sold import Pack
from impasto_billing.plans.plan import Plan

ProviderName = Literal["stripe", "lemon-squeezy"]


class SubscriptionStatus(StrEnum):
    """Stripe's words. PAST_DUE: a payment failed and is tried again. UNPAID: it is not tried any more."""

    INCOMPLETE = "incomplete"
    INCOMPLETE_EXPIRED = "incomplete_expired"
    TRIALING = "trialing"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    UNPAID = "unpaid"
    PAUSED = "paused"
    CANCELED = "canceled"

    @property
    def is_live(self) -> bool:
        """Whether the organization has what it subscribed to."""
        return self in (self.TRIALING, self.ACTIVE, self.PAST_DUE)

    @property
    def is_owed(self) -> bool:
        """Whether it exists for good or ill: what was never paid for is as if it had not been."""
        return not self.is_over and self is not self.INCOMPLETE

    @property
    def is_over(self) -> bool:
        """Whether it can never be live again."""
        return self in (self.CANCELED, self.INCOMPLETE_EXPIRED)


@dataclass(frozen=True)
class Share:
    """A line of a subscription's invoice: a plan for some time. Of the plan that is left it is negative."""

    plan: str
    amount: int
    start: datetime
    end: datetime


@dataclass(frozen=True)
class Payment:
    """Money that was paid, as its provider has it now: for a pack, or for shares of plans.

    `refunded` is what went back of it, `disputed` whether a bank has taken it all back for the time being.
    """

    id: str
    customer_id: str
    paid: bool
    amount: int
    currency: str
    refunded: int = 0
    disputed: bool = False
    pack: str | None = None
    top_up_id: UUID | None = None
    failure: str | None = None
    subscription_id: str | None = None
    shares: Sequence[Share] = ()


@dataclass(frozen=True)
class Subscription:
    """A subscription as its provider has it now. `plan` is what its next invoice is for."""

    id: str
    customer_id: str
    status: SubscriptionStatus
    plan: str
    period_start: datetime
    period_end: datetime
    cancel_at_period_end: bool
    metered: bool = False


@dataclass(frozen=True)
class Hint:
    """What an event is about: an object to fetch. None of the two: nothing that concerns us.

    `organization_id` is whom the checkout was for, where the provider lets it be known by its signed events
    alone.
    """

    event_id: str
    event_type: str
    object_type: str | None = None
    object_id: str | None = None
    organization_id: UUID | None = None


@dataclass(frozen=True)
class Checkout:
    id: str
    url: str
    expires_at: datetime


@dataclass(frozen=True)
class Invoice:
    id: str
    number: str | None
    status: str
    amount: int
    currency: str
    created_at: datetime
    url: str | None
    pdf_url: str | None


class Refused(Exception):
    """What a provider says does not fit what we sell or know: recorded with its reason, and moves nothing."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class ForgedEvent(Exception):
    """An event that the provider did not sign, or not lately, or that makes no sense."""


class ProviderError(Exception):
    """The provider said no; its words may be shown to the customer."""


class PaymentDeclined(ProviderError):
    """The customer's bank did not pay."""


class KeyReused(ProviderError):
    """An idempotency key came again with another request."""


class UnknownCursor(Exception):
    """A list cannot go on from there."""


class NotOffered(ProviderError):
    """This provider has no such thing."""


class ProviderUnavailable(Exception):
    """The provider cannot be reached, is broken, or does not let us in: worth another try, later."""


class PaymentProvider(Protocol):
    """All of it raises ProviderUnavailable; what asks for a change raises ProviderError too.

    A call that makes something is given an idempotency key: the same call again makes nothing new.
    """

    @property
    def name(self) -> ProviderName: ...

    async def create_customer(self, *, organization_id: UUID) -> str | None:
        """Its id; None where customers come into being by paying."""

    async def check_out(
        self,
        item: Pack | Plan,
        *,
        organization_id: UUID,
        customer_id: str | None,
        success_url: str,
        cancel_url: str,
        idempotency_key: str,
        now: datetime,
    ) -> Checkout: ...

    async def portal_url(self, customer_id: str, *, return_url: str) -> str:
        """A page where the customer changes cards and addresses and finds invoices."""

    async def change_plan(
        self, subscription_id: str, plan: Plan, *, at_once: bool, idempotency_key: str
    ) -> Subscription:
        """`at_once`: now, with what is left of the period paid pro rata. Otherwise from the next period on.

        Raises PaymentDeclined, and then nothing changed.
        """

    async def cancel(self, subscription_id: str) -> Subscription:
        """At the end of the period."""

    async def resume(self, subscription_id: str) -> Subscription:
        """Take the cancellation back, as long as the period lasts."""

    async def invoices(
        self, customer_id: str, *, limit: int, after: str | None
    ) -> tuple[Sequence[Invoice], str | None]:
        """Newest first, and where the next page begins. Raises UnknownCursor."""

    async def has_saved_card(self, customer_id: str) -> bool: ...

    async def charge(self, customer_id: str, pack: Pack, *, top_up_id: UUID) -> Payment:
        """Have the saved card pay for a pack while the customer is away. Once for each `top_up_id`.

        Raises PaymentDeclined.
        """

    async def report_usage(self, customer_id: str, *, identifier: str, amount: int, at: datetime) -> None:
        """Credits that were spent; counted once for each identifier."""

    def read_event(self, body: bytes, headers: Mapping[str, str], *, now: datetime) -> Hint:
        """Raises ForgedEvent."""

    async def look_up(self, object_type: str, object_id: str) -> Payment | Subscription | None:
        """The object as it is now; None where it is none of our business. Raises Refused."""

    def events_since(self, since: datetime) -> AsyncIterator[Hint]:
        """What events since then were about, for those that never came."""

    async def close(self) -> None: ...
