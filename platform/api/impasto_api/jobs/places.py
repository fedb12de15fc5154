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

STALE_SECONDS = 3.0
"""So long it is good while the next one is being asked for: nobody waits for what changes little."""

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
        self._being_asked: set[UUID] = set()
        self._next: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._pause_until = 0.0

    async def of(self, job_id: UUID) -> QueuePlace | None:
        """The job's place, or None where it is not queued any more. Raises one of DATABASE_ERRORS."""
        return (await self.of_all([job_id]))[job_id]

    async def of_all(self, job_ids: Collection[UUID]) -> dict[UUID, QueuePlace | None]:
        """Raises one of DATABASE_ERRORS."""
        now = _now()
        since = now - STALE_SECONDS
        good = {id_: found for id_ in job_ids if (found := self._known.get(id_)) and found[0] >= since}
        unknown = set(job_ids) - good.keys()
        old = {id_ for id_, (found_at, _) in good.items() if found_at < now - FRESH_SECONDS}
        if due := unknown | (old - self._being_asked):
            self._asked |= due
            if self._next is None:
                self._next = asyncio.create_task(self._ask())
                self._next.add_done_callback(_acknowledge)
            if unknown:
                await asyncio.shield(self._next)
                good |= {id_: self._known[id_] for id_ in unknown}
        return {id_: place for id_, (_, place) in good.items()}

    async def _ask(self) -> None:
        async with self._one_at_a_time:
            await asyncio.sleep(self._pause_until - _now())
            ids, self._asked, self._next = self._asked, set(), None
            self._being_asked = ids
            began = _now()
            try:
                places = await self._look(ids)
            finally:
                self._being_asked = set()
            now = _now()
            self._pause_until = now + 3 * (now - began)
            good = {id_: known for id_, known in self._known.items() if known[0] + STALE_SECONDS >= began}
            self._known = good | {id_: (now, places.get(id_)) for id_ in ids}

    async def _look(self, ids: Collection[UUID]) -> dict[UUID, QueuePlace]:
        async with self._database.session() as session:
            rows = await (await session.connection()).execute(_PLACES, {"ids": list(ids)})
        return {
            row.job_id: QueuePlace(
                position=row.place,
                eta_seconds=None if row.eta_seconds is None else round(row.eta_seconds, 1),
            )
            for row in rows
        }


def _acknowledge(question: asyncio.Task[None]) -> None:
    """That it failed is told to who waits for it, and otherwise to the next who asks."""
    if not question.cancelled():
        question.exception()


def _now() -> float:
    return asyncio.get_running_loop().time()
