"""Where one job keeps its pictures, tensors and conditioning: in memory, and only while it runs.

Every job is given new stores. That is what keeps tenants apart: there is no place where one job's data could
be found by the next. The classes have the methods through which nodes reach InvokeAI's services, no others.
"""

import io
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from invokeai.app.services.image_files.image_files_common import ImageFileNotFoundException
from invokeai.app.services.image_records.image_records_common import ImageCategory, ResourceOrigin
from invokeai.app.services.images.images_common import ImageDTO
from invokeai.app.services.object_serializer.object_serializer_common import ObjectNotFoundError
from PIL import Image
from PIL.PngImagePlugin import PngInfo


class JobObjects:
    """The tensors, or the conditioning, of one job."""

    def __init__(self) -> None:
        self._objects: dict[str, Any] = {}

    def save(self, obj: Any) -> str:
        name = f"object-{len(self._objects)}"
        self._objects[name] = obj
        return name

    def load(self, name: str) -> Any:
        if name not in self._objects:
            raise ObjectNotFoundError(name)
        return self._objects[name]


class JobImages:
    """The pictures of one job: those it was given, and those its nodes save."""

    def __init__(
        self, given: Mapping[str, bytes], on_output: Callable[[Image.Image, str | None], None]
    ) -> None:
        self._given = given
        self._saved: dict[str, Image.Image] = {}
        self._on_output = on_output

    def create(
        self, image: Image.Image, *, is_intermediate: bool, metadata: str | None = None, **_: Any
    ) -> ImageDTO:
        """Keep a node's picture. Board, user, workflow and graph, which InvokeAI sends along, are ignored."""
        name = f"saved-{len(self._saved)}.png"
        self._saved[name] = image.copy()
        if not is_intermediate:
            self._on_output(image, metadata)
        return self.get_dto(name)

    def get_pil_image(self, image_name: str) -> Image.Image:
        if image_name in self._saved:
            return self._saved[image_name]
        if image_name in self._given:
            return Image.open(io.BytesIO(self._given[image_name]))
        raise ImageFileNotFoundException(f"this job has no image {image_name}")

    def get_dto(self, image_name: str) -> ImageDTO:
        width, height = self.get_pil_image(image_name).size
        now = datetime.now(UTC)
        return ImageDTO(
            image_name=image_name,
            image_url="",
            thumbnail_url="",
            image_origin=ResourceOrigin.INTERNAL,
            image_category=ImageCategory.GENERAL,
            width=width,
            height=height,
            created_at=now,
            updated_at=now,
            is_intermediate=True,
            starred=False,
            has_workflow=False,
        )


def encode_png(image: Image.Image, metadata: str | None) -> bytes:
    """The picture as a PNG, with the graph's metadata where InvokeAI's own readers look for it.

    InvokeAI would add the whole graph as a second text; that is ours, not the picture's.
    """
    info = PngInfo()
    if metadata is not None:
        info.add_itxt("invokeai_metadata", metadata)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info, compress_level=1)  # lossless at any level; 1 is the fastest
    return buffer.getvalue()
