"""A worker by hand: the real claim, stores and settlement, with a brush in place of a GPU."""

from __future__ import annotations

import hashlib
import io

from PIL import Image as Picture
from redis.asyncio import Redis
from sqlalchemy import delete

from impasto_billing.settlement import settle
from impasto_core.database import Database
from impasto_core.ids import new_id
from impasto_core.images.tables import Image
from impasto_core.jobs import lifecycle
from impasto_core.jobs.errors import JobError
from impasto_core.jobs.events import EventWriter, Finished, ImageMade, Started, Step
from impasto_core.jobs.lifecycle import Lease
from impasto_core.jobs.tables import Job
from impasto_core.pipelines.base import seed_of
from impasto_core.settings import Settings
from impasto_core.storage import ObjectStore
from impasto_core.uploads.tables import Upload


def png(width: int = 64, height: int = 64, color: str = "red") -> bytes:
    return encode(Picture.new("RGB", (width, height), color), "PNG")


def encode(picture: Picture.Image, format_: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format_)
    return buffer.getvalue()


class Painter:
    """Does what a worker does, one move at a time, so that a test decides when."""

    def __init__(self, database: Database, redis: Redis, settings: Settings) -> None:
        self.database = database
        self._redis = redis
        self._store = ObjectStore(settings)
        self._writers: dict[Lease, EventWriter] = {}

    async def claim(self, pool: str = "default") -> Job:
        async with self.database.session() as session:
            job = await lifecycle.claim(session, pool=pool, worker="painter", lease_seconds=30)
        assert job is not None, "there is a job to claim"
        writer = self._writer(job)
        await writer.write(Started(job_id=job.id, attempt=job.attempt))
        return job

    async def step(self, job: Job, step: int, total: int) -> None:
        event = Step(node="denoise_0", step=step, total=total, progress=step / total)
        await self._writer(job).write(event)

    async def succeed(self, job: Job) -> None:
        images = [await self._paint(job, index) for index in range(job.input.get("n", 1))]
        for image in images:
            await self._writer(job).write(
                ImageMade(index=image.index, node=image.node, width=image.width, height=image.height)
            )
        async with self.database.session() as session:
            await settle(session, await lifecycle.succeed(session, lease_of(job), images))
        await self._writer(job).write(Finished(organization_id=job.organization_id))

    async def fail(self, job: Job, error: JobError) -> None:
        async with self.database.session() as session:
            await settle(session, await lifecycle.fail(session, lease_of(job), error))
        await self._writer(job).write(Finished(organization_id=job.organization_id))

    async def finish_cancel(self, job: Job) -> None:
        async with self.database.session() as session:
            await settle(session, await lifecycle.finish_cancel(session, lease_of(job)))
        await self._writer(job).write(Finished(organization_id=job.organization_id))

    async def paint_next(self, steps: int = 3) -> Job:
        """Claim a job and bring it to its good end."""
        job = await self.claim()
        for step in range(1, steps + 1):
            await self.step(job, step, steps)
        await self.succeed(job)
        return job

    async def read(self, key: str) -> bytes:
        """An object as a worker would read it."""
        return await self._store.get(key)

    async def forget_uploads(self) -> None:
        """As the sweeper does once they have expired."""
        async with self.database.session() as session:
            await session.exec(delete(Upload))

    async def _paint(self, job: Job, index: int) -> Image:
        width, height = job.input.get("width", 64), job.input.get("height", 64)
        data = png(width, height)
        key = f"organizations/{job.organization_id}/jobs/{job.id}/{job.attempt}/{index}"
        await self._store.put(f"{key}.png", data, "image/png")
        thumbnail = encode(Picture.new("RGB", (width, height), "red"), "WEBP")
        await self._store.put(f"{key}.webp", thumbnail, "image/webp")
        return Image(
            id=new_id(),
            organization_id=job.organization_id,
            job_id=job.id,
            index=index,
            node=f"image_{index}",
            object_key=f"{key}.png",
            thumbnail_key=f"{key}.webp",
            content_type="image/png",
            width=width,
            height=height,
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            seed=seed_of(job.input["seed"], index) if job.pipeline else None,
        )

    def _writer(self, job: Job) -> EventWriter:
        return self._writers.setdefault(lease_of(job), EventWriter(self._redis, job.id, job.attempt))


def lease_of(job: Job) -> Lease:
    return Lease(job.id, job.attempt)
