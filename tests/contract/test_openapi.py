"""openapi/openapi.json is what the code does, and says enough to build a client from."""

from __future__ import annotations

import functools
import json
import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from impasto_api import openapi
from impasto_api.app import create_app
from impasto_api.examples import EVENTS, EXAMPLES
from impasto_api.jobs.schemas import JobEvent
from impasto_core.webhooks.types import EventType

FILE = Path(__file__).parents[2] / "openapi" / "openapi.json"
DOCUMENT: dict[str, Any] = json.loads(FILE.read_text())
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]


def operations() -> Iterator[Any]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield pytest.param(path, method, operation, id=operation.get("operationId", f"{method} {path}"))


each_operation = pytest.mark.parametrize(("path", "method", "operation"), list(operations()))


def test_the_committed_document_is_what_the_code_says() -> None:
    written = openapi.as_text(create_app())
    assert FILE.read_text() == written, "run: impastoctl openapi export openapi/openapi.json"


def test_the_document_is_valid_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_no_two_operations_share_an_id() -> None:
    ids = [operation["operationId"] for _, _, operation in (parameter.values for parameter in operations())]
    assert len(set(ids)) == len(ids)


@each_operation
def test_every_operation_is_named_described_and_tagged(
    path: str, method: str, operation: dict[str, Any]
) -> None:
    names = operation["operationId"].split(".")
    assert len(names) > 1
    assert all(name.isidentifier() for name in names), "the id is the path of the method in the SDK"
    assert operation["summary"]
    assert len(operation["tags"]) == 1
    assert operation["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}
    for parameter in operation.get("parameters", []):
        assert parameter["in"] == "path" or parameter["description"], parameter["name"]


@each_operation
def test_every_operation_but_health_asks_for_a_key_with_one_scope(
    path: str, method: str, operation: dict[str, Any]
) -> None:
    if operation["tags"] == ["health"]:
        assert operation["security"] == []
    else:
        assert path.startswith("/v1/")
        [requirement] = operation["security"]
        [scopes] = requirement.values()
        [scope] = scopes
        assert scope in SCHEMAS["Scope"]["enum"]
        assert requirement.keys() == DOCUMENT["components"]["securitySchemes"].keys()


@each_operation
def test_every_operation_says_what_can_go_wrong(path: str, method: str, operation: dict[str, Any]) -> None:
    expected = {"400", "500", "503"}
    if operation["security"]:
        expected |= {"401", "403"}
    if "{" in path:
        expected |= {"404"}
    if "requestBody" in operation:
        expected |= {"400", "413", "415", "422"}
    assert expected <= operation["responses"].keys()
    for status, response in operation["responses"].items():
        if status >= "400":
            problem = resolve(response)
            assert list(problem["content"]) == ["application/problem+json"]
            assert "X-Request-Id" in problem["headers"]


@each_operation
def test_every_operation_has_examples(path: str, method: str, operation: dict[str, Any]) -> None:
    for response in operation["responses"].values():
        assert "X-Request-Id" in resolve(response)["headers"]
        for media_type in resolve(response).get("content", {}).values():
            assert has_example(media_type), "of the answer"
    for media_type in operation.get("requestBody", {}).get("content", {}).values():
        assert has_example(media_type), "of the request"
    for parameter in operation.get("parameters", []):
        if parameter["in"] in {"path", "header"}:
            assert parameter["schema"].get("examples") or parameter.get("examples"), parameter["name"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_is_of_its_schema(name: str) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    Draft202012Validator(schema).validate(EXAMPLES[name])
    if name not in {"ApiKeyCreate", "ApiKeyRoll", "SpendCapSet", "UploadCreate"}:
        assert EXAMPLES[name].keys() == SCHEMAS[name]["properties"].keys(), "answers leave nothing out"


def test_the_examples_of_new_jobs_are_of_their_schema() -> None:
    body = DOCUMENT["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]
    assert len(body["examples"]) == len(body["schema"]["oneOf"])
    for example in body["examples"].values():
        schema = body["schema"] | {"components": DOCUMENT["components"]}
        Draft202012Validator(schema).validate(example["value"])


def test_the_example_of_a_stream_is_made_of_events() -> None:
    data = [line.removeprefix("data: ") for line in EVENTS.splitlines() if line.startswith("data: ")]
    types = [JobEvent.validate_json(event).type for event in data]
    assert types == [
        line.removeprefix("event: ") for line in EVENTS.splitlines() if line.startswith("event: ")
    ]


@pytest.mark.parametrize("event", EventType)
def test_every_event_is_described_as_the_request_that_it_is(event: EventType) -> None:
    operation = DOCUMENT["webhooks"][event]["post"]
    assert operation["tags"] == ["webhooks"]
    headers = [resolve(parameter) for parameter in operation["parameters"]]
    assert [header["name"] for header in headers] == ["webhook-id", "webhook-timestamp", "webhook-signature"]
    body = operation["requestBody"]["content"]["application/json"]
    schema = body["schema"] | {"components": DOCUMENT["components"]}
    for example in body["examples"].values():
        Draft202012Validator(schema).validate(example["value"])
        data = resolve(body["schema"]["properties"]["data"])
        assert example["value"]["data"].keys() == data["properties"].keys(), "they leave nothing out"


def test_only_our_own_code_speaks_of_views() -> None:
    assert not [name for name in SCHEMAS if name.endswith("View") or "_" in name or "[" in name]


def test_every_schema_is_used() -> None:
    text = json.dumps(DOCUMENT)
    assert [name for name in SCHEMAS if f'"#/components/schemas/{name}"' not in text] == []


def resolve(node: dict[str, Any]) -> dict[str, Any]:
    """The node itself, or what it refers to."""
    if "$ref" not in node:
        return node
    return functools.reduce(operator.getitem, node["$ref"].split("/")[1:], DOCUMENT)


def has_example(media_type: dict[str, Any]) -> bool:
    return "examples" in media_type or "examples" in resolve(media_type["schema"])
