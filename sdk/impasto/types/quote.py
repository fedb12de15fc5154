from __future__ import annotations

from decimal import Decimal
from typing import Literal

from pydantic import SkipValidation

from ._base import Result


class LineItem(Result):
    """`amount` is `units` x `unit_price` / `per`, rounded up to whole credits, less `discount`."""

    description: str
    model: str
    meter: SkipValidation[Literal["pixel_steps", "gpu_seconds"]]
    units: int
    unit_price: Decimal
    per: int
    discount_percent: int
    discount: int
    amount: int


class Quote(Result):
    """The most that a job can cost, in credits. That many are held until it has ended."""

    amount: int
    price_list: str
    line_items: list[LineItem]


class QuoteWithBalance(Quote):
    """What a job would cost, and whether your credits cover it."""

    available: int
    covered: bool


class Receipt(Result):
    """What a job cost, in credits. `amount` and `refunded` together are its quote."""

    amount: int
    refunded: int
    price_list: str
    line_items: list[LineItem]
