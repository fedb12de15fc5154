"""Whether a graph is plain data that can be stored, sent on and looked at: sizes, depth, text and numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from impasto_core.graphs.limits import MAX_DEPTH, MAX_EDGES, MAX_ITEMS, MAX_NODES, MAX_NUMBER, MAX_TEXT
from impasto_core.graphs.problems import GraphProblem

Path = tuple[str, ...]

MAX_NAME = 100
"""Characters of a node's id, and of a field's name."""


def shape_problems(graph: Any) -> Iterator[GraphProblem]:
    """What keeps the graph from being looked at node by node. Takes no time for a large one."""
    if not isinstance(graph, dict):
        yield GraphProblem((), "invalid_type", "A graph is an object with nodes and edges.")
        return
    nodes, edges = graph.get("nodes"), graph.get("edges", [])
    if not isinstance(nodes, dict):
        yield GraphProblem(("nodes",), "invalid_type", "It must be an object: nodes by their ids.")
    elif not nodes:
        yield GraphProblem(("nodes",), "empty", "The graph has no nodes.")
    elif len(nodes) > MAX_NODES:
        yield GraphProblem(
            ("nodes",), "too_many_nodes", f"The graph has {len(nodes)} nodes; it may have {MAX_NODES}."
        )
    elif any(len(name) > MAX_NAME or any(_text_problems((), name)) for name in nodes):
        yield GraphProblem(
            ("nodes",), "invalid_name", f"An id may have {MAX_NAME} characters, none of them NUL."
        )
    if not isinstance(edges, list):
        yield GraphProblem(("edges",), "invalid_type", "It must be a list.")
    elif len(edges) > MAX_EDGES:
        yield GraphProblem(
            ("edges",), "too_many_edges", f"The graph has {len(edges)} edges; it may have {MAX_EDGES}."
        )


def data_problems(path: Path, value: Any, depth: int = 0) -> Iterator[GraphProblem]:
    """Everything in the value that no node may have."""
    match value:
        case str():
            yield from _text_problems(path, value)
        case bool() | None:
            pass
        case int() | float():
            if not math.isfinite(value) if isinstance(value, float) else abs(value) > MAX_NUMBER:
                yield GraphProblem(path, "not_finite", "Numbers must be finite, and below 2^53.")
        case dict() | list() if depth >= MAX_DEPTH:
            yield GraphProblem(path, "too_deep", f"It is nested more than {MAX_DEPTH} deep.")
        case dict():
            for name, member in value.items():
                if any(_text_problems((), name)) or len(name) > MAX_NAME:
                    yield GraphProblem(path, "invalid_name", "It has a member whose name cannot be used.")
                else:
                    yield from data_problems((*path, name), member, depth + 1)
        case list() if len(value) > MAX_ITEMS:
            yield GraphProblem(path, "too_long", f"It has {len(value)} items; it may have {MAX_ITEMS}.")
        case list():
            for index, member in enumerate(value):
                yield from data_problems((*path, str(index)), member, depth + 1)
        case _:
            yield GraphProblem(path, "invalid_type", "It is no JSON value.")


def _text_problems(path: Path, text: str) -> Iterator[GraphProblem]:
    if len(text) > MAX_TEXT:
        yield GraphProblem(path, "too_long", f"The text has {len(text)} characters; it may have {MAX_TEXT}.")
    elif "\0" in text or not _is_unicode(text):
        yield GraphProblem(path, "invalid_text", "The text has a character that cannot be stored.")


def _is_unicode(text: str) -> bool:
    """False for a lone surrogate, which JSON can write but no encoding has."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
