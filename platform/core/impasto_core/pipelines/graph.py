"""A small builder of InvokeAI graphs (`invokeai.app.services.shared.graph.Graph`, as JSON)."""

from __future__ import annotations

from typing import Any

Graph = dict[str, Any]
Output = tuple[str, str]
"""A node's id and the name of one of its outputs."""


class GraphBuilder:
    """Collects nodes and edges. A field given as an `Output` becomes an edge, any other a value."""

    def __init__(self) -> None:
        self._nodes: dict[str, dict[str, Any]] = {}
        self._edges: list[dict[str, dict[str, str]]] = []

    def add(self, node_id: str, node_type: str, **fields: Any) -> None:
        values: dict[str, Any] = {"id": node_id, "type": node_type, "is_intermediate": True}
        for name, value in fields.items():
            if isinstance(value, tuple):
                source, output = value
                self._edges.append(
                    {
                        "source": {"node_id": source, "field": output},
                        "destination": {"node_id": node_id, "field": name},
                    }
                )
            else:
                values[name] = value
        self._nodes[node_id] = values

    def build(self) -> Graph:
        return {"nodes": self._nodes, "edges": self._edges}
