from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field, SkipValidation

from ._base import Result


class ApiKey(Result):
    """A key, without its secret."""

    id: str
    name: str
    mode: SkipValidation[Literal["live", "test"]]
    hint: str
    """How the secret begins, to recognise it by."""
    scopes: list[str]
    api_version: str
    """What its requests speak, unless they name another version. This SDK always does."""
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    successor_id: str | None = None
    """The key that it was rolled to."""


class NewApiKey(ApiKey):
    """A key just made, with the secret that is never shown again."""

    secret: str = Field(repr=False)
