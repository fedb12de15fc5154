"""The state of the queue, for whoever collects metrics: told by the leading sweeper, and so told once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import TimeoutError as TooSlow
from dataclasses import dataclass

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation
from sqlalchemy import text

from impasto_core.database import DATABASE_ERRORS, Database

logger = logging.getLogger(__name__)
meter = metrics.get_meter(__name__)

PATIENCE_SECONDS = 3
"""A scrape does not wait longer for PostgreSQL: then it hears nothing of the queue."""

FRESH_SECONDS = 1.0
"""One query serves all the gauges of one scrape."""

# Weights stand for plans, which core knows nothing of: there are as few. Each half has a partial index of its
# own, so that no finished job is ever looked at.
STATE = text(
    """
    SELECT pool, queue_weight AS weight, sum(queued) AS queued, sum(running) AS running,
        coalesce(extract(epoch FROM now() - min(since)), 0) AS oldest
    FROM (
        SELECT pool, organization_id, count(*) AS queued, 0 AS running, min(available_at) AS since
        FROM jobs WHERE status = 'queued' GROUP BY pool, organization_id
        UNION ALL
        SELECT pool, organization_id, 0, count(*), NULL
        FROM jobs WHERE status = 'running' GROUP BY pool, organization_id
    ) AS live JOIN organizations ON organizations.id = live.organization_id
    GROUP BY pool, queue_weight
    """
)


@dataclass(frozen=True)
class QueueState:
    """Of the jobs of one pool and one weight. `oldest_wait` is in seconds."""

    pool: str
    weight: int
    queued: int
    running: int
    oldest_wait: float


async def queue_state(database: Database) -> list[QueueState]:
    """Raises one of DATABASE_ERRORS."""
    async with database.session() as session:
        rows = (await (await session.connection()).execute(STATE)).all()
    return [
        QueueState(row.pool, row.weight, int(row.queued), int(row.running), max(0.0, float(row.oldest)))
        for row in rows
    ]


class QueueMetrics:
    """To be made on the event loop. Collectors ask in threads of their own, and only while `leads()`."""

    def __init__(self, database: Database, leads: Callable[[], bool]) -> None:
        self._database = database
        self._leads = leads
        self._loop = asyncio.get_running_loop()
        self._state: Sequence[QueueState] = ()
        self._asked_at = float("-inf")
        for name, unit, description, value in (
            ("impasto.queue.depth", "{job}", "Jobs that wait.", lambda state: state.queued),
            ("impasto.queue.running", "{job}", "Jobs that workers have.", lambda state: state.running),
            (
                "impasto.queue.oldest.wait",
                "s",
                "Age of the oldest of them.",
                lambda state: state.oldest_wait,
            ),
        ):
            meter.create_observable_gauge(name, [self._observer(value)], unit, description)

    def _observer(
        self, value: Callable[[QueueState], float]
    ) -> Callable[[CallbackOptions], Iterator[Observation]]:
        def observe(options: CallbackOptions) -> Iterator[Observation]:
            for state in self._latest():
                yield Observation(value(state), {"pool": state.pool, "weight": state.weight})

        return observe

    def _latest(self) -> Sequence[QueueState]:
        if not self._leads():
            return ()
        if time.monotonic() - self._asked_at > FRESH_SECONDS:
            asked = asyncio.run_coroutine_threadsafe(queue_state(self._database), self._loop)
            try:
                self._state = asked.result(PATIENCE_SECONDS)
            except (TooSlow, *DATABASE_ERRORS) as error:
                asked.cancel()
                logger.warning("could not look at the queue: %r", error)
                self._state = ()
            self._asked_at = time.monotonic()
        return self._state
