"""The pictures a job starts from: uploads, verified at their first use, and images of earlier jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from impasto_api.images import repository as images
from impasto_api.services import Services
from impasto_api.uploads import repository as uploads
from impasto_api.uploads.pictures import NotAPicture, verify
from impasto_core.ids import parse_id
from impasto_core.pipelines import InvalidInput
from impasto_core.storage import ObjectNotFound
from impasto_core.uploads.tables import Upload, UploadStatus

_KEEP_VERIFIED = timedelta(days=1)


@dataclass(frozen=True)
class Source:
    """A picture that a worker may read: where it lies and how large it is."""

    object_key: str
    width: int
    height: int


async def find_sources(
    services: Services, organization_id: UUID, references: Mapping[str, str], *, keep: bool = True
) -> dict[str, Source]:
    """The sources of a request by field. Raises InvalidInput for what is not there or not a picture.

    Without `keep` they are only looked at, and not made ready for a worker.
    """
    return {
        field: await _find(services, organization_id, field, reference, keep)
        for field, reference in references.items()
    }


async def _find(services: Services, organization_id: UUID, field: str, reference: str, keep: bool) -> Source:
    missing = InvalidInput(field, "not_found", f"There is no upload or image {reference}.")
    prefix = reference.partition("_")[0]
    try:
        row_id = parse_id(prefix, reference)
    except ValueError:
        raise missing from None
    async with services.database.tenant(organization_id) as session:
        if prefix == "img":
            image = await images.get(session, row_id)
            if image is None:
                raise missing
            return Source(image.object_key, image.width, image.height)
        upload = await uploads.get(session, row_id)
    if upload is None:
        raise missing
    if upload.expires_at <= services.clock():
        raise InvalidInput(field, "expired", "The upload has expired: create a new one.")
    if upload.status == UploadStatus.VERIFIED and upload.width and upload.height:
        return Source(upload.verified_key, upload.width, upload.height)
    return await _verify(services, field, upload, keep)


async def _verify(services: Services, field: str, upload: Upload, keep: bool) -> Source:
    """Read what was uploaded, and keep a clean copy where the caller cannot write."""
    try:
        data = await services.store.get(upload.object_key, at_most=upload.size + 1)
    except ObjectNotFound:
        raise InvalidInput(
            field, "not_uploaded", "The upload has no content yet: PUT the file to its url first."
        ) from None
    if len(data) != upload.size:
        found = "more" if len(data) > upload.size else f"only {len(data)}"
        raise InvalidInput(
            field, "wrong_size", f"The upload was declared as {upload.size} bytes but has {found}."
        )
    try:
        picture = await asyncio.to_thread(verify, data, upload.content_type)
    except NotAPicture as error:
        raise InvalidInput(field, error.code, str(error)) from None
    if keep:
        await services.store.put(upload.verified_key, picture.png, "image/png")
        async with services.database.tenant(upload.organization_id) as session:
            expires_at = services.clock() + _KEEP_VERIFIED
            await uploads.mark_verified(session, upload.id, picture, expires_at=expires_at)
    return Source(upload.verified_key, picture.width, picture.height)
