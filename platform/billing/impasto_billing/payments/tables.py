"""billing_customers, subscriptions, purchases, auto_top_ups, top_ups, usage_reports, provider_events.

Only the payments role writes what providers say; the API notes what they send and what customers want.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from impasto_core.clock import utc_now
from impasto_core.database.columns import created_now, organization_key, primary_key, timestamp


def _known_provider() -> CheckConstraint:
    return CheckConstraint("provider IN ('stripe', 'lemon-squeezy')", name="provider")


class BillingCustomer(SQLModel, table=True):
    """An organization as a provider knows it. Its jobs are reported as usage from `metered_since` on.

    Lemon Squeezy tells customers apart by their mail address: two organizations may be one customer there.
    """

    __tablename__ = "billing_customers"
    __table_args__ = (_known_provider(), UniqueConstraint("provider", "customer_id", "organization_id"))

    id: UUID = primary_key()
    organization_id: UUID = organization_key(index=True)
    provider: str = Field(max_length=16)
    customer_id: str = Field(max_length=255)
    metered_since: datetime | None = timestamp(default=None)
    created_at: datetime = created_now()


class SubscriptionRow(SQLModel, table=True):
    """A subscription as last seen. `plan` is what is subscribed to, `effective_plan` what holds now.

    They differ after a downgrade, until the period ends that was paid for, and where payments have stopped.
    """

    __tablename__ = "subscriptions"
    __table_args__ = (_known_provider(), UniqueConstraint("provider", "subscription_id"))

    id: UUID = primary_key()
    organization_id: UUID = organization_key(index=True)
    provider: str = Field(max_length=16)
    subscription_id: str = Field(max_length=255)
    status: str = Field(max_length=32)
    plan: str = Field(max_length=63)
    effective_plan: str = Field(max_length=63)
    period_start: datetime = timestamp()
    period_end: datetime = timestamp()
    cancel_at_period_end: bool
    created_at: datetime = created_now()
    updated_at: datetime = timestamp(default_factory=utc_now)


class Purchase(SQLModel, table=True):
    """A payment that gave credits: for a pack, or for a plan's period.

    `taken_back` of the credits went back with their money; the ledger has both under `reference`.
    """

    __tablename__ = "purchases"
    __table_args__ = (
        _known_provider(),
        CheckConstraint("(pack IS NULL) <> (plan IS NULL)", name="pack_or_plan"),
        CheckConstraint("amount >= 0 AND refunded BETWEEN 0 AND amount", name="amount"),
        CheckConstraint("credits >= 0 AND taken_back BETWEEN 0 AND credits", name="credits"),
        UniqueConstraint("provider", "payment_id"),
    )

    id: UUID = primary_key()
    organization_id: UUID = organization_key(index=True)
    provider: str = Field(max_length=16)
    payment_id: str = Field(max_length=255)
    pack: str | None = Field(default=None, max_length=63)
    plan: str | None = Field(default=None, max_length=63)
    subscription_id: str | None = Field(default=None, max_length=255)
    period_start: datetime | None = timestamp(default=None)
    period_end: datetime | None = timestamp(default=None)
    amount: int = Field(sa_type=BigInteger)
    currency: str = Field(max_length=3)
    refunded: int = Field(default=0, sa_type=BigInteger)
    disputed: bool = False
    credits: int = Field(sa_type=BigInteger)
    taken_back: int = Field(default=0, sa_type=BigInteger)
    changes: int = 0
    created_at: datetime = created_now()

    @property
    def reference(self) -> str:
        """The grant's, in the ledger."""
        return f"{self.provider}:{self.payment_id}"


class AutoTopUp(SQLModel, table=True):
    """An organization's wish to buy `pack` whenever it has less than `threshold` credits.

    `failures` counts those in a row; it is not tried again before `next_try_at`.
    """

    __tablename__ = "auto_top_ups"
    __table_args__ = (CheckConstraint("threshold > 0", name="threshold"),)

    organization_id: UUID = organization_key(primary_key=True)
    enabled: bool
    threshold: int = Field(sa_type=BigInteger)
    pack: str = Field(max_length=63)
    failures: int = 0
    last_error: str | None = Field(default=None, max_length=500)
    next_try_at: datetime = timestamp(default_factory=utc_now)
    updated_at: datetime = timestamp(default_factory=utc_now)


class TopUpStatus(StrEnum):
    PENDING = "pending"
    PAID = "paid"
    FAILED = "failed"


class TopUp(SQLModel, table=True):
    """One automatic purchase. An organization has at most one that is pending."""

    __tablename__ = "top_ups"
    __table_args__ = (
        CheckConstraint("status IN ('pending', 'paid', 'failed')", name="status"),
        Index("ix_top_ups_pending", "organization_id", unique=True, postgresql_where="status = 'pending'"),
    )

    id: UUID = primary_key()
    organization_id: UUID = organization_key(index=True)
    pack: str = Field(max_length=63)
    status: str = Field(default=TopUpStatus.PENDING, max_length=16)
    error: str | None = Field(default=None, max_length=500)
    created_at: datetime = created_now()
    finished_at: datetime | None = timestamp(default=None)


class UsageReport(SQLModel, table=True):
    """A job whose credits the provider has been told of, for pay-as-you-go."""

    __tablename__ = "usage_reports"

    job_id: UUID = Field(primary_key=True)
    organization_id: UUID = organization_key(index=True)
    credits: int = Field(sa_type=BigInteger)
    reported_at: datetime = created_now()


class EventOutcome(StrEnum):
    """REFUSED: it did not fit what we sell or know. IGNORED: it was none of our business."""

    APPLIED = "applied"
    IGNORED = "ignored"
    REFUSED = "refused"


class ProviderEvent(SQLModel, table=True):
    """A signed event, without its content: only what it is about, since that is fetched anew.

    Not a tenant's row: whose it is shows when it is processed. `made_for` is the organization that a
    checkout was made for, where only events tell. `detail` is for operators.
    """

    __tablename__ = "provider_events"
    __table_args__ = (
        _known_provider(),
        CheckConstraint("outcome IN ('applied', 'ignored', 'refused')", name="outcome"),
        CheckConstraint("(processed_at IS NULL) = (outcome IS NULL)", name="processed"),
        UniqueConstraint("provider", "event_id"),
        Index("ix_provider_events_due", "next_try_at", postgresql_where="processed_at IS NULL"),
    )

    id: UUID = primary_key()
    provider: str = Field(max_length=16)
    event_id: str = Field(max_length=255)
    event_type: str = Field(max_length=100)
    object_type: str | None = Field(default=None, max_length=50)
    object_id: str | None = Field(default=None, max_length=255)
    made_for: UUID | None = None
    received_at: datetime = created_now()
    next_try_at: datetime = timestamp(default_factory=utc_now)
    tries: int = 0
    processed_at: datetime | None = timestamp(default=None)
    outcome: str | None = Field(default=None, max_length=16)
    reason: str | None = Field(default=None, max_length=50)
    detail: str | None = Field(default=None, max_length=1000)
