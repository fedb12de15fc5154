"""Rate limits: exact for everybody, told to everybody, and kept even when Redis is not there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import httpx
import pytest
from limits import RateLimitItemPerMinute
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from redis.asyncio import Redis

from impasto_api.app import create_app
from impasto_api.rate_limits import limiter as limiter_module
from impasto_api.rate_limits.limiter import RateLimiter, open_limiter
from impasto_api.rate_limits.policies import Charge, Policy
from impasto_api.rate_limits.windows import MemoryWindows, RedisWindows
from impasto_billing.plans.service import assign
from impasto_core.clock import utc_now
from impasto_core.database import Database
from impasto_core.settings import Settings
from tests.api.conftest import MovableClock
from tests.support.job_desk import until
from tests.support.problems import assert_problem
from tests.support.servers import closed_port, hanging_server, serve
from tests.support.tenants import Tenant, make_customer, make_tenant, register_model

REQUEST = {"pipeline": "text-to-image", "input": {"prompt": "a big red heart"}}
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"


def assert_limited(response: httpx.Response, *policies: str) -> int:
    """The answer is the 429 of draft and registry, and violates these policies. Returns its Retry-After."""
    assert response.status_code == 429, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["type"] == QUOTA_EXCEEDED
    assert problem["code"] == "quota-exceeded"
    assert problem["violated-policies"] == list(policies)
    assert problem["request_id"] == response.headers["x-request-id"]
    retry_after = int(response.headers["retry-after"])
    for name in policies:
        remaining, reset = quota(response, name)
        assert remaining == 0
        assert retry_after >= reset
    return retry_after


def quota(response: httpx.Response, name: str) -> tuple[int, int]:
    """What remains of a policy, and the seconds until there is more."""
    found = re.search(rf'"{name}";r=(\d+);t=(\d+)', response.headers["ratelimit"])
    assert found, response.headers["ratelimit"]
    return int(found[1]), int(found[2])


async def customer(owner: Database, settings: Settings, **terms: int) -> Tenant:
    """An organization that has no other limits than these, and a model to paint with."""
    await register_model(owner)
    return await make_customer(owner, settings, **terms)


@asynccontextmanager
async def clients(
    *urls: str, headers: dict[str, str], count: int = 16
) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Clients with connections of their own, in turn of each server."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                httpx.AsyncClient(base_url=urls[number % len(urls)], headers=headers, timeout=30)
            )
            for number in range(count)
        ]


async def many(clients: Sequence[httpx.AsyncClient], times: int, **request: Any) -> list[httpx.Response]:
    """Each client sends the request so many times, all clients at once."""

    async def some(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.request(**request) for _ in range(times)]

    return [response for responses in await asyncio.gather(*map(some, clients)) for response in responses]


def statuses(responses: Sequence[httpx.Response]) -> Counter[int]:
    return Counter(response.status_code for response in responses)


async def test_sixteen_clients_of_two_servers_get_exactly_as_many_jobs_as_the_plan_allows(
    base_url: str, settings: Settings, owner_database: Database
) -> None:
    tenant = await customer(owner_database, settings, jobs_per_hour=60)
    async with (
        serve(create_app(settings)) as other_url,
        clients(base_url, other_url, headers=tenant.headers) as sixteen,
    ):
        responses = await many(sixteen, 6, method="POST", url="/v1/jobs", json=REQUEST)
        assert statuses(responses) == {202: 60, 429: 36}
        remaining = [quota(response, "job-creations")[0] for response in responses if response.is_success]
        assert sorted(remaining) == list(range(60)), "each was told a truth of its own"
        listed = await sixteen[0].get("/v1/jobs?limit=100")
        assert len(listed.json()["data"]) == 60


async def test_sixteen_clients_get_exactly_as_many_answers_as_their_key_and_organization_may(
    base_url: str, settings: Settings, owner_database: Database
) -> None:
    tenant = await customer(owner_database, settings, requests_per_minute=100)
    async with clients(base_url, headers=tenant.headers) as sixteen:
        second_key = await sixteen[0].post("/v1/api-keys", json={"name": "second"})
        responses = await many(sixteen, 5, method="GET", url="/v1/jobs")
        assert statuses(responses) == {200: 49, 429: 31}
        assert_limited(responses[-1], "key")
    headers = {"Authorization": f"Bearer {second_key.json()['secret']}"}
    async with clients(base_url, headers=headers) as sixteen:
        responses = await many(sixteen, 5, method="GET", url="/v1/jobs")
        assert statuses(responses) == {200: 50, 429: 30}, "one key left to the other what is its own"
        assert_limited(responses[-1], "key", "organization")


async def test_after_retry_after_and_not_before_there_is_room_for_another_job(
    base_url: str, settings: Settings, owner_database: Database, clock: MovableClock
) -> None:
    tenant = await customer(owner_database, settings, jobs_per_hour=2)
    async with httpx.AsyncClient(base_url=base_url, headers=tenant.headers) as client:

        async def create() -> httpx.Response:
            return await client.post("/v1/jobs", json=REQUEST)

        first = await create()
        assert first.headers["ratelimit-policy"] == '"job-creations";q=2;w=3600'
        assert first.headers["ratelimit"] == '"job-creations";r=1;t=3600'
        clock.advance(minutes=40)
        second = await create()
        remaining, reset = quota(second, "job-creations")
        assert remaining == 0
        assert 1100 < reset <= 1200, "the first job's place comes back twenty minutes from now"
        retry_after = assert_limited(await create(), "job-creations")
        clock.advance(seconds=retry_after - 60)
        assert_limited(await create(), "job-creations")
        clock.advance(seconds=60)
        assert (await create()).status_code == 202
        assert 2300 < assert_limited(await create(), "job-creations") <= 2400, "no window begins anew at once"


async def test_a_replay_uses_up_no_job_and_is_answered_when_none_is_left(
    base_url: str, settings: Settings, owner_database: Database
) -> None:
    tenant = await customer(owner_database, settings, jobs_per_hour=1, requests_per_minute=100)
    async with httpx.AsyncClient(base_url=base_url, headers=tenant.headers) as client:
        once = {"Idempotency-Key": "once"}
        first = await client.post("/v1/jobs", json=REQUEST, headers=once)
        assert first.status_code == 202
        assert_limited(await client.post("/v1/jobs", json=REQUEST), "job-creations")
        replay = await client.post("/v1/jobs", json=REQUEST, headers=once)
        assert replay.status_code == 202
        assert replay.json() == first.json()
        assert replay.headers["idempotency-replayed"] == "true"
        assert quota(replay, "key")[0] == quota(first, "key")[0] - 2, "it is a request like any other"
        assert "job-creations" not in replay.headers["ratelimit"]


async def test_a_request_that_is_wrong_uses_up_no_job(
    base_url: str, settings: Settings, owner_database: Database
) -> None:
    tenant = await customer(owner_database, settings, jobs_per_hour=1)
    async with httpx.AsyncClient(base_url=base_url, headers=tenant.headers) as client:
        wrong = [{"prompt": "x", "width": 7}, {"prompt": "x", "model": "none-such"}]
        for input_ in wrong:
            body = {"pipeline": "text-to-image", "input": input_}
            assert_problem_status(await client.post("/v1/jobs", json=body), 422)
        assert (await client.post("/v1/jobs", json=REQUEST)).status_code == 202


def assert_problem_status(response: httpx.Response, status: int) -> None:
    assert response.status_code == status, response.text


async def test_reads_go_on_when_no_more_jobs_may_be_made(
    base_url: str, settings: Settings, owner_database: Database
) -> None:
    await register_model(owner_database)
    tenant = await make_tenant(owner_database, settings, plan="free")
    async with clients(base_url, headers=tenant.headers) as sixteen:
        responses = await many(sixteen, 1, method="POST", url="/v1/jobs", json=REQUEST)
        assert statuses(responses) == {202: 10, 429: 6}
        assert (await sixteen[0].get("/v1/jobs")).status_code == 200


async def test_a_new_plan_holds_at_once_for_what_was_used_before(
    base_url: str, settings: Settings, owner_database: Database
) -> None:
    await register_model(owner_database)
    tenant = await make_tenant(owner_database, settings, plan="free")
    async with httpx.AsyncClient(base_url=base_url, headers=tenant.headers) as client:
        made = [await client.post("/v1/jobs", json=REQUEST) for _ in range(11)]
        assert statuses(made) == {202: 10, 429: 1}
        async with owner_database.session() as session:
            await assign(session, tenant.organization_id, "starter")

        async def allowed() -> bool:
            return (await client.post("/v1/jobs", json=REQUEST)).status_code == 202

        await until(allowed, "the new plan is not heard of", within=5)
        response = await client.post("/v1/jobs", json=REQUEST)
        assert quota(response, "job-creations")[0] == 60 - 12


async def test_who_has_no_limits_is_told_of_none(client: httpx.AsyncClient) -> None:
    await client.get("/v1/jobs")
    response = await client.post("/v1/jobs", json=REQUEST)
    assert response.status_code == 202
    assert not {"ratelimit", "ratelimit-policy"} & response.headers.keys()


class TestAddresses:
    """Before a request is authenticated, its address is all that is known."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """The API under test stands behind a proxy on this very machine."""
        limits = {"address_requests_per_minute": 8, "failed_authentications_per_minute": 3}
        return Settings(**settings.model_dump() | limits | {"trusted_proxies": "127.0.0.0/8, 10.1.0.0/16"})

    @staticmethod
    async def guess(client: httpx.AsyncClient, address: str = "203.0.113.1") -> httpx.Response:
        headers = {"Authorization": "Bearer imp_live_wrong", "X-Forwarded-For": address}
        return await client.get("/v1/jobs", headers=headers)

    async def test_nobody_finds_a_key_by_trying(self, base_url: str) -> None:
        async with clients(base_url, headers={}) as sixteen:
            responses = await asyncio.gather(*map(self.guess, sixteen))
        assert statuses(responses) == {401: 3, 429: 13}
        refused = [response for response in responses if response.status_code == 429]
        names = {name for response in refused for name in response.json()["violated-policies"]}
        assert names <= {"address", "failed-authentications"}

    async def test_a_known_key_is_served_wherever_the_guesses_come_from(
        self, client: httpx.AsyncClient
    ) -> None:
        here = {"X-Forwarded-For": "203.0.113.1"}
        assert (await client.get("/v1/jobs", headers=here)).status_code == 200
        for _ in range(3):
            assert_problem(await self.guess(client), 401, "unauthenticated")
        assert_limited(await self.guess(client), "failed-authentications")
        assert (await client.get("/v1/jobs", headers=here)).status_code == 200

    async def test_nobody_finds_a_key_by_trying_over_one_socket(self, base_url: str, tenant: Tenant) -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{base_url}/socket.io/?EIO=4&transport=websocket") as socket,
            asyncio.timeout(20),
        ):
            await socket.receive()
            codes = []
            for key in ("wrong", "wrong", "wrong", tenant.api_key):
                await socket.send_str("40" + json.dumps({"api_key": key}))
                answer = await socket.receive_str()
                assert answer.startswith("44"), "it is let in"
                codes.append(json.loads(answer[2:])["data"]["code"])
        assert codes == ["unauthenticated"] * 3 + ["quota-exceeded"]

    async def test_an_address_without_a_key_may_ask_only_so_often(self, anonymous: httpx.AsyncClient) -> None:
        here = {"X-Forwarded-For": "203.0.113.1"}
        responses = [await anonymous.get("/v1/jobs", headers=here) for _ in range(9)]
        assert statuses(responses) == {401: 8, 429: 1}
        assert_limited(responses[-1], "address")
        assert responses[0].headers["ratelimit-policy"] == (
            '"address";q=8;w=60, "failed-authentications";q=3;w=60'
        )
        elsewhere = {"X-Forwarded-For": "203.0.113.2"}
        assert (await anonymous.get("/v1/jobs", headers=elsewhere)).status_code == 401

    async def test_probes_are_never_limited(self, anonymous: httpx.AsyncClient) -> None:
        for path in ("/livez", "/readyz"):
            responses = [await anonymous.get(path) for _ in range(12)]
            assert statuses(responses) == {200: 12}
            assert "ratelimit" not in responses[0].headers

    @pytest.mark.parametrize(
        ("first", "second", "same"),
        [
            ("198.51.100.1", "198.51.100.2", False),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),  # one customer's network
            ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
            ("::ffff:198.51.100.1", "198.51.100.1", True),
            ("198.51.100.1", "6.6.6.6, 198.51.100.1", True),  # what the caller wrote himself
            ("198.51.100.1", "198.51.100.1, 10.1.2.3", True),  # by way of a second proxy of ours
        ],
    )
    async def test_whose_guesses_they_are(
        self, anonymous: httpx.AsyncClient, first: str, second: str, same: bool
    ) -> None:
        for _ in range(3):
            await self.guess(anonymous, first)
        assert (await self.guess(anonymous, second)).status_code == (429 if same else 401)

    async def test_an_address_is_believed_only_of_a_trusted_proxy(self, settings: Settings) -> None:
        untrusting = Settings(**settings.model_dump() | {"trusted_proxies": ""})
        async with (
            serve(create_app(untrusting)) as url,
            httpx.AsyncClient(base_url=url) as client,
        ):
            guesses = [await self.guess(client, f"203.0.113.{number}") for number in range(4)]
        assert statuses(guesses) == {401: 3, 429: 1}


def policy(name: str, amount: int) -> Policy:
    return Policy(name, "somebody", RateLimitItemPerMinute(amount))


async def test_redis_and_memory_keep_the_same_windows(redis: Redis) -> None:
    """In whatever order: amounts that change, limits that are only looked at, long pauses."""
    in_redis, in_memory = RedisWindows(redis), MemoryWindows()
    chance = random.Random(7)
    now_ms = 1_800_000_000_000
    refused = 0
    for _ in range(1500):
        now_ms += chance.choice([0, 1, 500, 4_000, 30_000])
        names = chance.sample(["a", "b", "c"], chance.randint(1, 3))
        charges = [
            Charge(policy(name, chance.choice([3, 9, 10])), chance.choice([0, 1, 1])) for name in names
        ]
        answer = in_memory.take(now_ms, charges)
        assert await in_redis.take(now_ms, charges) == answer
        refused += not all(quota.allowed for quota in answer)
    assert 300 < refused < 1200, "it was a test of both answers"


async def test_a_refused_request_takes_nothing_of_any_limit(redis: Redis) -> None:
    windows = RedisWindows(redis)
    wide, narrow = policy("wide", 10), policy("narrow", 1)
    for expected in (True, False, False):
        quotas = await windows.take(1_000_000, [Charge(wide), Charge(narrow)])
        assert quotas[1].allowed == expected
        assert quotas[0].remaining == 9


class Metrics:
    """What the limiter has counted."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.meter = MeterProvider([self._reader]).get_meter("tests")

    def read(self) -> dict[tuple[str, object], Any]:
        data = self._reader.get_metrics_data()
        assert data
        return {
            (metric.name, (point.attributes or {}).get("storage")): point.value  # type: ignore[union-attr]
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        }


