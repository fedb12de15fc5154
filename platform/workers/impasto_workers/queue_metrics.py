"""The state of the queue, for whoever collects metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import text

from impasto_core.database import Database
from impasto_workers.gauges import Gauge, Gauges

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


QUEUE_GAUGES: Sequence[Gauge[QueueState]] = (
    Gauge("impasto.queue.depth", "{job}", "Jobs that wait.", lambda state: state.queued),
    Gauge("impasto.queue.running", "{job}", "Jobs that workers have.", lambda state: state.running),
    Gauge("impasto.queue.oldest.wait", "s", "Age of the oldest that waits.", lambda state: state.oldest_wait),
)


def measure_queue(database: Database, leads: Callable[[], bool]) -> None:
    Gauges(
        partial(queue_state, database),
        QUEUE_GAUGES,
        labels=lambda state: {"pool": state.pool, "weight": state.weight},
        leads=leads,
    )
