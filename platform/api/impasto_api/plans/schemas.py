"""Plans as callers see them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from impasto_billing.plans import Plan


class PlanView(BaseModel):
    """What an organization can be on. A limit that is null is none."""

    id: str = Field(examples=["pro"])
    object: Literal["plan"] = "plan"
    name: str = Field(examples=["Pro"])
    price_cents: int | None = Field(description="US cents a month; null is by agreement.", examples=[7500])
    monthly_credits: int = Field(examples=[15_000])
    low_credits: int = Field(description="`credits.low` tells when fewer are available.", examples=[1_500])
    discount_percent: int = Field(description="Off the price of every job.")
    concurrent_jobs: int | None = Field(description="Jobs that run at once.")
    queue_weight: int = Field(description="Its share of busy workers, beside those of others.")
    storage_bytes: int | None
    image_retention_days: int | None = Field(
        description="Images are deleted when they are so old; null is never. After a change of plan nothing"
        " is deleted for 7 days.",
        examples=[365],
    )
    model_bases: list[str] | None = Field(description="Architectures of models.", examples=[["sd-1", "sdxl"]])
    max_pixels: int = Field(description="Width x height of one image.")
    max_images: int = Field(description="Images of one job.")
    jobs_per_hour: int | None = Field(description="Jobs that may be created.")
    requests_per_minute: int | None = Field(description="Requests of any kind.")
    node_editor: bool = Field(description="Whether jobs may be graphs of one's own.")

    @classmethod
    def of(cls, plan: Plan) -> PlanView:
        return cls(id=plan.slug, **plan.model_dump(exclude={"slug"}))
