from __future__ import annotations

from ._base import Result


class Plan(Result):
    """What an organization can be on. A limit that is None is none."""

    id: str
    name: str
    price_cents: int | None = None
    """US cents a month; None is by agreement."""
    monthly_credits: int
    low_credits: int
    """The webhook `credits.low` tells when fewer are available."""
    discount_percent: int
    concurrent_jobs: int | None = None
    queue_weight: int
    storage_bytes: int | None = None
    image_retention_days: int | None = None
    """Images are deleted when they are so old. None: they are kept for good."""
    model_bases: list[str] | None = None
    max_pixels: int
    max_images: int
    jobs_per_hour: int | None = None
    requests_per_minute: int | None = None
    node_editor: bool
