from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Generic

from .. import _request as ask
from .._pagination import Listing, paged
from .._twin import Colour, endpoint, method
from ..types import StorageUsage
from ..types import Usage as UsageRow
from ._base import Resource


class Usage(Resource[Colour], Generic[Colour]):
    @paged
    def list(
        self,
        *,
        start: datetime.date | str | None = None,
        end: datetime.date | str | None = None,
        group_by: str | Sequence[str] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Listing[UsageRow]:
        """What the jobs that ended in some days used and cost, the latest day first.

        Args:
            start: the first day, in UTC; by default 29 days before the last.
            end: the last day; by default today.
            group_by: one or more of `day`, `model` and `api_key`; by default `day`.
        """
        params = _params(start, end, group_by)
        return Listing(ask.path("usage"), UsageRow, {**params, "limit": limit, "cursor": cursor})

    @method
    async def csv(
        self,
        *,
        start: datetime.date | str | None = None,
        end: datetime.date | str | None = None,
        group_by: str | Sequence[str] | None = None,
    ) -> str:
        """All that `list` finds, as CSV with a line of names."""
        request = ask.get(
            ask.path("usage"), type(None), _params(start, end, group_by), headers={"accept": "text/csv"}
        )
        return (await self._core.send(request)).response.text

    @endpoint
    def storage(self) -> ask.Request[StorageUsage]:
        """How much is stored, and how much the plan allows."""
        return ask.get(ask.path("usage", "storage"), StorageUsage)


def _params(
    start: datetime.date | str | None, end: datetime.date | str | None, group_by: str | Sequence[str] | None
) -> dict[str, object]:
    return {
        "start": start if isinstance(start, str | None) else start.isoformat(),
        "end": end if isinstance(end, str | None) else end.isoformat(),
        "group_by": group_by if isinstance(group_by, str | None) else ",".join(group_by),
    }
