"""What InvokeAI's editor exports, read as its own `build_graph_from_workflow` reads it.

The format says its version in `meta.version`. From 1.0.0 to 4.0.0 the parts that matter here are the same:
nodes with `data.inputs.<name>.value`, edges of React Flow, and the fields that the author has exposed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from impasto_core.graphs import GraphProblem, InvalidGraph
from impasto_core.graphs.catalogue import Catalogue
from impasto_core.graphs.limits import MAX_EDGES, MAX_NODES
from impasto_core.graphs.plain import data_problems

NEWEST_FORMAT = 4
MAX_EXPOSED = 100
MAX_ELEMENTS = 2000
"""Of a form: fields, headings, containers."""

Path = tuple[str, ...]


@dataclass(frozen=True)
class ExposedField:
    """A field that the author lets others set. `path` is where the document says so."""

    node: str
    field: str
    label: str
    path: Path


@dataclass(frozen=True)
class Reading:
    """A document as a graph. `labels` are the author's names of nodes, `places` where each node stands."""

    graph: dict[str, Any]
    exposed: list[ExposedField]
    labels: dict[str, str]
    places: dict[str, Path]


def read(document: Any, catalogue: Catalogue) -> Reading:
    """Raises InvalidGraph, with paths into the document."""
    nodes, edges = _lists(document)
    by_id = {str(node.get("id")): (index, node) for index, node in enumerate(nodes)}
    invocations = {
        name: (index, node["data"])
        for name, (index, node) in by_id.items()
        if node.get("type") == "invocation" and isinstance(node.get("data"), dict)
    }
    graph_edges = list(dict.fromkeys(_edges(edges, by_id, set(invocations))))
    fed = {(target, field) for _, _, target, field in graph_edges}
    graph = {
        "nodes": {name: _node(name, data, catalogue, fed) for name, (_, data) in invocations.items()},
        "edges": [
            {
                "source": {"node_id": source, "field": output},
                "destination": {"node_id": target, "field": field},
            }
            for source, output, target, field in graph_edges
        ],
    }
    places: dict[str, Path] = {name: ("nodes", str(index)) for name, (index, _) in invocations.items()}
    labels = {name: str(data.get("label") or "") for name, (_, data) in invocations.items()}
    exposed = [
        ExposedField(node, field, _label(invocations[node][1], field), path)
        for node, field, path in _existing(document, invocations, catalogue)
        if field != "board" and (node, field) not in fed
    ]
    return Reading(graph, exposed, labels, places)


def _lists(document: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    if not isinstance(document, dict):
        raise _invalid((), "invalid_type", "A workflow is an object, as InvokeAI's editor exports it.")
    meta = document.get("meta")
    version = str(meta.get("version", "")) if isinstance(meta, dict) else ""
    found = re.fullmatch(r"(\d{1,3})\.\d{1,3}\.\d{1,3}", version)
    if found is None:
        raise _invalid(
            ("meta", "version"), "missing", "A workflow says the version of its format, like 3.0.0."
        )
    if not 1 <= int(found[1]) <= NEWEST_FORMAT:
        raise _invalid(
            ("meta", "version"),
            "unknown_version",
            f"Formats 1 to {NEWEST_FORMAT} are understood, and this is {version}.",
        )
    lists: list[list[dict[str, Any]]] = []
    for name, most in (("nodes", MAX_NODES), ("edges", 2 * MAX_EDGES)):
        value = document.get(name)
        if not isinstance(value, list):
            raise _invalid((name,), "invalid_type", "It must be a list.")
        if len(value) > most:
            raise _invalid((name,), f"too_many_{name}", f"It has {len(value)} items; it may have {most}.")
        for index, item in enumerate(value):
            if not isinstance(item, dict):
                raise _invalid((name, str(index)), "invalid_type", "It must be an object.")
        lists.append(value)
    return lists[0], lists[1]


def _invalid(path: Path, code: str, detail: str) -> InvalidGraph:
    return InvalidGraph([GraphProblem(path, code, detail)])


def _node(
    name: str, data: Mapping[str, Any], catalogue: Catalogue, fed: set[tuple[str, str]]
) -> dict[str, Any]:
    """Inputs that the installed node does not have any more are dropped, as InvokeAI's editor drops them."""
    node: dict[str, Any] = {
        "id": name,
        "type": data.get("type"),
        "is_intermediate": bool(data.get("isIntermediate", False)),
    }
    node_type = catalogue.get(str(data.get("type")))
    inputs = data.get("inputs")
    for field, entry in inputs.items() if isinstance(inputs, dict) else ():
        value = entry.get("value") if isinstance(entry, dict) else None
        known = node_type.inputs.get(field) if node_type else None
        if value is None or known is None or field == "board" or (name, field) in fed:
            continue
        if known.type.name.startswith("ModelIdentifierField") and not _names_model(value):
            continue  # older formats named models in another way, and InvokeAI's editor forgets those too
        node[field] = value
    return node


def _names_model(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, dict) and isinstance(value.get("key"), str))


