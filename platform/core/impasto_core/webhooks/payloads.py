"""What webhooks say: ids and API paths, not presigned URLs, which would outlive their welcome in a log."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Literal

from pydantic import AwareDatetime, BaseModel, Field

from impasto_core.ids import ApiKeyId, ImageId, JobId, WebhookEndpointId, format_id
from impasto_core.images.tables import Image
from impasto_core.jobs.errors import JobError
from impasto_core.jobs.tables import Job, JobStatus
from impasto_core.webhooks.tables import DisabledReason, WebhookEndpoint, WebhookEvent

MAX_DATA_BYTES = 19_000
"""Of the data as JSON in ASCII. Standard Webhooks asks for less than 20 kB in all."""

MAX_TEXT = 500
"""Characters of an error's message, and of what a graph calls its nodes."""


class WorkflowRun(BaseModel):
    slug: str
    version: int


class ImageData(BaseModel):
    """An image of the job. `GET` its `path` for a URL to download it from."""

    id: ImageId
    index: int = Field(description="Position among the images of its job, from 0.")
    node: str = Field(description="The graph's node that made it.")
    width: int
    height: int
    content_type: str
    size: int = Field(description="Bytes.")
    seed: int | None
    path: str = Field(description="Below the API's base URL.", examples=["/v1/images/img_..."])


class JobData(BaseModel):
    """A job that has ended. `GET` its `path` for all of it."""

    id: JobId
    object: Literal["job"] = "job"
    status: JobStatus
    pipeline: str | None
    model: str | None = Field(description="Null where a graph names none, or several.")
    workflow: WorkflowRun | None
    metadata: dict[str, str]
    priority: int
    mode: str
    images: list[ImageData]
    error: JobError | None = Field(description="Why the job failed.")
    cost: int | None = Field(description="Credits.")
    attempt: int = Field(description="How many times a worker has begun it.")
    created_at: AwareDatetime
    started_at: AwareDatetime | None
    finished_at: AwareDatetime
    path: str = Field(description="Below the API's base URL.", examples=["/v1/jobs/job_..."])
    omitted: list[Literal["images", "metadata"]] = Field(
        default=[], description="What was left empty, so that the webhook stays under 20 kB."
    )

    @classmethod
    def of(cls, job: Job, images: Iterable[Image], *, cost: int | None) -> JobData:
        assert job.finished_at is not None  # noqa: S101
        data = cls(
            id=job.id,
            status=JobStatus(job.status),
            pipeline=job.pipeline,
            model=job.models[0] if len(job.models) == 1 else None,
            workflow=WorkflowRun(slug=job.workflow, version=job.workflow_version)
            if job.workflow and job.workflow_version
            else None,
            metadata=job.user_metadata,
            priority=job.priority,
            mode=job.mode,
            images=[
                ImageData(**image.model_dump(), path=f"/v1/images/{format_id('img', image.id)}")
                for image in images
            ],
            error=_shortened(JobError.model_validate(job.error)) if job.error else None,
            cost=cost,
            attempt=job.attempt,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            path=f"/v1/jobs/{format_id('job', job.id)}",
        )
        return data._fitted()

    def _fitted(self) -> JobData:
        """Without what would make it too large; hundreds of images first, for those are found by the id."""
        data = self
        for name, empty in (("images", []), ("metadata", {})):
            if len(json.dumps(data.model_dump(mode="json"))) > MAX_DATA_BYTES:
                data = data.model_copy(update={name: empty, "omitted": [*data.omitted, name]})
        return data


def _shortened(error: JobError) -> JobError:
    node_id = error.node_id and error.node_id[:MAX_TEXT]
    return error.model_copy(update={"message": error.message[:MAX_TEXT], "node_id": node_id})


class BalanceData(BaseModel):
    """Fewer credits are left than the plan's `threshold`."""

    object: Literal["balance"] = "balance"
    available: int = Field(description="Credits that new jobs can spend.")
    held: int = Field(description="Credits on hold for jobs that have not ended.")
    threshold: int = Field(description="`available` is below it.")


class SpendAlertData(BaseModel):
    """Spending has reached 50, 80 or 100 % of a cap."""

    object: Literal["spend_alert"] = "spend_alert"
    api_key_id: ApiKeyId | None = Field(description="The key whose cap it is; null is the organization's.")
    month: str = Field(description="The calendar month, in UTC.", examples=["2026-11"])
    percent: int
    cap: int = Field(description="Credits a month.")
    spent: int = Field(description="Spent and held.")


class InvoiceData(BaseModel):
    """A payment has arrived, and its credits are there."""

    object: Literal["invoice"] = "invoice"
    provider: str = Field(examples=["stripe"])
    payment_id: str = Field(description="The provider's.")
    pack: str | None = Field(description="What was bought, where it is credits.")
    plan: str | None = Field(description="What was paid for, where it is a period of a plan.")
    amount: int = Field(description="In cents.")
    currency: str = Field(examples=["usd"])
    credits: int
    period_start: AwareDatetime | None
    period_end: AwareDatetime | None


class EndpointDisabledData(BaseModel):
    """An endpoint gets no more webhooks until you enable it again. Told to your other endpoints.

    Its URL is left out: it may hold a secret of whoever receives there, and the others are somebody else.
    """

    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    id: WebhookEndpointId
    reason: DisabledReason
    failing_since: AwareDatetime | None
    path: str = Field(description="Below the API's base URL.", examples=["/v1/webhook-endpoints/whe_..."])

    @classmethod
    def of(cls, endpoint: WebhookEndpoint, reason: DisabledReason) -> EndpointDisabledData:
        return cls(
            id=endpoint.id,
            reason=reason,
            failing_since=endpoint.failing_since,
            path=f"/v1/webhook-endpoints/{format_id('whe', endpoint.id)}",
        )


class TestData(BaseModel):
    """You asked for it."""

    __test__ = False  # pytest's, which takes it for a test

    endpoint_id: WebhookEndpointId
    message: str = "It works."


def body_of(event: WebhookEvent) -> bytes:
    """The body of every attempt to tell the event: the same bytes each time."""
    timestamp = event.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps(
        {"type": event.type, "timestamp": timestamp, "data": event.data}, separators=(",", ":")
    ).encode()
