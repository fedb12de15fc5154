"""The exposed fields of a workflow as typed input of an endpoint."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from impasto_core import json_schema
from impasto_core.graphs.catalogue import Catalogue, Input
from impasto_core.workflows.document import ExposedField, Reading

RESERVED = {"idempotency_key", "max_cost", "metadata", "on_progress", "progress", "self", "slug", "timeout"}
RESERVED |= {"priority", "version", "wait"}
"""What a run has beside its input: `client.workflows.run(slug, **inputs)` must be able to tell."""

_IMAGE = {
    "type": "string",
    "pattern": "^(upl|img)_[0-7][0-9a-z]{25}$",
    "description": "Id of an upload or image.",
}
_MODEL = {"type": "string", "minLength": 1, "maxLength": 63, "description": "Id of a model."}


class WorkflowInput(BaseModel):
    """What a run calls a field of a node. `kind`: images and models are given by their ids."""

    name: str
    node: str
    field: str
    kind: str

    def value_for_graph(self, value: Any) -> Any:
        if self.kind == "image" and isinstance(value, str):
            return {"image_name": value}
        if self.kind == "images" and isinstance(value, list):
            return [{"image_name": item} for item in value]
        return value


def inputs_of(reading: Reading, catalogue: Catalogue) -> tuple[list[WorkflowInput], dict[str, Any]]:
    """The inputs in the author's order, and the JSON Schema (2020-12) of a run's input."""
    inputs: list[WorkflowInput] = []
    properties: dict[str, Any] = {}
    required: list[str] = []
    definitions: dict[str, Any] = {}
    for exposed, name in zip(reading.exposed, _names(reading), strict=True):
        node = reading.graph["nodes"][exposed.node]
        node_type = catalogue.get(node["type"])
        if node_type is None:
            continue  # that the graph has an unknown node is told elsewhere
        field = node_type.inputs[exposed.field]
        kind = _kind(field)
        schema = _schema(field, kind, exposed)
        if exposed.field in node:
            schema["default"] = _shown(node[exposed.field], kind)
        elif field.required or field.given:
            schema.pop("default", None)
            required.append(name)
        definitions |= _referred(schema, node_type.definitions)
        properties[name] = schema
        inputs.append(WorkflowInput(name=name, node=exposed.node, field=exposed.field, kind=kind))
    described = {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    return inputs, described | ({"$defs": definitions} if definitions else {})


def input_problems(schema: Mapping[str, Any], given: Any) -> list[tuple[tuple[str, ...], str, str]]:
    """What is wrong with a run's input: path, code and detail of each."""
    problems: list[tuple[tuple[str, ...], str, str]] = []
    validator = json_schema.validator(schema)
    for error in validator.iter_errors(given):
        path = tuple(str(step) for step in error.instance_path)
        match error.kind.name:
            case "additionalProperties":
                unexpected = getattr(error.kind, "unexpected", ())
                problems += [
                    ((*path, name), "unknown_input", "The workflow has no such input.") for name in unexpected
                ]
            case "required":
                name = str(getattr(error.kind, "property", "")).strip('"')
                problems.append(((*path, name), "missing", "It is missing."))
            case kind:
                problems.append((path, {"type": "invalid_type"}.get(kind, kind), error.message[:300]))
    return problems


def with_defaults(schema: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What a run uses: what it was given, and the values that the workflow was saved with."""
    saved = {name: entry["default"] for name, entry in schema["properties"].items() if "default" in entry}
    return {name: value for name, value in (saved | dict(given)).items() if value is not None}


def filled(
    graph: Mapping[str, Any], inputs: Sequence[WorkflowInput], given: Mapping[str, Any]
) -> dict[str, Any]:
    """The graph with what the run was given."""
    result = copy.deepcopy(dict(graph))
    for entry in inputs:
        if entry.name in given:
            result["nodes"][entry.node][entry.field] = entry.value_for_graph(given[entry.name])
    return result


def _names(reading: Reading) -> list[str]:
    """Names that Python takes as keywords: the author's label, or the field; with the node where unclear."""
    short = [_identifier(exposed.label) or _identifier(exposed.field) for exposed in reading.exposed]
    often = Counter(short)
    names: list[str] = []
    for exposed, name in zip(reading.exposed, short, strict=True):
        if often[name] > 1 or name in RESERVED:
            node = reading.labels[exposed.node] or reading.graph["nodes"][exposed.node]["type"]
            name = f"{_identifier(str(node)) or 'node'}_{_identifier(exposed.field)}"
        unique, number = name, 2
        while unique in names or unique in RESERVED:
            unique, number = f"{name}_{number}", number + 1
        names.append(unique)
    return names


def _identifier(text: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:60]
    return f"input_{words}" if words[:1].isdigit() else words


def _kind(field: Input) -> str:
    name = field.type.name
    if name.startswith("ModelIdentifierField"):
        return "model"
    if name.startswith("ImageField"):
        return "image"
    if name.startswith("list[ImageField]"):
        return "images"
    return "value"


def _schema(field: Input, kind: str, exposed: ExposedField) -> dict[str, Any]:
    own = {key: value for key, value in field.schema.items() if not key.startswith("ui_")}
    match kind:
        case "model":
            schema: dict[str, Any] = {**_MODEL}
        case "image":
            schema = {**_IMAGE}
        case "images":
            schema = {"type": "array", "items": _IMAGE, "maxItems": 32}
        case _:
            schema = own
    schema["title"] = exposed.label or own.get("title") or exposed.field
    if description := own.get("description"):
        schema["description"] = description
    return schema


def _shown(value: Any, kind: str) -> Any:
    """A saved value as a run would give it."""
    if kind == "image" and isinstance(value, dict):
        return value.get("image_name")
    if kind == "images" and isinstance(value, list):
        return [item.get("image_name") for item in value if isinstance(item, dict)]
    if kind == "model" and isinstance(value, dict):
        return value.get("key")
    return value


def _referred(schema: Any, definitions: Mapping[str, Any]) -> dict[str, Any]:
    """The definitions that the schema refers to, and those that they do."""
    found: dict[str, Any] = {}
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            name = str(value.get("$ref", "")).removeprefix("#/$defs/")
            if name in definitions and name not in found:
                found[name] = definitions[name]
                waiting.append(definitions[name])
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return found
