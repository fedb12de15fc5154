# ruff: noqa: ASYNC109 (a wait has a timeout of its own, on both clients, and an error that names the job)

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Generic

from .. import _request as ask
from .._events import Events, streamed
from .._follow import DEFAULT_TIMEOUT, follow
from .._pagination import Listing, paged
from .._progress import Audience, OnProgress
from .._twin import Colour, endpoint, method
from ..types import Graph, ImageToImage, Job, JobStatus, TextToImage
from ..types.job import get_job
from ._base import Resource


class Jobs(Resource[Colour], Generic[Colour]):
    @endpoint
    def create(
        self,
        pipeline: str | None = None,
        input: TextToImage  # noqa: A002 (the contract's name for it)
        | ImageToImage
        | Mapping[str, object]
        | None = None,
        *,
        graph: Mapping[str, object] | None = None,
        metadata: Mapping[str, str] | None = None,
        priority: int | None = None,
        max_cost: int | None = None,
        webhook_url: str | None = None,
        cancel_after: int | str | None = None,
        deadline: datetime | None = None,
        max_queue_seconds: int | None = None,
        max_run_seconds: int | None = None,
        wait: int | None = None,
        idempotency_key: str | None = None,
    ) -> ask.Request[Job[Colour]]:
        """Ask for a job, and return without waiting for its images.

        Give a pipeline and its input, or a graph.

        Args:
            pipeline: the id of a pipeline: text-to-image, image-to-image.
            input: what the pipeline takes. See `pipelines.get(pipeline).input_schema`.
            graph: InvokeAI's nodes and the edges between them: {"nodes": {...}, "edges": [...]}. It names
                models and images by their ids. See `nodes.list()`.
            metadata: your own notes, kept with the job.
            priority: -10 to 10, 0 by default. Of your organization's jobs the higher start first.
            max_cost: credits; a job that is quoted at more is refused with `QuoteAboveMaxCostError`.
            webhook_url: told when the job has ended: read what it gets with `impasto.webhooks.unwrap`.
            cancel_after: cancel the job where it has not ended by then: seconds, or "90s", "5m", "1h30m".
            deadline: the same as a moment. At most, and by default, 24 hours from now.
            max_queue_seconds: cancel it where no worker has begun it within this time.
            max_run_seconds: cancel it once it has kept a device busy for so long.
            wait: seconds (1 to 60) the API may hold the answer until the job has ended.
            idempotency_key: with the same key you get the same job, not a second one, for 24 hours. By
                default each call makes a key of its own, so that its retries make one job.
        """
        body = job_body(
            pipeline,
            input,
            graph=graph,
            metadata=metadata,
            priority=priority,
            max_cost=max_cost,
            webhook_url=webhook_url,
            deadline=deadline,
            max_queue_seconds=max_queue_seconds,
            max_run_seconds=max_run_seconds,
        )
        return create_job(body, wait=wait, cancel_after=cancel_after, idempotency_key=idempotency_key)

    @endpoint
    def get(self, job_id: str) -> ask.Request[Job[Colour]]:
        """The job as it is now."""
        return get_job(job_id)

    @endpoint
    def graph(self, job_id: str) -> ask.Request[Graph]:
        """The graph that the job runs: your own, or what the pipeline made of your input."""
        return ask.get(ask.path("jobs", job_id, "graph"), Graph)

    @paged
    def list(
        self,
        *,
        status: JobStatus | None = None,
        pipeline: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Listing[Job[Colour]]:
        """Your organization's jobs, newest first. `limit` is the size of a page, not of the list."""
        return Listing(
            ask.path("jobs"),
            Job[Colour],
            {
                "status": status,
                "pipeline": pipeline,
                "created_after": created_after,
                "created_before": created_before,
                "limit": limit,
                "cursor": cursor,
            },
        )

    @endpoint
    def cancel(self, job_id: str) -> ask.Request[Job[Colour]]:
        """Cancel a job. One that is running stops soon after: `cancel_requested` is set until it has.

        Raises:
            JobAlreadyFinishedError, CancelAlreadyRequestedError
        """
        return ask.post(ask.path("jobs", job_id, "cancel"), Job[Colour])

    @method
    async def wait(
        self,
        job_id: str,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        on_progress: OnProgress | None = None,
        progress: bool = False,
    ) -> Job[Colour]:
        """The job, once it has succeeded.

        Args:
            timeout: seconds to wait, None for as long as it takes.
            on_progress: called with a `Progress` at every change.
            progress: draw a bar on stderr.

        Raises:
            JobFailed, JobCanceled: it ended otherwise.
            WaitTimeout: it did not end in time. It goes on.
        """
        return await follow(self._core, job_id, timeout, Audience(job_id, on_progress, bar=progress))

    @streamed
    def events(self, job_id: str, *, last_event_id: str | None = None) -> Events[Any]:
        """What happens to the job, as it happens, until it has ended; first all that has happened already.

        A dropped connection is resumed where it broke. `last_event_id` goes on after an event you have seen.
        """
        return Events(self._core, job_id, last_event_id=last_event_id)


def job_body(
    pipeline: str | None,
    input: Mapping[str, object] | None,  # noqa: A002
    *,
    graph: Mapping[str, object] | None = None,
    metadata: Mapping[str, str] | None = None,
    priority: int | None = None,
    max_cost: int | None = None,
    webhook_url: str | None = None,
    deadline: datetime | None = None,
    max_queue_seconds: int | None = None,
    max_run_seconds: int | None = None,
) -> dict[str, object]:
    """What jobs and quotes are asked for with."""
    return ask.given(
        {
            "pipeline": pipeline,
            "input": None if input is None else dict(input),
            "graph": None if graph is None else dict(graph),
            "metadata": metadata and dict(metadata),
            "priority": priority,
            "max_cost": max_cost,
            "webhook_url": webhook_url,
            "deadline": deadline,
            "max_queue_seconds": max_queue_seconds,
            "max_run_seconds": max_run_seconds,
        }
    )


def create_job(
    body: Mapping[str, object],
    *,
    wait: int | None = None,
    cancel_after: int | str | None = None,
    idempotency_key: str | None = None,
) -> ask.Request[Job[Colour]]:
    return post_job(
        ask.path("jobs"), body, wait=wait, cancel_after=cancel_after, idempotency_key=idempotency_key
    )


def post_job(
    path: str,
    body: Mapping[str, object],
    *,
    wait: int | None = None,
    cancel_after: int | str | None = None,
    idempotency_key: str | None = None,
) -> ask.Request[Job[Colour]]:
    """To any path that answers with a new job."""
    headers = ask.idempotency_header(idempotency_key)
    if wait is not None:
        headers["prefer"] = f"wait={wait}"
    if cancel_after is not None:
        headers["cancel-after"] = str(cancel_after)
    return ask.post(
        path,
        Job[Colour],
        body,
        headers=headers,
        repeatable=True,  # the key sees to it
        read_timeout=(wait or 0) + 10.0,
    )
