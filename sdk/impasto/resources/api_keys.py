from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Generic, Literal

from .. import _request as ask
from .._pagination import Listing, paged
from .._twin import Colour, endpoint
from ..types import ApiKey, NewApiKey
from ._base import Resource


class ApiKeys(Resource[Colour], Generic[Colour]):
    @endpoint
    def create(
        self,
        name: str,
        *,
        mode: Literal["live", "test"] | None = None,
        scopes: Sequence[str] | None = None,
        expires_at: datetime | None = None,
    ) -> ask.Request[NewApiKey]:
        """Make a key. Its `secret` is in this answer and never again.

        If the connection breaks before the answer this is not retried, as a second key might be made.
        """
        body = {
            "name": name,
            "mode": mode,
            "scopes": None if scopes is None else [*scopes],
            "expires_at": expires_at,
        }
        return ask.post(ask.path("api-keys"), NewApiKey, ask.given(body))

    @paged
    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[ApiKey]:
        """Your organization's keys, newest first, without their secrets."""
        return Listing(ask.path("api-keys"), ApiKey, {"limit": limit, "cursor": cursor})

    @endpoint
    def get(self, key_id: str) -> ask.Request[ApiKey]:
        """One of them."""
        return ask.get(ask.path("api-keys", key_id), ApiKey)

    @endpoint
    def revoke(self, key_id: str) -> ask.Request[ApiKey]:
        """Make a key useless, at once and for good."""
        return ask.delete(ask.path("api-keys", key_id), ApiKey)

    @endpoint
    def roll(self, key_id: str, *, grace_seconds: int | None = None) -> ask.Request[NewApiKey]:
        """Replace a key by a new one like it. The old one works for `grace_seconds` more.

        If the connection breaks before the answer this is not retried, as a second key might be made.
        """
        return ask.post(
            ask.path("api-keys", key_id, "roll"), NewApiKey, ask.given({"grace_seconds": grace_seconds})
        )
