"""What jobs can run on, and the ways to make pictures."""

from __future__ import annotations

import httpx

from impasto_core.database import Database
from impasto_core.pipelines import PIPELINES
from tests.support.problems import assert_problem
from tests.support.tenants import register_model


async def test_models_are_listed_with_their_limits_and_which_is_the_default(
    client: httpx.AsyncClient, owner_database: Database
) -> None:
    await register_model(owner_database, "large", name="Large", description="Takes its time.")
    models = (await client.get("/v1/models")).json()["data"]
    assert [(model["id"], model["default"]) for model in models] == [
        ("large", False),
        ("impasto-shapes", True),
    ]
    large = models[0]
    assert (large["object"], large["name"], large["base"]) == ("model", "Large", "sd-1")
    assert large["max_pixels"] == 512 * 512
    assert (await client.get("/v1/models/large")).json() == large


async def test_where_a_models_files_lie_is_nobodys_business(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/models")
    for secret in ("file:///nowhere", "sha256", "pool", "digest", "source"):
        assert secret not in response.text


async def test_a_model_out_of_service_is_neither_listed_nor_found(
    client: httpx.AsyncClient, owner_database: Database
) -> None:
    await register_model(owner_database, "old", enabled=False)
    models = (await client.get("/v1/models")).json()["data"]
    assert [model["id"] for model in models] == ["impasto-shapes"]
    assert_problem(await client.get("/v1/models/old"), 404, "not-found")


async def test_models_are_paged(client: httpx.AsyncClient, owner_database: Database) -> None:
    for number in range(3):
        await register_model(owner_database, f"model-{number}")
    page = (await client.get("/v1/models?limit=2")).json()
    rest = (await client.get("/v1/models", params={"cursor": page["next_cursor"]})).json()
    assert [model["id"] for model in page["data"] + rest["data"]] == [
        "model-2",
        "model-1",
        "model-0",
        "impasto-shapes",
    ]


async def test_pipelines_are_described_well_enough_to_build_a_form(client: httpx.AsyncClient) -> None:
    page = (await client.get("/v1/pipelines")).json()
    assert (page["has_more"], page["next_cursor"]) == (False, None)
    assert [pipeline["id"] for pipeline in page["data"]] == list(PIPELINES)
    for pipeline in page["data"]:
        assert (await client.get(f"/v1/pipelines/{pipeline['id']}")).json() == pipeline
        schema = pipeline["input_schema"]
        assert "prompt" in schema["required"]
        assert schema["additionalProperties"] is False
        assert all(field.get("description") for field in schema["properties"].values())
        assert pipeline["limits"]["max_steps"] == 100
        assert pipeline["title"]
        assert pipeline["description"]
    assert "init_image" in page["data"][1]["input_schema"]["required"]
