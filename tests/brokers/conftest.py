"""A broker of a test's own, to be killed, and the platform that needs it: an API, a worker and a sweeper."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import boto3
import httpx
import pytest
import redis as sync_redis

from impasto_api.app import create_app
from impasto_core.database import Database
from impasto_core.settings import Settings
from impasto_ctl.embedded import EmbeddedServers
from impasto_ctl.embedded.ministack import REGION, Ministack
from impasto_ctl.embedded.valkey import Valkey
from impasto_ctl.process import stop_together
from impasto_ctl.state import StateDirectory
from tests.support.databases import DatabaseUrls
from tests.support.processes import eventually
from tests.support.programs import Program, environ_of
from tests.support.servers import serve
from tests.support.tenants import make_tenant, register_model


class BrokerServer:
    """Keeps everything in memory: killed, it has forgotten all."""

    settings: dict[str, str]
    """Where it is."""

    def __init__(self, server: Valkey | Ministack) -> None:
        self._server = server
        self.start()

    def start(self) -> None:
        self._server.start()
        self._server.wait_until_ready()

    def kill(self) -> None:
        os.kill(self._server.child.pid, signal.SIGKILL)
        self._server.child.wait_for_end(within=10)

    def close(self) -> None:
        stop_together([self._server.child])

    def forget(self) -> None:
        """All messages, without a pause."""
        raise NotImplementedError


class RedisServer(BrokerServer):
    def __init__(self, state: StateDirectory) -> None:
        server = Valkey(state, durable=False)
        super().__init__(server)
        self.settings = {"redis_url": server.url}

    def forget(self) -> None:
        with sync_redis.Redis.from_url(self.settings["redis_url"]) as client:
            client.flushall()


class SqsServer(BrokerServer):
    def __init__(self, state: StateDirectory) -> None:
        server = Ministack(state, durable=False, bucket="unused")
        super().__init__(server)
        # Its root key, since users are forgotten too.
        self.settings = {
            "sqs_endpoint_url": server.sqs.endpoint_url,
            "sqs_region": REGION,
            "sqs_access_key_id": "test",
            "sqs_secret_access_key": "test",
        }

    def forget(self) -> None:
        sqs = boto3.client(
            "sqs",
            endpoint_url=self.settings["sqs_endpoint_url"],
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        for url in sqs.list_queues()["QueueUrls"]:
            sqs.purge_queue(QueueUrl=url)


@pytest.fixture
def broker_server(broker: str, tmp_path: Path) -> Iterator[BrokerServer]:
    state = StateDirectory(tmp_path / "broker")
    server = SqsServer(state) if broker == "sqs" else RedisServer(state)
    yield server
    server.close()


@pytest.fixture
def settings(settings: Settings, broker_server: BrokerServer) -> Settings:
    return Settings(**settings.model_dump() | broker_server.settings)


@pytest.fixture
def environ(
    settings: Settings, servers: EmbeddedServers, urls: DatabaseUrls, broker_server: BrokerServer
) -> dict[str, str]:
    """Of worker and sweeper."""
    told = broker_server.settings | {"broker": settings.broker, "sqs_queue_prefix": settings.sqs_queue_prefix}
    ours = {f"IMPASTO_{name.upper()}": value for name, value in told.items()}
    return environ_of(servers, urls.worker) | ours | {"dramatiq_restart_delay": "200"}  # and not 3 seconds


@pytest.fixture
def sweeper(environ: dict[str, str], tmp_path: Path) -> Iterator[Program]:
    log = tmp_path / "sweeper.log"
    sweeper = Program("impasto_workers.sweeper", environ | {"IMPASTO_SWEEP_SECONDS": "0.2"}, log)
    yield sweeper
    sweeper.close()


@pytest.fixture
def worker(environ: dict[str, str], tmp_path: Path) -> Iterator[Program]:
    """All of it is real but the painting."""
    folder = tmp_path / "worker"
    folder.mkdir()
    ready_file = folder / "ready"
    of_worker = {
        "IMPASTO_WORKER_DATA_DIR": str(folder),
        "IMPASTO_WORKER_READY_FILE": str(ready_file),
        "BRUSH_STEP_SECONDS": "0.25",
    }
    worker = Program("tests.support.brush_worker", environ | of_worker, folder / "log")
    try:
        eventually(ready_file.exists, "the worker does not get ready", within=60)
        yield worker
    finally:
        worker.close()


@pytest.fixture
async def client(
    settings: Settings, owner_database: Database, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    folder = tmp_path / "model"
    folder.mkdir()
    await register_model(owner_database, source=folder.as_uri())
    tenant = await make_tenant(owner_database, settings)
    async with (
        serve(create_app(settings)) as url,
        httpx.AsyncClient(base_url=url, headers=tenant.headers, timeout=20) as client,
    ):
        yield client
