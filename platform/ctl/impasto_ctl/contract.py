"""What a new OpenAPI document breaks for programs written against an old one.

What a program sends must go on being taken, and what it reads must go on being there. Answers may grow: new
members, new values of an enumeration and new variants of a union are no breach (docs/api.md says so).

Each breach is a sentence, and the sentence is its name: who breaks something on purpose writes it into
openapi/allowed-changes.toml, with the reason.
"""

from __future__ import annotations

import functools
import operator
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

Json = dict[str, Any]

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")


class AllowedChange(BaseModel):
    model_config = ConfigDict(extra="forbid")

    change: str
    reason: str = Field(min_length=10)


@dataclass(frozen=True)
class Verdict:
    """`forgotten` are allowed changes that nobody makes: they may no longer be allowed."""

    breaches: list[str]
    forgotten: list[str]


def judge(old: Json, new: Json, allowed: list[AllowedChange]) -> Verdict:
    found = breaches(old, new)
    names = [change.change for change in allowed]
    return Verdict(
        [breach for breach in found if breach not in names], [name for name in names if name not in found]
    )


def allowed_changes(file: Path) -> list[AllowedChange]:
    """Raises pydantic.ValidationError and tomllib.TOMLDecodeError."""
    entries = tomllib.loads(file.read_text()).get("change", [])
    return [AllowedChange.model_validate(entry) for entry in entries]


def last_release(folder: Path) -> Path:
    """The document of the highest version: `1.10.0.json` comes after `1.9.0.json`."""
    return max(folder.glob("*.json"), key=lambda file: tuple(map(int, file.stem.split("."))))


def breaches(old: Json, new: Json) -> list[str]:
    """In the old document's order, each once."""
    return list(dict.fromkeys(_Comparison(old, new).operations()))


class _Direction(Enum):
    REQUEST = auto()
    RESPONSE = auto()


class _Comparison:
    def __init__(self, old: Json, new: Json) -> None:
        self._old = old
        self._new = new

    def operations(self) -> Iterator[str]:
        for path, item in self._old["paths"].items():
            for method in METHODS:
                if method in item:
                    name = f"{method.upper()} {path}"
                    changed = self._new["paths"].get(path, {}).get(method)
                    if changed is None:
                        yield f"{name}: was removed"
                    else:
                        yield from (f"{name}: {breach}" for breach in self._operation(item[method], changed))

    def _operation(self, old: Json, new: Json) -> Iterator[str]:
        if old.get("operationId") != new.get("operationId"):
            yield f"operation id {old.get('operationId')} was changed"
        for scope in sorted(_scopes(new) - _scopes(old)):
            yield f"scope {scope} is needed"
        yield from self._parameters(old, new)
        yield from self._request_body(old, new)
        for status, response in old["responses"].items():
            if status.startswith("2"):
                yield from self._response(status, response, new["responses"].get(status))

    def _parameters(self, old: Json, new: Json) -> Iterator[str]:
        before = {(p["in"], p["name"]): p for p in map(self._resolve_old, old.get("parameters", []))}
        after = {(p["in"], p["name"]): p for p in map(self._resolve_new, new.get("parameters", []))}
        for (place, name), parameter in after.items():
            was_required = before.get((place, name), {}).get("required", False)
            if parameter.get("required", False) and not was_required:
                yield f"{place} parameter {name} is required"
        for (place, name), parameter in before.items():
            if (place, name) not in after:
                yield f"{place} parameter {name} was removed"
            else:
                schema = after[place, name].get("schema", {})
                yield from self._schema(
                    parameter.get("schema", {}), schema, f"{place} parameter {name}", _Direction.REQUEST
                )

    def _request_body(self, old: Json, new: Json) -> Iterator[str]:
        before = self._resolve_old(old.get("requestBody", {}))
        after = self._resolve_new(new.get("requestBody", {}))
        if after.get("required", False) and not before.get("required", False):
            yield "a request body is required"
        for media_type, content in before.get("content", {}).items():
            if media_type not in after.get("content", {}):
                yield f"request body {media_type} is not taken"
            else:
                schema = after["content"][media_type].get("schema", {})
                yield from self._schema(content.get("schema", {}), schema, "request", _Direction.REQUEST)

    def _response(self, status: str, old: Json, new: Json | None) -> Iterator[str]:
        if new is None:
            yield f"answer {status} was removed"
            return
        before, after = self._resolve_old(old), self._resolve_new(new)
        for header in before.get("headers", {}):
            if header not in after.get("headers", {}):
                yield f"answer {status} header {header} was removed"
        for media_type, content in before.get("content", {}).items():
            if media_type not in after.get("content", {}):
                yield f"answer {status} is not {media_type}"
            else:
                schema = after["content"][media_type].get("schema", {})
                where = f"answer {status}"
                yield from self._schema(content.get("schema", {}), schema, where, _Direction.RESPONSE)

    def _schema(
        self,
        old: Json,
        new: Json,
        where: str,
        direction: _Direction,
        inside: frozenset[tuple[str, str]] = frozenset(),
    ) -> Iterator[str]:
        """`inside` are the pairs of named schemas on the way here: they may contain themselves."""
        if "$ref" in old and "$ref" in new:
            pair = (old["$ref"], new["$ref"])
            if pair in inside:
                return
            inside |= {pair}
        before, after = self._variants(old, self._resolve_old), self._variants(new, self._resolve_new)
        if direction is _Direction.REQUEST:
            for kind in before.keys() - after.keys():
                if not _takes(after, kind):
                    yield f"{where} may not be {kind}"
        elif "null" in after and "null" not in before and "anything" not in before:
            yield f"{where} may be null"
        common = [kind for kind in before if kind in after]
        if not common and direction is _Direction.RESPONSE and before and not _takes(before, *after):
            yield f"{where} is {' or '.join(after)} and not {' or '.join(before)}"
        for kind in common:
            yield from self._one(before[kind], after[kind], where, direction, inside)

    def _variants(self, schema: Json, resolve: Any) -> dict[str, Json]:
        """A schema's alternatives by what tells them apart: a constant member, or else the type."""
        resolved = _merged(resolve(schema), resolve)
        for union in ("oneOf", "anyOf"):
            if union in resolved:
                common = {name: value for name, value in resolved.items() if name != union}
                return {
                    kind: common | variant
                    for choice in resolved[union]
                    for kind, variant in self._variants(choice, resolve).items()
                }
        types = resolved.get("type", "anything")
        names = types if isinstance(types, list) else [types]
        return {_kind(name, resolved): resolved | {"type": name} for name in names}

    def _one(
        self, old: Json, new: Json, where: str, direction: _Direction, inside: frozenset[tuple[str, str]]
    ) -> Iterator[str]:
        if direction is _Direction.REQUEST:
            yield from _narrowed(old, new, where)
        elif old.get("format") != new.get("format"):
            yield f"{where} has not the format {old.get('format')}"
        members, changed = old.get("properties", {}), new.get("properties", {})
        for name, member in members.items():
            place = f"{where} .{name}"
            if name not in changed:
                if direction is _Direction.RESPONSE or new.get("additionalProperties") is False:
                    yield f"{place} was removed"
                continue
            yield from self._schema(member, changed[name], place, direction, inside)
        for name in sorted(set(new.get("required", ())) - set(old.get("required", ()))):
            if direction is _Direction.REQUEST:
                yield f"{where} .{name} is required"
        for name in sorted(set(old.get("required", ())) - set(new.get("required", ()))):
            if direction is _Direction.RESPONSE and name in changed:
                yield f"{where} .{name} may be missing"
        for keyword, suffix in (("items", "[]"), ("additionalProperties", "{}")):
            if isinstance(old.get(keyword), dict) and isinstance(new.get(keyword), dict):
                yield from self._schema(old[keyword], new[keyword], where + suffix, direction, inside)

    def _resolve_old(self, node: Json) -> Json:
        return _resolve(self._old, node)

    def _resolve_new(self, node: Json) -> Json:
        return _resolve(self._new, node)


