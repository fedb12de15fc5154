"""API, worker and sweeper as processes of their own, watched from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from redis import Redis

from impasto import Impasto
from impasto_core.database import Database
from impasto_core.settings import Settings
from impasto_ctl.embedded import EmbeddedServers
from tests.support.collector import Collector
from tests.support.databases import DatabaseUrls
from tests.support.processes import eventually
from tests.support.programs import Program, environ_of
from tests.support.tenants import Tenant, make_tenant, register_model

Start = Callable[..., Program]

PROMPT = "a-prompt-that-is-nobody-elses-business"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector().running() as collector:
        yield collector


@pytest.fixture
def tenant(servers: EmbeddedServers, urls: DatabaseUrls, settings: Settings, tmp_path: Path) -> Tenant:
    """An organization, a model that the brush can use, and an empty Redis."""
    with Redis.from_url(servers.redis_url) as redis:
        redis.flushdb()
    folder = tmp_path / "model"
    folder.mkdir()

    async def furnish() -> Tenant:
        owner = Database(urls.owner, pool_size=1)
        try:
            await register_model(owner, source=folder.as_uri())
            return await make_tenant(owner, settings)
        finally:
            await owner.close()

    return asyncio.run(furnish())


@pytest.fixture
def start(
    servers: EmbeddedServers, urls: DatabaseUrls, settings: Settings, tenant: Tenant, tmp_path: Path
) -> Iterator[Start]:
    """Starts `api`, `worker` or `sweeper`, with further variables of its environment."""
    modules = {
        "api": ("impasto_api.server", urls.api),
        "worker": ("tests.support.brush_worker", urls.worker),
        "sweeper": ("impasto_workers.sweeper", urls.worker),
    }
    with ExitStack() as stack:

        def start(name: str, **environ: str) -> Program:
            module, database_url = modules[name]
            ours = {
                "IMPASTO_API_KEY_PEPPER": settings.api_key_pepper.get_secret_value(),
                "IMPASTO_API_PORT": "0",
                "IMPASTO_WORKER_DATA_DIR": str(tmp_path / "worker"),
                "IMPASTO_SWEEP_SECONDS": "0.1",
            }
            program = Program(module, environ_of(servers, database_url) | ours | environ, tmp_path / name)
            stack.callback(program.close)
            return program

        yield start


def address(program: Program, message: str) -> str:
    """The URL that a log record names which begins so."""
    found: list[str] = []

    def is_told() -> bool:
        assert program.is_running, program.log.read_text()
        found.extend(
            next(word for word in record["message"].split() if word.startswith("http://"))
            for record in program.records()
            if record["message"].startswith(message)
        )
        return bool(found)

    eventually(is_told, f"{program.log.name} never said {message!r}")
    return found[0]


def base_url(api: Program) -> str:
    url = address(api, "Uvicorn running on")
    eventually(lambda: httpx.get(f"{url}/readyz").status_code == 200, "the API did not get ready")
    return url


def scrape(program: Program) -> str:
    response = httpx.get(address(program, "metrics at"))
    assert response.headers["content-type"].startswith("text/plain")
    return response.text


def paint(url: str, tenant: Tenant) -> str:
    """Has a picture painted; the job's id."""
    with Impasto(tenant.api_key, base_url=url) as client:
        [image] = client.images.generate(PROMPT, seed=7)
        return image.job_id
