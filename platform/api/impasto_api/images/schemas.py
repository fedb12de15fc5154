"""Images as callers see them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime, BaseModel, Field

from impasto_api.services import Services
from impasto_core.ids import ImageId, JobId, format_id
from impasto_core.images.tables import Image


class ImageView(BaseModel):
    """An image that a job made. `url` and `thumbnail_url` need no key and work until `url_expires_at`."""

    id: ImageId
    object: Literal["image"] = "image"
    job_id: JobId
    index: int = Field(description="Position among the images of its job, from 0.")
    node: str = Field(description="The graph's node that made it.")
    width: int
    height: int
    content_type: str = Field(examples=["image/png"])
    size: int = Field(description="Bytes.")
    sha256: str = Field(description="Of the file's bytes, in hexadecimal.")
    seed: int | None
    url: str
    thumbnail_url: str = Field(description="A WebP of at most 256 pixels a side.")
    url_expires_at: AwareDatetime
    created_at: AwareDatetime

    @classmethod
    def of(cls, image: Image, services: Services) -> ImageView:
        seconds = services.settings.download_url_seconds
        # The signature's clock starts when it is made; a second of slack keeps the promise true.
        expires_at: datetime = services.clock() + timedelta(seconds=seconds - 1)
        filename = format_id("img", image.id)
        return cls(
            **image.model_dump(
                include={"id", "job_id", "index", "node", "width", "height", "content_type", "size"}
            ),
            sha256=image.sha256,
            seed=image.seed,
            url=services.store.download_url(image.object_key, seconds, filename=f"{filename}.png"),
            thumbnail_url=services.store.download_url(image.thumbnail_key, seconds),
            url_expires_at=expires_at,
            created_at=image.created_at,
        )
