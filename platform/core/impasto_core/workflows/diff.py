"""How two versions of a workflow differ, as far as it matters to what they paint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field


class FieldChange(BaseModel):
    """A value that differs. Null is also one that is not set."""

    field: str
    before: Any
    after: Any


class NodeChange(BaseModel):
    """A node that both versions have, with another type or other values."""

    id: str
    type: str
    fields: list[FieldChange]


class NodeReference(BaseModel):
    id: str
    type: str


class EdgeReference(BaseModel):
    """From one node's output to another's input: "noise.noise", "denoise.noise"."""

    source: str
    destination: str


class WorkflowDiff(BaseModel):
    """What version `after` has and `before` has not, and the other way round."""

    before: int
    after: int
    nodes_added: list[NodeReference]
    nodes_removed: list[NodeReference]
    nodes_changed: list[NodeChange]
    edges_added: list[EdgeReference]
    edges_removed: list[EdgeReference]
    inputs_added: list[str]
    inputs_removed: list[str]
    inputs_changed: list[str] = Field(description="Inputs whose schema or default differs.")


def diff(
    before: int, old: Mapping[str, Any], old_schema: Mapping[str, Any],
    after: int, new: Mapping[str, Any], new_schema: Mapping[str, Any],
) -> WorkflowDiff:  # fmt: skip
    """Of two versions: their numbers, graphs and input schemas."""
    old_nodes, new_nodes = old["nodes"], new["nodes"]
    old_edges, new_edges = _edges(old), _edges(new)
    old_inputs, new_inputs = old_schema["properties"], new_schema["properties"]
    return WorkflowDiff(
        before=before,
        after=after,
        nodes_added=[_reference(new_nodes[name]) for name in new_nodes if name not in old_nodes],
        nodes_removed=[_reference(old_nodes[name]) for name in old_nodes if name not in new_nodes],
        nodes_changed=[
            NodeChange(
                id=name, type=new_nodes[name]["type"], fields=_changes(old_nodes[name], new_nodes[name])
            )
            for name in new_nodes
            if name in old_nodes and old_nodes[name] != new_nodes[name]
        ],
        edges_added=[edge for edge in new_edges if edge not in old_edges],
        edges_removed=[edge for edge in old_edges if edge not in new_edges],
        inputs_added=[name for name in new_inputs if name not in old_inputs],
        inputs_removed=[name for name in old_inputs if name not in new_inputs],
        inputs_changed=[
            name for name in new_inputs if name in old_inputs and old_inputs[name] != new_inputs[name]
        ],
    )


def _reference(node: Mapping[str, Any]) -> NodeReference:
    return NodeReference(id=node["id"], type=node["type"])


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[FieldChange]:
    return [
        FieldChange(field=field, before=old.get(field), after=new.get(field))
        for field in dict.fromkeys((*old, *new))
        if old.get(field) != new.get(field)
    ]


def _edges(graph: Mapping[str, Any]) -> list[EdgeReference]:
    return [
        EdgeReference(
            source=f"{edge['source']['node_id']}.{edge['source']['field']}",
            destination=f"{edge['destination']['node_id']}.{edge['destination']['field']}",
        )
        for edge in graph["edges"]
    ]
