"""What the API does when a part it needs is away, or when it is itself at fault."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI
from redis.asyncio import Redis
from sqlalchemy import AdaptedConnection, event, make_url, text

from impasto_api.app import create_app
from impasto_api.jobs import hub
from impasto_api.services import Services
from impasto_core.database import Database
from impasto_core.queue import wake_ups
from impasto_core.settings import Settings
from impasto_core.telemetry.logs import JsonFormatter
from tests.support.brokers import both_brokers, elsewhere
from tests.support.painters import Painter
from tests.support.problems import assert_problem
from tests.support.proxy import Proxy
from tests.support.servers import closed_port, hanging_server, serve
from tests.support.streams import Event, follow
from tests.support.tenants import Tenant

REQUEST = {"pipeline": "text-to-image", "input": {"prompt": "a big red heart"}}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API asks PostgreSQL more often than it does in life, so that a test need not wait for it."""
    monkeypatch.setattr(hub, "ASK_SECONDS", 0.1)


@asynccontextmanager
async def running(tenant: Tenant, settings: Settings, **changes: object) -> AsyncIterator[httpx.AsyncClient]:
    """The tenant's client of an API of its own with some settings changed."""
    changed = Settings(**settings.model_dump() | changes)
    async with (
        serve(create_app(changed)) as url,
        httpx.AsyncClient(base_url=url, headers=tenant.headers, timeout=20) as client,
    ):
        yield client


def assert_unavailable(response: httpx.Response) -> None:
    assert_problem(response, 503, "service-unavailable")
    assert int(response.headers["retry-after"]) >= 1


async def test_without_postgresql_every_request_is_told_to_come_back(
    tenant: Tenant, settings: Settings
) -> None:
    with closed_port() as port:
        away = make_url(settings.database_url.get_secret_value()).set(port=port)
        async with running(
            tenant, settings, database_url=away.render_as_string(hide_password=False)
        ) as client:
            assert_unavailable(await client.get("/v1/jobs"))
            assert_unavailable(await client.post("/v1/jobs", json=REQUEST))
            assert_unavailable(await client.get("/readyz"))
            assert (await client.get("/livez")).status_code == 200, "it is alive, only not ready"


async def test_a_database_that_takes_no_more_connections_is_away_too(
    tenant: Tenant, settings: Settings, owner_database: Database
) -> None:
    name = make_url(settings.database_url.get_secret_value()).database
    async with running(tenant, settings) as client:
        assert (await client.get("/livez")).status_code == 200
        async with owner_database.session() as session:
            await (await session.connection()).execute(text(f'ALTER DATABASE "{name}" CONNECTION LIMIT 0'))
        async with running(tenant, settings) as late:
            assert_unavailable(await late.get("/v1/jobs"))
        async with owner_database.session() as session:
            await (await session.connection()).execute(text(f'ALTER DATABASE "{name}" CONNECTION LIMIT -1'))


async def test_who_finds_no_free_connection_is_told_to_come_back(
    client: httpx.AsyncClient, app: FastAPI
) -> None:
    services: Services = app.state.services
    database = Database(services.database.url.render_as_string(False), pool_size=1, pool_seconds=0.01)
    app.state.services = Services(**vars(services) | {"database": database})
    async with database.session() as busy:
        await busy.connection()
        assert_unavailable(await client.get("/v1/jobs"))
    assert (await client.get("/v1/jobs")).status_code == 200
    await database.close()


async def test_when_postgresql_is_back_so_are_the_pools(tenant: Tenant, settings: Settings) -> None:
    url = make_url(settings.database_url.get_secret_value())
    proxy = Proxy(lambda: url.port or 5432)
    await proxy.open()
    through = url.set(port=proxy.port).render_as_string(hide_password=False)
    async with running(tenant, settings, database_url=through) as client:
        assert (await client.get("/v1/jobs")).status_code == 200
        await proxy.cut()
        assert (await client.get("/v1/jobs")).status_code == 200, "a connection that broke was replaced"
        outage = asyncio.create_task(proxy.refuse(1))
        await asyncio.sleep(0)  # it has begun
        assert_unavailable(await client.get("/v1/jobs"))
        assert_unavailable(await client.get("/readyz"))
        await outage
        assert (await client.post("/v1/jobs", json=REQUEST)).status_code == 202
        assert (await client.get("/readyz")).status_code == 200
        outage = asyncio.create_task(proxy.hang(4))
        await asyncio.sleep(0)
        assert_unavailable(await client.get("/readyz"))
        await outage
        assert (await client.get("/readyz")).status_code == 200
    await proxy.close()


