from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Generic

from .. import _request as ask
from .._twin import Colour, endpoint
from ..types import ImageToImage, QuoteWithBalance, TextToImage
from ._base import Resource
from .jobs import job_body


class Quotes(Resource[Colour], Generic[Colour]):
    @endpoint
    def create(
        self,
        pipeline: str | None = None,
        input: TextToImage  # noqa: A002 (the contract's name for it)
        | ImageToImage
        | Mapping[str, object]
        | None = None,
        *,
        graph: Mapping[str, object] | None = None,
        metadata: Mapping[str, str] | None = None,
        priority: int | None = None,
        max_cost: int | None = None,
        webhook_url: str | None = None,
        deadline: datetime | None = None,
        max_queue_seconds: int | None = None,
        max_run_seconds: int | None = None,
    ) -> ask.Request[QuoteWithBalance]:
        """The most that the same call of `jobs.create` would cost. Nothing is run and nothing stored."""
        body = job_body(
            pipeline,
            input,
            graph=graph,
            metadata=metadata,
            priority=priority,
            max_cost=max_cost,
            webhook_url=webhook_url,
            deadline=deadline,
            max_queue_seconds=max_queue_seconds,
            max_run_seconds=max_run_seconds,
        )
        return ask.post(ask.path("quotes"), QuoteWithBalance, body, repeatable=True)
