from __future__ import annotations

from typing import Any

from ._base import Result


class PipelineLimits(Result):
    """Limits that hold for every model."""

    min_side: int
    max_side: int
    max_steps: int
    max_images: int
    max_prompt_length: int


class Pipeline(Result):
    """A way from typed input to images."""

    id: str
    title: str
    description: str
    input_schema: dict[str, Any]
    """JSON Schema of what `jobs.create(pipeline, input)` takes."""
    limits: PipelineLimits
