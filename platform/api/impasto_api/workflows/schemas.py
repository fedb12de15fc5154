"""Workflows as callers see them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, WithJsonSchema

from impasto_api.jobs.schemas import JobTerms, encodable
from impasto_core.fields import Text
from impasto_core.workflows.tables import Workflow, WorkflowVersion

Slug = Annotated[str, Field(pattern=r"^[a-z0-9](-?[a-z0-9])*$", max_length=63, examples=["product-shot"])]

Document = Annotated[
    Any,
    AfterValidator(encodable),
    WithJsonSchema(
        {
            "title": "InvokeAI workflow",
            "type": "object",
            "description": "A workflow as InvokeAI's editor exports it: the content of the file.",
            "properties": {
                "meta": {
                    "type": "object",
                    "properties": {"version": {"type": "string", "examples": ["3.0.0"]}},
                    "required": ["version"],
                },
                "nodes": {"type": "array", "items": {"type": "object"}},
                "edges": {"type": "array", "items": {"type": "object"}},
                "exposedFields": {"type": "array", "items": {"type": "object"}},
                "form": {"type": ["object", "null"]},
            },
            "required": ["meta", "nodes", "edges"],
        }
    ),
]
# Any value: `impasto_core.workflows` says what is wrong with it, node by node.


class WorkflowCreate(BaseModel):
    """A new workflow, and its version 1."""

    model_config = ConfigDict(extra="forbid")

    slug: Slug
    name: Text | None = Field(default=None, max_length=200, description="The workflow's own, if null.")
    description: Text | None = Field(
        default=None, max_length=2000, description="The workflow's own, if null."
    )
    workflow: Document


class WorkflowVersionCreate(BaseModel):
    """A new version of a workflow."""

    model_config = ConfigDict(extra="forbid")

    workflow: Document


class WorkflowRunCreate(JobTerms):
    """A run of a workflow."""

    input: Annotated[dict[str, Any], AfterValidator(encodable)] = Field(
        default={}, description="See the version's `input_schema`."
    )
    version: int | None = Field(default=None, ge=1, le=2**31 - 1, description="The latest, if null.")


class WorkflowView(BaseModel):
    """A workflow. Its versions never change."""

    slug: str = Field(examples=["product-shot"])
    object: Literal["workflow"] = "workflow"
    name: str
    description: str
    latest_version: int
    created_at: AwareDatetime
    archived_at: AwareDatetime | None = Field(description="From then on it cannot be run.")

    @classmethod
    def of(cls, workflow: Workflow) -> WorkflowView:
        return cls(
            slug=workflow.slug,
            name=workflow.name,
            description=workflow.description,
            latest_version=workflow.latest,
            created_at=workflow.created_at,
            archived_at=workflow.archived_at,
        )


class WorkflowVersionView(BaseModel):
    """A version of a workflow."""

    workflow: str = Field(description="The workflow's slug.", examples=["product-shot"])
    object: Literal["workflow_version"] = "workflow_version"
    version: int
    input_schema: dict[str, Any] = Field(
        description="JSON Schema, draft 2020-12, of a run's `input`: the fields that the workflow exposes."
    )
    created_at: AwareDatetime

    @classmethod
    def of(cls, slug: str, version: WorkflowVersion) -> WorkflowVersionView:
        return cls(
            workflow=slug,
            version=version.number,
            input_schema=version.input_schema,
            created_at=version.created_at,
        )


class WorkflowVersionDetailsView(WorkflowVersionView):
    """A version of a workflow with its content."""

    graph: dict[str, Any] = Field(description="The graph that runs, with the values it was saved with.")
    document: dict[str, Any] = Field(description="The workflow as it was sent.")

    @classmethod
    def detailed(cls, slug: str, version: WorkflowVersion) -> WorkflowVersionDetailsView:
        return cls(
            **WorkflowVersionView.of(slug, version).model_dump(),
            graph=version.graph,
            document=version.document,
        )
