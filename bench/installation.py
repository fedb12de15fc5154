"""Impasto, up on this machine as `impastoctl up` starts it, to be measured."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from impasto_core.database import Database
from impasto_core.models.service import folder_digest, put_model
from impasto_core.models.tables import Model
from impasto_ctl.console import Progress
from impasto_ctl.local_platform import LocalPlatform

TINY = "bench-tiny"
"""Stable Diffusion 1 with the smallest parts there are and random weights: what is left is what we add."""

UNSERVED = "bench-unserved"
"""The same, in a pool that has no worker: its jobs are created and stay in the queue."""


@dataclass(frozen=True)
class Platform:
    folder: Path
    worker_python: Path
    model_folder: Path
    base_url: str
    api_key: str
    owner_url: str
    redis_url: str
    api_pid: int
    worker_pid: int

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
        model_folder = folder / "tiny-model"
        subprocess.run([worker_python, "-m", "tests.workers.tiny_model", model_folder], check=True)  # noqa: S603
        asyncio.run(_add_models(local.owner_url, model_folder))
        yield Platform(
            folder=folder,
            worker_python=worker_python,
            model_folder=model_folder,
            base_url=local.base_url,
            api_key=local.api_key,
            owner_url=local.owner_url,
            redis_url=local.redis_url,
            api_pid=local.pid_of("api"),
            worker_pid=local.pid_of("worker"),
        )


async def _add_models(owner_url: str, folder: Path) -> None:
    source, digest = folder.as_uri(), folder_digest(folder)
    database = Database(owner_url, pool_size=1)
    try:
        async with database.session() as session:
            for slug, pool in ((TINY, "default"), (UNSERVED, UNSERVED)):
                model = Model(slug=slug, name=slug, base="sd-1", source=source, digest=digest, pool=pool)
                await put_model(session, model)
    finally:
        await database.close()
