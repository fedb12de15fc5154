"""Jobs as callers see them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from impasto_api.images.schemas import ImageView
from impasto_api.jobs.places import QueuePlace
from impasto_api.services import Services
from impasto_billing.ledger.tables import MAX_CREDITS
from impasto_billing.prices import Quote, Receipt
from impasto_core.api_keys.tokens import Mode
from impasto_core.fields import Moment, Text
from impasto_core.graphs.limits import MAX_EDGES, MAX_NODES
from impasto_core.ids import JobId
from impasto_core.images.tables import Image
from impasto_core.jobs import events
from impasto_core.jobs.errors import JobError
from impasto_core.jobs.tables import CancelReason, JobBase, JobStatus
from impasto_core.pipelines import PIPELINES, ImageToImageInput, TextToImageInput

_END = {
    "type": "object",
    "properties": {"node_id": {"type": "string"}, "field": {"type": "string"}},
    "required": ["node_id", "field"],
}
GRAPH_SCHEMA: dict[str, Any] = {
    "title": "Graph",
    "type": "object",
    "description": "A graph in InvokeAI's own format. Images are named by the ids of uploads or of earlier"
    " images, models by their ids. `GET /v1/nodes` has the types of nodes.",
    "properties": {
        "nodes": {
            "type": "object",
            "description": "The nodes by their ids. An image of a node whose `is_intermediate` is false is a"
            " result.",
            "minProperties": 1,
            "maxProperties": MAX_NODES,
            "additionalProperties": {
                "type": "object",
                "properties": {
                    "id": {"type": "string", "description": "As the node is called."},
                    "type": {"type": "string", "examples": ["compel"]},
                    "is_intermediate": {"type": "boolean", "default": False},
                },
                "required": ["id", "type"],
                "additionalProperties": True,  # the inputs of its type
            },
        },
        "edges": {
            "type": "array",
            "maxItems": MAX_EDGES,
            "items": {
                "type": "object",
                "properties": {"source": _END, "destination": _END},
                "required": ["source", "destination"],
            },
        },
    },
    "required": ["nodes"],
}

Metadata = Annotated[
    dict[
        Annotated[Text, StringConstraints(min_length=1, max_length=40)],
        Annotated[Text, StringConstraints(max_length=500)],
    ],
    Field(max_length=16, description="Your own notes on the job: up to 16 names and texts.", examples=[{}]),
]


Priority = Annotated[
    int,
    Field(
        ge=-10,
        le=10,
        description="Among your organization's queued jobs the higher priority starts first, and then the"
        " earlier job. It does not count against other organizations' jobs.",
        examples=[0],
    ),
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

WebhookUrl = Annotated[
    Annotated[Text, StringConstraints(min_length=1, max_length=2048)] | None,
    Field(
        description="Told when the job has ended, whatever endpoints there are: see the webhooks of this"
        " document. Signed with the secret of `GET /v1/webhook-secret`.",
        examples=[None],
    ),
]


_MAX_SECONDS = 24 * 3600


class JobTerms(BaseModel):
    """What can be asked of every job, whatever it paints."""

    model_config = ConfigDict(extra="forbid")

    metadata: Metadata = {}
    priority: Priority = 0
    max_cost: MaxCost = None
    webhook_url: WebhookUrl = None
    deadline: Moment | None = Field(
        default=None,
        description="Canceled where it has not ended by then. At most, and by default, 24 hours from now.",
        examples=[None],
    )
    max_queue_seconds: int | None = Field(
        default=None,
        ge=1,
        le=_MAX_SECONDS,
        description="Canceled where no worker has begun it within so many seconds.",
        examples=[None],
    )
    max_run_seconds: int | None = Field(
        default=None,
        ge=1,
        le=_MAX_SECONDS,
        description="Canceled once an attempt has kept a device busy for so many seconds.",
        examples=[None],
    )


class TextToImageRequest(JobTerms):
    """Paint a picture of a prompt."""

    pipeline: Literal["text-to-image"]
    input: TextToImageInput


class ImageToImageRequest(JobTerms):
    """Paint a picture anew, guided by a prompt."""

    pipeline: Literal["image-to-image"]
    input: ImageToImageInput


def encodable(graph: Any) -> Any:
    """Refuses halves of characters: JSON can write them, but nothing can be sent or stored that has one."""
    try:
        json.dumps(graph, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise PydanticCustomError("invalid_text", "It has a character that cannot be stored.") from None
    return graph


class GraphRequest(JobTerms):
    """Run a graph of your own: InvokeAI's nodes, and the edges between them."""

    # Any value: `impasto_core.graphs` says what is wrong with it, node by node.
    graph: Annotated[Any, AfterValidator(encodable), WithJsonSchema(GRAPH_SCHEMA)]


def _kind(body: Any) -> str | None:
    if isinstance(body, GraphRequest) or (isinstance(body, dict) and "graph" in body):
        return "graph"
    pipeline = body.get("pipeline") if isinstance(body, dict) else getattr(body, "pipeline", None)
    return pipeline if isinstance(pipeline, str) and pipeline in PIPELINES else None


