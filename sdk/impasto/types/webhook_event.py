"""What webhooks tell. They are small: what they name is had whole from the API, by its id."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, cast

from pydantic import BaseModel, ConfigDict, Field, SkipValidation, TypeAdapter, ValidationError

from .._exceptions import WebhookVerificationError
from .job import JobFailure, JobStatus
from .workflow import WorkflowReference


class _Received(BaseModel):
    """Fields that this version does not know are kept, as attributes too."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow", frozen=True, protected_namespaces=())


class JobImage(_Received):
    """An image of the job: `client.images.get(image.id)` has its URL."""

    id: str
    index: int
    width: int
    height: int


class JobData(_Received):
    """A job that has ended: `client.jobs.get(job.id)` has all of it."""

    id: str
    status: SkipValidation[JobStatus]
    pipeline: str | None = None
    model: str | None = None
    workflow: WorkflowReference | None = None
    metadata: dict[str, str] = {}
    mode: SkipValidation[Literal["live", "test"]]
    images: list[JobImage] = []
    error: JobFailure | None = None
    cost: int | None = None
    """Credits."""
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime


class _Event(_Received):
    id: str
    """The same whenever the event is sent again."""
    timestamp: datetime
    """When it happened."""


class JobSucceeded(_Event):
    type: Literal["job.succeeded"] = "job.succeeded"
    data: JobData


class JobFailed(_Event):
    type: Literal["job.failed"] = "job.failed"
    data: JobData


class JobCanceled(_Event):
    type: Literal["job.canceled"] = "job.canceled"
    data: JobData


class WebhookTest(_Event):
    """You asked for it, with `webhooks.endpoints.test`."""

    type: Literal["webhook.test"] = "webhook.test"
    data: dict[str, Any]


class UnknownEvent(_Event):
    """An event of a type that this version does not know, or will only learn to."""

    type: str
    data: dict[str, Any]


_Known: TypeAlias = JobSucceeded | JobFailed | JobCanceled | WebhookTest
Event: TypeAlias = _Known | UnknownEvent

_known: TypeAdapter[_Known] = TypeAdapter(Annotated[_Known, Field(discriminator="type")])


def read_event(event_id: str, body: bytes) -> Event:
    """The event in a verified body. Raises WebhookVerificationError."""
    try:
        fields: object = json.loads(body)
        if not isinstance(fields, dict):
            raise ValueError("it is no JSON object")
        event = cast("dict[str, Any]", fields) | {"id": event_id}
        try:
            return _known.validate_python(event)
        except ValidationError as error:
            if error.errors()[0]["type"] != "union_tag_invalid":
                raise
            return UnknownEvent.model_validate(event)
    except ValueError as error:
        raise WebhookVerificationError(
            "not-an-event", f"It is signed, but cannot be read: {error}"
        ) from error
