from __future__ import annotations

import datetime

from ._base import Result


class Usage(Result):
    """The jobs that ended on a day, with a model or by a key: whatever the usage is grouped by."""

    day: datetime.date | None = None
    """In UTC."""
    model: str | None = None
    api_key_id: str | None = None
    api_key_name: str | None = None
    jobs_succeeded: int
    jobs_failed: int
    jobs_canceled: int
    images: int
    """Made, whether or not they were deleted since."""
    pixel_steps: int
    """Pixels x denoising steps of the jobs that succeeded."""
    gpu_seconds: float
    credits: int
    """Spent, by the ledger."""


class StorageUsage(Result):
    """Bytes of images and uploads."""

    used_bytes: int
    limit_bytes: int | None = None
    """The plan's; None is none."""
