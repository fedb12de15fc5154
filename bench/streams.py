"""A thousand open streams in one API process, on real sockets: their weight, and how soon all have heard."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from redis.asyncio import Redis

from bench.http_api import JOB
from bench.installation import Platform
from bench.interleave import p50, progress
from bench.raw_http import connect
from bench.rows import Row
from impasto_core.ids import parse_id
from impasto_core.jobs.events import EventWriter, Step

STREAMS = 1000
ROUNDS = 20
_OPENED_AT_ONCE = 20
_STEP = Step(
    node="denoise_0", step=1, total=20, progress=0.05, preview="data:image/jpeg;base64," + "A" * 3000
)


def rows(platform: Platform) -> Iterator[Row]:
    yield from asyncio.run(_rows(platform))


async def _rows(platform: Platform) -> list[Row]:
    redis = Redis.from_url(platform.redis_url)
    jobs = await _create_jobs(platform)
    writers = [EventWriter(redis, parse_id("job", job_id), 1) for job_id in jobs]
    before = await _redis_connections(redis)
    async with _followers(platform, jobs) as followers:
        # Of all other processes, none opens or closes a connection meanwhile.
        connections = await _redis_connections(redis) - before
        for writer in writers:
            await writer.write(_STEP)
        await _all_hear("1-1", followers)
        many_jobs = _resident_megabytes(platform.api_pid)
    async with _followers(platform, jobs[:1] * STREAMS) as followers:
        await _all_hear("1-1", followers)
        took = [await _told(writers[0], number, followers) for number in range(2, ROUNDS + 2)]
        one_job = _resident_megabytes(platform.api_pid)
    await redis.aclose()
    return [
        Row(
            f"memory of an API process with {STREAMS:,} open streams",
            "nothing",
            max(many_jobs, one_job),
            300,
            unit="MB",
            detail=f"of {STREAMS:,} jobs {many_jobs:.0f} MB, of one job {one_job:.0f} MB",
        ),
        Row(
            f"Redis connections that {STREAMS:,} streams of {STREAMS:,} jobs add to those of the process",
            "one subscribed connection and a pool of 16",
            max(connections, 1),
            17,
            unit="connections",
        ),
        Row(
            f"a step with a preview, written by a worker, until the last of {STREAMS:,} clients has it, p50",
            "nothing",
            p50(took) * 1000,
            250,
            unit="ms",
            detail=f"at most {max(took) * 1000:.0f} ms",
        ),
    ]


async def _create_jobs(platform: Platform) -> list[str]:
    async with connect(platform.base_url) as connection:
        jobs = []
        for number in range(STREAMS):
            job = await connection.request("POST", "/v1/jobs", platform.headers, JOB, expect=202)
            jobs.append(job["id"])
            progress("jobs", number + 1, STREAMS)
    return jobs


@asynccontextmanager
async def _followers(platform: Platform, jobs: list[str]) -> AsyncIterator[list[_Follower]]:
    few = asyncio.Semaphore(_OPENED_AT_ONCE)

    async def opened(job_id: str) -> _Follower:
        async with few:
            return await _Follower.open(platform, job_id)

    followers = await asyncio.gather(*map(opened, jobs))
    try:
        yield followers
    finally:
        for follower in followers:
            follower.close()
        await asyncio.sleep(1)  # until the server has noticed


class _Follower:
    """One stream on a socket of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, platform: Platform, job_id: str) -> _Follower:
        address = urlsplit(platform.base_url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        follower = cls(reader, writer)
        head = "".join(f"{name}: {value}\r\n" for name, value in platform.headers.items())
        writer.write(f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: bench\r\n{head}\r\n".encode())
        status = await reader.readline()
        if b" 200 " not in status:
            raise RuntimeError(f"a stream was refused: {status!r}")
        await follower.hears("0-1")
        return follower

    async def hears(self, event_id: str) -> float:
        """When the event has arrived, whole."""
        wanted = f"id: {event_id}".encode()
        while (await self._reader.readline()).strip() != wanted:
            pass
        while not re.match(rb"\s*$", await self._reader.readline()):
            pass
        return time.perf_counter()

    def close(self) -> None:
        self._writer.close()


async def _all_hear(event_id: str, followers: list[_Follower]) -> float:
    return max(await asyncio.gather(*(follower.hears(event_id) for follower in followers)))


async def _told(writer: EventWriter, number: int, followers: list[_Follower]) -> float:
    """Seconds from the moment a worker writes until the last follower has it."""
    listening = asyncio.create_task(_all_hear(f"1-{number}", followers))
    await asyncio.sleep(0.2)
    began = time.perf_counter()
    await writer.write(_STEP)
    return await listening - began


async def _redis_connections(redis: Redis) -> int:
    return int((await redis.info("clients"))["connected_clients"])


def _resident_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    return int(kilobytes) / 1024
