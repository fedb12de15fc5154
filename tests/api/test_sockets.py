"""Socket.IO: what browsers hear of their jobs, from whichever API process they are connected to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx
import pytest
import socketio
from fastapi import FastAPI
from redis.asyncio import Redis
from socketio.exceptions import ConnectionError as Refused

from impasto_api import http_protocol
from impasto_api.app import create_app
from impasto_api.jobs import stream
from impasto_api.services import Services
from impasto_api.sockets import server
from impasto_core.api_keys.scopes import Scope
from impasto_core.database import Database
from impasto_core.jobs.events import EventWriter, Step
from impasto_core.settings import Settings
from tests.support.job_desk import until
from tests.support.painters import Painter
from tests.support.problems import assert_problem
from tests.support.servers import serve
from tests.support.streams import collect
from tests.support.tenants import Tenant, make_tenant

REQUEST = {"pipeline": "text-to-image", "input": {"prompt": "a big red heart"}}
WHOLE_LIFE = ["0-1", "1-1", "1-2", "1-3", "1-4", "1-5", "final"]


async def create(client: httpx.AsyncClient) -> str:
    response = await client.post("/v1/jobs", json=REQUEST)
    assert response.status_code == 202, response.text
    job_id: str = response.json()["id"]
    return job_id


@dataclass(frozen=True)
class Told:
    type: str
    data: dict[str, Any]
    id: str
    job_id: str


class Browser:
    """What python-socketio's own client is told."""

    def __init__(self, sio: socketio.AsyncClient) -> None:
        self._sio = sio
        self.told: asyncio.Queue[Told] = asyncio.Queue()
        sio.on("*", self._on_event)

    async def _on_event(self, name: str, data: dict[str, Any], envelope: dict[str, str]) -> None:
        await self.told.put(Told(name, data, **envelope))

    async def call(self, event: str, data: object = None) -> dict[str, Any]:
        answer: dict[str, Any] = await self._sio.call(event, data, timeout=20)
        return answer

    async def subscribe(self, job_id: str, **more: object) -> None:
        assert await self.call("subscribe", {"job_id": job_id, **more}) == {"ok": True}

    async def next(self) -> Told:
        async with asyncio.timeout(20):
            return await self.told.get()

    async def until_final(self) -> list[Told]:
        told = [await self.next()]
        while told[-1].id != "final":
            told.append(await self.next())
        return told

    @property
    def is_connected(self) -> bool:
        connected: bool = self._sio.connected
        return connected


@asynccontextmanager
async def browse(url: str, auth: object) -> AsyncIterator[Browser]:
    sio = socketio.AsyncClient(reconnection=False)
    browser = Browser(sio)
    try:
        await sio.connect(url, auth=auth, transports=["websocket"], wait_timeout=20)
        yield browser
    finally:
        await sio.disconnect()
        if sio.eio.http is not None:  # it is left open where the server has refused
            await sio.eio.http.close()


async def refusal(url: str, auth: object) -> dict[str, Any]:
    """The problem for which nobody may connect so."""
    sio = socketio.AsyncClient(reconnection=False)
    reasons: list[dict[str, Any]] = []
    sio.on("connect_error", reasons.append)
    with pytest.raises(Refused):
        await sio.connect(url, auth=auth, transports=["websocket"], wait_timeout=20)
    if sio.eio.http is not None:
        await sio.eio.http.close()
    problem: dict[str, Any] = reasons[0]["data"]
    return problem


def key_of(tenant: Tenant) -> dict[str, str]:
    return {"api_key": tenant.api_key}


@pytest.fixture
async def browser(base_url: str, tenant: Tenant) -> AsyncIterator[Browser]:
    async with browse(base_url, key_of(tenant)) as browser:
        yield browser


@pytest.fixture
async def other_process(settings: Settings, base_url: str) -> AsyncIterator[str]:
    """The URL of a second API process on the same PostgreSQL and Redis."""
    async with serve(create_app(settings)) as url:
        yield url


