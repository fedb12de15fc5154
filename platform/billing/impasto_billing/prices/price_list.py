"""The versioned price lists, `prices.toml`, which come with the release."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from impasto_billing.prices.quote import LineItem, Meter, Quote
from impasto_core.jobs.work import Work
from impasto_core.models.tables import Model

PRICES_FILE = Path(__file__).parent / "prices.toml"

Price = Annotated[
    Mapping[Meter, Annotated[Decimal, Field(ge=0)]],
    Field(min_length=1, max_length=1, description="Credits for a unit of one meter."),
]


class PriceList(BaseModel):
    """The prices from the day `id` on: of single models, of all models of a base, and of any `other`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: date
    models: Mapping[str, Price] = {}
    bases: Mapping[str, Price] = {}
    other: Price

    def quote(
        self,
        model: Model,
        work: Work,
        description: str,
        *,
        limit_seconds: float,
        discount_percent: int = 0,
    ) -> Quote:
        """The most that a job on the model can cost.

        Work is known beforehand, and will cost this. A model with a price for time is quoted at all of
        `limit_seconds`, and what the job does not take of it is refunded.
        """
        price = self.models.get(model.slug) or self.bases.get(model.base) or self.other
        [(meter, unit_price)] = price.items()
        units = work.pixel_steps if meter is Meter.PIXEL_STEPS else math.ceil(limit_seconds)
        item = LineItem.of(description, model.slug, meter, units, unit_price, discount_percent)
        return Quote(amount=item.amount, price_list=self.id.isoformat(), line_items=[item])


@cache
def read_price_lists(file: Path = PRICES_FILE) -> tuple[PriceList, ...]:
    """The oldest first. Raises pydantic.ValidationError and tomllib.TOMLDecodeError."""
    described = tomllib.loads(file.read_text(), parse_float=Decimal)["price_lists"]
    return tuple(sorted(map(PriceList.model_validate, described), key=lambda prices: prices.id))


def price_list_of(now: datetime) -> PriceList:
    """The list in force."""
    first, *later = read_price_lists()
    return max((prices for prices in later if prices.id <= now.date()), key=lambda p: p.id, default=first)
