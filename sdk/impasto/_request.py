"""What an endpoint asks for, as a value: built without IO, sent by the core."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote
from uuid import uuid4

T = TypeVar("T")


@dataclass(frozen=True)
class Request(Generic[T]):
    """One call of the API.

    `body` is already bytes, so that every try sends the very same request, whatever happens to the caller's
    dictionaries meanwhile. `repeatable` says that sending it twice does no more than sending it once.
    """

    method: str
    path: str
    result: type[T]
    params: Mapping[str, str] = field(default_factory=dict[str, str])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes | None = None
    repeatable: bool = True
    read_timeout: float = 0.0  # seconds the answer may take at least, if more than the client's own timeout


def get(
    path: str,
    result: type[T],
    params: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Request[T]:
    return Request("GET", path, result, params=query(params or {}), headers=headers or {})


def post(
    path: str,
    result: type[T],
    body: Mapping[str, object] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    repeatable: bool = False,
    read_timeout: float = 0.0,
) -> Request[T]:
    headers = dict(headers or {})
    content = None
    if body is not None:
        headers["content-type"] = "application/json"
        content = json.dumps(body, allow_nan=False, default=_encode).encode()
    return Request(
        "POST",
        path,
        result,
        headers=headers,
        body=content,
        repeatable=repeatable,
        read_timeout=read_timeout,
    )


def put(path: str, result: type[T], body: Mapping[str, object]) -> Request[T]:
    return replace(post(path, result, body, repeatable=True), method="PUT")


def patch(path: str, result: type[T], body: Mapping[str, object]) -> Request[T]:
    return replace(post(path, result, body, repeatable=True), method="PATCH")


def delete(path: str, result: type[T]) -> Request[T]:
    return Request("DELETE", path, result)


def path(*parts: str) -> str:
    """`path("jobs", job_id)` is `/v1/jobs/job_...`, with the id safely quoted.

    Raises ValueError for an empty id, which would otherwise name the whole collection.
    """
    if not all(parts):
        raise ValueError("an id must not be empty")
    return "/".join(["/v1", *(quote(part, safe="") for part in parts)])


def query(params: Mapping[str, object]) -> dict[str, str]:
    """Query parameters as text. None means: not given."""
    return {
        name: value if isinstance(value, str) else _encode(value) for name, value in given(params).items()
    }


def given(values: Mapping[str, object]) -> dict[str, object]:
    """The values that were given. The API's own default holds for the others."""
    return {name: value for name, value in values.items() if value is not None}


def idempotency_header(key: str | None) -> dict[str, str]:
    """The header with the caller's key or a fresh one, as a structured-field string (RFC 9651: in quotes)."""
    text = (key or str(uuid4())).replace("\\", "\\\\").replace('"', '\\"')
    return {"idempotency-key": f'"{text}"'}


def _encode(value: Any) -> str:
    if isinstance(value, datetime):  # a naive one is in local time, as everywhere in Python
        return (value.astimezone() if value.tzinfo is None else value).isoformat()
    if isinstance(value, int):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON")