async def test_a_subscriber_hears_what_a_stream_says_from_the_first_event_to_the_last(
    client: httpx.AsyncClient, browser: Browser, painter: Painter
) -> None:
    job_id = await create(client)
    await browser.subscribe(job_id)
    await painter.paint_next()
    told = await browser.until_final()
    assert [event.id for event in told] == WHOLE_LIFE
    assert {event.job_id for event in told} == {job_id}
    streamed = await collect(client, job_id)
    assert [(event.id, event.type) for event in told] == [(event.id, event.type) for event in streamed]
    assert [event.data for event in told[1:-1]] == [event.data for event in streamed[1:-1]]
    assert told[-1].data["job"]["status"] == "succeeded"


async def test_two_processes_serve_the_subscribers_of_one_job_alike(
    client: httpx.AsyncClient, browser: Browser, other_process: str, tenant: Tenant, painter: Painter
) -> None:
    job_id = await create(client)
    async with browse(other_process, key_of(tenant)) as other:
        await browser.subscribe(job_id)
        await other.subscribe(job_id)
        assert [(await one.next()).type for one in (browser, other)] == ["queued", "queued"]
        await painter.paint_next()
        mine, theirs = await browser.until_final(), await other.until_final()
        assert [event.id for event in mine] == WHOLE_LIFE[1:]
        assert mine[:-1] == theirs[:-1]
        assert theirs[-1].type == "succeeded"


async def test_an_organizations_room_hears_of_every_end_once_in_all_processes(
    client: httpx.AsyncClient,
    browser: Browser,
    other_process: str,
    tenant: Tenant,
    stranger: Tenant,
    painter: Painter,
) -> None:
    async with (
        browse(other_process, key_of(tenant)) as colleague,
        browse(other_process, key_of(stranger)) as outsider,
    ):
        for one in (browser, colleague, outsider):
            assert await one.call("subscribe_organization") == {"ok": True}
        first, second = await create(client), await create(client)
        await painter.paint_next()
        await client.post(f"/v1/jobs/{second}/cancel")
        for one in (browser, colleague):
            told = {(event.type, event.id, event.job_id) for event in [await one.next(), await one.next()]}
            assert told == {("succeeded", "final", first), ("canceled", "final", second)}
            # What comes after has overtaken nothing: there was nothing more to tell.
            await one.subscribe(first, last_event_id="1-5")
            assert (await one.next()).id == "final"
            assert one.told.empty()
        assert outsider.told.empty()


async def test_who_comes_back_goes_on_after_the_last_event_he_has(
    client: httpx.AsyncClient, browser: Browser, painter: Painter, subtests: pytest.Subtests
) -> None:
    job_id = await create(client)
    await painter.paint_next()
    for place, last in enumerate(WHOLE_LIFE[:-1]):
        with subtests.test(last):
            await browser.subscribe(job_id, last_event_id=last)
            assert [event.id for event in await browser.until_final()] == WHOLE_LIFE[place + 1 :]
    await browser.subscribe(job_id, last_event_id="final")
    await browser.subscribe(job_id, last_event_id="1-5")
    assert (await browser.next()).id == "final", "of what was over before nothing is told again"


async def test_one_connection_follows_many_jobs_and_stops_when_it_is_told_to(
    client: httpx.AsyncClient, browser: Browser, painter: Painter, app: FastAPI
) -> None:
    jobs = [await create(client) for _ in range(3)]
    for job_id in jobs:
        await browser.subscribe(job_id)
    assert {(await browser.next()).job_id for _ in jobs} == set(jobs)
    assert await browser.call("unsubscribe", {"job_id": jobs[0]}) == {"ok": True}
    for _ in jobs:
        await painter.paint_next()
    told = await browser.until_final() + await browser.until_final()
    assert {event.job_id for event in told} == set(jobs[1:])

    services: Services = app.state.services
    await until(lambda: _true(services.followers.total() == 1), "only the connection itself is left")


