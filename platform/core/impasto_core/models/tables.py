"""models."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlmodel import Field, SQLModel

from impasto_core.database.columns import created_now, primary_key


class Model(SQLModel, table=True):
    """A model that an operator has vetted. Not a tenant's row: everyone may use it.

    `base` and `type` are InvokeAI's words: "sd-1", "main". What is not a main model, but a LoRA or a
    VAE, can only be named by graphs, and its defaults for pictures mean nothing.

    `source` is a `file://` folder or an `s3://bucket/prefix`; `digest` covers every file below it, so that a
    worker that fetches a copy runs what was vetted and nothing else.
    """

    __tablename__ = "models"

    id: UUID = primary_key()
    slug: str = Field(max_length=63, unique=True)
    name: str = Field(max_length=100)
    description: str = Field(default="", max_length=1000)
    base: str = Field(max_length=32)
    type: str = Field(default="main", max_length=32)
    source: str = Field(max_length=1000)
    digest: str = Field(max_length=80)
    pool: str = Field(default="default", max_length=63)
    default_width: int = 512
    default_height: int = 512
    default_steps: int = 20
    default_guidance: float = 7.5
    default_scheduler: str = Field(default="euler", max_length=32)
    max_pixels: int = 1024 * 1024
    enabled: bool = True
    created_at: datetime = created_now()
