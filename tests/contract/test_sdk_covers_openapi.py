"""The SDK can do all that openapi.json says, on both clients, and knows every field of every answer."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from pydantic import BaseModel

from impasto import APIError, AsyncImpasto, Impasto
from impasto._pagination import Listing
from impasto._request import Request
from impasto.resources.images import Images
from impasto.types import ImageToImage, TextToImage
from impasto.types._base import Result
from impasto.types.webhook_event import UnknownEvent, read_event

DOCUMENT = json.loads((Path(__file__).parents[2] / "openapi/openapi.json").read_text())
NAMES = {"prefer": "wait"}  # what the SDK calls a parameter differently, and why: "Prefer: wait=10"
VALUES: dict[str, Any] = {
    "limit": 7,
    "wait": 7,
    "size": 7,
    "amount": 7,
    "max_cost": 7,
    "max_queue_seconds": 7,
    "max_run_seconds": 7,
    "cancel_after": 7,
    "priority": 7,
    "threshold": 7,
    "enabled": True,
    "ordered": True,
    "include_succeeded": True,
    "overlap_seconds": 7,
    "events": ["job.failed"],
    "grace_seconds": 7,
    "input": {"prompt": "x"},
    "graph": {"nodes": {}},
    "metadata": {"a": "b"},
    "scopes": ["jobs:read"],
}


def operations() -> Iterator[Any]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            if path.startswith("/v1/"):  # the others are for load balancers
                yield pytest.param(method.upper(), path, operation, id=operation["operationId"])


each_operation = pytest.mark.parametrize(("method", "path", "operation"), list(operations()))


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    return DOCUMENT["components"]["schemas"][reference.rpartition("/")[2]] if reference else schema


def body_fields(operation: dict[str, Any]) -> set[str]:
    if "requestBody" not in operation:
        return set()
    schema = resolve(operation["requestBody"]["content"]["application/json"]["schema"])
    return {name for choice in schema.get("oneOf", [schema]) for name in resolve(choice)["properties"]}


def parameters(operation: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """By the SDK's name: where it goes, and its name there."""
    found = {name: ("body", name) for name in body_fields(operation)}
    for parameter in operation.get("parameters", []):
        if parameter["name"] == "Impasto-Version":
            continue  # the SDK says by itself what it was built for
        name = parameter["name"].lower().replace("-", "_")
        found[NAMES.get(name, name)] = (parameter["in"], parameter["name"])
    return found


@pytest.mark.parametrize("kind", [Impasto, AsyncImpasto])
@each_operation
def test_every_operation_is_a_method_that_takes_all_its_parameters(
    kind: Any, method: str, path: str, operation: dict[str, Any]
) -> None:
    call = attrgetter(operation["operationId"])(kind("key"))
    assert set(parameters(operation)) == set(inspect.signature(call).parameters)
    assert inspect.getdoc(call)


@pytest.mark.parametrize("kind", [Impasto, AsyncImpasto])
@each_operation
def test_every_parameter_goes_where_it_belongs(
    kind: Any, method: str, path: str, operation: dict[str, Any]
) -> None:
    given = {name: VALUES.get(name, f"some_{name}") for name in parameters(operation)}
    request = sent_by(kind, operation["operationId"], given)
    assert request.method == method
    match = re.fullmatch(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path), request.url.path)
    assert match
    body = json.loads(request.content) if request.content else {}
    for name, (place, wire_name) in parameters(operation).items():
        sent = {
            "path": match.groupdict(),
            "query": request.url.params,
            "header": request.headers,
            "body": body,
        }
        arrived = sent[place][wire_name]
        assert arrived == given[name] or str(given[name]) in str(arrived)
    assert body.keys() == body_fields(operation)


def sent_by(kind: Any, operation_id: str, given: dict[str, Any]) -> httpx.Request:
    """The request that the SDK sends for this call."""
    seen: list[httpx.Request] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(404)

    transport = httpx.MockTransport(refuse)
    http = httpx.Client(transport=transport) if kind is Impasto else httpx.AsyncClient(transport=transport)
    call = attrgetter(operation_id)(kind("key", base_url="http://x", http_client=http))

    async def use() -> None:
        result = call(**given)
        if inspect.isawaitable(result):
            await result
        elif kind is Impasto:
            list(result)
        else:
            [item async for item in result]

    with pytest.raises(APIError):
        asyncio.run(use())
    return seen[0]


@each_operation
def test_every_field_of_an_answer_is_a_typed_attribute(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    answers = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
    schemas = [answer["content"]["application/json"]["schema"] for answer in answers if is_json(answer)]
    result = result_of(operation)
    assert bool(schemas) == (result is not None)
    for schema in schemas:
        data = resolve(schema)["properties"].get("data")
        assert result is not None
        compare(data["items"] if data else schema, result)


def is_json(answer: dict[str, Any]) -> bool:
    return "application/json" in answer.get("content", {})


def result_of(operation: dict[str, Any]) -> type[Result] | None:
    """The model that the SDK makes of the answer, for a list that of an item."""
    resource, _, name = operation["operationId"].rpartition(".")
    owner = attrgetter(resource)(Impasto("key"))
    given = {name: VALUES.get(name, f"some_{name}") for name in parameters(operation)}
    described = getattr(type(owner), name).build(owner, **given)
    if isinstance(described, Request) and described.result is not type(None):
        return described.result
    return described.item if isinstance(described, Listing) else None


def models_in(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {model for argument in get_args(annotation) for model in models_in(argument)}


@pytest.mark.parametrize("event", DOCUMENT["webhooks"])
def test_every_event_is_a_typed_one(event: str) -> None:
    body = DOCUMENT["webhooks"][event]["post"]["requestBody"]["content"]["application/json"]
    for example in body["examples"].values():
        unwrapped = read_event("evt_1", json.dumps(example["value"]).encode())
        assert not isinstance(unwrapped, UnknownEvent)
        compare(body["schema"]["properties"]["data"], type(unwrapped.data))


def compare(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """All that the API sends is known, and all that the SDK counts on is sent."""
    schema = resolve(schema)
    properties, fields = schema["properties"], model.model_fields
    assert properties.keys() - {"object"} == fields.keys()  # what kind of object it is, our class says
    always_sent = {
        *schema.get("required", ()),
        *(name for name in properties if "default" in properties[name]),
    }
    assert {name for name, field in fields.items() if field.is_required()} <= always_sent
    for name, field in fields.items():
        inner = properties[name]
        for choice in inner.get("anyOf", [inner.get("items", inner)]):
            for nested in models_in(field.annotation):
                if choice.get("type") != "null":
                    compare(choice, nested)


@pytest.mark.parametrize(
    ("name", "typed", "call"),
    [
        ("TextToImageInput", TextToImage, Images.generate),
        ("ImageToImageInput", ImageToImage, Images.transform),
    ],
)
def test_everything_a_pipeline_takes_can_be_said(name: str, typed: Any, call: Any) -> None:
    schema = DOCUMENT["components"]["schemas"][name]
    fields = set(schema["properties"])
    assert fields == set(typed.__annotations__)
    assert set(schema["required"]) == typed.__required_keys__
    assert fields <= set(inspect.signature(call.build).parameters)
