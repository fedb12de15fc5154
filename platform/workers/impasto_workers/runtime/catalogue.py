"""InvokeAI's nodes as data, for processes that cannot import InvokeAI.

    python -m impasto_workers.runtime.catalogue FILE

JSON lines, gzipped. The first line holds the version, and the types that connections have, with what InvokeAI
itself says of each pair of them; every other line is a node. The same InvokeAI gives the same bytes.
"""

import gzip
import json
import sys
import tempfile
import types
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin


class Types:
    """Every type of an input or output, and what they are made of, numbered."""

    def __init__(self) -> None:
        # Unions are equal whatever their order, but InvokeAI looks at the first part of some.
        self._numbers: dict[tuple[Any, tuple[Any, ...]], int] = {}

    def number(self, annotation: Any) -> int:
        """Parts come before the whole, so that numbers depend on nothing but the order of calls."""
        for part in _parts(annotation):
            self.number(part)
        return self._numbers.setdefault((annotation, _parts(annotation)), len(self._numbers))

    def describe(self, are_compatible: Callable[[Any, Any], bool]) -> list[dict[str, Any]]:
        every = [annotation for annotation, _ in self._numbers]
        return [
            {
                "name": name_of(annotation),
                "parts": [self.number(part) for part in parts],
                "is_generic": get_origin(annotation) is not None,
                "is_literal": get_origin(annotation) is Literal,
                "is_list": get_origin(annotation) is list,
                "is_class": _is_subclass(annotation, object),
                "subclass_of": _bits(_is_subclass(annotation, other) for other in every),
                "connects_to": _bits(are_compatible(annotation, other) for other in every),
            }
            for annotation, parts in self._numbers
        ]


def _parts(annotation: Any) -> tuple[Any, ...]:
    """What a union or a generic is made of. The values of a literal are no types."""
    return () if get_origin(annotation) is Literal else get_args(annotation)


def _bits(flags: Iterable[bool]) -> str:
    """A hexadecimal number whose bit n is flag n."""
    return format(sum(1 << place for place, flag in enumerate(flags) if flag), "x")


def _is_subclass(one: Any, other: Any) -> bool:
    try:
        return issubclass(one, other)
    except TypeError:  # an alias such as list[int], or a literal
        return False


def name_of(annotation: Any) -> str:
    """As a reader of Python would write it, without modules."""
    parts = get_args(annotation)
    origin = get_origin(annotation)
    if annotation is type(None):
        return "None"
    if not parts:
        return (
            annotation.__name__ if isinstance(annotation, type) else str(annotation).removeprefix("typing.")
        )
    if isinstance(annotation, types.UnionType) or origin is Union:
        return " | ".join(map(name_of, parts))
    outer = str(getattr(origin, "__name__", origin)).removeprefix("typing.")
    return f"{outer}[{', '.join(map(name_of, parts))}]"


def export() -> bytes:
    """The catalogue. InvokeAI must not have been imported yet."""
    with tempfile.TemporaryDirectory() as root:
        from impasto_workers.runtime.environment import pin_environment

        pin_environment(Path(root), "cpu")
        from impasto_workers.runtime.torchvision_ops import declare_missing_operators

        declare_missing_operators()
        return build()


def build() -> bytes:
    """The catalogue, in a process that has opened InvokeAI."""
    from invokeai.app.invocations.baseinvocation import InvocationRegistry
    from invokeai.app.services.shared.graph import are_connection_types_compatible

    types = Types()
    registered = sorted(InvocationRegistry.get_invocations_map().items())
    nodes = [_node(name, invocation, types) for name, invocation in registered]
    head = {
        "invokeai": version("InvokeAI"),
        "types": types.describe(are_connection_types_compatible),
        "nodes": [name for name, _ in registered],
    }
    lines = (json.dumps(line, sort_keys=True, separators=(",", ":")) for line in (head, *nodes))
    return gzip.compress("\n".join(lines).encode(), mtime=0)


def _node(name: str, invocation: Any, types: Types) -> dict[str, Any]:
    output = invocation.get_output_annotation()
    schema = invocation.model_json_schema()
    output_schema = output.model_json_schema(mode="serialization")
    about = invocation.UIConfig
    return {
        "type": name,
        "title": about.title or name,
        "description": " ".join((invocation.__doc__ or "").split()),
        "category": about.category or "other",
        "tags": about.tags or [],
        "version": about.version,
        "classification": about.classification.value,
        "inputs": {
            field: _input(info, schema["properties"][field], types)
            for field, info in sorted(invocation.model_fields.items())
            if _kind(info) in ("input", "internal")
        },
        "output_type": output.get_type(),
        "outputs": {
            field: _output(info, output_schema["properties"][field], types)
            for field, info in sorted(output.model_fields.items())
            if _kind(info) == "output"
        },
        "definitions": {**output_schema.get("$defs", {}), **schema.get("$defs", {})},
    }


_NOT_OURS = {"field_kind", "input", "orig_default", "orig_required"}
"""Said elsewhere in the entry, or of no use outside InvokeAI."""


def _kind(info: Any) -> str:
    """input, output, internal (metadata, board), or node_attribute (id, type, is_intermediate, use_cache)."""
    return str(info.json_schema_extra["field_kind"])


def _input(info: Any, schema: dict[str, Any], types: Types) -> dict[str, Any]:
    """`required`: there must be a value or an edge when it runs; `given`: there must be a value at once."""
    extra = info.json_schema_extra
    schema = {key: value for key, value in schema.items() if key not in _NOT_OURS}
    return {
        "type": types.number(info.annotation),
        "from": extra.get("input", "any"),
        # The condition of BaseInvocation.invoke_internal.
        "required": extra.get("input") in ("any", "connection")
        and extra.get("orig_required", True)
        and "orig_default" not in extra
        and info.default is None,
        "given": info.is_required(),
        "schema": schema,
    }


def _output(info: Any, schema: dict[str, Any], types: Types) -> dict[str, Any]:
    return {
        "type": types.number(info.annotation),
        "schema": {key: value for key, value in schema.items() if key not in _NOT_OURS},
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(export())
