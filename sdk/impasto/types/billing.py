from __future__ import annotations

from datetime import datetime

from ._base import Result


class Pack(Result):
    """Credits to buy once. They do not expire."""

    id: str
    name: str
    credits: int
    price_cents: int
    """Without taxes."""
    currency: str


class CheckoutSession(Result):
    """A page where somebody pays."""

    id: str
    url: str
    expires_at: datetime


class PortalSession(Result):
    """A page where somebody changes cards and addresses and finds invoices. Valid briefly."""

    url: str


class Subscription(Result):
    """What an organization pays for every month."""

    status: str
    """none, incomplete, incomplete_expired, trialing, active, past_due, unpaid, paused or canceled."""
    plan: str
    """The plan that it gives now."""
    next_plan: str
    """The plan after `current_period_end`, as things stand."""
    cancel_at_period_end: bool
    current_period_start: datetime | None = None
    current_period_end: datetime | None = None
    provider: str | None = None


class Invoice(Result):
    id: str
    number: str | None = None
    status: str
    amount_cents: int
    """Taxes included."""
    currency: str
    created_at: datetime
    url: str | None = None
    """Where it can be seen, and paid."""
    pdf_url: str | None = None


class AutoTopUp(Result):
    """Buying a pack with the saved card whenever credits run low."""

    enabled: bool
    threshold: int | None = None
    pack: str | None = None
    failures: int
    """Purchases that failed in a row. Three switch it off."""
    last_error: str | None = None
    next_try_at: datetime | None = None