async def test_who_may_not_connect_is_told_why(
    base_url: str, owner_database: Database, settings: Settings, tenant: Tenant, subtests: pytest.Subtests
) -> None:
    blind = await make_tenant(owner_database, settings, scopes=[Scope.IMAGES_READ])
    for auth, code in {
        None: "unauthenticated",
        "imp_live_nonsense": "unauthenticated",
        ("api_key", "imp_live_nonsense"): "unauthenticated",
        ("api_key", tenant.api_key[:-1] + "x"): "unauthenticated",
        ("api_key", 17): "validation-failed",
        ("api_key", blind.api_key): "forbidden",
    }.items():
        with subtests.test(str(auth)):
            sent = dict([auth]) if isinstance(auth, tuple) else auth
            problem = await refusal(base_url, sent)
            assert (problem["code"], bool(problem["detail"])) == (code, True)


async def test_another_organizations_job_cannot_be_followed(
    client: httpx.AsyncClient, base_url: str, stranger: Tenant
) -> None:
    job_id = await create(client)
    nothing = f"job_{'0' * 26}"
    async with browse(base_url, key_of(stranger)) as outsider:
        answers = [await outsider.call("subscribe", {"job_id": id_}) for id_ in (job_id, nothing)]
    assert [answer["error"]["code"] for answer in answers] == ["not-found", "not-found"]
    assert answers[0] == answers[1]


async def test_what_makes_no_sense_is_answered_with_a_problem(
    client: httpx.AsyncClient, browser: Browser, subtests: pytest.Subtests
) -> None:
    job_id = await create(client)
    for said, field in (
        (None, "body"),
        ("job", "body"),
        ([], "body"),
        ({}, "job_id"),
        ({"job_id": 1}, "job_id"),
        ({"job_id": "img_00000000000000000000000000"}, "job_id"),
        ({"job_id": job_id, "last_event_id": "soon"}, "last_event_id"),
        ({"job_id": job_id, "last_event_id": "final"}, "last_event_id"),
        ({"job_id": job_id, "more": 1}, "more"),
    ):
        with subtests.test(str(said)):
            error = (await browser.call("subscribe", said))["error"]
            assert (error["status"], error["code"]) == (422, "validation-failed")
            assert error["errors"][0]["field"] == field
    assert browser.is_connected


