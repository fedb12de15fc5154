from __future__ import annotations

from typing import Generic

from .. import _request as ask
from .._pagination import Listing, paged
from .._twin import Colour
from ..types import Plan
from ._base import Resource


class Plans(Resource[Colour], Generic[Colour]):
    @paged
    def list(self) -> Listing[Plan]:
        """What is sold, from the smallest plan to the largest."""
        return Listing(ask.path("plans"), Plan)