@asynccontextmanager
async def gateway(port: int, redis_url: str) -> AsyncIterator[None]:
    """Redis on another port, for as long as the block lasts."""
    target = httpx.URL(redis_url)
    pipes: set[asyncio.Task[None]] = set()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            while data := await reader.read(65536):
                writer.write(data)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(target.host, target.port)
        pipes.update(
            {asyncio.create_task(pipe(reader, there[1])), asyncio.create_task(pipe(there[0], writer))}
        )

    server = await asyncio.start_server(connect, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        for task in pipes:
            task.cancel()
        await asyncio.gather(*pipes, return_exceptions=True)


async def take(limiter: RateLimiter, amount: int = 2) -> bool:
    [quota] = await limiter.take([Charge(policy("test", amount))])
    return quota.allowed


async def test_while_redis_is_away_the_process_keeps_the_limits_by_itself(
    redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limiter_module, "_RETRY_SECONDS", 0)
    caplog.set_level(logging.INFO, limiter_module.__name__)
    metrics = Metrics()
    with closed_port() as port:
        pass
    redis_url = settings.redis_url.get_secret_value()
    elsewhere = httpx.URL(redis_url).copy_with(port=port)
    async with open_limiter(str(elsewhere), utc_now, metrics.meter) as limiter:
        assert [await take(limiter) for _ in range(3)] == [True, True, False]
        assert metrics.read() == {
            ("impasto.rate_limits.checks", "memory"): 3,
            ("impasto.rate_limits.fallback", None): 1,
        }
        assert len(caplog.records) == 1, "it says so once, and not with every request"
        async with gateway(port, redis_url):
            assert [await take(limiter) for _ in range(3)] == [True, True, False], "Redis knew nothing of it"
            assert metrics.read()[("impasto.rate_limits.fallback", None)] == 0
            assert metrics.read()[("impasto.rate_limits.checks", "redis")] == 3
            assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
        assert await take(limiter), "and away again"
        assert metrics.read()[("impasto.rate_limits.fallback", None)] == 1


async def test_redis_that_hangs_is_asked_now_and_then_by_one_request_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metrics = Metrics()
    monkeypatch.setattr(limiter_module, "_RETRY_SECONDS", 3600)
    async with (
        hanging_server() as port,
        open_limiter(f"redis://127.0.0.1:{port}", utc_now, metrics.meter) as limiter,
    ):
        assert [await take(limiter, 100) for _ in range(50)] == [True] * 50
    assert metrics.read()[("impasto.rate_limits.checks", "memory")] == 50


async def test_the_api_limits_its_callers_without_redis_too(
    settings: Settings, owner_database: Database
) -> None:
    tenant = await customer(owner_database, settings, jobs_per_hour=5)
    with closed_port() as port:
        away = Settings(**settings.model_dump() | {"redis_url": f"redis://127.0.0.1:{port}"})
        async with serve(create_app(away)) as url, clients(url, headers=tenant.headers) as sixteen:
            responses = await many(sixteen, 1, method="POST", url="/v1/jobs", json=REQUEST)
    assert statuses(responses) == {202: 5, 429: 11}
    assert_limited(next(response for response in responses if response.status_code == 429), "job-creations")


def test_a_proxy_that_is_no_address_is_refused_at_the_start(settings: Settings) -> None:
    with pytest.raises(ValueError, match="everyone"):
        Settings(**settings.model_dump() | {"trusted_proxies": "10.0.0.1, everyone"})