async def test_a_connection_follows_only_so_many_jobs(
    client: httpx.AsyncClient, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_SUBSCRIPTIONS", 1)
    first, second = await create(client), await create(client)
    await browser.subscribe(first)
    answer = await browser.call("subscribe", {"job_id": second})
    assert (answer["error"]["status"], answer["error"]["code"]) == (429, "too-many-subscriptions")
    await browser.call("unsubscribe", {"job_id": first})
    await browser.subscribe(second)


@pytest.fixture
def watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API looks at the keys of its connections more often than in life."""
    monkeypatch.setattr(server, "CHECK_SECONDS", 0.1)


@pytest.mark.usefixtures("watchful")
async def test_a_revoked_key_ends_its_connections(client: httpx.AsyncClient, base_url: str) -> None:
    key = (await client.post("/v1/api-keys", json={"name": "browser", "scopes": ["jobs:read"]})).json()
    async with browse(base_url, {"api_key": key["secret"]}) as browser:
        job_id = await create(client)
        await browser.subscribe(job_id)
        await client.delete(f"/v1/api-keys/{key['id']}")
        await until(lambda: _true(not browser.is_connected), "the connection lives on")


async def test_who_does_not_say_who_he_is_is_not_kept(base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "AUTHENTICATE_SECONDS", 0.1)
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{base_url}/socket.io/?EIO=4&transport=websocket") as silent,
    ):
        assert (await silent.receive()).type == aiohttp.WSMsgType.TEXT
        async with asyncio.timeout(20):
            assert (await silent.receive()).type == aiohttp.WSMsgType.CLOSE


async def test_what_makes_no_sense_at_all_is_passed_over_and_nothing_of_it_kept(
    client: httpx.AsyncClient, base_url: str, tenant: Tenant
) -> None:
    job_id = await create(client)
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{base_url}/socket.io/?EIO=4&transport=websocket") as socket,
        asyncio.timeout(20),
    ):
        await socket.receive()
        await socket.send_str("40" + json.dumps(key_of(tenant)))
        assert (await socket.receive_str()).startswith('40{"sid"')
        for nonsense in ("6", "4", "42", "42{", "42[]", '42["nothing"]', "44{}", "40/admin,", "4999-x"):
            await socket.send_str(nonsense)
        await socket.send_str('459999999999-["subscribe",{"_placeholder":true,"num":0}]')
        await socket.send_str(f'427["subscribe",{{"job_id":"{job_id}"}}]')
        while not (said := await socket.receive_str()).startswith("437"):
            assert said.startswith("44/admin"), "it is asked for what is not there"
        assert json.loads(said[3:]) == [{"ok": True}]


async def test_what_is_no_engine_io_ends_the_connection(
    base_url: str, tenant: Tenant, app: FastAPI, subtests: pytest.Subtests
) -> None:
    services: Services = app.state.services
    for noise in ("", "9", "x", "bQUJD", b"", b"4", "x" * 20_000):
        with subtests.test(str(noise)[:9]):
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(f"{base_url}/socket.io/?EIO=4&transport=websocket") as socket,
                asyncio.timeout(20),
            ):
                await socket.receive()
                await socket.send_str("40" + json.dumps(key_of(tenant)))
                assert (await socket.receive_str()).startswith('40{"sid"')
                assert services.followers.total() == 1
                await (socket.send_bytes(noise) if isinstance(noise, bytes) else socket.send_str(noise))
                assert (await socket.receive()).type == aiohttp.WSMsgType.CLOSE
            await until(lambda: _true(services.followers.total() == 0), "it is not forgotten")


async def test_what_is_no_websocket_is_told_so(client: httpx.AsyncClient) -> None:
    response = await client.get("/socket.io/?EIO=4&transport=polling")
    assert_problem(response, 400, "bad-request")


async def test_a_socket_that_does_not_read_is_dropped(
    client: httpx.AsyncClient,
    browser: Browser,
    app: FastAPI,
    painter: Painter,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(server, "_MAX_QUEUED", 2)
    monkeypatch.setattr(http_protocol, "READ_SECONDS", 0.5)
    job_id = await create(client)
    job = await painter.claim()
    await browser.subscribe(job_id, last_event_id="1-1")
    browser._sio.eio.ws._response.connection.transport.pause_reading()
    steps = EventWriter(redis, job.id, job.attempt + 1)
    for number in range(1, 101):
        await steps.write(Step(node="d", step=number, total=100, progress=0, preview="x" * 200_000))
    services: Services = app.state.services
    await until(lambda: _true(not services.followers.total()), "events are kept for nobody")
    sockets = await app.state.sockets.server()
    await until(lambda: _true(not sockets._sio.eio.sockets), "its connection is kept")
    browser._sio.eio.ws._response.connection.transport.resume_reading()


async def test_who_pings_without_end_and_reads_no_pong_is_cut_off(
    base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "READ_SECONDS", 0.1)
    async with (
        asyncio.timeout(20),
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{base_url}/socket.io/?EIO=4&transport=websocket") as socket,
    ):
        assert socket._response.connection is not None
        socket._response.connection.transport.pause_reading()  # type: ignore[union-attr]

        async def ping_without_end() -> None:
            while True:
                await socket.ping(b"x" * 125)

        with pytest.raises(ConnectionError):
            await ping_without_end()


async def _true(value: bool) -> bool:
    return value
