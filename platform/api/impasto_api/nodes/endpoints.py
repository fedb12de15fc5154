"""/v1/nodes"""

from __future__ import annotations

from functools import cache
from typing import Annotated

from fastapi import APIRouter, Path, Query

from impasto_api.auth.dependencies import NodesReader
from impasto_api.nodes.schemas import NodeDetailsView, NodeView
from impasto_api.pagination import Page
from impasto_api.problems import NotFound, ValidationFailed
from impasto_core.fields import Text
from impasto_core.graphs import catalogue

router = APIRouter(prefix="/v1/nodes", tags=["graphs"])


@router.get("", operation_id="nodes.list", summary="List nodes")
async def list_nodes(
    principal: NodesReader,
    category: Annotated[
        Text | None, Query(max_length=63, description="Only nodes of this category.", examples=["image"])
    ] = None,
    search: Annotated[
        Text | None,
        Query(max_length=100, description="Only nodes with all these words.", examples=["blur"]),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Items a page.")] = 20,
    cursor: Annotated[
        Text | None, Query(max_length=64, description="`next_cursor` of the page before.")
    ] = None,
) -> Page[NodeView]:
    """The types of nodes that graphs may use, by name: those of InvokeAI that can neither reach beyond their
    job nor cost more than can be told before it runs.
    """
    nodes = [node for node in _nodes() if _matches(node, category, search)]
    if cursor is not None:
        if all(node.type != cursor for node in _nodes()):
            detail = "Not a cursor: pass next_cursor of the page before, unchanged."
            raise ValidationFailed.of("query", "cursor", "invalid", detail)
        nodes = [node for node in nodes if node.type > cursor]
    page, has_more = nodes[:limit], len(nodes) > limit
    return Page(data=page, has_more=has_more, next_cursor=page[-1].type if has_more else None)


@router.get("/{node_type}", operation_id="nodes.get", summary="Get a node")
async def get_node(
    principal: NodesReader, node_type: Annotated[str, Path(max_length=100, examples=["compel"])]
) -> NodeDetailsView:
    """A type of node, with the schemas of its inputs and outputs."""
    known = catalogue.load()
    node = known.get(node_type)
    if node is None or node.left_out is not None:
        raise NotFound(f"There is no such node. {node.left_out if node else ''}".strip())
    return NodeDetailsView.detailed(node, known.version)


@cache
def _nodes() -> list[NodeView]:
    return [NodeView.of(node) for node in catalogue.load() if node.left_out is None]


def _matches(node: NodeView, category: str | None, search: str | None) -> bool:
    if category is not None and node.category != category:
        return False
    text = " ".join((node.type, node.title, node.description, *node.tags)).lower()
    return all(word in text for word in (search or "").lower().split())
