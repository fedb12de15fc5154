"""What a request costs, beside handlers that do nothing but their one statement."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx

from bench.installation import UNSERVED, Platform
from bench.interleave import milliseconds, p50, take_turns
from bench.raw_http import Connection, connect
from bench.rows import Row
from impasto import Impasto
from impasto_core.database import Database
from impasto_core.ids import parse_id
from impasto_ctl.process import Child, stop_together

_BARE = Path(__file__).parent / "baselines" / "bare_api.py"
_TABLE = "CREATE TABLE IF NOT EXISTS bench_rows (id bigserial PRIMARY KEY, body jsonb NOT NULL)"

JOB = {"pipeline": "text-to-image", "input": {"prompt": "a big red heart", "model": UNSERVED}}

Call = Callable[[Connection], Awaitable[object]]


def rows(platform: Platform) -> Iterator[Row]:
    asyncio.run(_execute(platform.owner_url, _TABLE))
    with _bare_api(platform) as bare_url, platform.client() as client:
        job_id = client.post("/v1/jobs", json=JOB).raise_for_status().json()["id"]
        post = partial(_request, "POST", "/v1/jobs", platform.headers, JOB, 202)
        bare_post = partial(_request, "POST", "/rows", {}, JOB, 202)
        for clients in (1, 16):
            yield _latency(platform.base_url, post, bare_url, bare_post, clients)
        get = partial(_request, "GET", f"/v1/jobs/{job_id}", platform.headers, None, 200)
        bare_get = partial(_request, "GET", f"/jobs/{parse_id('job', job_id)}", {}, None, 200)
        yield _throughput(platform.base_url, get, bare_url, bare_get)
        yield _sdk(platform, client, job_id)
    yield _memory(platform)


def _latency(url: str, post: Call, bare_url: str, bare_post: Call, clients: int) -> Row:
    requests = 30 if clients == 1 else 8
    times = take_turns(
        f"POST, {clients} at once",
        {
            "ours": lambda: p50(asyncio.run(load(url, post, clients, requests))),
            "bare": lambda: p50(asyncio.run(load(bare_url, bare_post, clients, requests))),
        },
        rounds=10,
    )
    ours, bare = p50(times["ours"]), p50(times["bare"])
    return Row(
        f"`POST /v1/jobs`, p50, {clients} client{'s' if clients > 1 else ''}",
        "a bare FastAPI handler with one INSERT and commit, on the same pool",
        ours / bare,
        3,
        detail=f"{milliseconds(ours)} and {milliseconds(bare)}",
    )


def _throughput(url: str, get: Call, bare_url: str, bare_get: Call) -> Row:
    clients, requests = 16, 25

    def per_second(base_url: str, call: Call) -> float:
        started = time.perf_counter()
        asyncio.run(load(base_url, call, clients, requests))
        return clients * requests / (time.perf_counter() - started)

    rates = take_turns(
        "GET",
        {"ours": lambda: per_second(url, get), "bare": lambda: per_second(bare_url, bare_get)},
        rounds=8,
    )
    ours, bare = p50(rates["ours"]), p50(rates["bare"])
    return Row(
        "`GET /v1/jobs/{id}`, requests a second, 16 clients",
        "a bare handler with the one SELECT",
        ours / bare,
        0.5,
        more_is_better=True,
        detail=f"{ours:.0f}/s and {bare:.0f}/s",
    )


def _sdk(platform: Platform, client: httpx.Client, job_id: str) -> Row:
    sdk = Impasto(api_key=platform.api_key, base_url=platform.base_url)

    def timed(call: Callable[[], object]) -> float:
        times = []
        for _ in range(50):
            started = time.perf_counter()
            call()
            times.append(time.perf_counter() - started)
        return p50(times)

    times = take_turns(
        "SDK call",
        {
            "sdk": lambda: timed(lambda: sdk.jobs.get(job_id)),
            "httpx": lambda: timed(lambda: client.get(f"/v1/jobs/{job_id}").raise_for_status().json()),
        },
        rounds=10,
    )
    ours, raw = p50(times["sdk"]), p50(times["httpx"])
    return Row(
        "SDK call, `client.jobs.get`, p50",
        "httpx alone, same request",
        ours / raw,
        1.3,
        detail=f"{milliseconds(ours)} and {milliseconds(raw)}",
    )


def _memory(platform: Platform) -> Row:
    status = Path(f"/proc/{platform.api_pid}/status").read_text()
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    return Row(
        "memory of the API process after all this; torch never imported", "", int(kilobytes) / 1024, 150, "MB"
    )


async def _request(
    method: str, path: str, headers: dict[str, str], body: object, expect: int, connection: Connection
) -> object:
    return await connection.request(method, path, headers, body, expect=expect)


async def load(base_url: str, call: Call, clients: int, requests: int) -> list[float]:
    """Seconds of each request, of so many clients that each send one after the other."""
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(connect(base_url)) for _ in range(clients)]

        async def send(connection: Connection) -> list[float]:
            times = []
            for _ in range(requests):
                started = time.perf_counter()
                await call(connection)
                times.append(time.perf_counter() - started)
            return times

        return [seconds for times in await asyncio.gather(*map(send, connections)) for seconds in times]


@contextmanager
def _bare_api(platform: Platform) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [sys.executable, str(_BARE), platform.owner_url, str(port)]
    server = Child("bare-api", argv, log=platform.folder / "bare-api.log", environ=os.environ)
    url = f"http://127.0.0.1:{port}"
    try:
        server.wait_until(lambda: _listens(url), 30)
        yield url
    finally:
        stop_together([server])


def _listens(url: str) -> bool:
    try:
        return bool(httpx.get(url).status_code)
    except httpx.TransportError:
        return False


async def _execute(owner_url: str, statement: str) -> None:
    from sqlalchemy import text

    database = Database(owner_url, pool_size=1)
    try:
        async with database.session() as session:
            await (await session.connection()).execute(text(statement))
    finally:
        await database.close()
