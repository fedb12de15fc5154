"""What is kept of a finished graph: PNGs, their thumbnails, and the rows that describe them."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from uuid import UUID

from PIL import Image as Pillow

from impasto_core.graphs.bounds import Size
from impasto_core.ids import new_id
from impasto_core.images.keys import attempt_folder
from impasto_core.images.tables import Image
from impasto_core.jobs.tables import Job
from impasto_core.pipelines.base import seed_of
from impasto_workers.runtime import ImageReady

THUMBNAIL_SIDE = 256
"""Pixels of a thumbnail's longer side. Smaller pictures keep their size."""


@dataclass(frozen=True)
class Picture:
    """An image of the job and the bytes of its two objects."""

    id: UUID
    job: Job
    index: int
    made: ImageReady
    thumbnail: bytes = field(repr=False)

    @property
    def png(self) -> bytes:
        return self.made.png

    @property
    def object_key(self) -> str:
        return f"{self._stem}.png"

    @property
    def thumbnail_key(self) -> str:
        return f"{self._stem}.webp"

    @property
    def _stem(self) -> str:
        return f"{attempt_folder(self.job.organization_id, self.job.id, self.job.attempt)}{self.index}"

    def row(self) -> Image:
        """A new row at every call, always the same: a transaction that failed may be tried again."""
        # A graph has its seeds in its nodes.
        first_seed = self.job.input.get("seed") if self.job.pipeline else None
        return Image(
            id=self.id,
            organization_id=self.job.organization_id,
            job_id=self.job.id,
            index=self.index,
            node=self.made.node,
            object_key=self.object_key,
            thumbnail_key=self.thumbnail_key,
            content_type="image/png",
            width=self.made.width,
            height=self.made.height,
            size=len(self.png),
            sha256=hashlib.sha256(self.png).hexdigest(),
            seed=None if first_seed is None else seed_of(first_seed, self.index),
        )


def make_pictures(job: Job, made: tuple[ImageReady, ...]) -> list[Picture]:
    """Takes some 10 ms an image: not for the event loop."""
    return [
        Picture(id=new_id(), job=job, index=index, made=image, thumbnail=thumbnail(image.png))
        for index, image in enumerate(made)
    ]


def size_of(data: bytes) -> Size:
    """Of an encoded picture. Reads only its head."""
    with Pillow.open(io.BytesIO(data)) as image:
        return Size(*image.size)


def thumbnail(png: bytes) -> bytes:
    """A WebP of at most THUMBNAIL_SIDE pixels each way."""
    with Pillow.open(io.BytesIO(png)) as image:
        image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=80, method=4)
    return buffer.getvalue()
