"""Nodes as callers see them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from impasto_core.graphs.catalogue import Input, NodeType, Output


class NodeView(BaseModel):
    """A type of node that graphs may use."""

    type: str = Field(description="What a graph's node has as its `type`.", examples=["compel"])
    object: Literal["node"] = "node"
    title: str = Field(examples=["Prompt - SD1.5"])
    description: str
    category: str = Field(examples=["prompt"])
    tags: list[str] = Field(examples=[["prompt", "compel"]])
    version: str = Field(description="InvokeAI's version of the node.", examples=["1.2.1"])

    @classmethod
    def of(cls, node: NodeType) -> NodeView:
        return cls(**_summary(node))


class NodeInput(BaseModel):
    """An input of a node: a value in the graph, or what an edge brings."""

    name: str = Field(examples=["prompt"])
    type: str = Field(description="What an edge must bring.", examples=["str"])
    source: Literal["any", "connection", "direct"] = Field(
        description="`connection`: only an edge makes sense; `direct`: only a value."
    )
    required: bool = Field(description="Whether there must be a value or an edge.")
    hidden: bool = Field(description="InvokeAI's editor does not show it.")
    value_schema: dict[str, Any] = Field(description="JSON Schema of the value; see `definitions`.")

    @classmethod
    def of(cls, field: Input) -> NodeInput:
        return cls(
            name=field.name,
            type=field.type.name,
            source=field.source,
            required=field.required or field.given,
            hidden=bool(field.schema.get("ui_hidden", False)),
            value_schema=field.schema,
        )


class NodeOutput(BaseModel):
    """An output of a node, which edges lead from."""

    name: str = Field(examples=["conditioning"])
    type: str = Field(examples=["ConditioningField"])
    value_schema: dict[str, Any] = Field(description="JSON Schema of the value; see `definitions`.")

    @classmethod
    def of(cls, field: Output) -> NodeOutput:
        return cls(name=field.name, type=field.type.name, value_schema=field.schema)


class NodeDetailsView(NodeView):
    """A type of node with all that a graph needs to know of it."""

    inputs: list[NodeInput]
    outputs: list[NodeOutput]
    definitions: dict[str, Any] = Field(description="What the schemas refer to as `#/$defs/...`.")
    node_schema: dict[str, Any] = Field(
        description="JSON Schema, draft 2020-12, of the whole node as it stands in a graph."
    )
    invokeai_version: str = Field(examples=["6.14.2"])

    @classmethod
    def detailed(cls, node: NodeType, invokeai_version: str) -> NodeDetailsView:
        return cls(
            **_summary(node),
            inputs=[NodeInput.of(field) for field in node.inputs.values()],
            outputs=[NodeOutput.of(field) for field in node.outputs.values()],
            definitions=node.definitions,
            node_schema=node.schema,
            invokeai_version=invokeai_version,
        )


def _summary(node: NodeType) -> dict[str, Any]:
    return {
        "type": node.type,
        "title": node.title,
        "description": node.description,
        "category": node.category,
        "tags": list(node.tags),
        "version": node.version,
    }
