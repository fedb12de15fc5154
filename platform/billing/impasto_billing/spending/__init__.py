"""Spend caps: what an organization, or one of its keys, may spend in a calendar month."""

from impasto_billing.spending.service import SpendCapReached

__all__ = ["SpendCapReached"]
