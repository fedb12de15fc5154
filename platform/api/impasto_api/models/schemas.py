"""Models as callers see them."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, Field

from impasto_core.models.tables import Model


class ModelView(BaseModel):
    """A model. Its id is what `input.model` takes."""

    id: str = Field(examples=["impasto-shapes"])
    object: Literal["model"] = "model"
    name: str
    description: str
    base: str = Field(description="Architecture.", examples=["sd-1"])
    default: bool = Field(description="Whether jobs that name no model run on it.")
    default_width: int
    default_height: int
    default_steps: int
    default_guidance: float
    default_scheduler: str
    max_pixels: int = Field(description="Limit of width x height.")
    created_at: AwareDatetime

    @classmethod
    def of(cls, model: Model, *, default_slug: str) -> ModelView:
        return cls(
            **model.model_dump(
                include={
                    "name",
                    "description",
                    "base",
                    "default_width",
                    "default_height",
                    "default_steps",
                    "default_guidance",
                    "default_scheduler",
                    "max_pixels",
                    "created_at",
                }
            ),
            id=model.slug,
            default=model.slug == default_slug,
        )
