from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal, TypeAlias

from pydantic import SkipValidation

from .. import _request as ask
from .._twin import Async, Colour
from ._base import Result
from .image import Image
from .quote import Quote, Receipt
from .workflow import WorkflowReference

JobStatus: TypeAlias = Literal["queued", "running", "succeeded", "failed", "canceled"]


CancelReason: TypeAlias = Literal["requested", "deadline", "queue-limit", "run-limit"]


class JobFailure(Result):
    """Why a job failed."""

    code: str
    """out-of-memory, node-failed, time-limit, poisoned, ...: there may be new ones."""
    message: str
    node_id: str | None = None
    node_type: str | None = None
    retryable: bool
    """The platform has tried it again already; the same request may succeed later."""


class QueuePlace(Result):
    """Where a job stands among all that wait for the same workers. An estimate."""

    position: int
    """1 is next."""
    eta_seconds: float | None = None
    """Seconds until it starts; None before anything has run."""


class Job(Result, Generic[Colour]):
    """One run of a pipeline, from the request to its images."""

    id: str
    status: SkipValidation[
        JobStatus
    ]  # checked by type checkers only: a status invented later must not break you
    pipeline: str | None = None
    """None for a graph of your own."""
    model: str | None = None
    """None where a graph names no model, or several."""
    workflow: WorkflowReference | None = None
    """The workflow that it is a run of."""
    input: dict[str, Any]
    """The input as it is used: defaults and the seed filled in."""
    metadata: dict[str, str]
    priority: int = 0
    webhook_url: str | None = None
    mode: SkipValidation[Literal["live", "test"]]
    images: list[Image[Colour]]
    error: JobFailure | None = None
    quote: Quote | None = None
    """The most that it can cost."""
    cost: Receipt | None = None
    """What it cost, once it has ended."""
    queue: QueuePlace | None = None
    """Where it stands while it is queued. None in lists, and in the answer that made the job."""
    attempt: int
    cancel_requested: bool
    cancel_reason: SkipValidation[CancelReason | None] = None
    """Why it was canceled: because you asked for it, or because a limit of its time was over."""
    deadline: datetime | None = None
    """It has ended by then."""
    queue_deadline: datetime | None = None
    """A worker has begun it by then."""
    max_run_seconds: int | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    queued_seconds: float | None = None
    running_seconds: float | None = None

    @property
    def finished(self) -> bool:
        """True once nothing about this job can change."""
        return self.status not in ("queued", "running")


class ImageList(list[Image[Colour]], Generic[Colour]):
    """The images of one job, in order."""

    def __init__(self, job: Job[Colour]) -> None:
        super().__init__(job.images)
        self.job = job
        """The job that made them: its id, the input with the seed filled in, its times."""


AsyncJob: TypeAlias = Job[Async]
AsyncImageList: TypeAlias = ImageList[Async]


def get_job(job_id: str) -> ask.Request[Job[Colour]]:
    return ask.get(ask.path("jobs", job_id), Job[Colour])
