"""Usage as callers see it."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import BaseModel, Field

from impasto_core.ids import ApiKeyId


class UsageView(BaseModel):
    """The jobs that ended on a day, with a model or by a key: whatever the usage is grouped by."""

    object: Literal["usage"] = "usage"
    day: date | None = Field(description="The day, in UTC. Null where it is not grouped by day.")
    model: str | None = Field(
        description="What the jobs are priced by. Null where it is not grouped by model.",
        examples=["impasto-shapes"],
    )
    api_key_id: ApiKeyId | None = Field(
        description="Null where it is not grouped by key, or the key is no more."
    )
    api_key_name: str | None = Field(description="The name of that key.", examples=["production"])
    jobs_succeeded: int
    jobs_failed: int
    jobs_canceled: int
    images: int = Field(description="Made, whether or not they were deleted since.")
    pixel_steps: int = Field(description="Pixels x denoising steps of the jobs that succeeded.")
    gpu_seconds: float = Field(description="Time that workers spent on the jobs' last attempts.")
    credits: int = Field(description="Spent, by the ledger.")


class StorageView(BaseModel):
    """Bytes of images and uploads, as each of them shows its size."""

    object: Literal["storage_usage"] = "storage_usage"
    used_bytes: int = Field(examples=[48_213])
    limit_bytes: int | None = Field(description="The plan's; null is none.", examples=[1_000_000_000])
