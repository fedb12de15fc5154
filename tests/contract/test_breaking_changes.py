"""No program written against the last release breaks, but where that is meant."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from impasto_ctl.contract import AllowedChange, allowed_changes, breaches, judge, last_release
from impasto_ctl.main import app

OPENAPI = Path(__file__).parents[2] / "openapi"
Json = dict[str, Any]

KITCHEN: Json = {
    "paths": {
        "/cakes": {
            "post": {
                "operationId": "cakes.bake",
                "security": [{"key": ["cakes:write"]}],
                "parameters": [
                    {"in": "query", "name": "oven", "schema": {"type": "integer", "maximum": 250}},
                    {"in": "header", "name": "Prefer", "schema": {"type": "string"}},
                ],
                "requestBody": {
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}}
                },
                "responses": {
                    "200": {
                        "headers": {"Location": {}},
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Cake"}}},
                    },
                    "400": {},
                },
            }
        }
    },
    "components": {
        "schemas": {
            "Order": {
                "type": "object",
                "required": ["flavor"],
                "properties": {
                    "flavor": {"type": "string", "enum": ["lemon", "plum"], "maxLength": 10},
                    "layers": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "default": 1},
                    "weight": {"type": "number"},
                    "topping": {
                        "oneOf": [
                            {"$ref": "#/components/schemas/Nuts"},
                            {"$ref": "#/components/schemas/Icing"},
                        ]
                    },
                },
            },
            "Nuts": {
                "type": "object",
                "required": ["kind"],
                "properties": {"kind": {"type": "string", "const": "nuts"}, "number": {"type": "integer"}},
            },
            "Icing": {
                "type": "object",
                "required": ["kind"],
                "properties": {"kind": {"type": "string", "const": "icing"}},
            },
            "Cake": {
                "type": "object",
                "required": ["id", "state"],
                "properties": {
                    "id": {"type": "string", "format": "uuid"},
                    "state": {"type": "string", "enum": ["baking", "done"]},
                    "slices": {"type": "array", "items": {"$ref": "#/components/schemas/Cake"}},
                    "notes": {"type": "object", "additionalProperties": {"type": "string"}},
                },
            },
        }
    },
}


def bake(document: Json) -> Json:
    operation: Json = document["paths"]["/cakes"]["post"]
    return operation


def schema(name: str) -> Callable[[Json], Json]:
    return lambda document: document["components"]["schemas"][name]  # type: ignore[no-any-return]


def member(name: str, property_: str) -> Callable[[Json], Json]:
    return lambda document: schema(name)(document)["properties"][property_]  # type: ignore[no-any-return]


def changed(find: Callable[[Json], Json], **values: Any) -> Json:
    """The kitchen with some values changed in one place; None takes them out."""
    document = copy.deepcopy(KITCHEN)
    place = find(document)
    for name, value in values.items():
        place.pop(name, None)
        if value is not None:
            place[name] = value
    return document


NOTHING: list[Any] = [
    changed(bake, security=[{"key": []}]),
    changed(bake, responses=bake(KITCHEN)["responses"] | {"418": {}}),
    changed(bake, parameters=[*bake(KITCHEN)["parameters"], {"in": "query", "name": "new"}]),
    changed(lambda document: document["paths"], **{"/pies": {"get": {}}}),
    changed(schema("Order"), required=[]),
    changed(
        schema("Order"), properties=schema("Order")(KITCHEN)["properties"] | {"candles": {"type": "integer"}}
    ),
    changed(schema("Cake"), properties=schema("Cake")(KITCHEN)["properties"] | {"age": {"type": "integer"}}),
    changed(schema("Cake"), required=["id", "state", "slices"]),
    changed(member("Cake", "state"), enum=["baking", "cooling", "done"]),
    changed(member("Order", "flavor"), enum=["lemon", "plum", "poppy"]),
    changed(member("Order", "flavor"), maxLength=20),
    changed(member("Order", "weight"), type=["number", "string"]),
    changed(member("Nuts", "number"), type="number"),
]

P, A = "POST /cakes: ", "POST /cakes: answer 200"
BREACHES: list[Any] = [
    (changed(lambda document: document["paths"], **{"/cakes": None}), P + "was removed"),
    (changed(lambda document: document["paths"]["/cakes"], post=None), P + "was removed"),
    (changed(bake, operationId="cakes.make"), P + "operation id cakes.bake was changed"),
    (changed(bake, security=[{"key": ["ovens:write"]}]), P + "scope ovens:write is needed"),
    (changed(bake, parameters=bake(KITCHEN)["parameters"][:1]), P + "header parameter Prefer was removed"),
    (
        changed(
            bake, parameters=[*bake(KITCHEN)["parameters"], {"in": "query", "name": "pan", "required": True}]
        ),
        P + "query parameter pan is required",
    ),
    (
        changed(lambda document: bake(document)["parameters"][0]["schema"], maximum=200),
        P + "query parameter oven has maximum 200 and not 250",
    ),
    (
        changed(lambda document: bake(document)["requestBody"], required=True),
        P + "a request body is required",
    ),
    (
        changed(lambda document: bake(document)["requestBody"], content={"text/plain": {}}),
        P + "request body application/json is not taken",
    ),
    (changed(schema("Order"), additionalProperties=False), P + "request takes no further members"),
    (changed(schema("Order"), required=["flavor", "weight"]), P + "request .weight is required"),
    (changed(member("Order", "flavor"), enum=["plum"]), P + "request .flavor may not be lemon"),
    (
        changed(member("Order", "flavor"), maxLength=5),
        P + "request .flavor has maxLength 5 and not 10",
    ),
    (changed(member("Order", "flavor"), minLength=5), P + "request .flavor has minLength 5"),
    (
        changed(member("Order", "flavor"), pattern="^p"),
        P + "request .flavor has pattern ^p and not None",
    ),
    (changed(member("Order", "weight"), type="integer"), P + "request .weight may not be number"),
    (changed(member("Order", "layers"), anyOf=[{"type": "integer"}]), P + "request .layers may not be null"),
    (changed(member("Order", "layers"), default=2), P + "request .layers has another default"),
    (
        changed(member("Order", "layers"), anyOf=[{"type": "integer", "minimum": 2}, {"type": "null"}]),
        P + "request .layers has minimum 2 and not 1",
    ),
    (
        changed(member("Order", "topping"), oneOf=[{"$ref": "#/components/schemas/Icing"}]),
        P + "request .topping may not be object with kind=nuts",
    ),
    (changed(schema("Nuts"), required=["kind", "number"]), P + "request .topping .number is required"),
    (
        changed(lambda document: bake(document)["responses"], **{"200": None, "201": {}}),
        P + "answer 200 was removed",
    ),
    (
        changed(lambda document: bake(document)["responses"]["200"], headers={}),
        A + " header Location was removed",
    ),
    (
        changed(lambda document: bake(document)["responses"]["200"], content={"text/html": {}}),
        A + " is not application/json",
    ),
    (changed(lambda document: schema("Cake")(document)["properties"], state=None), A + " .state was removed"),
    (changed(schema("Cake"), required=["id"]), A + " .state may be missing"),
    (changed(member("Cake", "id"), type=["string", "null"]), A + " .id may be null"),
    (changed(member("Cake", "id"), type="integer"), A + " .id is integer and not string"),
    (changed(member("Cake", "id"), format=None), A + " .id has not the format uuid"),
    (
        changed(member("Cake", "notes"), additionalProperties={"type": "integer"}),
        A + " .notes{} is integer and not string",
    ),
]


def test_nothing_breaks_where_nothing_changes() -> None:
    assert breaches(KITCHEN, KITCHEN) == []


@pytest.mark.parametrize("document", NOTHING)
def test_growing_breaks_nothing(document: Json) -> None:
    assert breaches(KITCHEN, document) == []


@pytest.mark.parametrize(("document", "breach"), BREACHES, ids=[breach for _, breach in BREACHES])
def test_what_breaks_a_program_is_said(document: Json, breach: str) -> None:
    assert breach in breaches(KITCHEN, document)


def test_what_is_meant_is_allowed_by_name_and_with_a_reason(tmp_path: Path) -> None:
    file = tmp_path / "allowed-changes.toml"
    file.write_text('[[change]]\nchange = "POST /cakes: was removed"\nreason = "Nobody baked any."\n')
    without = changed(lambda document: document["paths"], **{"/cakes": None})
    assert judge(KITCHEN, without, allowed_changes(file)).breaches == []
    assert judge(KITCHEN, without, []).breaches == ["POST /cakes: was removed"]
    file.write_text('[[change]]\nchange = "POST /cakes: was removed"\nreason = ""\n')
    with pytest.raises(ValidationError):
        allowed_changes(file)


def test_what_is_allowed_and_does_not_happen_is_no_longer_allowed() -> None:
    allowed = [AllowedChange(change="GET /pies: was removed", reason="Nobody baked any.")]
    assert judge(KITCHEN, KITCHEN, allowed).forgotten == ["GET /pies: was removed"]


def test_the_last_release_is_that_of_the_highest_version(tmp_path: Path) -> None:
    for version in ("0.9.0", "0.10.0", "0.2.11"):
        (tmp_path / f"{version}.json").touch()
    assert last_release(tmp_path).name == "0.10.0.json"


def test_the_command_names_every_breach(tmp_path: Path) -> None:
    (tmp_path / "released").mkdir()
    (tmp_path / "released" / "1.0.0.json").write_text(json.dumps(KITCHEN))
    (tmp_path / "allowed-changes.toml").touch()
    (tmp_path / "openapi.json").write_text(json.dumps(changed(schema("Cake"), required=["id"])))
    result = CliRunner().invoke(app, ["openapi", "check", str(tmp_path)])
    assert (result.exit_code, result.output) == (1, f"breaks 1.0.0: {A} .state may be missing\n")


def test_the_contract_keeps_what_the_last_release_promises() -> None:
    result = CliRunner().invoke(app, ["openapi", "check", str(OPENAPI)])
    assert result.exit_code == 0, result.output
