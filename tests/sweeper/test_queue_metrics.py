"""The queue, as the leading sweeper tells Prometheus of it."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import func, text

from impasto_core.database import Database
from impasto_core.jobs import lifecycle
from impasto_workers.queue_metrics import STATE, queue_state
from tests.support.job_desk import Jobs


async def test_jobs_are_counted_by_pool_and_weight(jobs: Jobs, worker_database: Database) -> None:
    for _ in range(3):
        await jobs.add()
    old = await jobs.add()
    await jobs.change(old, available_at=func.now() - timedelta(minutes=5))
    async with worker_database.session() as session:
        claimed = await lifecycle.claim(session, pool="default", worker="w", lease_seconds=30)
    assert claimed is not None
    assert claimed.id != old.id, "the oldest still waits"
    [state] = await queue_state(worker_database)
    assert (state.pool, state.queued, state.running) == ("default", 3, 1)
    assert 300 <= state.oldest_wait < 360


async def test_an_empty_queue_has_no_state(jobs: Jobs, worker_database: Database) -> None:
    assert await queue_state(worker_database) == []


async def test_finished_jobs_are_not_even_looked_at(
    jobs: Jobs, worker_database: Database, owner_database: Database
) -> None:
    """However many there are: the plan uses the indexes of the live ones alone."""
    async with owner_database.session() as session:
        connection = await session.connection()
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = (await connection.execute(text(f"EXPLAIN {STATE.text}"))).scalars().all()
    assert not [line for line in plan if "Seq Scan on jobs" in line], "\n".join(plan)