async def test_a_connection_that_is_lost_while_it_is_made_is_an_outage_too(
    client: httpx.AsyncClient, app: FastAPI
) -> None:
    services: Services = app.state.services
    pool = services.database.engine.sync_engine.pool

    def lose(connection: AdaptedConnection, _: object) -> None:
        connection.driver_connection.terminate()

    event.listen(pool, "connect", lose, insert=True)
    assert_unavailable(await client.get("/v1/jobs"))
    event.remove(pool, "connect", lose)
    assert (await client.get("/v1/jobs")).status_code == 200


@both_brokers
async def test_without_redis_and_broker_jobs_are_accepted_run_and_canceled_without_delay(
    tenant: Tenant, settings: Settings, painter: Painter
) -> None:
    with closed_port() as port:
        async with running(tenant, settings, **elsewhere(port)) as client:
            begun = time.monotonic()
            created = await client.post("/v1/jobs", json=REQUEST)
            assert created.status_code == 202
            await painter.paint_next()
            done = await client.get(f"/v1/jobs/{created.json()['id']}")
            assert done.json()["status"] == "succeeded"

            job_id = (await client.post("/v1/jobs", json=REQUEST)).json()["id"]
            canceled = await client.post(f"/v1/jobs/{job_id}/cancel")
            assert canceled.json()["status"] == "canceled"
            assert time.monotonic() - begun < 2

            assert (await client.get("/readyz")).status_code == 200


@both_brokers
async def test_a_broker_that_hangs_holds_no_request_up(
    tenant: Tenant, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake_ups, "PATIENCE_SECONDS", 0.1)
    async with (
        hanging_server() as port,
        running(tenant, settings, **elsewhere(port)) as client,
    ):
        begun = time.monotonic()
        assert (await client.post("/v1/jobs", json=REQUEST)).status_code == 202
        assert time.monotonic() - begun < 2


@pytest.mark.usefixtures("impatient")
async def test_a_stream_outlives_an_outage_of_postgresql(
    client: httpx.AsyncClient, painter: Painter, owner_database: Database, redis: Redis
) -> None:
    """The API may not read jobs for a while, and then it may again."""
    job_id = (await client.post("/v1/jobs", json=REQUEST)).json()["id"]
    events = follow(client, job_id)
    assert (await anext(events)).type == "queued"
    async with owner_database.session() as session:
        await (await session.connection()).execute(text("REVOKE SELECT ON jobs FROM impasto_api"))
    await painter.paint_next()
    await redis.flushall()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await asyncio.shield(final := asyncio.ensure_future(_last(events)))
    async with owner_database.session() as session:
        await (await session.connection()).execute(text("GRANT SELECT ON jobs TO impasto_api"))
    assert (await final).type == "succeeded"


@pytest.mark.usefixtures("impatient")
async def test_without_redis_a_request_can_still_wait_for_its_job(
    tenant: Tenant, settings: Settings, painter: Painter
) -> None:
    with closed_port() as port:
        async with running(tenant, settings, redis_url=f"redis://127.0.0.1:{port}/0") as client:
            headers = {"Idempotency-Key": "k"}
            await client.post("/v1/jobs", json=REQUEST, headers=headers)
            await painter.paint_next()
            waited = await client.post("/v1/jobs", json=REQUEST, headers=headers | {"Prefer": "wait=15"})
            assert (waited.status_code, waited.json()["status"]) == (200, "succeeded")


async def test_without_the_object_store_only_what_needs_it_fails(tenant: Tenant, settings: Settings) -> None:
    with closed_port() as port:
        async with running(tenant, settings, s3_endpoint_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.post("/v1/jobs", json=REQUEST)).status_code == 202
            upload = await client.post("/v1/uploads", json={"content_type": "image/png", "size": 9})
            assert upload.status_code == 201
            body = {
                "pipeline": "image-to-image",
                "input": {"prompt": "p", "init_image": upload.json()["id"]},
            }
            assert_unavailable(await client.post("/v1/jobs", json=body))
            assert_unavailable(await client.get("/readyz"))
            assert len((await client.get("/v1/jobs")).json()["data"]) == 1


async def test_a_fault_of_our_own_is_a_problem_document_that_tells_nothing_but_its_id(
    app: FastAPI, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("the secret is tiramisu")

    caplog.handler.setFormatter(JsonFormatter())
    response = await client.get("/broken")
    problem = assert_problem(response, 500, "internal-error")
    assert "tiramisu" not in response.text
    [logged] = [line for line in map(json.loads, caplog.text.splitlines()) if "problems" in line["logger"]]
    assert logged["request_id"] == problem["request_id"]
    assert (await client.get("/v1/jobs")).status_code == 200, "and the next request is served"


async def _last(events: AsyncIterator[Event]) -> Event:
    return [event async for event in events][-1]
