from __future__ import annotations

from typing import Generic

from .. import _request as ask
from .._pagination import Listing, paged
from .._twin import Colour, endpoint
from ..types import Pipeline
from ._base import Resource


class Pipelines(Resource[Colour], Generic[Colour]):
    @paged
    def list(self) -> Listing[Pipeline]:
        """The pipelines that jobs can run, with the JSON Schema of what each takes."""
        return Listing(ask.path("pipelines"), Pipeline)

    @endpoint
    def get(self, pipeline_id: str) -> ask.Request[Pipeline]:
        """One of them."""
        return ask.get(ask.path("pipelines", pipeline_id), Pipeline)
