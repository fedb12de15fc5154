from __future__ import annotations

from datetime import datetime
from typing import Any

from ._base import Result


class Workflow(Result):
    """A workflow of InvokeAI's editor, saved under a slug."""

    slug: str
    name: str
    description: str
    latest_version: int
    created_at: datetime
    archived_at: datetime | None = None
    """From then on it cannot be run."""


class WorkflowVersion(Result):
    """A version of a workflow. It never changes."""

    workflow: str
    """The workflow's slug."""
    version: int
    input_schema: dict[str, Any]
    """JSON Schema of what a run takes."""
    created_at: datetime


class WorkflowVersionDetails(WorkflowVersion):
    """A version of a workflow with its content."""

    graph: dict[str, Any]
    """The graph that runs, with the values it was saved with."""
    document: dict[str, Any]
    """The workflow as it was sent."""


class WorkflowReference(Result):
    """The version of a workflow that a job is a run of."""

    slug: str
    version: int


class FieldChange(Result):
    """A value that differs. None is also one that is not set."""

    field: str
    before: Any = None
    after: Any = None


class NodeReference(Result):
    id: str
    type: str


class NodeChange(NodeReference):
    """A node that both versions have, with other values."""

    fields: list[FieldChange]


class EdgeReference(Result):
    """From one node's output to another's input: "noise.noise", "denoise.noise"."""

    source: str
    destination: str


class WorkflowDiff(Result):
    """How two versions differ, as far as it matters to what they paint."""

    before: int
    after: int
    nodes_added: list[NodeReference]
    nodes_removed: list[NodeReference]
    nodes_changed: list[NodeChange]
    edges_added: list[EdgeReference]
    edges_removed: list[EdgeReference]
    inputs_added: list[str]
    inputs_removed: list[str]
    inputs_changed: list[str]
