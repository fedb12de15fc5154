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


class ImageData(_Received):
    """An image of the job: `client.images.get(image.id)` can download it."""

    id: str
    index: int
    node: str
    width: int
    height: int
    content_type: str
    size: int
    """Bytes."""
    seed: int | None = None
    path: str
    """Below the API's base URL."""


class JobData(_Received):
    """A job that has ended: `client.jobs.get(job.id)` is all of it."""

    id: str
    status: SkipValidation[JobStatus]
    pipeline: str | None = None
    model: str | None = None
    workflow: WorkflowReference | None = None
    metadata: dict[str, str]
    priority: int
    mode: SkipValidation[Literal["live", "test"]]
    images: list[ImageData]
    error: JobFailure | None = None
    cost: int | None = None
    """Credits."""
    attempt: int
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime
    path: str
    """Below the API's base URL."""
    omitted: SkipValidation[list[str]] = []
    """What was left empty, `images` or `metadata`, because it was too long to send."""


class BalanceData(_Received):
    """Fewer credits are left than the plan's `threshold`."""

    available: int
    """Credits that new jobs can spend."""
    held: int
    """Credits on hold for jobs that have not ended."""
    threshold: int


class SpendAlertData(_Received):
    """Spending has reached 50, 80 or 100 % of a cap."""

    api_key_id: str | None = None
    """The key whose cap it is; None is the organization's."""
    month: str
    percent: int
    cap: int
    spent: int


class InvoiceData(_Received):
    """A payment has arrived: for a pack of credits, or for a period of a plan."""

    provider: str
    payment_id: str
    pack: str | None = None
    plan: str | None = None
    amount: int
    """In cents."""
    currency: str
    credits: int
    period_start: datetime | None = None
    period_end: datetime | None = None


class EndpointDisabledData(_Received):
    """An endpoint that is told nothing more, until you enable it again."""

    id: str
    reason: SkipValidation[Literal["gone", "failing", "manual"]]
    failing_since: datetime | None = None
    path: str


class TestData(_Received):
    """You asked for it, with `webhooks.endpoints.test`."""

    __test__: ClassVar[bool] = False  # pytest's, which takes it for a test

    endpoint_id: str
    message: str


class _Event(_Received):
    id: str
    """The same whenever the event comes again."""
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


class CreditsLow(_Event):
    """The balance has fallen below the plan's threshold."""

    type: Literal["credits.low"] = "credits.low"
    data: BalanceData


class SpendCapAlert(_Event):
    """A share of a spend cap is used."""

    type: Literal["spend_cap.alert"] = "spend_cap.alert"
    data: SpendAlertData


class InvoicePaid(_Event):
    type: Literal["invoice.paid"] = "invoice.paid"
    data: InvoiceData


class WebhookEndpointDisabled(_Event):
    type: Literal["webhook_endpoint.disabled"] = "webhook_endpoint.disabled"
    data: EndpointDisabledData


class WebhookTest(_Event):
    type: Literal["webhook.test"] = "webhook.test"
    data: TestData


class UnknownEvent(_Event):
    """An event of a type that this version does not know."""

    type: str
    data: dict[str, Any]


KnownEvent: TypeAlias = (
    JobSucceeded
    | JobFailed
    | JobCanceled
    | CreditsLow
    | SpendCapAlert
    | InvoicePaid
    | WebhookEndpointDisabled
    | WebhookTest
)
Event: TypeAlias = KnownEvent | UnknownEvent

_known: TypeAdapter[KnownEvent] = TypeAdapter(Annotated[KnownEvent, Field(discriminator="type")])


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
        detail = f"It is signed by your secret, but cannot be read: {error}"
        raise WebhookVerificationError("not-an-event", detail) from error