def _narrowed(old: Json, new: Json, where: str) -> Iterator[str]:
    """What was taken and is not any more."""
    before, after = _values(old), _values(new)
    if after is not None and before is None:
        yield f"{where} may only be {', '.join(map(str, after))}"
    for value in [value for value in before or () if after is not None and value not in after]:
        yield f"{where} may not be {value}"
    for keyword in (*UPPER_BOUNDS, *LOWER_BOUNDS):
        if keyword in new and keyword not in old:
            yield f"{where} has {keyword} {new[keyword]}"
        elif keyword in new and _is_tighter(keyword, old[keyword], new[keyword]):
            yield f"{where} has {keyword} {new[keyword]} and not {old[keyword]}"
    for keyword in ("pattern", "format", "multipleOf"):
        if keyword in new and new[keyword] != old.get(keyword):
            yield f"{where} has {keyword} {new[keyword]} and not {old.get(keyword)}"
    if new.get("additionalProperties") is False and old.get("additionalProperties") is not False:
        yield f"{where} takes no further members"
    if new.get("uniqueItems", False) and not old.get("uniqueItems", False):
        yield f"{where} may not repeat items"
    if "default" in old and old["default"] != new.get("default"):
        yield f"{where} has another default"


def _is_tighter(keyword: str, old: float, new: float) -> bool:
    return new < old if keyword in UPPER_BOUNDS else new > old


def _values(schema: Json) -> list[Any] | None:
    """The values that a schema lists; None where it lists none."""
    if "const" in schema:
        return [schema["const"]]
    values: list[Any] | None = schema.get("enum")
    return values


def _kind(type_: str, schema: Json) -> str:
    """`object with type=step`: members that can have one value only are what unions are told apart by."""
    fixed = {
        name: member["const"] for name, member in schema.get("properties", {}).items() if "const" in member
    }
    if type_ != "object" or not fixed:
        return type_
    return "object with " + ", ".join(f"{name}={value}" for name, value in sorted(fixed.items()))


def _takes(variants: Mapping[str, Json], *kinds: str) -> bool:
    """Whether a schema of these variants holds for values of these kinds. Every integer is a number."""
    return all(
        kind in variants or "anything" in variants or (kind == "integer" and "number" in variants)
        for kind in kinds
    )


def _merged(schema: Json, resolve: Any) -> Json:
    """The schema with its `allOf` worked in."""
    merged = {name: value for name, value in schema.items() if name != "allOf"}
    for part in schema.get("allOf", ()):
        resolved = _merged(resolve(part), resolve)
        merged = {
            **resolved,
            **merged,
            "properties": resolved.get("properties", {}) | merged.get("properties", {}),
            "required": [*resolved.get("required", ()), *merged.get("required", ())],
        }
    return merged


def _scopes(operation: Json) -> set[str]:
    return {
        scope
        for requirement in operation.get("security", ())
        for scopes in requirement.values()
        for scope in scopes
    }


def _resolve(document: Json, node: Json) -> Json:
    while "$ref" in node:
        found: Json = functools.reduce(operator.getitem, node["$ref"].split("/")[1:], document)
        node = found | {name: value for name, value in node.items() if name != "$ref"}
    return node
