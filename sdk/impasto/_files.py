"""Whatever a caller has a picture in, as bytes to upload."""

from __future__ import annotations

import io
import re
from os import PathLike
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias, runtime_checkable


@runtime_checkable
class SavesLikePillow(Protocol):
    """A `PIL.Image.Image`, without needing Pillow to say so."""

    def save(self, fp: Any, format: str | None = None) -> None: ...  # noqa: A002 (Pillow's name for it)


File: TypeAlias = str | PathLike[str] | bytes | IO[bytes] | SavesLikePillow
"""A path, the file's content, an open file or a Pillow image."""

_ID = re.compile(r"(upl|img)_[0-9a-z]{20,}")


def is_id(source: object) -> bool:
    """Whether this is the id of an upload or an image, rather than a path."""
    return isinstance(source, str) and _ID.fullmatch(source) is not None


def read(file: File) -> bytes:
    """The content of the file. Raises OSError as `open` does."""
    match file:
        case str() | PathLike():
            return Path(file).read_bytes()
        case bytes():
            return file
        case SavesLikePillow():
            buffer = io.BytesIO()
            file.save(buffer, "PNG")
            return buffer.getvalue()
        case _:
            return file.read()


def content_type(content: bytes) -> str:
    """By the first bytes, as the API will look at it.

    Raises ValueError for anything but PNG, JPEG and WebP.
    """
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    raise ValueError("not a PNG, JPEG or WebP image")
