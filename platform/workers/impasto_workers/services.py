"""What a worker works with, made once per process."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from redis.asyncio import Redis

from impasto_core.database import Database
from impasto_core.queue import WakeUps
from impasto_core.settings import Settings
from impasto_core.storage import ObjectStore
from impasto_workers.gpu_thread import GpuThread
from impasto_workers.model_files import ModelFiles
from impasto_workers.models import Models, Registrar
from impasto_workers.runtime import Event, RunResult, RuntimeUsage


class GraphRuntime(Registrar, Protocol):
    """What this package needs of `runtime.Runtime`."""

    def run(
        self,
        graph: Mapping[str, Any],
        *,
        images: Mapping[str, bytes] | None = None,
        on_event: Callable[[Event], None] = ...,
        cancel: threading.Event | None = None,
    ) -> RunResult: ...

    def usage(self) -> RuntimeUsage: ...


@dataclass(frozen=True)
class Services:
    settings: Settings
    database: Database
    redis: Redis
    store: ObjectStore
    wake_ups: WakeUps
    gpu: GpuThread
    runtime: GraphRuntime
    models: Models


@asynccontextmanager
async def open_services(
    settings: Settings, wake_ups: WakeUps, open_runtime: Callable[[], GraphRuntime]
) -> AsyncIterator[Services]:
    """`open_runtime` is called in the thread in which the runtime will always be used."""
    gpu = GpuThread()
    runtime = await gpu.run(open_runtime)
    files = ModelFiles(
        settings.worker_data_dir / "models", open_bucket=lambda bucket: ObjectStore(settings, bucket)
    )
    database = Database(settings.database_url.get_secret_value(), pool_size=settings.database_pool_size)
    # Only ever written to: whoever waits for Redis here waits with a job in hand.
    redis = Redis.from_url(settings.redis_url.get_secret_value(), socket_connect_timeout=1, socket_timeout=2)
    try:
        yield Services(
            settings=settings,
            database=database,
            redis=redis,
            store=ObjectStore(settings),
            wake_ups=wake_ups,
            gpu=gpu,
            runtime=runtime,
            models=Models(runtime, gpu, files),
        )
    finally:
        await redis.aclose()
        await database.close()
