"""Whether InvokeAI would take a graph, said without InvokeAI: nodes, their values, and their edges.

Stricter than InvokeAI, which converts values of other types, ignores fields that do not exist, and lets edges
lead into a node's own attributes. On edges between inputs and outputs the two agree: a test compares them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from impasto_core.graphs.catalogue import Catalogue, NodeType, load
from impasto_core.graphs.connections import Connections, Edge
from impasto_core.graphs.plain import data_problems, shape_problems
from impasto_core.graphs.problems import MAX_PROBLEMS, GraphProblem, InvalidGraph

_NAMED_BY_EDGES_ONLY = {"latents_name", "conditioning_name", "tensor_name", "mask_name", "video_name"}
"""Names of what other nodes of the same run have made: no caller can know them."""


def check(graph: Any) -> Connections:
    """The graph's edges, all of them sound. Raises InvalidGraph with the problems that were found."""
    catalogue = load()
    if problems := list(itertools.islice(find_problems(graph, catalogue), MAX_PROBLEMS)):
        raise InvalidGraph(problems)
    return connections_of(graph, catalogue)


def check_data(graph: Any) -> None:
    """Raises InvalidGraph for what cannot be looked at node by node, or not be stored."""
    found = list(shape_problems(graph)) or list(itertools.islice(_all_data_problems(graph), MAX_PROBLEMS))
    if found:
        raise InvalidGraph(found)


def _all_data_problems(graph: Mapping[str, Any]) -> Iterator[GraphProblem]:
    for name, node in graph["nodes"].items():
        yield from data_problems(("nodes", name), node)
    for index, edge in enumerate(graph.get("edges", [])):
        yield from data_problems(("edges", str(index)), edge)


def connections_of(graph: Mapping[str, Any], catalogue: Catalogue) -> Connections:
    """The edges of a graph that was found to be sound."""
    nodes = {name: _known(catalogue, node) for name, node in graph["nodes"].items()}
    sound = {name: node for name, node in nodes.items() if node is not None}
    return Connections(catalogue, sound, _read_edges(graph, sound)[0])


def find_problems(graph: Any, catalogue: Catalogue, *, only_allowed: bool = True) -> Iterator[GraphProblem]:
    """Everything wrong with the graph. `only_allowed` refuses nodes that callers may not use."""
    if problems := list(shape_problems(graph)):
        yield from problems
        return
    known = {
        name: node_type
        for name, node in graph["nodes"].items()
        if (node_type := _known(catalogue, node)) is not None
    }
    edges, edge_problems = _read_edges(graph, known)
    fed = _fed(graph)
    for name, node in graph["nodes"].items():
        yield from _node_problems(name, node, known, fed, only_allowed)
    yield from edge_problems
    if not edge_problems:  # otherwise what InvokeAI says of the other edges may follow from those
        yield from Connections(catalogue, known, edges).problems()


def _known(catalogue: Catalogue, node: Any) -> NodeType | None:
    name = node.get("type") if isinstance(node, dict) else None
    return catalogue.get(name) if isinstance(name, str) else None


def _fed(graph: Mapping[str, Any]) -> set[tuple[Any, Any]]:
    """The inputs that an edge leads to, be it sound or not."""
    ends = [edge.get("destination") for edge in graph.get("edges", []) if isinstance(edge, dict)]
    return {(str(end.get("node_id")), str(end.get("field"))) for end in ends if isinstance(end, dict)}


def _node_problems(
    name: str, node: Any, known: Mapping[str, NodeType], fed: set[tuple[Any, Any]], only_allowed: bool
) -> Iterator[GraphProblem]:
    path = ("nodes", name)
    if not isinstance(node, dict):
        yield GraphProblem(path, "invalid_type", "A node is an object with id, type and inputs.")
        return
    if problems := list(data_problems(path, node)):
        yield from problems
        return
    if name not in known:
        yield GraphProblem(
            (*path, "type"), "unknown_node", f"There is no node type {node.get('type')!r:.100}."
        )
        return
    node_type = known[name]
    if only_allowed and node_type.left_out:
        yield GraphProblem(
            (*path, "type"), "forbidden_node", f"{node_type.type} cannot be used. {node_type.left_out}"
        )
        return
    if node.get("id") != name:
        yield GraphProblem((*path, "id"), "id_mismatch", f"It must be {name!r:.100}, as the node is called.")
    yield from _value_problems(path, node, node_type)
    for field in node_type.inputs.values():
        if field.required and node.get(field.name) is None and (name, field.name) not in fed:
            wanted = "an edge" if field.source == "connection" else "a value or an edge"
            yield GraphProblem((*path, field.name), "missing", f"It needs {wanted}.")


