"""What is sold: credit packs, of `packs.toml`, and those plans of `plans.toml` that have a price."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from impasto_billing.plans.plan import PLANS_FILE, Plan, read_plans

PACKS_FILE = PLANS_FILE.with_name("packs.toml")

CURRENCY = "usd"
"""The only one in which anything is sold."""

MAX_CENTS = 99_999_999
"""The most that a provider charges at once."""


class Pack(BaseModel):
    """Credits that are bought once and never expire."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slug: str = Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")
    name: str = Field(min_length=1, max_length=100)
    credits: int = Field(gt=0, le=10**9)
    price_cents: int = Field(ge=50, le=MAX_CENTS)


def read_packs(file: Path = PACKS_FILE) -> tuple[Pack, ...]:
    """The packs of a file, in its order. Raises pydantic.ValidationError and tomllib.TOMLDecodeError."""
    described = tomllib.loads(file.read_text())
    return tuple(Pack(slug=slug, **terms) for slug, terms in described.items())


@cache
def packs() -> Mapping[str, Pack]:
    return {pack.slug: pack for pack in read_packs()}


@cache
def sold_plans() -> Mapping[str, Plan]:
    """From the smallest to the largest."""
    return {plan.slug: plan for plan in read_plans() if plan.price_cents}


def price_of(plan: Plan) -> int:
    assert plan.price_cents, "only plans that are sold come here"  # noqa: S101
    return plan.price_cents
