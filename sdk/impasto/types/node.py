from __future__ import annotations

from typing import Any, Literal

from ._base import Result


class NodeSummary(Result):
    """A type of node that graphs may use."""

    type: str
    title: str
    description: str
    category: str
    tags: list[str]
    version: str


class NodeInput(Result):
    """What a node takes: a value in the graph, or what an edge brings."""

    name: str
    type: str
    source: Literal["any", "connection", "direct"]
    required: bool
    hidden: bool
    value_schema: dict[str, Any]


class NodeOutput(Result):
    """What a node gives, for edges to lead from."""

    name: str
    type: str
    value_schema: dict[str, Any]


class NodeDetails(NodeSummary):
    """A type of node with all that a graph needs to know of it."""

    inputs: list[NodeInput]
    outputs: list[NodeOutput]
    definitions: dict[str, Any]
    """What the schemas refer to as `#/$defs/...`."""
    node_schema: dict[str, Any]
    """JSON Schema of the whole node as it stands in a graph."""
    invokeai_version: str


class Graph(Result):
    """A graph in InvokeAI's own format. `model_dump()` of it can be sent as `graph` again."""

    nodes: dict[str, dict[str, Any]]
    edges: list[dict[str, Any]]
