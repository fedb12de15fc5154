"""What a watchdog does, in its own process: see `watchdog`. Imports no torch."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from redis.asyncio import Redis

from impasto_billing.settlement import NOTHING
from impasto_core.database import DATABASE_ERRORS, Database
from impasto_core.ids import format_id
from impasto_core.jobs import lifecycle
from impasto_core.jobs.events import announce_end
from impasto_core.jobs.lifecycle import LeaseLost
from impasto_core.jobs.tables import CancelReason, Job, JobStatus
from impasto_core.settings import Settings, get_settings
from impasto_core.telemetry import configure_logging
from impasto_workers.endings import Ending, canceled, out_of_time, settle
from impasto_workers.time_limits import Held
from impasto_workers.watchdog import beat_seconds, decode

logger = logging.getLogger(__name__)

SILENT_BEATS = 5
"""A worker that leaves out so many is held up, and needs somebody to renew its lease."""

KILL_SILENCE = 3.0
"""Seconds for which a worker must have been silent to be killed: before, it may see to the limit itself."""

IDLE_SILENCE = 600.0
"""The same without a job. Imports and models may take a while to load."""

CANCEL_PATIENCE = 60.0
"""Seconds that a worker which is held up may go on with a job that its owner has canceled."""

TRACEBACK_SECONDS = 1.0
"""Time for the worker to write where it hangs."""


class WatchdogProcess:
    def __init__(self, settings: Settings, worker: int, database: Database) -> None:
        self._settings = settings
        self._worker = worker
        self._database = database
        self._held: Held | None = None
        self._heard_at = time.monotonic()
        self._renewed_at = self._heard_at
        self._canceled_at: float | None = None

    async def run(self, beats: asyncio.StreamReader) -> None:
        """Until the worker has ended, be it by us."""
        beat = beat_seconds(self._settings.lease_seconds)
        while True:
            asked_at = time.monotonic()
            try:
                async with asyncio.timeout(beat):
                    line = await beats.readline()
            except TimeoutError:
                now = time.monotonic()
                if now - asked_at > SILENT_BEATS * beat or is_stopped(self._worker):
                    # It is we who slept, with the whole machine perhaps; or somebody has stopped the worker.
                    self._heard_at = now
                elif now - self._heard_at > SILENT_BEATS * beat and await self._is_over(now - self._heard_at):
                    return
                continue
            if not line.endswith(b"\n"):
                return
            self._held = decode(line)
            self._heard_at = self._renewed_at = time.monotonic()
            self._canceled_at = None

    async def _is_over(self, silence: float) -> bool:
        """The worker is held up. Whether this was its end."""
        held, now = self._held, time.monotonic()
        if held is None:  # nobody waits for it, but nor will it ever work again
            if silence > IDLE_SILENCE:
                await self._kill()
                return True
            return False
        if silence > KILL_SILENCE:
            if now >= held.ends_at:
                await self._end(held, out_of_time(held.reason, self._settings.job_time_limit_seconds))
                return True
            if self._canceled_at is not None and now >= self._canceled_at + CANCEL_PATIENCE:
                await self._end(held, canceled(CancelReason.REQUESTED))
                return True
        if now - self._renewed_at >= self._settings.lease_seconds / 6:
            await self._renew(held)
        return False

    async def _renew(self, held: Held) -> None:
        job_id = format_id("job", held.lease.job_id)
        logger.warning("the worker is held up, renewing the lease of %s in its stead", job_id)
        try:
            async with self._database.session() as session:
                await lifecycle.renew(session, held.lease, lease_seconds=self._settings.lease_seconds)
                if await lifecycle.cancel_requested(session, held.lease) and self._canceled_at is None:
                    self._canceled_at = time.monotonic()
        except LeaseLost:
            logger.warning("the job is another's by now")
        except DATABASE_ERRORS as error:
            logger.warning("could not renew it, trying again: %r", error)
            return
        self._renewed_at = time.monotonic()

    async def _end(self, held: Held, ending: Ending) -> None:
        """First the worker: it must not come back and upload after the end of its job."""
        await self._kill()
        try:
            job = await settle(self._database, held.lease, ending, NOTHING)
        except LeaseLost:
            return
        except DATABASE_ERRORS as error:
            logger.error("could not end the job, its lease will run out: %r", error)
            return
        if JobStatus(job.status).is_final:
            await self._announce(job)

    async def _announce(self, job: Job) -> None:
        url = self._settings.redis_url.get_secret_value()
        redis = Redis.from_url(url, socket_connect_timeout=1, socket_timeout=2)
        await announce_end(redis, job)
        await redis.aclose()

    async def _kill(self) -> None:
        logger.critical("the worker is held up in native code, killing it")
        with suppress(ProcessLookupError):
            os.kill(self._worker, signal.SIGUSR1)  # faulthandler writes where every thread is
            await asyncio.sleep(TRACEBACK_SECONDS)
            os.kill(self._worker, signal.SIGKILL)


def is_stopped(pid: int) -> bool:
    """Whether the process was stopped, by SIGSTOP or a debugger. Only Linux tells."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in "Tt"


async def run(settings: Settings, worker: int) -> None:
    beats = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(beats), sys.stdin)
    database = Database(settings.database_url.get_secret_value(), pool_size=1)  # connects when it is needed
    try:
        await WatchdogProcess(settings, worker, database).run(beats)
    finally:
        await database.close()


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # meant for the worker, with which it ends
    settings = get_settings()
    configure_logging(settings)
    asyncio.run(run(settings, int(sys.argv[1])))


if __name__ == "__main__":
    main()
