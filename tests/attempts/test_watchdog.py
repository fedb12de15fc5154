"""A worker that hangs in native code: nothing in its interpreter can help it any more."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func

from impasto_core.database import Database
from impasto_core.jobs import lifecycle
from impasto_core.jobs.lifecycle import Lease
from impasto_core.jobs.tables import Job
from impasto_core.queue import WakeUps, make_broker
from impasto_core.settings import Settings
from impasto_ctl.embedded import EmbeddedServers
from impasto_workers import watchdog_process
from impasto_workers.stop import StopReason
from impasto_workers.time_limits import Held
from impasto_workers.watchdog import Watchdog, encode
from impasto_workers.watchdog_process import WatchdogProcess
from tests.support.databases import DatabaseUrls
from tests.support.job_desk import Jobs, until
from tests.support.processes import eventually
from tests.support.programs import Program, environ_of

LEASE_SECONDS = 3
LIMIT_SECONDS = 5


@pytest.fixture
def workers(servers: EmbeddedServers, urls: DatabaseUrls, tmp_path: Path) -> Iterator[list[Program]]:
    """Two that hang where a prompt asks for it, and that are ready."""
    environ = environ_of(servers, urls.worker) | {
        "IMPASTO_LEASE_SECONDS": str(LEASE_SECONDS),
        "IMPASTO_JOB_TIME_LIMIT_SECONDS": str(LIMIT_SECONDS),
    }
    with ExitStack() as stack:
        workers = []
        for name in ("one", "two"):
            files = {
                "IMPASTO_WORKER_READY_FILE": str(tmp_path / f"{name}.ready"),
                "IMPASTO_WORKER_DATA_DIR": str(tmp_path / name),
            }
            worker = Program("tests.attempts.hanging_worker", environ | files, tmp_path / f"{name}.log")
            stack.callback(worker.close)
            workers.append(worker)
        eventually(lambda: len(list(tmp_path.glob("*.ready"))) == 2, workers[0].log.read_text(), within=60)
        yield workers


async def test_a_job_that_hangs_in_native_code_ends_with_its_time_and_takes_no_second_worker(
    jobs: Jobs, workers: list[Program], settings: Settings, worker_database: Database
) -> None:
    """Its lease is kept until then, so it is neither tried again nor held to be poisoned."""
    too_long = await jobs.add(prompt="hang")
    overdue = await jobs.add(prompt="hang as well")
    await jobs.change(overdue, deadline=func.now() + timedelta(seconds=LEASE_SECONDS + 1))
    await WakeUps(make_broker(settings)).send("default", 2)

    async def have_ended() -> bool:
        async with worker_database.session() as session:
            assert await lifecycle.return_expired_leases(session) == [], "a lease has run out"
        return all([(await jobs.get(job)).finished_at for job in (too_long, overdue)])

    await until(have_ended, "they go on", within=60)
    failed, canceled = await jobs.get(too_long), await jobs.get(overdue)
    assert (failed.status, (failed.error or {})["code"]) == ("failed", "time-limit")
    assert (canceled.status, canceled.cancel_reason) == ("canceled", "deadline")
    assert [await jobs.outcomes(job) for job in (too_long, overdue)] == [["failed"], ["canceled"]]
    assert [(job.cost or {})["amount"] for job in (failed, canceled)] == [0, 0]
    assert (await jobs.balance()).held == 0
    for worker in workers:
        assert worker.wait() == -signal.SIGKILL
        assert 'hanging_worker.py", line' in worker.log.read_text(), "it says where it hung"


# The watchdog alone, beside a process that says what the test wants


class Watched:
    """A process with a job in hand, of which nobody has heard since, and its watchdog."""

    def __init__(self, job: Job, database: Database, settings: Settings) -> None:
        self.job = job
        self.process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        self.beats = asyncio.StreamReader()
        held = Held(Lease(job.id, job.attempt), StopReason.TIME_LIMIT, time.monotonic() + 60)
        self.beats.feed_data(encode(held))
        self._watchdog = WatchdogProcess(settings, self.process.pid, database)
        self.watching = asyncio.create_task(self._watchdog.run(self.beats))

    async def close(self) -> None:
        self.beats.feed_eof()
        await self.watching
        self.process.kill()
        self.process.wait()


@pytest.fixture
async def watched(jobs: Jobs, worker_database: Database, settings: Settings) -> AsyncIterator[Watched]:
    """Its lease is over, or nearly so."""
    await jobs.add()
    async with worker_database.session() as session:
        job = await lifecycle.claim(session, pool="default", worker="w", lease_seconds=0)
    assert job is not None
    watched = Watched(job, worker_database, settings.model_copy(update={"lease_seconds": 6}))
    yield watched
    await watched.close()


async def test_the_lease_of_a_silent_worker_is_renewed_while_it_has_time(
    jobs: Jobs, watched: Watched
) -> None:
    first = watched.job.lease_expires_at
    assert first is not None

    async def is_renewed() -> bool:
        lease_expires_at = (await jobs.get(watched.job)).lease_expires_at
        return lease_expires_at is not None and lease_expires_at > first + timedelta(seconds=6)

    await until(is_renewed, "the lease was not renewed")
    assert watched.process.poll() is None


async def test_a_silent_worker_whose_job_was_canceled_is_given_a_while_and_then_killed(
    jobs: Jobs, watched: Watched, owner_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog_process, "CANCEL_PATIENCE", 0.1)
    async with owner_database.session() as session:
        await lifecycle.cancel(session, watched.job.id)
    canceled = await jobs.until_status(watched.job, "canceled")
    assert canceled.cancel_reason == "requested"
    assert (canceled.cost or {})["amount"] == 0
    assert watched.process.wait(10) in (-signal.SIGUSR1, -signal.SIGKILL)


async def test_a_worker_whose_watchdog_has_died_gets_another(
    urls: DatabaseUrls, servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMPASTO_DATABASE_URL", urls.worker)
    monkeypatch.setenv("IMPASTO_REDIS_URL", servers.redis_url)
    watchdog = Watchdog(lease_seconds=30)
    first = watchdog.pid
    os.kill(first, signal.SIGKILL)

    async def has_another() -> bool:
        watchdog.beat()
        return watchdog.pid != first

    await until(has_another, "it goes on without")
    watchdog.close()
