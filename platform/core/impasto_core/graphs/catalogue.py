"""InvokeAI's nodes, from the file that `impastoctl catalogue export` wrote.

A node's text is parsed when it is asked for, and only what was used last is kept: most graphs use some ten of
three hundred, and all of those with their validators are 20 MB.
"""

from __future__ import annotations

import gzip
import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from impasto_core import json_schema

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator

FILE = "invokeai-6.14.2.jsonl.gz"
_KEPT = 64
_NODE_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "id": {"type": "string", "minLength": 1, "maxLength": 100},
    "type": {"type": "string"},
    "is_intermediate": {"type": "boolean"},
    "use_cache": {"type": "boolean"},
}
"""What every node has beside its inputs. An image of a node that is not intermediate is a result."""


@dataclass(frozen=True, slots=True, eq=False)
class Type:
    """A type of an input or output. `subclass_of` and `connects_to` are sets of types, a bit for each."""

    number: int
    name: str
    parts: tuple[int, ...]
    is_generic: bool
    is_literal: bool
    is_list: bool
    is_class: bool
    subclass_of: int
    connects_to: int

    def is_subclass_of(self, other: Type) -> bool:
        return bool(self.subclass_of >> other.number & 1)

    def connects(self, other: Type) -> bool:
        """Whether InvokeAI lets an output of this type feed an input of the other."""
        return bool(self.connects_to >> other.number & 1)


@dataclass(frozen=True, slots=True)
class Input:
    """`required`: a value or an edge must be there; `given`: a value must be there, even beside an edge."""

    name: str
    type: Type
    source: str
    required: bool
    given: bool
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Output:
    name: str
    type: Type
    schema: dict[str, Any]


@dataclass(frozen=True)
class NodeType:
    """A kind of node. `left_out` says why callers may not use it, and is None where they may."""

    type: str
    title: str
    description: str
    category: str
    tags: tuple[str, ...]
    version: str
    classification: str
    inputs: dict[str, Input]
    output_type: str
    outputs: dict[str, Output]
    definitions: dict[str, Any]
    left_out: str | None

    @property
    def schema(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of a node of this type, as it stands in a graph."""
        return {
            "type": "object",
            "properties": _NODE_ATTRIBUTES | {name: field.schema for name, field in self.inputs.items()},
            "required": ["id", "type", *(name for name, field in self.inputs.items() if field.given)],
            "additionalProperties": False,
            "$defs": self.definitions,
        }

    @cached_property
    def validator(self) -> Draft202012Validator:
        return json_schema.validator(self.schema)


class Catalogue:
    """All node types of one version of InvokeAI."""

    def __init__(self, compressed: bytes, allowed: dict[str, Any]) -> None:
        head, *lines = gzip.decompress(compressed).split(b"\n")
        described = json.loads(head)
        self.version: str = described["invokeai"]
        self.types = [_type(number, entry) for number, entry in enumerate(described["types"])]
        self._lines: dict[str, bytes] = dict(zip(described["nodes"], lines, strict=True))
        self._recent = lru_cache(maxsize=_KEPT)(self._parse)
        self._allowed = {name for names in allowed["allowed"].values() for name in names}
        self._left_out = {name: group["reason"] for group in allowed["left_out"] for name in group["nodes"]}
        self.any = next(entry for entry in self.types if entry.name == "Any")
        self.none = next(entry for entry in self.types if entry.name == "None")

    def __iter__(self) -> Iterator[NodeType]:
        """By name. Keeps nothing: to list nodes is not to use them."""
        return map(self._parse, self._lines)

    def get(self, name: str) -> NodeType | None:
        return self._recent(name) if name in self._lines else None

    def is_any(self, annotation: Type) -> bool:
        return annotation is self.any or self.any.number in annotation.parts

    def parts(self, annotation: Type) -> list[Type]:
        return [self.types[number] for number in annotation.parts]

    def _parse(self, name: str) -> NodeType:
        entry = json.loads(self._lines[name])
        inputs = {
            name: Input(
                name,
                self.types[field["type"]],
                field["from"],
                field["required"],
                field["given"],
                field["schema"],
            )
            for name, field in entry["inputs"].items()
        }
        outputs = {
            name: Output(name, self.types[field["type"]], field["schema"])
            for name, field in entry["outputs"].items()
        }
        left_out = None
        if name not in self._allowed:
            unstable = f"InvokeAI calls it {entry['classification']}: it may change or go at any time."
            left_out = self._left_out.get(name, unstable)
        return NodeType(
            type=name,
            title=entry["title"],
            description=entry["description"],
            category=entry["category"],
            tags=tuple(entry["tags"]),
            version=entry["version"],
            classification=entry["classification"],
            inputs=inputs,
            output_type=entry["output_type"],
            outputs=outputs,
            definitions=entry["definitions"],
            left_out=left_out,
        )


def _type(number: int, entry: dict[str, Any]) -> Type:
    return Type(
        number,
        entry["name"],
        tuple(entry["parts"]),
        entry["is_generic"],
        entry["is_literal"],
        entry["is_list"],
        entry["is_class"],
        int(entry["subclass_of"], 16),
        int(entry["connects_to"], 16),
    )


@lru_cache(maxsize=1)
def load() -> Catalogue:
    """The catalogue of the InvokeAI that our workers run. Read once, at the first graph."""
    folder = files("impasto_core.graphs")
    allowed = tomllib.loads((folder / "allowed.toml").read_text())
    return Catalogue((folder / FILE).read_bytes(), allowed)
