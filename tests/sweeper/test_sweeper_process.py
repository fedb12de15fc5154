"""`impasto-sweeper` as an operator starts it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from impasto_core.database import Database
from impasto_core.jobs import lifecycle
from impasto_core.settings import Settings
from impasto_ctl.embedded import EmbeddedServers
from tests.support.databases import DatabaseUrls
from tests.support.job_desk import Jobs, until
from tests.support.programs import environ_of

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(servers: EmbeddedServers, urls: DatabaseUrls, settings: Settings) -> Iterator[Start]:
    """Starts a sweeper; what it logs can be read from `stderr`."""
    started: list[subprocess.Popen[str]] = []

    def start(**environ: str) -> subprocess.Popen[str]:
        sweeper = subprocess.Popen(
            [sys.executable, "-m", "impasto_workers.sweeper"],
            env=environ_of(servers, urls.worker) | {"IMPASTO_SWEEP_SECONDS": "0.1"} | environ,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(sweeper)
        return sweeper

    yield start
    for sweeper in started:
        sweeper.kill()
        sweeper.communicate()


async def test_it_returns_what_was_lost_and_ends_when_told(
    start: Start, jobs: Jobs, worker_database: Database
) -> None:
    job = await jobs.add()
    async with worker_database.session() as session:
        await lifecycle.claim(session, pool="default", worker="lost", lease_seconds=0)
    sweeper = start()
    await jobs.until_status(job, "queued")
    sweeper.send_signal(signal.SIGTERM)
    _, log = sweeper.communicate(timeout=10)
    assert sweeper.returncode == 0, log


async def test_it_survives_whatever_is_away(start: Start, jobs: Jobs, worker_database: Database) -> None:
    nowhere = "127.0.0.1:9"
    sweeper = start(
        IMPASTO_DATABASE_URL=f"postgresql://{nowhere}/x",
        IMPASTO_REDIS_URL=f"redis://{nowhere}",
        IMPASTO_S3_ENDPOINT_URL=f"http://{nowhere}",
    )
    assert sweeper.stderr is not None
    for _ in range(3):
        assert "PostgreSQL is away" in sweeper.stderr.readline()
    assert sweeper.poll() is None
    sweeper.send_signal(signal.SIGTERM)
    sweeper.communicate(timeout=10)
    assert sweeper.returncode == 0


async def test_while_redis_and_the_object_store_are_away_it_still_returns_lost_jobs(
    start: Start, jobs: Jobs, worker_database: Database
) -> None:
    start(IMPASTO_REDIS_URL="redis://127.0.0.1:9", IMPASTO_S3_ENDPOINT_URL="http://127.0.0.1:9")
    job = await jobs.add()
    async with worker_database.session() as session:
        await lifecycle.claim(session, pool="default", worker="lost", lease_seconds=0)

    async def is_queued() -> bool:
        return (await jobs.get(job)).status == "queued"

    await until(is_queued, "the job was not returned")
