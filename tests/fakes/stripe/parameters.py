"""Form-encoded parameters, checked against the types that the Stripe SDK was generated with.

Those come from Stripe's own OpenAPI document: what they do not know, the real API refuses too.
"""

from __future__ import annotations

import collections.abc
import importlib
import re
import types
import typing
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin
from urllib.parse import parse_qsl

from stripe import RequestOptions
from typing_extensions import is_typeddict

from tests.fakes.stripe.errors import InvalidRequest

_KEY = re.compile(r"^([^\[\]]+)((?:\[[^\[\]]*\])*)$")


def decode(form: str) -> dict[str, Any]:
    """`a[b][0]=c` as {"a": {"b": ["c"]}}."""
    root: dict[str, Any] = {}
    for name, value in parse_qsl(form, keep_blank_values=True):
        match = _KEY.match(name)
        if match is None:
            raise InvalidRequest(f"Invalid parameter name: {name}", "parameter_invalid", name)
        path = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
        _put(root, path, value)
    return {name: _with_lists(value) for name, value in root.items()}


def _put(at: dict[str, Any], path: list[str], value: str) -> None:
    for name in path[:-1]:
        at = at.setdefault(name or str(len(at)), {})
    at[path[-1] or str(len(at))] = value


def _with_lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    items = {name: _with_lists(inner) for name, inner in value.items()}
    if items and all(name.isdecimal() for name in items):
        return [items[name] for name in sorted(items, key=int)]
    return items


def check(params: dict[str, Any], schema: type) -> dict[str, Any]:
    """The parameters with the types of the schema. Raises InvalidRequest as Stripe does."""
    return _check_object(params, schema, "")


@cache
def _fields(schema: type) -> dict[str, Any]:
    module = vars(importlib.import_module(schema.__module__))
    # What the SDK imports only for type checkers.
    known = {"UntypedStripeObject": dict, "StripeContext": object, "Mapping": collections.abc.Mapping}
    hints = typing.get_type_hints(schema, globalns={**known, **module})
    return {name: hint for name, hint in hints.items() if name not in RequestOptions.__annotations__}


def _check_object(params: dict[str, Any], schema: type, prefix: str) -> dict[str, Any]:
    fields = _fields(schema)

    def named(name: str) -> str:
        return f"{prefix}[{name}]" if prefix else name

    for name in params:
        if name not in fields:
            raise InvalidRequest(
                f"Received unknown parameter: {named(name)}", "parameter_unknown", named(name)
            )
    for name in sorted(schema.__required_keys__ & fields.keys()):  # type: ignore[attr-defined]
        if name not in params:
            raise InvalidRequest(f"Missing required param: {named(name)}.", "parameter_missing", named(name))
    return {name: _check(value, fields[name], named(name)) for name, value in params.items()}


def _check(value: Any, expected: Any, name: str) -> Any:
    origin = get_origin(expected)
    if origin in (Union, types.UnionType):
        return _check_union(value, expected, name)
    if origin is typing.NotRequired:
        return _check(value, get_args(expected)[0], name)
    if is_typeddict(expected) and isinstance(value, dict):
        return _check_object(value, expected, name)
    if origin is list and isinstance(value, list):
        return [_check(item, get_args(expected)[0], f"{name}[{at}]") for at, item in enumerate(value)]
    if (origin or expected) is dict and isinstance(value, dict):
        return value
    if isinstance(value, str):
        if origin is Literal and value in get_args(expected):
            return value
        if expected is bool and value in ("true", "false"):
            return value == "true"
        if expected is int and re.fullmatch(r"-?\d+", value):
            return int(value)
        if expected in (str, float):
            return value
    raise InvalidRequest(f"Invalid {name}: {value!r}", "parameter_invalid", name)


def _check_union(value: Any, expected: Any, name: str) -> Any:
    complaint: InvalidRequest | None = None
    # The SDK's types allow any text beside the known literals, for the future. The fake lives today.
    choices = [choice for choice in get_args(expected) if choice is not type(None)]
    if any(get_origin(choice) is Literal and get_args(choice) != ("",) for choice in choices):
        choices = [choice for choice in choices if choice is not str]
    for choice in choices:
        try:
            return _check(value, choice, name)
        except InvalidRequest as error:
            if complaint is None or error.code == "parameter_unknown":
                complaint = error
    assert complaint is not None
    raise complaint
