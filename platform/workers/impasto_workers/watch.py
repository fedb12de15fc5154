"""Keeps an attempt's lease while it runs, and learns that its owner wants it stopped."""

from __future__ import annotations

import asyncio
import logging

from impasto_core.database import Database
from impasto_core.jobs import lifecycle
from impasto_core.jobs.lifecycle import Lease, LeaseLost
from impasto_workers.stop import Stop, StopReason

logger = logging.getLogger(__name__)

CANCEL_POLL_SECONDS = 0.5


async def watch(database: Database, lease: Lease, stop: Stop, *, lease_seconds: float) -> None:
    """Runs until it is cancelled, or the lease is lost.

    While the database is away the attempt goes on: nobody can take the job over either, and the fencing token
    decides at the end.
    """
    now = asyncio.get_running_loop().time
    renewal = lease_seconds / 3
    renewed_at = now()
    while True:
        await asyncio.sleep(min(CANCEL_POLL_SECONDS, renewal))
        asked_at = now()
        try:
            async with database.session() as session:
                if asked_at - renewed_at >= renewal:
                    await lifecycle.renew(session, lease, lease_seconds=lease_seconds)
                cancel_requested = await lifecycle.cancel_requested(session, lease)
        except LeaseLost:
            stop.pull(StopReason.LEASE_LOST)
            return
        except Exception as error:  # whatever it is, giving up would lose the lease for certain
            logger.warning("could not watch over job %s, trying again: %r", lease.job_id, error)
            continue
        if asked_at - renewed_at >= renewal:
            renewed_at = asked_at
        if cancel_requested:
            stop.pull(StopReason.CANCELED)
