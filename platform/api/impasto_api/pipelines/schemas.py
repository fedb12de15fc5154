"""Pipelines as callers see them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from impasto_core.pipelines import Pipeline
from impasto_core.pipelines.base import MAX_IMAGES, MAX_PROMPT, MAX_SIDE, MAX_STEPS, MIN_SIDE


class PipelineLimits(BaseModel):
    """Limits that hold for every model. A model's own limit on pixels comes on top."""

    min_side: int = MIN_SIDE
    max_side: int = MAX_SIDE
    max_steps: int = MAX_STEPS
    max_images: int = MAX_IMAGES
    max_prompt_length: int = MAX_PROMPT


class PipelineView(BaseModel):
    """A pipeline. Its id is what a job's `pipeline` takes, `input_schema` describes its `input`."""

    id: str = Field(examples=["text-to-image"])
    object: Literal["pipeline"] = "pipeline"
    title: str
    description: str
    input_schema: dict[str, Any] = Field(description="JSON Schema, draft 2020-12.")
    limits: PipelineLimits = PipelineLimits()

    @classmethod
    def of(cls, pipeline: Pipeline[Any]) -> PipelineView:
        return cls(
            id=pipeline.id,
            title=pipeline.title,
            description=pipeline.description,
            input_schema=pipeline.input_type.model_json_schema(),
        )
