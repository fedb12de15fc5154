"""Server-sent events as a client reads them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Event:
    id: str
    type: str
    data: dict[str, Any]


async def follow(
    client: httpx.AsyncClient, job_id: str, *, after: str | None = None, headers: Mapping[str, str] = {}
) -> AsyncGenerator[Event, None]:
    """The events of a job until the server ends the stream."""
    resume = {"Last-Event-ID": after} if after is not None else {}
    async with client.stream("GET", f"/v1/jobs/{job_id}/events", headers={**headers, **resume}) as response:
        assert response.status_code == 200, await response.aread()
        fields: dict[str, str] = {}
        async for line in response.aiter_lines():
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                yield Event(fields["id"], fields["event"], json.loads(fields["data"]))
                fields = {}


async def collect(client: httpx.AsyncClient, job_id: str, *, after: str | None = None) -> list[Event]:
    return [event async for event in follow(client, job_id, after=after)]
