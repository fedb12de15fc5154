"""How many deliveries are late, for whoever collects metrics: also where no dispatcher is left to say so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import text

from impasto_core.database import Database
from impasto_workers.gauges import Gauge, Gauges

# What waits its turn at an ordered endpoint is not late. More than so many are not worth counting.
_BACKLOG = text(
    """
    SELECT count(*) AS due, coalesce(extract(epoch FROM now() - min(next_attempt_at)), 0) AS oldest
    FROM (
        SELECT next_attempt_at FROM webhook_deliveries AS delivery
        WHERE status = 'pending' AND next_attempt_at <= now() AND NOT EXISTS (
            SELECT FROM webhook_endpoints WHERE id = delivery.endpoint_id AND ordered
        )
        ORDER BY next_attempt_at LIMIT 10000
    ) AS due
    """
)


@dataclass(frozen=True)
class Backlog:
    """`oldest` is in seconds."""

    due: int
    oldest: float


async def backlog(database: Database) -> list[Backlog]:
    """Raises one of DATABASE_ERRORS."""
    async with database.session() as session:
        row = (await (await session.connection()).execute(_BACKLOG)).one()
    return [Backlog(int(row.due), max(0.0, float(row.oldest)))]


WEBHOOK_GAUGES: Sequence[Gauge[Backlog]] = (
    Gauge("impasto.webhook.due", "{delivery}", "Deliveries that are due.", lambda state: state.due),
    Gauge("impasto.webhook.oldest.due", "s", "For how long the oldest is due.", lambda state: state.oldest),
)


def measure_webhooks(database: Database, leads: Callable[[], bool]) -> None:
    Gauges(partial(backlog, database), WEBHOOK_GAUGES, leads=leads)
