"""What it costs to know who asks, what for, and how often they may."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from limits import RateLimitItemPerMinute

from bench.http_api import JOB
from bench.installation import Platform
from bench.interleave import milliseconds, p50, progress, seconds_of
from bench.raw_http import connect
from bench.rows import Row
from impasto_api.rate_limits.limiter import open_limiter
from impasto_api.rate_limits.policies import Charge, Policy
from impasto_billing.plans import read_plans
from impasto_billing.plans.service import assign, sync
from impasto_core.api_keys.service import create_api_key
from impasto_core.clock import utc_now
from impasto_core.database import Database
from impasto_core.ids import new_id
from impasto_core.organizations.service import create_organization
from impasto_core.settings import DEVELOPMENT_PEPPER
from impasto_ctl.process import Child, stop_together

_UNCHECKED = Path(__file__).parent / "baselines" / "unchecked_api.py"
WARM_UP, PAIRS = 50, 500
_PLENTY = 10**7
"""Limits that are kept and never met."""


def rows(platform: Platform) -> Iterator[Row]:
    yield asyncio.run(_check(platform))
    token = asyncio.run(_customer(platform))
    with _api(platform) as url:
        yield asyncio.run(_request(url, token))


async def _check(platform: Platform) -> Row:
    policies = [
        Policy(name, str(new_id()), RateLimitItemPerMinute(_PLENTY)) for name in ("key", "organization")
    ]
    async with open_limiter(platform.redis_url, utc_now) as limiter:

        async def check() -> None:
            await limiter.take([Charge(policy) for policy in policies])

        times = [await seconds_of(check) for _ in range(1000)]
    return Row("rate limits of a request, p50", "nothing", p50(times) * 1000, 1, unit="ms")


async def _request(url: str, token: str) -> Row:
    headers = {"Authorization": f"Bearer {token}"}
    on_times, off_times = [], []
    async with connect(url) as connection:
        for done in range(-WARM_UP, PAIRS):
            on = await seconds_of(lambda: connection.request("POST", "/v1/jobs", headers, JOB, expect=202))
            off = await seconds_of(lambda: connection.request("POST", "/off", {}, JOB, expect=202))
            if done >= 0:
                on_times.append(on)
                off_times.append(off)
                progress("checks on and off", done + 1, PAIRS)
    on, off = p50(on_times), p50(off_times)
    return Row(
        "authentication, validation and rate limits of `POST /v1/jobs`, p50",
        "the same request with them off, the making of the job left out of both",
        (on - off) * 1000,
        1,
        unit="ms",
        detail=f"{milliseconds(on)} and {milliseconds(off)}",
    )


async def _customer(platform: Platform) -> str:
    """The key of an organization whose plan limits everything, and much further than it will go."""
    enterprise = next(plan for plan in read_plans() if plan.slug == "enterprise")
    terms = {"slug": "bench", "name": "Bench", "jobs_per_hour": _PLENTY, "requests_per_minute": _PLENTY}
    database = Database(platform.owner_url, pool_size=1)
    try:
        async with database.session() as session:
            await sync(session, [*read_plans(), enterprise.model_copy(update=terms)])
            slug = f"bench-{new_id()}"
            organization = await create_organization(session, slug=slug, name=slug)
            await assign(session, organization.id, "bench")
            _, token = await create_api_key(
                session, organization_id=organization.id, name="bench", mode="live", pepper=DEVELOPMENT_PEPPER
            )
    finally:
        await database.close()
    return token


@contextmanager
def _api(platform: Platform) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = os.environ | {
        "IMPASTO_DATABASE_URL": platform.owner_url,
        "IMPASTO_REDIS_URL": platform.redis_url,
        "IMPASTO_API_KEY_PEPPER": DEVELOPMENT_PEPPER,
        "IMPASTO_LOG_LEVEL": "warning",
    }
    argv = [sys.executable, str(_UNCHECKED), str(port)]
    server = Child("unchecked-api", argv, log=platform.folder / "unchecked-api.log", environ=environ)
    url = f"http://127.0.0.1:{port}"
    try:
        server.wait_until(lambda: _lives(url), 30)
        yield url
    finally:
        stop_together([server])


def _lives(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez").is_success
    except httpx.TransportError:
        return False
