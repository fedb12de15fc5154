from __future__ import annotations

import io
from builtins import bytes as Bytes  # noqa: N812 (Image has a property of the name)
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeAlias

from .. import _request as ask
from .._exceptions import StorageError
from .._twin import Async, Colour, Coloured, TwinProperty, method
from ._base import Result

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage


class Image(Result, Coloured[Colour], Generic[Colour]):
    """A picture a job made. With `AsyncImpasto`, `await` its methods and its `bytes`."""

    id: str
    job_id: str
    index: int
    node: str
    width: int
    height: int
    content_type: str
    size: int
    """In bytes."""
    sha256: str
    seed: int | None = None
    """With this seed and n=1 the same input gives this image again."""
    url: str
    """Open to everyone who has it, until `url_expires_at`. `images.get(id)` gives a fresh one."""
    thumbnail_url: str
    """The same for a small WebP."""
    url_expires_at: datetime
    created_at: datetime

    @method
    async def save(self, path: str | PathLike[str]) -> Path:
        """Write the image to a file, or under its id into a folder. Returns the path of the file."""
        content = await self._content()
        target = Path(path)

        def write() -> Path:
            file = target / f"{self.id}.png" if target.is_dir() else target
            file.write_bytes(content)
            return file

        return await self._core.io.do(write)

    @method
    async def pil(self) -> PillowImage:
        """The image as a `PIL.Image.Image`. Needs Pillow: `pip install 'impasto[pil]'`."""
        try:
            from PIL import Image as pillow  # noqa: N813 (Pillow's class is meant by its module here)
        except ImportError as error:
            raise ImportError("Image.pil() needs Pillow: pip install 'impasto[pil]'") from error
        return pillow.open(io.BytesIO(await self._content()))

    @TwinProperty
    async def bytes(self) -> Bytes:
        """The file's content, downloaded at the first use."""
        return await self._content()

    async def _content(self) -> Bytes:
        downloads = self._known_origin.downloads
        if self.id not in downloads:
            downloads[self.id] = await self._download()
        return downloads[self.id]

    async def _download(self) -> Bytes:
        try:
            return await self._core.fetch(self.url)
        except StorageError as error:
            if error.status != 403:
                raise
        fresh = await self._core.request(get_image(self.id))  # the presigned URL has expired
        return await self._core.fetch(fresh.url)


AsyncImage: TypeAlias = Image[Async]


def get_image(image_id: str) -> ask.Request[Image[Colour]]:
    return ask.get(ask.path("images", image_id), Image[Colour])
