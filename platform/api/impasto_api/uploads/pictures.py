"""Is this a picture we want to work with? Judged by its content, never by its name or its header."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 16_000_000
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit only warns, where ours, on the same header, refuses

_DECODERS = ["PNG", "JPEG", "WEBP"]
_CONTENT_TYPES = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",  # several JPEGs in one file, as many telephones write them: the first counts
    "WEBP": "image/webp",
}


class NotAPicture(ValueError):
    """`code` says which check failed, the message what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Picture:
    """A verified picture: upright, without metadata, encoded anew as PNG."""

    png: bytes
    width: int
    height: int

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.png).hexdigest()


def verify(data: bytes, content_type: str) -> Picture:
    """Decode the file whole and encode it anew, so that nothing but pixels goes on to a worker.

    Raises NotAPicture. The size is checked on the header, before any pixel is decoded.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_DECODERS) as image:
            found = _CONTENT_TYPES[image.format or ""]
            if found != content_type:
                raise NotAPicture("wrong_type", f"The upload was declared as {content_type} but is {found}.")
            if image.width * image.height > MAX_PIXELS:
                raise NotAPicture(
                    "too_many_pixels",
                    f"The picture has {image.width} x {image.height} pixels; at most {MAX_PIXELS} are taken.",
                )
            upright = ImageOps.exif_transpose(image)
            has_alpha = upright.has_transparency_data
            pixels = upright.convert("RGBA" if has_alpha else "RGB")
    except NotAPicture:
        raise
    except UnidentifiedImageError:
        raise NotAPicture("not_an_image", "The upload is not a PNG, JPEG or WebP file.") from None
    except Exception as error:  # decoders fail in many ways, and each means the same
        raise NotAPicture("damaged", f"The upload cannot be decoded: {error}.") from None
    pixels.info.clear()
    buffer = io.BytesIO()
    pixels.save(buffer, "PNG", compress_level=1)
    return Picture(buffer.getvalue(), pixels.width, pixels.height)
