"""Workflows of InvokeAI's editor, saved under a slug and run with typed input."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func
from sqlmodel import select

from impasto_core.database import Database
from impasto_core.jobs.tables import Job
from impasto_core.workflows.tables import Workflow, WorkflowVersion
from tests.api.test_graphs import refused, unplaced
from tests.support.problems import assert_problem
from tests.support.tenants import Tenant
from tests.support.workflows import Document, default_workflow, node_of, set_value, text_to_image

SMALL = {"width": 64, "height": 64, "model": "impasto-shapes"}


async def save(client: httpx.AsyncClient, document: Any = None, slug: str = "tiger") -> httpx.Response:
    return await client.post("/v1/workflows", json={"slug": slug, "workflow": document or text_to_image()})


async def schema(client: httpx.AsyncClient, version: int = 1) -> dict[str, Any]:
    found = (await client.get(f"/v1/workflows/tiger/versions/{version}")).json()
    described: dict[str, Any] = found["input_schema"]
    return described


async def run(client: httpx.AsyncClient, slug: str = "tiger", **body: Any) -> httpx.Response:
    return await client.post(f"/v1/workflows/{slug}/runs", json={"input": SMALL} | body)


async def test_a_default_workflow_of_invokeai_becomes_an_endpoint(client: httpx.AsyncClient) -> None:
    created = await save(client)
    assert created.status_code == 201, created.text
    assert created.json()["name"] == "Text to Image - SD1.5"
    assert created.json()["latest_version"] == 1

    described = await schema(client)
    assert list(described["properties"]) == ["model", "positive_prompt", "negative_prompt", "width", "height"]
    assert described["required"] == ["model"]
    assert (
        described["properties"]["width"] | {"type": "integer", "default": 512}
        == described["properties"]["width"]
    )

    response = await run(client, input=SMALL | {"positive_prompt": "a big red heart"})

    assert response.status_code == 202, response.text
    job = response.json()
    assert job["workflow"] == {"slug": "tiger", "version": 1}
    assert job["input"] == {
        "model": "impasto-shapes",
        "positive_prompt": "a big red heart",
        "negative_prompt": "",
        "width": 64,
        "height": 64,
    }
    nodes = (await client.get(f"/v1/jobs/{job['id']}/graph")).json()["nodes"].values()
    assert "a big red heart" in [node.get("prompt") for node in nodes]
    assert [item["units"] for item in job["quote"]["line_items"]] == [64 * 64 * 30]
    assert unplaced((await client.get(f"/v1/jobs/{job['id']}")).json()) == unplaced(job)


async def test_runs_use_the_latest_version_or_the_one_they_name(client: httpx.AsyncClient) -> None:
    await save(client)
    saved = await client.post(
        "/v1/workflows/tiger/versions",
        json={"workflow": text_to_image(set_value("denoise_latents", "steps", 12))},
    )
    assert saved.status_code == 201, saved.text
    assert saved.json()["version"] == 2

    latest, pinned = (await run(client)).json(), (await run(client, version=1)).json()

    assert (latest["workflow"]["version"], pinned["workflow"]["version"]) == (2, 1)
    assert [job["quote"]["line_items"][0]["units"] // 64**2 for job in (latest, pinned)] == [12, 30]
    assert refused(await run(client, version=3)) == [("/version", "not_found")]


async def test_versions_can_be_listed_and_compared(client: httpx.AsyncClient) -> None:
    def relabel(document: Document) -> None:
        node_of(document, "compel")["data"]["inputs"]["prompt"]["label"] = "Motif"

    await save(client)
    changed = text_to_image(set_value("denoise_latents", "steps", 12), relabel)
    node_of(changed, "noise")["position"] = {"x": 1, "y": 2}  # only the editor cares
    for document in (changed, changed):
        await client.post("/v1/workflows/tiger/versions", json={"workflow": document})

    page = (await client.get("/v1/workflows/tiger/versions", params={"limit": 2})).json()
    assert [version["version"] for version in page["data"]] == [3, 2]
    rest = await client.get("/v1/workflows/tiger/versions", params={"cursor": page["next_cursor"]})
    assert [version["version"] for version in rest.json()["data"]] == [1]

    compared = (await client.get("/v1/workflows/tiger/diff", params={"before": 1, "after": 2})).json()
    [node] = compared["nodes_changed"]
    assert (node["type"], node["fields"]) == (
        "denoise_latents",
        [{"field": "steps", "before": 30, "after": 12}],
    )
    assert (compared["inputs_added"], compared["inputs_removed"]) == (["motif"], ["positive_prompt"])
    same = (await client.get("/v1/workflows/tiger/diff", params={"before": 2, "after": 3})).json()
    assert {key for key, value in same.items() if value} == {"before", "after"}


async def test_a_diff_names_nodes_and_edges(client: httpx.AsyncClient) -> None:
    def without_seed(document: Document) -> None:
        gone = node_of(document, "rand_int")
        document["nodes"].remove(gone)
        document["edges"] = [edge for edge in document["edges"] if edge["source"] != gone["id"]]

    await save(client)
    await client.post("/v1/workflows/tiger/versions", json={"workflow": text_to_image(without_seed)})
    compared = (await client.get("/v1/workflows/tiger/diff", params={"before": 1, "after": 2})).json()
    assert [node["type"] for node in compared["nodes_removed"]] == ["rand_int"]
    assert len(compared["edges_removed"]) == 1
    assert compared["edges_removed"][0]["source"].endswith(".value")


async def test_an_archived_workflow_stays_but_cannot_be_run(client: httpx.AsyncClient) -> None:
    await save(client)
    assert (await client.post("/v1/workflows/tiger/archive")).json()["archived_at"]

    assert_problem(await run(client), 409, "workflow-archived")
    version = await client.post("/v1/workflows/tiger/versions", json={"workflow": text_to_image()})
    assert_problem(version, 409, "workflow-archived")
    assert_problem(await save(client), 409, "workflow-exists")
    assert (await client.get("/v1/workflows/tiger")).status_code == 200
    assert (await client.get("/v1/workflows")).json()["data"] == []
    assert len((await client.get("/v1/workflows", params={"archived": True})).json()["data"]) == 1


async def test_a_retried_run_makes_one_job(client: httpx.AsyncClient, owner_database: Database) -> None:
    await save(client)
    headers = {"Idempotency-Key": "once"}
    body = {"input": SMALL}
    first = await client.post("/v1/workflows/tiger/runs", json=body, headers=headers)
    again = await client.post("/v1/workflows/tiger/runs", json=body, headers=headers)
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    async with owner_database.session() as session:
        assert (await session.exec(select(func.count()).select_from(Job))).one() == 1


async def test_a_run_has_the_time_that_its_owner_gives_it(client: httpx.AsyncClient) -> None:
    await save(client)
    response = await client.post(
        "/v1/workflows/tiger/runs",
        json={"input": SMALL, "max_run_seconds": 9},
        headers={"Cancel-After": "5m"},
    )
    job = response.json()
    seconds = datetime.fromisoformat(job["deadline"]) - datetime.fromisoformat(job["created_at"])
    assert (seconds, job["max_run_seconds"]) == (timedelta(minutes=5), 9)


async def test_a_form_decides_what_is_exposed(client: httpx.AsyncClient) -> None:
    document = text_to_image()
    noise = node_of(document, "noise")["id"]
    field = {"fieldIdentifier": {"nodeId": noise, "fieldName": "height"}}
    document["form"] = {
        "rootElementId": "root",
        "elements": {
            "root": {"id": "root", "type": "container", "data": {"children": ["heading", "side"]}},
            "heading": {"id": "heading", "type": "heading", "data": {"content": "Size"}},
            "side": {"id": "side", "type": "node-field", "data": field},
        },
    }
    refusal = refused(await save(client, document))
    assert refusal == [("/workflow/nodes/2/data/inputs/model/value", "missing")]  # which nobody could set now

    set_value("main_model_loader", "model", {"key": "impasto-shapes"})(document)
    assert (await save(client, document)).status_code == 201
    assert list((await schema(client))["properties"]) == ["height"]


@pytest.mark.parametrize("version", ["1.0.0", "2.0.0", "3.0.0", "4.0.0"])
async def test_older_exports_can_be_read(client: httpx.AsyncClient, version: str) -> None:
    document = text_to_image()
    document["meta"]["version"] = version
    loader = node_of(document, "main_model_loader")["data"]["inputs"]["model"]
    if version < "3":  # as models were named then
        loader["value"] = {"model_name": "dreamshaper", "base_model": "sd-1", "model_type": "main"}
    assert (await save(client, document)).status_code == 201
    assert (await run(client)).status_code == 202


async def test_connectors_lead_on(client: httpx.AsyncClient) -> None:
    document = text_to_image()
    edge = next(edge for edge in document["edges"] if edge["targetHandle"] == "seed")
    document["nodes"].append({"id": "knot", "type": "connector", "data": {"id": "knot"}})
    onward = {"type": "default", "source": "knot", "sourceHandle": "out"}
    document["edges"].append(onward | {"target": edge["target"], "targetHandle": "seed"})
    edge |= {"target": "knot", "targetHandle": "in"}
    await save(client)
    await client.post("/v1/workflows/tiger/versions", json={"workflow": document})
    compared = (await client.get("/v1/workflows/tiger/diff", params={"before": 1, "after": 2})).json()
    assert {key for key, value in compared.items() if value} == {"before", "after"}


async def test_fields_of_one_name_are_told_apart(client: httpx.AsyncClient) -> None:
    def without_labels(document: Document) -> None:
        for node in document["nodes"]:
            for entry in node["data"].get("inputs", {}).values():
                entry["label"] = ""

    await save(client, text_to_image(without_labels))
    assert list((await schema(client))["properties"]) == [
        "model",
        "positive_compel_prompt_prompt",
        "negative_compel_prompt_prompt",
        "width",
        "height",
    ]


def _expose(node: str, field: str) -> Document:
    document = text_to_image()
    node_id = node_of(document, node)["id"] if node != "nowhere" else node
    document["exposedFields"].append({"nodeId": node_id, "fieldName": field})
    return document


def _with_node(kind: str) -> Document:
    document = text_to_image()
    document["nodes"].append(
        {"id": "new", "type": "invocation", "data": {"id": "new", "type": kind, "inputs": {}}}
    )
    return document


BAD: dict[str, tuple[Any, str, str]] = {
    "no object": ([], "/workflow", "invalid_type"),
    "no format": ({"nodes": [], "edges": []}, "/workflow/meta/version", "missing"),
    "a format of tomorrow": (
        {"meta": {"version": "5.0.0"}, "nodes": [], "edges": []},
        "/workflow/meta/version",
        "unknown_version",
    ),
    "nodes that are no list": (
        {"meta": {"version": "3.0.0"}, "nodes": {}, "edges": []},
        "/workflow/nodes",
        "invalid_type",
    ),
    "no nodes": ({"meta": {"version": "3.0.0"}, "nodes": [], "edges": []}, "/workflow/nodes", "empty"),
    "an exposed field that does not exist": (
        _expose("noise", "colour"),
        "/workflow/exposedFields/6/fieldName",
        "not_found",
    ),
    "an exposed field of no node": (
        _expose("nowhere", "width"),
        "/workflow/exposedFields/6/nodeId",
        "not_found",
    ),
    "a node that reads files": (
        _with_node("prompt_from_file"),
        "/workflow/nodes/7/data/type",
        "forbidden_node",
    ),
    "a node that is no more": (
        _with_node("canny_image_processor"),
        "/workflow/nodes/7/data/type",
        "unknown_node",
    ),
    "a value of the wrong type": (
        text_to_image(set_value("denoise_latents", "steps", "many")),
        "/workflow/nodes/6/data/inputs/steps/value",
        "invalid_type",
    ),
    "a text with NUL in it": (
        text_to_image(lambda document: document.update(notes="a\0b")),
        "/workflow/notes",
        "invalid_text",
    ),
}


async def test_a_workflow_that_is_wrong_is_refused_at_the_right_place(
    client: httpx.AsyncClient, owner_database: Database, subtests: pytest.Subtests
) -> None:
    for what, (document, pointer, code) in BAD.items():
        with subtests.test(what):
            response = await client.post("/v1/workflows", json={"slug": "tiger", "workflow": document})
            assert (pointer, code) in refused(response)
    with subtests.test("a slug that is none"):
        body = {"slug": "Tiger!", "workflow": text_to_image()}
        assert refused(await client.post("/v1/workflows", json=body)) == [
            ("/slug", "string_pattern_mismatch")
        ]
    async with owner_database.session() as session:
        for table in (Workflow, WorkflowVersion):
            assert (await session.exec(select(func.count()).select_from(table))).one() == 0


async def test_a_run_that_is_wrong_is_refused_by_its_input(
    client: httpx.AsyncClient, owner_database: Database, subtests: pytest.Subtests
) -> None:
    await save(client)
    wrong: dict[str, tuple[dict[str, Any], str, str]] = {
        "no model": ({}, "/input/model", "missing"),
        "a width that is a text": (SMALL | {"width": "wide"}, "/input/width", "invalid_type"),
        "a width that is no multiple of 8": (SMALL | {"width": 65}, "/input/width", "multipleOf"),
        "a width without end": (SMALL | {"width": 80_000}, "/input/width", "out_of_range"),
        "an input that it has not": (SMALL | {"steps": 3}, "/input/steps", "unknown_input"),
        "a model that does not exist": (SMALL | {"model": "mona-lisa"}, "/input/model", "not_found"),
        "a prompt too long": (SMALL | {"positive_prompt": "x" * 2001}, "/input/positive_prompt", "too_long"),
        "a prompt with NUL": (SMALL | {"positive_prompt": "\0"}, "/input/positive_prompt", "invalid_text"),
    }
    for what, (given, pointer, code) in wrong.items():
        with subtests.test(what):
            assert (pointer, code) in refused(await run(client, input=given))
    async with owner_database.session() as session:
        assert (await session.exec(select(func.count()).select_from(Job))).one() == 0
    assert_problem(await run(client, slug="lion"), 404, "not-found")


async def test_anothers_workflow_is_as_one_that_does_not_exist(
    client: httpx.AsyncClient, base_url: str, stranger: Tenant
) -> None:
    await save(client)
    async with httpx.AsyncClient(base_url=base_url, headers=stranger.headers, timeout=20) as theirs:
        assert_problem(await theirs.get("/v1/workflows/tiger"), 404, "not-found")
        assert_problem(await run(theirs), 404, "not-found")
        assert (await theirs.get("/v1/workflows")).json()["data"] == []
        assert (await save(theirs)).status_code == 201


async def test_the_lora_workflow_asks_for_its_lora(client: httpx.AsyncClient) -> None:
    assert (await save(client, default_workflow("Text to Image with LoRA"))).status_code == 201
    described = await schema(client)
    assert described["required"] == ["model", "lora"]
    response = await run(client, input=SMALL | {"lora": "impasto-shapes"})
    assert refused(response) == [("/input/lora", "wrong_model")]
