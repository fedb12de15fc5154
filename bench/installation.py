"""Impasto, up on this machine as `impastoctl up` starts it, to be measured."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from impasto_core.database import Database
from impasto_core.models.service import find_model, put_model
from impasto_core.models.tables import Model
from impasto_ctl.console import Progress
from impasto_ctl.local_platform import LocalPlatform

UNSERVED = "bench-unserved"
"""A model whose pool has no worker: its jobs are created and stay in the queue."""


@dataclass(frozen=True)
class Platform:
    folder: Path
    worker_python: Path
    base_url: str
    api_key: str
    owner_url: str
    redis_url: str
    api_pid: int

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"}

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.base_url, headers=self.headers, timeout=120)

    def async_client(self, base_url: str | None = None) -> httpx.AsyncClient:
        limits = httpx.Limits(max_keepalive_connections=None)
        return httpx.AsyncClient(
            base_url=base_url or self.base_url, headers=self.headers, timeout=60, limits=limits
        )


@contextmanager
def platform_up(folder: Path, worker_python: Path) -> Iterator[Platform]:
    with LocalPlatform(folder / "state", worker_python=worker_python, progress=Progress()) as local:
        asyncio.run(_add_unserved_model(local.owner_url))
        yield Platform(
            folder=folder,
            worker_python=worker_python,
            base_url=local.base_url,
            api_key=local.api_key,
            owner_url=local.owner_url,
            redis_url=local.redis_url,
            api_pid=local.pid_of("api"),
        )


async def _add_unserved_model(owner_url: str) -> None:
    database = Database(owner_url, pool_size=1)
    try:
        async with database.session() as session:
            served = await find_model(session, "impasto-shapes")
            assert served is not None  # noqa: S101
            copy = Model(**served.model_dump(exclude={"id", "slug", "pool"}), slug=UNSERVED, pool=UNSERVED)
            await put_model(session, copy)
    finally:
        await database.close()
