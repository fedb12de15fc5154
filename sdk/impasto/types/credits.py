from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import SkipValidation

from ._base import Result


class CreditBalance(Result):
    """Credits of the organization. One credit is one second of a GPU."""

    available: int
    """Can be spent now."""
    held: int
    """Reserved by jobs that are queued or running."""
    owed: int
    """Taken from the next ones, as a payment was taken back."""
    expiring_soon: int
    """Of those available, what expires within 7 days."""
    next_expiry: datetime | None = None


class CreditGrant(Result):
    """Credits that were given. They are spent by priority, then earliest expiry, then earliest creation."""

    id: str
    source: SkipValidation[Literal["monthly", "purchase", "promotion", "manual"]]
    amount: int
    remaining: int
    priority: int
    valid_from: datetime
    valid_until: datetime | None = None
    """None is for ever."""
    reference: str
    created_at: datetime


class CreditEntry(Result):
    """One movement of credits, and what it added to or took from each part of the balance."""

    id: str
    kind: SkipValidation[Literal["grant", "hold", "settle", "expire", "claw_back", "repay"]]
    available: int
    held: int
    spent: int
    owed: int
    job_id: str | None = None
    api_key_id: str | None = None
    description: str
    created_at: datetime
