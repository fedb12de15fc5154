from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import SkipValidation

from ._base import Result


class Upload(Result):
    """A picture on its way to us. Its id is good as `init_image` once the file has been sent."""

    id: str
    status: SkipValidation[Literal["pending", "verified"]]
    content_type: str
    size: int
    """In bytes."""
    method: str
    url: str | None = None
    """Where to send the file. None once it has arrived and been looked at."""
    headers: dict[str, str]
    """To be sent with the file exactly as they are, and no API key."""
    width: int | None = None
    height: int | None = None
    created_at: datetime
    expires_at: datetime
