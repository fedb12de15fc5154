# ruff: noqa: ASYNC109 (a wait has a timeout of its own, on both clients, and an error that names the job)

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Generic

from .. import _request as ask
from .._follow import DEFAULT_TIMEOUT
from .._pagination import Listing, paged
from .._progress import OnProgress
from .._twin import Colour, endpoint, method
from ..types import (
    Image,
    ImageList,
    Job,
    Upload,
    Workflow,
    WorkflowDiff,
    WorkflowVersion,
    WorkflowVersionDetails,
)
from ._base import Resource
from .images import make_images
from .jobs import post_job


class Workflows(Resource[Colour], Generic[Colour]):
    @endpoint
    def create(
        self,
        slug: str,
        workflow: Mapping[str, object],
        *,
        name: str | None = None,
        description: str | None = None,
    ) -> ask.Request[Workflow]:
        """Save a workflow of InvokeAI's editor as version 1 of `slug`.

        Args:
            workflow: the file that the editor exports, read with `json.load`.
            name, description: the workflow's own by default.

        Raises:
            ConflictError: there is one of that slug
        """
        body = ask.given({"slug": slug, "workflow": workflow, "name": name, "description": description})
        return ask.post(ask.path("workflows"), Workflow, body)

    @paged
    def list(
        self, *, archived: bool | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Listing[Workflow]:
        """Your organization's workflows, newest first; `archived` ones too."""
        return Listing(
            ask.path("workflows"), Workflow, {"archived": archived, "limit": limit, "cursor": cursor}
        )

    @endpoint
    def get(self, slug: str) -> ask.Request[Workflow]:
        """The workflow as it is now."""
        return ask.get(ask.path("workflows", slug), Workflow)

    @endpoint
    def archive(self, slug: str) -> ask.Request[Workflow]:
        """From now on it can be read, but neither run nor changed."""
        return ask.post(ask.path("workflows", slug, "archive"), Workflow, repeatable=True)

    @endpoint
    def add_version(self, slug: str, workflow: Mapping[str, object]) -> ask.Request[WorkflowVersion]:
        """Save a new version, which runs use from now on.

        Raises:
            ConflictError: it is archived
        """
        return ask.post(ask.path("workflows", slug, "versions"), WorkflowVersion, {"workflow": workflow})

    @paged
    def versions(
        self, slug: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Listing[WorkflowVersion]:
        """The workflow's versions, latest first, with the schema of what each takes."""
        return Listing(
            ask.path("workflows", slug, "versions"), WorkflowVersion, {"limit": limit, "cursor": cursor}
        )

    @endpoint
    def get_version(self, slug: str, version: int) -> ask.Request[WorkflowVersionDetails]:
        """One of them, with the workflow and its graph."""
        return ask.get(ask.path("workflows", slug, "versions", str(version)), WorkflowVersionDetails)

    @endpoint
    def diff(self, slug: str, before: int, after: int) -> ask.Request[WorkflowDiff]:
        """How two versions differ."""
        return ask.get(ask.path("workflows", slug, "diff"), WorkflowDiff, {"before": before, "after": after})

    @endpoint
    def create_run(
        self,
        slug: str,
        input: Mapping[str, object] | None = None,  # noqa: A002 (the contract's name for it)
        *,
        version: int | None = None,
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
        """Ask for a run, and return without waiting for its images. The rest is as in `jobs.create`.

        Args:
            input: what the version takes: see its `input_schema`.
            version: the latest by default.
        """
        body = _run_body(
            input,
            version=version,
            priority=priority,
            metadata=metadata,
            max_cost=max_cost,
            webhook_url=webhook_url,
            deadline=deadline,
            max_queue_seconds=max_queue_seconds,
            max_run_seconds=max_run_seconds,
        )
        path = ask.path("workflows", slug, "runs")
        return post_job(path, body, wait=wait, cancel_after=cancel_after, idempotency_key=idempotency_key)

    @method
    async def run(
        self,
        slug: str,
        /,
        *,
        version: int | None = None,
        metadata: Mapping[str, str] | None = None,
        priority: int | None = None,
        max_cost: int | None = None,
        webhook_url: str | None = None,
        cancel_after: int | str | None = None,
        deadline: datetime | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        on_progress: OnProgress | None = None,
        progress: bool = False,
        **inputs: Any,
    ) -> ImageList[Colour]:
        """Run a workflow, wait for it, and return its images.

        Args:
            version: the latest by default.
            timeout: seconds to wait, None for as long as it takes.
            on_progress: called with a `Progress` at every change.
            progress: draw a bar on stderr.
            inputs: what the workflow takes: see `versions(slug)`. An image or upload stands for its id.

        Raises:
            JobFailed, JobCanceled: it ended otherwise.
            WaitTimeout: it did not end in time. It goes on.
        """
        given = {name: _by_id(value) for name, value in inputs.items()}
        body = _run_body(
            given,
            version=version,
            priority=priority,
            metadata=metadata,
            max_cost=max_cost,
            webhook_url=webhook_url,
            deadline=deadline,
        )
        request: ask.Request[Job[Any]] = post_job(
            ask.path("workflows", slug, "runs"),
            body,
            cancel_after=cancel_after,
            idempotency_key=idempotency_key,
        )
        return await make_images(self._core, request, timeout, on_progress, progress)


def _run_body(
    given: Mapping[str, object] | None,
    *,
    version: int | None,
    metadata: Mapping[str, str] | None,
    priority: int | None,
    max_cost: int | None,
    webhook_url: str | None,
    deadline: datetime | None,
    max_queue_seconds: int | None = None,
    max_run_seconds: int | None = None,
) -> dict[str, object]:
    return ask.given(
        {
            "input": None if given is None else dict(given),
            "version": version,
            "metadata": metadata and dict(metadata),
            "priority": priority,
            "max_cost": max_cost,
            "webhook_url": webhook_url,
            "deadline": deadline,
            "max_queue_seconds": max_queue_seconds,
            "max_run_seconds": max_run_seconds,
        }
    )


def _by_id(value: Any) -> Any:
    return value.id if isinstance(value, Image | Upload) else value
