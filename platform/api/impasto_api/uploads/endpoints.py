"""/v1/uploads"""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter

from impasto_api.auth.dependencies import UploadsReader, UploadsWriter
from impasto_api.problems import NotFound
from impasto_api.services import ServicesDep
from impasto_api.storage_quota import check_storage
from impasto_api.uploads import repository
from impasto_api.uploads.schemas import UploadCreate, UploadView
from impasto_core.ids import UploadId, new_id
from impasto_core.uploads.tables import Upload

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])


@router.post("", operation_id="uploads.create", summary="Create an upload", status_code=201)
async def create_upload(services: ServicesDep, principal: UploadsWriter, request: UploadCreate) -> UploadView:
    """Get a URL to PUT a picture to. Then use the upload's id, for example as `init_image`."""
    upload_id = new_id()
    folder = f"organizations/{principal.organization_id}/uploads/{upload_id}"
    now = services.clock()
    upload = Upload(
        id=upload_id,
        organization_id=principal.organization_id,
        object_key=f"{folder}/original",
        verified_key=f"{folder}/verified.png",
        content_type=request.content_type,
        size=request.size,
        created_at=now,
        expires_at=now + timedelta(seconds=services.settings.upload_url_seconds),
    )
    async with services.database.tenant(principal.organization_id) as session:
        session.add(upload)
        await session.flush()
        await check_storage(session, principal, added=upload.size)
    return UploadView.of(upload, services)


@router.get("/{upload_id}", operation_id="uploads.get", summary="Get an upload")
async def get_upload(services: ServicesDep, principal: UploadsReader, upload_id: UploadId) -> UploadView:
    """Whether its file has been checked, and what it holds."""
    async with services.database.tenant(principal.organization_id) as session:
        upload = await repository.get(session, upload_id)
    if upload is None:
        raise NotFound("There is no such upload.")
    return UploadView.of(upload, services)