JobRequest = Annotated[
    Annotated[TextToImageRequest, Tag("text-to-image")]
    | Annotated[ImageToImageRequest, Tag("image-to-image")]
    | Annotated[GraphRequest, Tag("graph")],
    Discriminator(
        _kind,
        custom_error_type="unknown_pipeline",
        custom_error_message="Send a pipeline, text-to-image or image-to-image, with its input; or a graph.",
    ),
]


class WorkflowReference(BaseModel):
    """A version of a workflow."""

    slug: str = Field(examples=["product-shot"])
    version: int = Field(examples=[1])


class WorkflowRun(GraphRequest):
    """A workflow's graph, filled in. Not to be sent: `POST /v1/workflows/{slug}/runs` makes it."""

    workflow: WorkflowReference
    input: dict[str, Any]


class JobView(BaseModel):
    """A job. Once `status` is succeeded, failed or canceled it never changes again."""

    id: JobId
    object: Literal["job"] = "job"
    status: JobStatus
    pipeline: str | None = Field(
        description="Null for a graph of your own; see `GET /v1/jobs/{id}/graph`.", examples=["text-to-image"]
    )
    model: str | None = Field(
        description="Null where a graph names none, or several.", examples=["impasto-shapes"]
    )
    workflow: WorkflowReference | None = Field(
        default=None, description="The workflow that it is a run of.", examples=[None]
    )
    input: dict[str, Any] = Field(
        description="As it runs: with defaults, size and seed filled in. Empty for a graph."
    )
    metadata: dict[str, str]
    priority: int
    webhook_url: str | None = Field(description="Told when it has ended.")
    mode: Mode
    images: list[ImageView] = Field(description="In order; empty until the job has succeeded.")
    error: JobError | None = Field(description="Why the job failed.")
    quote: Quote | None = Field(
        description="The most that it can cost. Null for jobs from before there were prices."
    )
    cost: Receipt | None = Field(description="What it cost; null until it has ended.")
    queue: QueuePlace | None = Field(
        description="Where it stands. Null in lists, in the answer that made it, and once it has started."
    )
    attempt: int = Field(description="How many times a worker has begun it.")
    cancel_requested: bool
    cancel_reason: CancelReason | None = Field(description="Why it was canceled.")
    deadline: AwareDatetime | None = Field(
        description="It has ended by then. Null for jobs from before there were deadlines."
    )
    queue_deadline: AwareDatetime | None = Field(description="A worker has begun it by then.")
    max_run_seconds: int | None
    created_at: AwareDatetime
    started_at: AwareDatetime | None = Field(description="When the latest attempt began.")
    finished_at: AwareDatetime | None
    queued_seconds: float | None = Field(description="From creation to the latest start, or to the end.")
    running_seconds: float | None = Field(description="From the latest start to the end.")

    @classmethod
    def of(
        cls, job: JobBase, images: Iterable[Image], services: Services, queue: QueuePlace | None = None
    ) -> JobView:
        waited_until = job.started_at or job.finished_at
        # Jobs are created by our clock and started by the database's: never less than no time at all.
        queued_seconds = max(0.0, (waited_until - job.created_at).total_seconds()) if waited_until else None
        return cls(
            id=job.id,
            status=JobStatus(job.status),
            pipeline=job.pipeline,
            workflow=WorkflowReference(slug=job.workflow, version=job.workflow_version)
            if job.workflow and job.workflow_version
            else None,
            model=job.models[0] if len(job.models) == 1 else None,
            input=job.input,
            metadata=job.user_metadata,
            priority=job.priority,
            webhook_url=job.webhook_url,
            mode=job.mode,
            images=[ImageView.of(image, services) for image in images],
            error=JobError.model_validate(job.error) if job.error else None,
            quote=Quote.model_validate(job.quote) if job.quote else None,
            cost=Receipt.model_validate(job.cost) if job.cost else None,
            queue=queue,
            attempt=job.attempt,
            cancel_requested=job.cancel_requested_at is not None,
            cancel_reason=CancelReason(job.cancel_reason) if job.cancel_reason else None,
            deadline=job.deadline,
            queue_deadline=job.queue_deadline,
            max_run_seconds=job.max_run_seconds,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            queued_seconds=queued_seconds,
            running_seconds=(job.finished_at - job.started_at).total_seconds()
            if job.finished_at and job.started_at
            else None,
        )


class GraphView(BaseModel):
    """A graph in InvokeAI's own format, with the models as its workers know them."""

    nodes: dict[str, dict[str, Any]]
    edges: list[dict[str, Any]]


class QueuedEvent(BaseModel):
    """The first event of every stream. Sent again, with the same id as the event before, when it moves up."""

    type: Literal["queued"] = "queued"
    job_id: JobId
    queue: QueuePlace | None = Field(description="Where it stands; null once it has started.")


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
