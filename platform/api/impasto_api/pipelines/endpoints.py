"""/v1/pipelines"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from impasto_api.auth.dependencies import ModelsReader
from impasto_api.pagination import Page
from impasto_api.pipelines.schemas import PipelineView
from impasto_api.problems import NotFound
from impasto_core.pipelines import PIPELINES

router = APIRouter(prefix="/v1/pipelines", tags=["pipelines"])

_VIEWS = {pipeline.id: PipelineView.of(pipeline) for pipeline in PIPELINES.values()}


@router.get("", operation_id="pipelines.list", summary="List pipelines")
async def list_pipelines(principal: ModelsReader) -> Page[PipelineView]:
    """All of them on one page: they come with the release, not from the database."""
    return Page(data=list(_VIEWS.values()), has_more=False)


@router.get("/{pipeline_id}", operation_id="pipelines.get", summary="Get a pipeline")
async def get_pipeline(
    principal: ModelsReader,
    pipeline_id: Annotated[str, Path(max_length=63, examples=["text-to-image"])],
) -> PipelineView:
    """What it does, and what its input looks like."""
    if pipeline_id not in _VIEWS:
        raise NotFound("There is no such pipeline.")
    return _VIEWS[pipeline_id]
