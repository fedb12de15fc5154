from __future__ import annotations

from typing import Generic

from .. import _request as ask
from .._pagination import Listing, paged
from .._twin import Colour, endpoint
from ..types import NodeDetails, NodeSummary
from ._base import Resource


class Nodes(Resource[Colour], Generic[Colour]):
    @paged
    def list(
        self,
        *,
        category: str | None = None,
        search: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Listing[NodeSummary]:
        """The types of nodes that graphs may use, by name. `search` wants all of its words."""
        return Listing(
            ask.path("nodes"),
            NodeSummary,
            {"category": category, "search": search, "limit": limit, "cursor": cursor},
        )

    @endpoint
    def get(self, node_type: str) -> ask.Request[NodeDetails]:
        """One of them, with the schemas of its inputs and outputs."""
        return ask.get(ask.path("nodes", node_type), NodeDetails)