def _value_problems(
    path: tuple[str, ...], node: dict[str, Any], node_type: NodeType
) -> Iterator[GraphProblem]:
    for error in node_type.validator.iter_errors(node):
        where = [str(step) for step in error.instance_path]
        match error.kind.name:
            case "additionalProperties" if not where:
                for field in getattr(error.kind, "unexpected", ()):
                    yield GraphProblem(
                        (*path, field), "unknown_field", f"{node_type.type} has no such input."
                    )
            case "required":
                yield GraphProblem(
                    (*path, *where, str(getattr(error.kind, "property", "")).strip('"')),
                    "missing",
                    "It is missing.",
                )
            case "anyOf" if len(where) == 1 and where[0] in node_type.inputs:
                wanted = node_type.inputs[where[0]].type.name
                yield GraphProblem((*path, *where), "invalid_type", f"It must be {wanted}.")
            case kind:
                yield GraphProblem((*path, *where), _code(kind), _sentence(error.message))
    yield from _names_of_things_made(path, node)


def _code(kind: str) -> str:
    return {"type": "invalid_type", "enum": "unknown_value", "const": "unknown_value"}.get(kind, kind)


def _sentence(message: str) -> str:
    return message if len(message) <= 200 else f"{message[:90]} ... {message[-100:]}"


def _names_of_things_made(path: tuple[str, ...], value: Any) -> Iterator[GraphProblem]:
    if isinstance(value, dict):
        for name, member in value.items():
            if name in _NAMED_BY_EDGES_ONLY and member is not None:
                yield GraphProblem((*path, name), "edge_needed", "This can only come through an edge.")
            else:
                yield from _names_of_things_made((*path, name), member)
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from _names_of_things_made((*path, str(index)), member)


def _read_edges(
    graph: Mapping[str, Any], nodes: Mapping[str, NodeType]
) -> tuple[list[Edge], list[GraphProblem]]:
    """The edges whose ends exist, and what is wrong with the others."""
    edges: list[Edge] = []
    problems: list[GraphProblem] = []
    for index, raw in enumerate(graph.get("edges", [])):
        faults = list(_end_problems(index, raw, graph["nodes"], nodes))
        problems += faults
        if not faults:
            source, destination = raw["source"], raw["destination"]
            if source["node_id"] in nodes and destination["node_id"] in nodes:
                edges.append(
                    Edge(
                        index,
                        source["node_id"],
                        source["field"],
                        destination["node_id"],
                        destination["field"],
                    )
                )
    return edges, problems


def _end_problems(
    index: int, edge: Any, given: Mapping[str, Any], known: Mapping[str, NodeType]
) -> Iterator[GraphProblem]:
    for end in ("source", "destination"):
        path = ("edges", str(index), end)
        place = edge.get(end) if isinstance(edge, dict) else None
        if not isinstance(place, dict) or not all(
            isinstance(place.get(k), str) for k in ("node_id", "field")
        ):
            yield GraphProblem(path, "invalid_type", "It must be an object with node_id and field.")
            continue
        node, field = place["node_id"], place["field"]
        if node not in given:
            yield GraphProblem((*path, "node_id"), "unknown_node", f"The graph has no node {node!r:.100}.")
        elif node in known:
            fields = known[node].outputs if end == "source" else known[node].inputs
            # Jobs have no boards.
            if field not in fields or (end, field) == ("destination", "board"):
                what = "output" if end == "source" else "input"
                yield GraphProblem(
                    (*path, "field"), "unknown_field", f"{known[node].type} has no {what} {field!r:.100}."
                )
