"""What happens to a job, as it happens."""

from __future__ import annotations

from base64 import b64decode
from typing import Generic, Literal, TypeAlias

from pydantic import SkipValidation

from .._twin import Async, Colour
from ._base import Result
from .job import Job, QueuePlace


class _Event(Result):
    id: str = ""
    """Where in the stream it is: `jobs.events(job_id, last_event_id=...)` goes on after it."""


class Queued(_Event):
    """The job waits. It comes again when its place in the queue has changed."""

    type: Literal["queued"] = "queued"
    job_id: str
    queue: QueuePlace | None = None


class Started(_Event):
    """A worker has taken the job. It can happen again, with the next `attempt`, if that worker dies."""

    type: Literal["started"] = "started"
    job_id: str
    attempt: int


class Node(_Event):
    """A node of the graph began or ended."""

    type: Literal["node"] = "node"
    node: str
    node_type: str
    state: SkipValidation[Literal["started", "completed"]]


class Step(_Event):
    """One denoising step is done."""

    type: Literal["step"] = "step"
    node: str
    step: int
    total: int
    progress: float
    """How much of the whole job is done, 0 to 1."""
    preview: str | None = None
    """What the image looks like so far, as a `data:` URL."""

    @property
    def preview_jpeg(self) -> bytes | None:
        """What the image looks like so far."""
        return b64decode(self.preview.partition(",")[2]) if self.preview else None


class ImageEvent(_Event):
    """An image is stored. Its URL comes with the end of the job."""

    type: Literal["image"] = "image"
    index: int
    """Its place among the job's images."""
    node: str
    width: int
    height: int


class Succeeded(_Event, Generic[Colour]):
    type: Literal["succeeded"] = "succeeded"
    job: Job[Colour]


class Failed(_Event, Generic[Colour]):
    type: Literal["failed"] = "failed"
    job: Job[Colour]


class Canceled(_Event, Generic[Colour]):
    type: Literal["canceled"] = "canceled"
    job: Job[Colour]


_Along: TypeAlias = Queued | Started | Node | Step | ImageEvent
Event: TypeAlias = _Along | Succeeded[Colour] | Failed[Colour] | Canceled[Colour]
AsyncEvent: TypeAlias = _Along | Succeeded[Async] | Failed[Async] | Canceled[Async]
