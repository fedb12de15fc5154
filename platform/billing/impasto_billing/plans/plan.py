"""What a plan is, and those that are sold: `plans.toml`, which comes with the release."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

PLANS_FILE = Path(__file__).parent / "plans.toml"

FREE = "free"
"""The plan of an organization that has no other."""

MAX_BIGINT = 2**63 - 1


class Plan(BaseModel):
    """What an organization pays, and what it gets for it. A limit of None is no limit.

    Terms that this release does not know are ignored: the database may have been synced by a newer one.
    """

    model_config = ConfigDict(frozen=True)

    slug: str = Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")
    name: str = Field(min_length=1, max_length=100)
    price_cents: int | None = Field(default=None, ge=0, description="US cents a month; None is by agreement.")
    monthly_credits: int = Field(ge=0, le=MAX_BIGINT)
    low_credits: int = Field(default=50, ge=0, le=MAX_BIGINT, description="Fewer are told as low.")
    discount_percent: int = Field(default=0, ge=0, lt=100, description="Off the price of every job.")
    queue_weight: int = Field(gt=0, description="Share of busy workers beside other organizations.")
    concurrent_jobs: int | None = Field(default=None, ge=1, description="Jobs that may run at once.")
    storage_bytes: int | None = Field(default=None, ge=0, le=MAX_BIGINT)
    image_retention_days: int | None = Field(
        default=None, gt=0, le=36_500, description="How long images are kept; None is for good."
    )
    model_bases: tuple[str, ...] | None = Field(default=None, description="Architectures; None is all.")
    max_pixels: int = Field(gt=0, description="Width x height of one image.")
    max_images: int = Field(gt=0, description="Images of one job.")
    jobs_per_hour: int | None = Field(default=None, gt=0)
    requests_per_minute: int | None = Field(default=None, gt=0)
    node_editor: bool = Field(description="Whether jobs may be graphs of the caller's own.")


def read_plans(file: Path = PLANS_FILE) -> tuple[Plan, ...]:
    """The plans of a file, in its order. Raises ValueError: what tomllib and pydantic raise are such too."""
    described = tomllib.loads(file.read_text())
    if FREE not in described or not all(isinstance(terms, dict) for terms in described.values()):
        raise ValueError(f"every entry must be a plan, and {FREE} one of them")
    return tuple(
        Plan.model_validate({"slug": slug, **terms}, extra="forbid") for slug, terms in described.items()
    )


@cache
def shipped_free_plan() -> Plan:
    """What holds where the database has no plan: the least."""
    return next(plan for plan in read_plans() if plan.slug == FREE)