def _edges(
    edges: list[dict[str, Any]], nodes: Mapping[str, Any], invocations: set[str]
) -> Iterator[tuple[str, str, str, str]]:
    """Connectors only lead on, and collapsed edges only stand for others."""
    default = [edge for edge in edges if edge.get("type") == "default"]
    into_connector = {edge.get("target"): edge for edge in default if edge.get("targetHandle") == "in"}
    for edge in default:
        start: Any = edge
        for _ in range(len(nodes)):
            source = nodes.get(str(start.get("source")), (0, {}))[1]
            if source.get("type") != "connector":
                break
            start = into_connector.get(start.get("source"))
            if start is None:
                break
        if start is None or str(edge.get("target")) not in invocations:
            continue
        ends = (start.get("source"), start.get("sourceHandle"), edge.get("target"), edge.get("targetHandle"))
        if all(isinstance(end, str) for end in ends) and ends[0] in invocations:
            yield ends  # type: ignore[misc]  # it was just looked at


def _existing(
    document: Mapping[str, Any],
    invocations: Mapping[str, tuple[int, Mapping[str, Any]]],
    catalogue: Catalogue,
) -> list[tuple[str, str, Path]]:
    """The exposed fields, each once. Raises InvalidGraph where one does not exist."""
    found = list(_in_form(document.get("form"))) or list(_in_list(document.get("exposedFields")))
    if len(found) > MAX_EXPOSED:
        raise _invalid(("exposedFields",), "too_many", f"A workflow may expose {MAX_EXPOSED} fields.")
    problems: list[GraphProblem] = []
    fields: dict[tuple[str, str], Path] = {}
    for node, field, path in found:
        node_type = catalogue.get(str(invocations[node][1].get("type"))) if node in invocations else None
        if node not in invocations:
            problems.append(GraphProblem((*path, "nodeId"), "not_found", f"There is no node {node!r:.100}."))
        elif node_type is not None and field not in node_type.inputs:
            detail = f"{node_type.type} has no input {field!r:.100}."
            problems.append(GraphProblem((*path, "fieldName"), "not_found", detail))
        else:
            fields.setdefault((node, field), path)
    if problems:
        raise InvalidGraph(problems)
    return [(node, field, path) for (node, field), path in fields.items()]


def _in_list(exposed: Any) -> Iterator[tuple[str, str, Path]]:
    for index, entry in enumerate(exposed if isinstance(exposed, list) else ()):
        yield from _identifier(entry, ("exposedFields", str(index)))


def _in_form(form: Any) -> Iterator[tuple[str, str, Path]]:
    """In the order in which the form shows them."""
    elements = form.get("elements") if isinstance(form, dict) else None
    if not isinstance(elements, dict) or len(elements) > MAX_ELEMENTS:
        return
    waiting, seen = [form.get("rootElementId")], set()
    while waiting:
        name = waiting.pop()
        element = elements.get(name) if isinstance(name, str) and name not in seen else None
        data = element.get("data") if isinstance(element, dict) else None
        if not isinstance(element, dict) or not isinstance(data, dict):
            continue
        seen.add(name)
        if element.get("type") == "node-field":
            path = ("form", "elements", name, "data", "fieldIdentifier")
            yield from _identifier(data.get("fieldIdentifier"), path)
        children = data.get("children")
        waiting.extend(reversed(children if isinstance(children, list) else []))


def _identifier(entry: Any, path: Path) -> Iterator[tuple[str, str, Path]]:
    if not isinstance(entry, dict):
        raise _invalid(path, "invalid_type", "It must be an object with nodeId and fieldName.")
    yield str(entry.get("nodeId")), str(entry.get("fieldName")), path


def _label(data: Mapping[str, Any], field: str) -> str:
    inputs = data.get("inputs")
    entry = inputs.get(field) if isinstance(inputs, dict) else None
    return str(entry.get("label") or "") if isinstance(entry, dict) else ""


def check_document(document: Any) -> None:
    """Whether it can be stored. Raises InvalidGraph."""
    if problems := list(data_problems((), document, depth=-8)):  # forms are nested deeper than values are
        raise InvalidGraph(problems)
