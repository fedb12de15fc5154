from __future__ import annotations

from datetime import datetime

from ._base import Result


class SpendCap(Result):
    """The most that a key, or the whole organization, may spend in a calendar month, in UTC."""

    id: str
    api_key_id: str | None = None
    """None is the whole organization."""
    amount: int
    spent: int
    """This month, held credits included."""
    created_at: datetime
    updated_at: datetime


class SpendAlert(Result):
    """Spending reached 50, 80 or 100 % of a cap."""

    id: str
    api_key_id: str | None = None
    month: str
    percent: int
    cap: int
    spent: int
    created_at: datetime
