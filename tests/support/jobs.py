"""Jobs and images put straight into the database."""

from __future__ import annotations

from uuid import UUID

from impasto_core.database import Database
from impasto_core.images.tables import Image
from impasto_core.jobs.tables import Job
from impasto_core.models.tables import Model
from impasto_core.pipelines import TEXT_TO_IMAGE, TextToImageInput


async def queue_job(owner: Database, organization_id: UUID, model: Model, **changes: object) -> Job:
    """A queued job of one small picture, that no worker was woken for."""
    request = TextToImageInput(prompt="a big red heart", seed=1, steps=2).resolve(model)
    job = Job(
        organization_id=organization_id,
        models=[model.slug],
        mode="live",
        pool=model.pool,
        pipeline=TEXT_TO_IMAGE.id,
        input=request.model_dump(mode="json"),
        graph=TEXT_TO_IMAGE.build(request, model),
        pixel_steps=request.work().pixel_steps,
    )
    async with owner.session() as session:
        session.add(job.sqlmodel_update(changes))
    return job


async def read_job(owner: Database, job_id: UUID) -> Job:
    async with owner.session() as session:
        return await session.get_one(Job, job_id)


def image_of(job: Job, index: int = 0) -> Image:
    """A row as a worker writes it; there is no object behind it."""
    key = f"organizations/{job.organization_id}/jobs/{job.id}/{job.attempt}/{index}"
    return Image(
        organization_id=job.organization_id,
        job_id=job.id,
        index=index,
        node=f"image_{index}",
        object_key=f"{key}.png",
        thumbnail_key=f"{key}.webp",
        content_type="image/png",
        width=64,
        height=64,
        size=1,
        sha256="0" * 64,
    )
