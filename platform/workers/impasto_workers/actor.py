"""What a wake-up does: claim the next job of the pool, and run it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from functools import partial

from sqlmodel import col, select

from impasto_core.jobs import lifecycle
from impasto_core.jobs.tables import Job
from impasto_core.models.tables import Model
from impasto_core.queue import QueueUnavailable
from impasto_workers.attempt import Attempt, RuntimeStuck
from impasto_workers.services import Services
from impasto_workers.stop import Stop, StopReason
from impasto_workers.telemetry import attempt_span
from impasto_workers.time_limits import Held, Hold

logger = logging.getLogger(__name__)


class JobRunner:
    """Paints one job at a time, since Dramatiq has one thread. Lives on the event loop.

    on_stuck: called when the device no longer answers; the process should end and be started anew.
    hold: told which job is in hand, and until when it may be: of two the one whose time is up first.
    """

    def __init__(
        self, services: Services, on_stuck: Callable[[], None], hold: Hold = lambda held: None
    ) -> None:
        self._services = services
        self._on_stuck = on_stuck
        self._hold = hold
        self._worker = f"{socket.gethostname()}:{os.getpid()}"
        self._in_hand: dict[Stop, Held | None] = {}
        self._storing: asyncio.Task[None] | None = None
        self._closing = False

    async def paint_next_job(self, pool: str) -> None:
        """The actor. Returns when the device is free again: while it paints the next job, this one's pictures
        are stored. A second one has to wait for that, so that a slow store does not pile them up.
        """
        painted = asyncio.Event()
        job = asyncio.create_task(self._run(pool, painted.set))
        await painted.wait()
        await self.finish()
        self._storing = job

    async def finish(self) -> None:
        """Returns when the last job that was painted is stored and settled."""
        if self._storing is not None:
            await asyncio.wait({self._storing})

    async def _run(self, pool: str, on_painted: Callable[[], None]) -> None:
        try:
            await self.run_next_job(pool, on_painted)
        except Exception:
            logger.exception("a job is left to the sweeper: it could not be claimed or settled")
        finally:
            on_painted()

    async def run_next_job(self, pool: str, on_painted: Callable[[], None] = lambda: None) -> None:
        """One message, one job at most: where there is none, another worker was faster.

        Raises one of DATABASE_ERRORS where the job could not be claimed or settled.
        """
        if self._closing:
            await self._pass_on(pool)
            return
        stop = Stop()
        self._in_hand[stop] = None
        try:
            began = time.time_ns()
            claimed = await self._claim(pool)
            if claimed is not None:
                job, models = claimed
                with attempt_span(job, began):
                    hold = partial(self._holds, stop)
                    await Attempt(self._services, job, models, stop, hold, on_painted).run()
        except RuntimeStuck:
            logger.critical("the device does not answer any more")
            self._on_stuck()
        finally:
            del self._in_hand[stop]

    def _holds(self, stop: Stop, held: Held | None) -> None:
        self._in_hand[stop] = held
        of_all = [held for held in self._in_hand.values() if held is not None]
        self._hold(min(of_all, key=lambda held: held.ends_at, default=None))

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
        """Take no further job, and give back what has not ended in `grace_seconds`."""
        self._closing = True
        asyncio.get_running_loop().call_later(grace_seconds, self.give_back)

    def give_back(self) -> None:
        """Give back now what has not ended."""
        for stop in self._in_hand:
            stop.pull(StopReason.SHUTDOWN)

    async def _pass_on(self, pool: str) -> None:
        """The message came to a worker that is closing: another one must hear it."""
        try:
            await self._services.wake_ups.send(pool)
        except QueueUnavailable:
            logger.warning("a wake-up could not be passed on, the sweeper will send another")
