"""The database roles. Row-level security is forced, so that each sees only what a policy gives it."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """OWNER migrates and administers. API sees one organization a transaction. WORKER claims and settles.

    PAYMENTS turns what payment providers say into credits and plans. WEBHOOKS sends what others have to tell.
    """

    OWNER = "impasto_owner"
    API = "impasto_api"
    WORKER = "impasto_worker"
    PAYMENTS = "impasto_payments"
    WEBHOOKS = "impasto_webhooks"
