"""What a wake-up does: claim the next job of the pool, and run it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable

from sqlmodel import col, select

from impasto_core.jobs import lifecycle
from impasto_core.jobs.tables import Job
from impasto_core.models.tables import Model
from impasto_core.queue import QueueUnavailable
from impasto_workers.attempt import Attempt, RuntimeStuck
from impasto_workers.services import Services
from impasto_workers.stop import Stop, StopReason
from impasto_workers.telemetry import attempt_span
from impasto_workers.time_limits import Hold

logger = logging.getLogger(__name__)


class JobRunner:
    """Runs one job at a time, since Dramatiq has one thread. Lives on the event loop.

    on_stuck: called when the device no longer answers; the process should end and be started anew.
    hold: told which job is in hand, and until when it may be.
    """

    def __init__(
        self, services: Services, on_stuck: Callable[[], None], hold: Hold = lambda held: None
    ) -> None:
        self._services = services
        self._on_stuck = on_stuck
        self._hold = hold
        self._worker = f"{socket.gethostname()}:{os.getpid()}"
        self._stop: Stop | None = None
        self._closing = False

    async def run_next_job(self, pool: str) -> None:
        """The actor. One message, one job at most: where there is none, another worker was faster."""
        if self._closing:
            await self._pass_on(pool)
            return
        self._stop = Stop()
        try:
            began = time.time_ns()
            claimed = await self._claim(pool)
            if claimed is not None:
                job, models = claimed
                with attempt_span(job, began):
                    await Attempt(self._services, job, models, self._stop, self._hold).run()
        except RuntimeStuck:
            logger.critical("the device does not answer any more")
            self._on_stuck()
        finally:
            self._stop = None

    async def _claim(self, pool: str) -> tuple[Job, list[Model]] | None:
        async with self._services.database.session() as session:
            job = await lifecycle.claim(
                session,
                pool=pool,
                worker=self._worker,
                lease_seconds=self._services.settings.lease_seconds,
            )
            if job is None:
                return None
            models = await session.exec(select(Model).where(col(Model.slug).in_(job.models)))
            return job, list(models.all())

    def close(self, grace_seconds: float) -> None:
        """Take no further job, and give the running one back where it has not ended in `grace_seconds`."""
        self._closing = True
        asyncio.get_running_loop().call_later(grace_seconds, self.give_back)

    def give_back(self) -> None:
        """Give the running job back now."""
        if self._stop is not None:
            self._stop.pull(StopReason.SHUTDOWN)

    async def _pass_on(self, pool: str) -> None:
        """The message came to a worker that is closing: another one must hear it."""
        try:
            await self._services.wake_ups.send(pool)
        except QueueUnavailable:
            logger.warning("a wake-up could not be passed on, the sweeper will send another")
