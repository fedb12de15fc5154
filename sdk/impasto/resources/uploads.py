from __future__ import annotations

from typing import Generic, Literal

from .. import _files as files
from .. import _request as ask
from .._core import Core
from .._twin import Colour, endpoint, method
from ..types import Upload
from ._base import Resource


class Uploads(Resource[Colour], Generic[Colour]):
    @endpoint
    def create(
        self,
        content_type: Literal["image/png", "image/jpeg", "image/webp"],
        size: int,
    ) -> ask.Request[Upload]:
        """Announce a file of `size` bytes. Send it yourself, as the answer says; `upload()` does both."""
        return create_upload(content_type, size)

    @endpoint
    def get(self, upload_id: str) -> ask.Request[Upload]:
        """The upload as it is now."""
        return ask.get(ask.path("uploads", upload_id), Upload)

    @method
    async def upload(self, file: files.File) -> Upload:
        """Upload a PNG, JPEG or WebP image: a path, bytes, an open file or a Pillow image.

        Raises ValueError if it is something else.
        """
        return await send_file(self._core, file)


def create_upload(content_type: str, size: int) -> ask.Request[Upload]:
    body = {"content_type": content_type, "size": size}
    return ask.post(ask.path("uploads"), Upload, body, repeatable=True)  # one too many just expires


async def send_file(core: Core, file: files.File) -> Upload:
    content = await core.io.do(lambda: files.read(file))
    upload = await core.request(create_upload(files.content_type(content), len(content)))
    if upload.url:
        await core.put(upload.url, upload.headers, content)
    return upload
