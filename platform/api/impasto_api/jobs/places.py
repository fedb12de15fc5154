"""Places in the queue. All requests and streams of the process ask for theirs together.

The answer costs PostgreSQL a look at all that is queued, so there is one question at a time, and after it a
pause of three times as long: the queue's own work comes first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import text

from impasto_core.database import Database

FRESH_SECONDS = 1.0
"""So long an answer is good for whoever else asks."""

_PLACES = text("SELECT job_id, place, eta_seconds FROM queue_places(:ids)")


class QueuePlace(BaseModel):
    """Where a job stands among all that wait for the same workers. An estimate: others come, and cancel."""

    position: int = Field(ge=1, description="1 is next.", examples=[3])
    eta_seconds: Annotated[
        float | None,
        Field(
            ge=0, description="Until it starts; null while nothing has run to measure by.", examples=[12.5]
        ),
    ]


class Places:
    """To be used on one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[UUID, tuple[float, QueuePlace | None]] = {}
        self._asked: set[UUID] = set()
        self._next: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._pause_until = 0.0

    async def of(self, job_id: UUID) -> QueuePlace | None:
        """The job's place, or None where it is not queued any more. Raises one of DATABASE_ERRORS."""
        return (await self.of_all([job_id]))[job_id]

    async def of_all(self, job_ids: Collection[UUID]) -> dict[UUID, QueuePlace | None]:
        """Raises one of DATABASE_ERRORS."""
        good_since = _now() - FRESH_SECONDS
        fresh = {id_: known for id_ in job_ids if (known := self._known.get(id_)) and known[0] >= good_since}
        if stale := set(job_ids) - fresh.keys():
            self._asked |= stale
            self._next = self._next or asyncio.create_task(self._ask())
            await asyncio.shield(self._next)
            fresh |= {id_: self._known[id_] for id_ in stale}
        return {id_: place for id_, (_, place) in fresh.items()}

    async def _ask(self) -> None:
        async with self._one_at_a_time:
            await asyncio.sleep(self._pause_until - _now())
            ids, self._asked, self._next = self._asked, set(), None
            began = _now()
            async with self._database.session() as session:
                rows = await (await session.connection()).execute(_PLACES, {"ids": list(ids)})
            places = {
                row.job_id: QueuePlace(
                    position=row.place,
                    eta_seconds=None if row.eta_seconds is None else round(row.eta_seconds, 1),
                )
                for row in rows
            }
            now = _now()
            self._pause_until = now + 3 * (now - began)
            fresh = {id_: known for id_, known in self._known.items() if known[0] + FRESH_SECONDS >= began}
            self._known = fresh | {id_: (now, places.get(id_)) for id_ in ids}


def _now() -> float:
    return asyncio.get_running_loop().time()
