"""Quotes as callers see them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from impasto_billing.prices import Quote


class QuoteWithBalance(Quote):
    """The most that a job would cost, and whether the balance covers it."""

    object: Literal["quote"] = "quote"
    available: int = Field(description="Credits that can be spent now.", examples=[500])
    covered: bool = Field(description="Whether they are enough.")

    @classmethod
    def of(cls, quote: Quote, *, available: int) -> QuoteWithBalance:
        return cls(**quote.model_dump(), available=available, covered=quote.amount <= available)
