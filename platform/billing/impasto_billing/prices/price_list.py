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

UnitPrice = Annotated[Decimal, Field(ge=0)]


class Prices(BaseModel):
    """Unit prices of one meter: of single models, of their bases, and of any other model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: Mapping[str, UnitPrice] = {}
    bases: Mapping[str, UnitPrice] = {}
    other: UnitPrice

    def of(self, model: Model) -> Decimal:
        return self.models.get(model.slug, self.bases.get(model.base, self.other))


class PriceList(BaseModel):
    """The prices from the day `id` on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: date
    pixel_steps: Prices
    gpu_seconds: Prices

    def quote_work(self, model: Model, work: Work, description: str, *, discount_percent: int = 0) -> Quote:
        """The price of work that is known beforehand, which is what it will cost."""
        unit_price = self.pixel_steps.of(model)
        return self._quote(
            LineItem.of(
                description, model.slug, Meter.PIXEL_STEPS, work.pixel_steps, unit_price, discount_percent
            )
        )

    def quote_time(
        self, model: Model, limit_seconds: float, description: str, *, discount_percent: int = 0
    ) -> Quote:
        """The price of all the time that a job may take; what it does not take is refunded."""
        unit_price = self.gpu_seconds.of(model)
        units = math.ceil(limit_seconds)
        return self._quote(
            LineItem.of(description, model.slug, Meter.GPU_SECONDS, units, unit_price, discount_percent)
        )

    def _quote(self, item: LineItem) -> Quote:
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
