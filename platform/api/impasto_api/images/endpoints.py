"""/v1/images"""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query

from impasto_api.auth.dependencies import ImagesReader, ImagesWriter
from impasto_api.images import repository
from impasto_api.images.schemas import ImageView
from impasto_api.pagination import Page, PageDep, make_page
from impasto_api.problems import NotFound
from impasto_api.services import ServicesDep
from impasto_core.ids import ImageId, JobId
from impasto_core.images.tables import Image

router = APIRouter(prefix="/v1/images", tags=["images"])


@router.get("", operation_id="images.list", summary="List images")
async def list_images(
    services: ServicesDep,
    principal: ImagesReader,
    page: PageDep,
    job_id: Annotated[JobId | None, Query(description="Only images of this job.")] = None,
) -> Page[ImageView]:
    """Newest first, without those that were deleted."""
    query = repository.visible()
    if job_id is not None:
        query = query.where(Image.job_id == job_id)
    async with services.database.tenant(principal.organization_id) as session:
        rows, next_cursor = await page.select(session, query, Image.id)
    # A page may hold hundreds of signed URLs: too much work for the event loop.
    return await asyncio.to_thread(make_page, rows, next_cursor, lambda image: ImageView.of(image, services))


@router.get("/{image_id}", operation_id="images.get", summary="Get an image")
async def get_image(services: ServicesDep, principal: ImagesReader, image_id: ImageId) -> ImageView:
    """Each call signs fresh URLs."""
    async with services.database.tenant(principal.organization_id) as session:
        image = await repository.get(session, image_id)
    if image is None:
        raise NotFound("There is no such image.")
    return ImageView.of(image, services)


@router.delete("/{image_id}", operation_id="images.delete", summary="Delete an image", status_code=204)
async def delete_image(services: ServicesDep, principal: ImagesWriter, image_id: ImageId) -> None:
    """The image is gone at once. Its files are removed soon after, and URLs made before stop working."""
    async with services.database.tenant(principal.organization_id) as session:
        if not await repository.mark_deleted(session, image_id, services.clock()):
            raise NotFound("There is no such image.")
