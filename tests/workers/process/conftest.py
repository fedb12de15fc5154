"""Worker processes as an operator starts them, on a database of their own.

A worker takes 15 seconds to start, so they are started together and live as long as the session.
"""

from __future__ import annotations

import asyncio
import importlib.util
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from impasto_core.database import Database
from impasto_core.models.service import folder_digest
from impasto_core.models.tables import Model
from impasto_core.queue import WakeUps, make_broker
from impasto_core.settings import Settings
from impasto_core.storage import ObjectStore
from impasto_ctl.embedded import EmbeddedServers
from tests.support.databases import DatabaseUrls, Template
from tests.support.job_desk import Jobs
from tests.support.processes import eventually
from tests.support.programs import Program, environ_of
from tests.support.tenants import Tenant, make_tenant, register_model

TIME_LIMIT_SECONDS = 12
"""Of the pool `default`."""


class Worker(Program):
    def __init__(self, environ: dict[str, str], folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.ready_file = folder / "ready"
        environ = environ | {
            "IMPASTO_WORKER_READY_FILE": str(self.ready_file),
            "IMPASTO_WORKER_DATA_DIR": str(folder),
        }
        super().__init__("impasto_workers.main", environ, folder / "log")

    @property
    def is_ready(self) -> bool:
        assert self.is_running, self.log.read_text()
        return self.ready_file.exists()


class Workshop:
    """Everything that a worker process needs, and the processes."""

    def __init__(self, urls: DatabaseUrls, environ: dict[str, str], folder: Path, model_folder: Path) -> None:
        self.urls = urls
        self.environ = environ
        self.folder = folder
        self.model_folder = model_folder
        self.tenant: Tenant
        self.models: dict[str, Model] = {}
        self.workers: dict[str, list[Worker]] = {}
        self._stack = ExitStack()

    async def furnish(self, pools: tuple[str, ...]) -> None:
        """An organization, and a model for every pool."""
        owner = Database(self.urls.owner, pool_size=2)
        try:
            self.tenant = await make_tenant(owner, self.settings)
            for pool in pools:
                self.models[pool] = await register_model(
                    owner,
                    f"tiny-{pool}",
                    source=self.model_folder.as_uri(),
                    digest=folder_digest(self.model_folder),
                    pool=pool,
                )
        finally:
            await owner.close()

    @property
    def settings(self) -> Settings:
        prefix = "IMPASTO_"
        values = {
            name.removeprefix(prefix).lower(): value
            for name, value in self.environ.items()
            if name.startswith(prefix)
        }
        return Settings.model_validate(values)

    def start_worker(self, pool: str, **environ: str) -> Worker:
        name = f"{pool}-{secrets.token_hex(3)}"
        worker = Worker(self.environ | {"IMPASTO_WORKER_POOL": pool} | environ, self.folder / name)
        self._stack.callback(worker.close)
        self.workers.setdefault(pool, []).append(worker)
        return worker

    def start_sweeper(self) -> Program:
        log = self.folder / f"sweeper-{secrets.token_hex(3)}.log"
        environ = self.environ | {"IMPASTO_SWEEP_SECONDS": "0.2"}
        sweeper = Program("impasto_workers.sweeper", environ, log)
        self._stack.callback(sweeper.close)
        return sweeper

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="session")
def workshop(
    servers: EmbeddedServers, template: Template, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workshop]:
    """One worker for the pool `default`, and two for the pool `fragile`."""
    if importlib.util.find_spec("invokeai") is None:
        pytest.fail("needs the environment of `nox -s worker`")
    name = f"impasto_workers_{secrets.token_hex(4)}"
    urls = asyncio.run(template.copy(name))
    folder = tmp_path_factory.mktemp("workshop")
    model_folder = folder / "model"
    subprocess.run(  # noqa: S603
        [sys.executable, "-m", "tests.workers.tiny_model", model_folder], check=True
    )
    workshop = Workshop(urls, worker_environ(servers, urls), folder, model_folder)
    asyncio.run(workshop.furnish(("default", "fragile")))
    workshop.start_worker("default", IMPASTO_JOB_TIME_LIMIT_SECONDS=str(TIME_LIMIT_SECONDS))
    for _ in range(2):
        workshop.start_worker("fragile")
    yield workshop
    workshop.close()
    asyncio.run(template.drop(name))


def worker_environ(servers: EmbeddedServers, urls: DatabaseUrls) -> dict[str, str]:
    return environ_of(servers, urls.worker) | {
        "IMPASTO_DEFAULT_MODEL": "tiny-default",
        "IMPASTO_LEASE_SECONDS": "3",
        "IMPASTO_WORKER_GRACE_SECONDS": "60",
    }


def ready(workers: list[Worker]) -> list[Worker]:
    running = [worker for worker in workers if worker.is_running]
    eventually(lambda: all(worker.is_ready for worker in running), "a worker did not get ready", within=180)
    return running


@pytest.fixture
def worker(workshop: Workshop) -> Worker:
    """The worker of the pool `default`."""
    [worker] = ready(workshop.workers["default"])
    return worker


@pytest.fixture
def fragile_workers(workshop: Workshop) -> list[Worker]:
    """Those workers of the pool `fragile` that the tests before have left alive."""
    return ready(workshop.workers["fragile"])


@pytest.fixture
def sweeper(workshop: Workshop) -> Iterator[Program]:
    sweeper = workshop.start_sweeper()
    yield sweeper
    sweeper.close()


@pytest.fixture
async def owner(workshop: Workshop) -> AsyncIterator[Database]:
    database = Database(workshop.urls.owner, pool_size=2)
    yield database
    await database.close()


@pytest.fixture
def jobs(owner: Database, workshop: Workshop, worker: Worker) -> Jobs:
    """Jobs for the pool `default`."""
    return Jobs(owner, workshop.tenant.organization_id, workshop.models["default"])


@pytest.fixture
def fragile_jobs(owner: Database, workshop: Workshop) -> Jobs:
    return Jobs(owner, workshop.tenant.organization_id, workshop.models["fragile"])


@pytest.fixture
def wake_ups(workshop: Workshop, redis: Any) -> WakeUps:
    """Redis is empty at the start of every test."""
    return WakeUps(make_broker(workshop.settings))


@pytest.fixture
def store(workshop: Workshop) -> ObjectStore:
    return ObjectStore(workshop.settings)
