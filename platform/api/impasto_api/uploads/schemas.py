"""Uploads as callers see them."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from impasto_api.services import Services
from impasto_core.ids import UploadId
from impasto_core.uploads.tables import Upload, UploadStatus

MAX_BYTES = 20_000_000

ContentType = Literal["image/png", "image/jpeg", "image/webp"]


class UploadCreate(BaseModel):
    """What is going to be uploaded. The URL takes exactly this type and size."""

    model_config = ConfigDict(extra="forbid")

    content_type: ContentType
    size: int = Field(ge=1, le=MAX_BYTES, description="Bytes.", examples=[48213])


class UploadView(BaseModel):
    """An upload. PUT the bytes to `url` with `headers`, then name its id where an image is asked for."""

    id: UploadId
    object: Literal["upload"] = "upload"
    status: UploadStatus = Field(description="`verified` once a job has used it.")
    content_type: str
    size: int
    method: Literal["PUT"] = "PUT"
    url: str | None = Field(description="Null once the upload is verified or has expired.")
    headers: dict[str, str] = Field(description="Send exactly these with the PUT, and no API key.")
    width: int | None = None
    height: int | None = None
    created_at: AwareDatetime
    expires_at: AwareDatetime = Field(
        description="The end of the upload: moved a day ahead when it is verified."
    )

    @classmethod
    def of(cls, upload: Upload, services: Services) -> UploadView:
        left = math.ceil((upload.expires_at - services.clock()).total_seconds())
        url = None
        if upload.status == UploadStatus.PENDING and left > 0:
            url = services.store.upload_url(
                upload.object_key, left, content_type=upload.content_type, size=upload.size
            )
        return cls(
            **upload.model_dump(
                include={
                    "id",
                    "status",
                    "content_type",
                    "size",
                    "width",
                    "height",
                    "created_at",
                    "expires_at",
                }
            ),
            url=url,
            headers={"Content-Type": upload.content_type},
        )
