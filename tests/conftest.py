"""Fixtures for every test: real servers, started once a run, and a fresh database for each test."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from impasto_core.database import Database
from impasto_core.settings import Settings
from impasto_ctl.embedded import EmbeddedServers
from tests.support.databases import DatabaseUrls, Template
from tests.support.drift import assert_zero_drift


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def servers() -> Iterator[EmbeddedServers]:
    """PostgreSQL, Valkey, S3 and SQS: those that `IMPASTO_*_URL` point at, or else embedded ones."""
    with (
        tempfile.TemporaryDirectory(prefix="impasto-tests-", dir=_memory()) as folder,
        EmbeddedServers(Path(folder), with_sqs=True, durable=False) as servers,
    ):
        yield servers


def _memory() -> Path | None:
    """A folder in memory, where there is room: a database is copied there ten times as fast as on a disk."""
    memory = Path("/dev/shm")  # noqa: S108  # the folder made in it is our own
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2 << 30
    return memory if roomy else None


@pytest.fixture(scope="session")
def template(servers: EmbeddedServers) -> Iterator[Template]:
    """A migrated, empty database to copy."""
    template = Template(servers.database_url, f"impasto_template_{secrets.token_hex(4)}")
    asyncio.run(template.create())
    yield template
    asyncio.run(template.drop())


@pytest.fixture
def urls(template: Template, request: pytest.FixtureRequest) -> Iterator[DatabaseUrls]:
    """URLs of a database of this test's own, one for each role. Its ledger is verified at the end."""
    name = f"impasto_test_{secrets.token_hex(6)}"
    urls = asyncio.run(template.copy(name))
    yield urls
    try:
        if not request.node.get_closest_marker("drift"):
            asyncio.run(assert_zero_drift(urls.owner))
    finally:
        asyncio.run(template.drop(name))


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> str:
    """What carries wake-ups: Redis, and then SQS in tests that are marked `both_brokers`."""
    chosen: str = getattr(request, "param", "redis")
    return chosen


@pytest.fixture
def settings(servers: EmbeddedServers, urls: DatabaseUrls, broker: str, tmp_path: Path) -> Settings:
    """Settings of an API process."""
    bucket, sqs = servers.bucket, servers.sqs
    assert sqs is not None
    return Settings(
        database_url=urls.api,
        redis_url=servers.redis_url,
        s3_endpoint_url=bucket.endpoint_url,
        s3_region=bucket.region,
        s3_bucket=bucket.name,
        s3_access_key_id=bucket.access_key_id,
        s3_secret_access_key=bucket.secret_access_key,
        broker=broker,
        sqs_endpoint_url=sqs.endpoint_url,
        sqs_region=sqs.region,
        sqs_access_key_id=sqs.access_key_id,
        sqs_secret_access_key=sqs.secret_access_key,
        sqs_queue_prefix=f"test-{secrets.token_hex(4)}",  # no other test's wake-ups
        api_key_pepper="a pepper for tests",
        worker_data_dir=tmp_path / "worker",
    )


@pytest.fixture
async def owner_database(urls: DatabaseUrls) -> AsyncIterator[Database]:
    database = Database(urls.owner, pool_size=2)
    yield database
    await database.close()


@pytest.fixture
async def api_database(urls: DatabaseUrls) -> AsyncIterator[Database]:
    database = Database(urls.api, pool_size=2)
    yield database
    await database.close()


@pytest.fixture
async def worker_database(urls: DatabaseUrls) -> AsyncIterator[Database]:
    database = Database(urls.worker, pool_size=4)
    yield database
    await database.close()


@pytest.fixture
async def redis(servers: EmbeddedServers) -> AsyncIterator[Redis]:
    """An empty Redis."""
    client = Redis.from_url(servers.redis_url)
    await client.flushdb()
    yield client
    await client.aclose()
