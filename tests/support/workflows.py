"""Workflows as InvokeAI's editor exports them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "workflows"

Document = dict[str, Any]


def default_workflow(name: str) -> Document:
    """One of those that InvokeAI 6.14.2 brings along, as it brings it."""
    document: Document = json.loads((FOLDER / f"{name}.json").read_text())
    return document


def text_to_image(*changes: Callable[[Document], Any]) -> Document:
    document = copy.deepcopy(default_workflow("Text to Image - SD1.5"))
    for change in changes:
        change(document)
    return document


def node_of(document: Document, kind: str) -> dict[str, Any]:
    """The first node of that type."""
    node: dict[str, Any] = next(node for node in document["nodes"] if node["data"].get("type") == kind)
    return node


def set_value(kind: str, field: str, value: Any) -> Callable[[Document], Any]:
    return lambda document: node_of(document, kind)["data"]["inputs"][field].update(value=value)
