"""An API process that is told to stop, under load, while another takes over."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from impasto import AsyncImpasto
from impasto_core.settings import Settings
from impasto_ctl.embedded import EmbeddedServers
from tests.support.databases import DatabaseUrls
from tests.support.job_desk import until
from tests.support.painters import Painter
from tests.support.programs import Program, environ_of
from tests.support.proxy import Proxy
from tests.support.tenants import Tenant

PROMPT = {"prompt": "a big red heart"}


class Api(Program):
    def __init__(self, environ: dict[str, str], log: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        super().__init__("impasto_api.server", environ | {"IMPASTO_API_PORT": str(self.port)}, log)

    async def is_ready(self) -> bool:
        assert self.is_running, self.log.read_text()
        async with httpx.AsyncClient() as client:
            try:
                return (await client.get(f"http://127.0.0.1:{self.port}/readyz")).is_success
            except httpx.TransportError:
                return False


@pytest.fixture
def start(
    servers: EmbeddedServers, urls: DatabaseUrls, settings: Settings, tmp_path: Path
) -> Iterator[Callable[[], Api]]:
    environ = environ_of(servers, urls.api) | {
        "IMPASTO_API_KEY_PEPPER": settings.api_key_pepper.get_secret_value()
    }
    with ExitStack() as stack:

        def start() -> Api:
            api = Api(environ, tmp_path / f"api-{len(list(tmp_path.iterdir()))}")
            stack.callback(api.close)
            return api

        yield start


@pytest.fixture
async def apis(start: Callable[[], Api]) -> list[Api]:
    """Two processes, which are up."""
    apis = [start(), start()]
    for api in apis:
        await until(api.is_ready, "the API did not get ready", within=90)
    return apis


@pytest.fixture
async def balancer(apis: list[Api]) -> AsyncIterator[Proxy]:
    """Sends new connections to the first of the processes, whichever that is."""
    balancer = Proxy(lambda: apis[0].port)
    await balancer.open()
    yield balancer
    await balancer.close()


@pytest.fixture
async def client(tenant: Tenant, balancer: Proxy) -> AsyncIterator[AsyncImpasto]:
    async with AsyncImpasto(tenant.api_key, base_url=f"http://127.0.0.1:{balancer.port}") as client:
        yield client


async def test_a_stopping_api_finishes_requests_hands_streams_over_and_nobody_sees_an_error(
    apis: list[Api], client: AsyncImpasto, painter: Painter
) -> None:
    followed = [(await client.jobs.create("text-to-image", PROMPT)).id for _ in range(5)]
    heard: list[str] = []

    async def follow(job_id: str) -> list[str]:
        events = []
        async for event in client.jobs.events(job_id):
            events.append(event.type)
            heard.append(job_id)
        return events

    streams = [asyncio.create_task(follow(job_id)) for job_id in followed]
    waiting = asyncio.create_task(client.jobs.create("text-to-image", PROMPT, wait=60))
    stopped = asyncio.Event()

    async def order() -> list[str]:
        """One job after the other, as fast as they are answered."""
        made = []
        while not stopped.is_set():
            made.append((await client.jobs.create("text-to-image", PROMPT)).id)
        return made

    orders = [asyncio.create_task(order()) for _ in range(3)]

    async def all_is_under_way() -> bool:
        return set(heard) == set(followed) and len((await client.jobs.list(limit=20)).data) > 12

    await until(all_is_under_way, "the load did not begin")
    leaving = apis.pop(0)
    leaving.send(signal.SIGTERM)
    code = await asyncio.to_thread(leaving.wait, 10)
    log = leaving.log.read_text()
    assert code == 0, log
    assert "graceful shutdown exceeded" not in log, "nothing was cut short"
    assert "Traceback" not in log

    assert (await waiting).status == "queued", "it was answered before its time"
    stopped.set()
    made = [job_id for ids in await asyncio.gather(*orders) for job_id in ids]
    assert len(made) == len(set(made))
    for _ in range(len(followed)):
        await painter.paint_next()
    for events in await asyncio.gather(*streams):
        assert (events[0], events[-1]) == ("queued", "succeeded")
        assert events.count("started") == 1, "resumed, and not told again"
