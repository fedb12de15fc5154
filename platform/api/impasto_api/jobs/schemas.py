"""Jobs as callers see them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

from impasto_api.images.schemas import ImageView
from impasto_api.services import Services
from impasto_billing.ledger.tables import MAX_CREDITS
from impasto_billing.prices import Quote, Receipt
from impasto_core.api_keys.tokens import Mode
from impasto_core.fields import Text
from impasto_core.ids import JobId
from impasto_core.images.tables import Image
from impasto_core.jobs import events
from impasto_core.jobs.lifecycle import JobError
from impasto_core.jobs.tables import Job, JobStatus
from impasto_core.pipelines import ImageToImageInput, TextToImageInput

Metadata = Annotated[
    dict[
        Annotated[Text, StringConstraints(min_length=1, max_length=40)],
        Annotated[Text, StringConstraints(max_length=500)],
    ],
    Field(max_length=16, description="Your own notes on the job: up to 16 names and texts.", examples=[{}]),
]


MaxCost = Annotated[
    int | None,
    Field(
        ge=1,
        le=MAX_CREDITS,
        description="Credits: a job that is quoted at more is refused. No limit, if null.",
        examples=[None],
    ),
]


class TextToImageRequest(BaseModel):
    """Paint a picture of a prompt."""

    model_config = ConfigDict(extra="forbid")

    pipeline: Literal["text-to-image"]
    input: TextToImageInput
    metadata: Metadata = {}
    max_cost: MaxCost = None


class ImageToImageRequest(BaseModel):
    """Paint a picture anew, guided by a prompt."""

    model_config = ConfigDict(extra="forbid")

    pipeline: Literal["image-to-image"]
    input: ImageToImageInput
    metadata: Metadata = {}
    max_cost: MaxCost = None


JobRequest = Annotated[TextToImageRequest | ImageToImageRequest, Field(discriminator="pipeline")]


class JobView(BaseModel):
    """A job. Once `status` is succeeded, failed or canceled it never changes again."""

    id: JobId
    object: Literal["job"] = "job"
    status: JobStatus
    pipeline: str
    model: str = Field(examples=["impasto-shapes"])
    input: dict[str, Any] = Field(description="As it runs: with defaults, size and seed filled in.")
    metadata: dict[str, str]
    mode: Mode
    images: list[ImageView] = Field(description="In order; empty until the job has succeeded.")
    error: JobError | None = Field(description="Why the job failed.")
    quote: Quote | None = Field(
        description="The most that it can cost. Null for jobs from before there were prices."
    )
    cost: Receipt | None = Field(description="What it cost; null until it has ended.")
    attempt: int = Field(description="How many times a worker has begun it.")
    cancel_requested: bool
    created_at: AwareDatetime
    started_at: AwareDatetime | None = Field(description="When the latest attempt began.")
    finished_at: AwareDatetime | None
    queued_seconds: float | None = Field(description="From creation to the latest start, or to the end.")
    running_seconds: float | None = Field(description="From the latest start to the end.")

    @classmethod
    def of(cls, job: Job, images: Iterable[Image], services: Services) -> JobView:
        waited_until = job.started_at or job.finished_at
        # Jobs are created by our clock and started by the database's: never less than no time at all.
        queued_seconds = max(0.0, (waited_until - job.created_at).total_seconds()) if waited_until else None
        return cls(
            id=job.id,
            status=JobStatus(job.status),
            pipeline=job.pipeline,
            model=job.input["model"],
            input=job.input,
            metadata=job.user_metadata,
            mode=job.mode,
            images=[ImageView.of(image, services) for image in images],
            error=JobError.model_validate(job.error) if job.error else None,
            quote=Quote.model_validate(job.quote) if job.quote else None,
            cost=Receipt.model_validate(job.cost) if job.cost else None,
            attempt=job.attempt,
            cancel_requested=job.cancel_requested_at is not None,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            queued_seconds=queued_seconds,
            running_seconds=(job.finished_at - job.started_at).total_seconds()
            if job.finished_at and job.started_at
            else None,
        )


class QueuedEvent(BaseModel):
    """The first event of every stream."""

    type: Literal["queued"] = "queued"
    job_id: JobId


class StartedEvent(events.Started):
    """A worker began attempt number `attempt`. More than one means that a worker was lost on the way."""


class NodeEvent(events.Node):
    """A node of the graph began or ended."""


class StepEvent(events.Step):
    """Denoising step `step` of `total` of one node. `progress` is of the whole job, from 0 to 1."""


class ImageEvent(events.ImageMade):
    """Output number `index` exists. It can be downloaded once the job has succeeded."""


class FinalEvent(BaseModel):
    """The last event of every stream: the whole job in its final state."""

    type: Literal[JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED]
    job: JobView

    @classmethod
    def of(cls, job: JobView) -> FinalEvent:
        return cls.model_validate({"type": job.status, "job": job})


JobEvent: TypeAdapter[Any] = TypeAdapter(
    Annotated[
        QueuedEvent | StartedEvent | NodeEvent | StepEvent | ImageEvent | FinalEvent,
        Field(discriminator="type", description="The data of one server-sent event."),
    ]
)
"""What a stream's events carry, for the contract."""
