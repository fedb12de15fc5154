"""Quotes and receipts: exact arithmetic, rounded up to whole credits once."""

from __future__ import annotations

import math
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Annotated

from pydantic import BaseModel, Field, PlainSerializer, WithJsonSchema

MINIMUM = 1
"""Credits of the cheapest job."""

UnitPrice = Annotated[
    Decimal,
    PlainSerializer(lambda price: format(price.normalize(), "f"), return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?$", "examples": ["0.4"]}),
]
"""A decimal number, as text: JSON's numbers are binary to most programs."""


class Meter(StrEnum):
    """What is counted: width x height x denoising steps x images, or the time on the GPU."""

    PIXEL_STEPS = "pixel_steps"
    GPU_SECONDS = "gpu_seconds"

    @property
    def per(self) -> int:
        """Units that one unit price is for."""
        return 1_000_000 if self is Meter.PIXEL_STEPS else 1


class LineItem(BaseModel):
    """`amount` is `units` x `unit_price` / `per`, rounded up, less `discount`."""

    description: str = Field(examples=["text-to-image, 1 image of 512 x 512 pixels, 20 steps"])
    model: str = Field(examples=["impasto-shapes"])
    meter: Meter
    units: int = Field(ge=0, examples=[5_242_880])
    unit_price: UnitPrice = Field(description="Credits for `per` units, a decimal number.")
    per: int = Field(examples=[1_000_000])
    discount_percent: int = Field(default=0, description="What your plan takes off.")
    discount: int = Field(default=0, description="Credits taken off.")
    amount: int = Field(ge=0, description="Credits.", examples=[3])

    @classmethod
    def of(
        cls,
        description: str,
        model: str,
        meter: Meter,
        units: int,
        unit_price: Decimal,
        discount_percent: int,
    ) -> LineItem:
        exact = Fraction(units) * Fraction(unit_price) / meter.per
        full = max(MINIMUM, math.ceil(exact))
        amount = max(MINIMUM, math.ceil(exact * (100 - discount_percent) / 100))
        return cls(
            description=description,
            model=model,
            meter=meter,
            units=units,
            unit_price=unit_price,
            per=meter.per,
            discount_percent=discount_percent,
            discount=full - amount,
            amount=amount,
        )

    def for_units(self, units: int) -> LineItem:
        """The same, of another number of units."""
        return LineItem.of(
            self.description, self.model, self.meter, units, self.unit_price, self.discount_percent
        )


class Quote(BaseModel):
    """The most that a job can cost. That many credits are held while it is queued and runs."""

    amount: int = Field(ge=MINIMUM, description="Credits: the sum of the line items.", examples=[3])
    price_list: str = Field(description="Version of the prices.", examples=["2026-11-01"])
    line_items: list[LineItem]

    def receipt(self, line_items: list[LineItem]) -> Receipt:
        amount = sum(item.amount for item in line_items)
        return Receipt(
            amount=amount,
            refunded=self.amount - amount,
            price_list=self.price_list,
            line_items=line_items,
        )


class Receipt(BaseModel):
    """What a finished job cost. `amount` and `refunded` together are its quote."""

    amount: int = Field(ge=0, description="Credits spent.", examples=[3])
    refunded: int = Field(ge=0, description="Credits that were held and came back.", examples=[0])
    price_list: str = Field(description="Version of the prices.", examples=["2026-11-01"])
    line_items: list[LineItem] = Field(description="Empty where the job cost nothing.")
