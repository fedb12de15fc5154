from __future__ import annotations

from typing import Generic

from .. import _request as ask
from .._pagination import Listing, paged
from .._twin import Colour, endpoint
from ..types import Model
from ._base import Resource


class Models(Resource[Colour], Generic[Colour]):
    @paged
    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[Model]:
        """The models that jobs can ask for."""
        return Listing(ask.path("models"), Model, {"limit": limit, "cursor": cursor})

    @endpoint
    def get(self, model_id: str) -> ask.Request[Model]:
        """One of them."""
        return ask.get(ask.path("models", model_id), Model)
