from __future__ import annotations

from typing import Generic

from .. import _request as ask
from .._pagination import Listing, paged
from .._twin import Colour, endpoint
from ..types import SpendAlert, SpendCap
from ._base import Resource


class SpendCaps(Resource[Colour], Generic[Colour]):
    @paged
    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[SpendCap]:
        """Your organization's caps, each with what is spent of it this month."""
        return Listing(ask.path("billing", "spend-caps"), SpendCap, {"limit": limit, "cursor": cursor})

    @endpoint
    def set(self, amount: int, *, api_key_id: str | None = None) -> ask.Request[SpendCap]:
        """Cap what may be spent in a calendar month, or change the cap that there is. It holds at once.

        Args:
            amount: credits.
            api_key_id: the key to cap; by default the whole organization.
        """
        body = ask.given({"amount": amount, "api_key_id": api_key_id})
        return ask.put(ask.path("billing", "spend-caps"), SpendCap, body)

    @endpoint
    def delete(self, spend_cap_id: str) -> ask.Request[None]:
        """Spend without that cap again."""
        return ask.delete(ask.path("billing", "spend-caps", spend_cap_id), type(None))


class SpendAlerts(Resource[Colour], Generic[Colour]):
    @paged
    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[SpendAlert]:
        """When spending reached 50, 80 and 100 % of a cap, newest first."""
        return Listing(ask.path("billing", "spend-alerts"), SpendAlert, {"limit": limit, "cursor": cursor})
