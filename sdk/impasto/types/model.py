from __future__ import annotations

from datetime import datetime

from ._base import Result


class Model(Result):
    """A model that jobs can ask for by its id."""

    id: str
    name: str
    description: str
    base: str
    """Its architecture: sd-1, ..."""
    default: bool
    """Whether jobs that name no model run on it."""
    default_width: int
    default_height: int
    default_steps: int
    default_guidance: float
    default_scheduler: str
    max_pixels: int
    """The limit of width x height."""
    created_at: datetime
