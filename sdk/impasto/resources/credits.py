from __future__ import annotations

from typing import Generic

from .. import _request as ask
from .._pagination import Listing, paged
from .._twin import Colour, endpoint
from ..types import CreditBalance, CreditEntry, CreditGrant
from ._base import Resource


class Credits(Resource[Colour], Generic[Colour]):
    @endpoint
    def balance(self) -> ask.Request[CreditBalance]:
        """What is there to spend."""
        return ask.get(ask.path("credits"), CreditBalance)

    @paged
    def grants(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[CreditGrant]:
        """What was given, newest first: spent and expired credits too."""
        return Listing(ask.path("credits", "grants"), CreditGrant, {"limit": limit, "cursor": cursor})

    @paged
    def entries(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[CreditEntry]:
        """Every movement of credits, newest first."""
        return Listing(ask.path("credits", "entries"), CreditEntry, {"limit": limit, "cursor": cursor})
