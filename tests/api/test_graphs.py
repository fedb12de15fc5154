"""Jobs that run a graph of the caller's own."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import func
from sqlmodel import select

from impasto_core.database import Database
from impasto_core.images.tables import Image
from impasto_core.jobs.tables import Job
from impasto_core.settings import Settings
from impasto_core.uploads.tables import Upload
from tests.support.painters import Painter, png
from tests.support.problems import assert_problem
from tests.support.tenants import Tenant, make_tenant, register_model

Graph = dict[str, Any]
JSON = {"Content-Type": "application/json"}


def edge(source: str, destination: str) -> dict[str, Any]:
    """From "node.output" to "node.input"."""
    ends = {}
    for end, place in (("source", source), ("destination", destination)):
        node, field = place.split(".")
        ends[end] = {"node_id": node, "field": field}
    return ends


def graph_of(nodes: dict[str, dict[str, Any]], *edges: tuple[str, str]) -> Graph:
    return {
        "nodes": {name: {"id": name, **node} for name, node in nodes.items()},
        "edges": [edge(*ends) for ends in edges],
    }


def text_to_image(**changes: dict[str, Any]) -> Graph:
    """What InvokeAI's own text to image is made of. `changes` are fields of nodes."""
    nodes: dict[str, dict[str, Any]] = {
        "model": {"type": "main_model_loader", "model": "impasto-shapes", "is_intermediate": True},
        "prompt": {"type": "compel", "prompt": "a big red heart", "is_intermediate": True},
        "noise": {"type": "noise", "seed": 7, "width": 64, "height": 64, "is_intermediate": True},
        "denoise": {"type": "denoise_latents", "steps": 10, "is_intermediate": True},
        "image": {"type": "l2i"},
    }
    for name, fields in changes.items():
        nodes[name] = nodes.get(name, {}) | fields
    return graph_of(
        nodes,
        ("model.clip", "prompt.clip"),
        ("model.unet", "denoise.unet"),
        ("model.vae", "image.vae"),
        ("prompt.conditioning", "denoise.positive_conditioning"),
        ("prompt.conditioning", "denoise.negative_conditioning"),
        ("noise.noise", "denoise.noise"),
        ("denoise.latents", "image.latents"),
    )


def noisy(image_name: str, **changes: Any) -> Graph:
    node = {"type": "img_noise", "image": {"image_name": image_name}, **changes}
    return graph_of({"noisy": node})


async def create(client: httpx.AsyncClient, graph: Any, **fields: Any) -> httpx.Response:
    return await client.post("/v1/jobs", json={"graph": graph} | fields)


def unplaced(job: dict[str, Any]) -> dict[str, Any]:
    """But for its place in the queue, which changes."""
    return {name: value for name, value in job.items() if name != "queue"}


async def test_a_graph_becomes_a_job_that_shows_it(
    client: httpx.AsyncClient, owner_database: Database
) -> None:
    response = await create(client, text_to_image(), metadata={"customer": "42"})

    assert response.status_code == 202, response.text
    job = response.json()
    assert (job["pipeline"], job["model"], job["input"]) == (None, "impasto-shapes", {})
    assert job["metadata"] == {"customer": "42"}
    assert unplaced(job) == unplaced((await client.get(f"/v1/jobs/{job['id']}")).json())
    shown = (await client.get(f"/v1/jobs/{job['id']}/graph")).json()
    assert shown["edges"] == text_to_image()["edges"]
    assert shown["nodes"]["denoise"] == text_to_image()["nodes"]["denoise"]
    assert [unplaced(listed) for listed in (await client.get("/v1/jobs")).json()["data"]] == [unplaced(job)]


async def test_the_model_is_named_to_invokeai_as_the_worker_registers_it(
    client: httpx.AsyncClient, owner_database: Database
) -> None:
    model = await register_model(owner_database)
    expected = {
        "key": str(model.id),
        "hash": model.digest,
        "name": model.name,
        "base": "sd-1",
        "type": "main",
    }
    ways = ["impasto-shapes", {"key": "impasto-shapes"}, {"key": str(model.id), "base": "sd-1"}, expected]
    ways.append({"key": "5b1c5bf9", "hash": "blake3:1", "name": model.name, "base": "sd-1", "type": "main"})
    for way in ways:
        job = (await create(client, text_to_image(model={"model": way}))).json()
        shown = (await client.get(f"/v1/jobs/{job['id']}/graph")).json()
        assert shown["nodes"]["model"]["model"] == expected


async def test_a_pipelines_graph_sent_as_a_graph_costs_the_same(
    client: httpx.AsyncClient, owner_database: Database
) -> None:
    body = {"pipeline": "text-to-image", "input": {"prompt": "x", "seed": 7, "n": 3, "steps": 12}}
    job = (await client.post("/v1/jobs", json=body)).json()
    graph = (await client.get(f"/v1/jobs/{job['id']}/graph")).json()

    again = (await create(client, graph)).json()

    assert again["quote"]["amount"] == job["quote"]["amount"]
    async with owner_database.session() as session:
        works = (await session.exec(select(Job.pixel_steps))).all()
    assert works == [64 * 64 * 12 * 3] * 2


async def test_a_graph_of_several_models_is_priced_by_the_dearest(
    client: httpx.AsyncClient, owner_database: Database
) -> None:
    await register_model(owner_database, max_pixels=1024 * 1024)
    await register_model(owner_database, "dear", base="sd-1", max_pixels=512 * 512)
    graph = text_to_image(
        model={"model": "dear"}, idle={"type": "main_model_loader", "model": "impasto-shapes"}
    )

    quote = await client.post("/v1/quotes", json={"graph": graph})

    assert quote.status_code == 200, quote.text
    assert quote.json()["line_items"][0]["model"] == "dear"


async def test_iterations_are_counted(client: httpx.AsyncClient) -> None:
    graph = text_to_image(seeds={"type": "range_of_size", "size": 3}, each={"type": "iterate"})
    graph["edges"] += [edge("seeds.collection", "each.collection"), edge("each.item", "noise.seed")]

    quote = await client.post("/v1/quotes", json={"graph": graph})

    assert quote.status_code == 200, quote.text
    [item] = quote.json()["line_items"]
    assert item["units"] == 3 * 10 * 64 * 64
    assert "at most 3 images" in item["description"]


async def test_ones_own_upload_can_be_named(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, owner_database: Database
) -> None:
    picture = png()
    upload = (
        await client.post("/v1/uploads", json={"content_type": "image/png", "size": len(picture)})
    ).json()
    await anonymous.put(upload["url"], content=picture, headers=upload["headers"])

    response = await create(client, noisy(upload["id"]))

    assert response.status_code == 202, response.text
    async with owner_database.session() as session:
        [job] = (await session.exec(select(Job))).all()
    assert list(job.images_in) == [upload["id"]]


async def test_a_retry_with_the_same_key_gets_the_same_job(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "once"}
    body = {"graph": text_to_image()}
    first = await client.post("/v1/jobs", json=body, headers=headers)
    again = await client.post("/v1/jobs", json=body, headers=headers)
    other = await client.post("/v1/jobs", json={"graph": noisy("img_1")}, headers=headers)

    assert again.json() == first.json()
    assert_problem(other, 422, "idempotency-key-reused", field="Idempotency-Key")


def _with(*changes: Callable[[Graph], Any]) -> Graph:
    graph = copy.deepcopy(text_to_image())
    for change in changes:
        change(graph)
    return graph


def _node(**node: Any) -> Callable[[Graph], Any]:
    return lambda graph: graph["nodes"].update(new={"id": "new", **node})


def _edge(source: str, destination: str) -> Callable[[Graph], Any]:
    return lambda graph: graph["edges"].append(edge(source, destination))


BAD: dict[str, tuple[Any, str, str]] = {
    "no object": ([], "/graph", "invalid_type"),
    "null": (None, "/graph", "invalid_type"),
    "no nodes": ({"nodes": {}}, "/graph/nodes", "empty"),
    "fifty thousand nodes": (
        {"nodes": dict.fromkeys(map(str, range(50_000)), 0)},
        "/graph/nodes",
        "too_many_nodes",
    ),
    "nodes in a list": ({"nodes": []}, "/graph/nodes", "invalid_type"),
    "edges that are no list": ({"nodes": {"a": {}}, "edges": {}}, "/graph/edges", "invalid_type"),
    "a node that is no object": (
        _with(lambda g: g["nodes"].update(new=7)),
        "/graph/nodes/new",
        "invalid_type",
    ),
    "an unknown node": (_with(_node(type="teleport")), "/graph/nodes/new/type", "unknown_node"),
    "a node without a type": (_with(_node()), "/graph/nodes/new/type", "unknown_node"),
    "a node that reads files": (
        _with(_node(type="prompt_from_file", file_path="/etc/passwd")),
        "/graph/nodes/new/type",
        "forbidden_node",
    ),
    "a node that downloads": (_with(_node(type="esrgan")), "/graph/nodes/new/type", "forbidden_node"),
    "a name with NUL in it": (
        _with(lambda g: g["nodes"].update({"a\0": {}})),
        "/graph/nodes",
        "invalid_name",
    ),
    "a node that saves to a file": (
        _with(_node(type="save_image_to_file")),
        "/graph/nodes/new/type",
        "forbidden_node",
    ),
    "an id that is not the node's": (
        _with(lambda g: g["nodes"]["image"].update(id="other")),
        "/graph/nodes/image/id",
        "id_mismatch",
    ),
    "a name that reads like a path": (
        _with(lambda g: g["nodes"].update({"a/b~c": {"id": "a/b~c", "type": "x"}})),
        "/graph/nodes/a~1b~0c/type",
        "unknown_node",
    ),
    "a name with half a character": (
        _with(lambda g: g["nodes"].update({"\udfff": {"id": "\udfff", "type": "string"}})),
        "/graph",
        "invalid_text",
    ),
    "steps that are no number": (
        text_to_image(denoise={"steps": "many"}),
        "/graph/nodes/denoise/steps",
        "invalid_type",
    ),
    "a billion steps": (
        text_to_image(denoise={"steps": 10**9}),
        "/graph/nodes/denoise/steps",
        "out_of_range",
    ),
    "an infinite scale": (
        text_to_image(denoise={"cfg_scale": float("inf")}),
        "/graph/nodes/denoise/cfg_scale",
        "not_finite",
    ),
    "a number of a thousand digits": (
        text_to_image(noise={"seed": 10**1000}),
        "/graph/nodes/noise/seed",
        "not_finite",
    ),
    "an unknown scheduler": (
        text_to_image(denoise={"scheduler": "dice"}),
        "/graph/nodes/denoise/scheduler",
        "unknown_value",
    ),
    "a field that does not exist": (
        text_to_image(denoise={"stpes": 3}),
        "/graph/nodes/denoise/stpes",
        "unknown_field",
    ),
    "a prompt too long": (
        text_to_image(prompt={"prompt": "x" * 2001}),
        "/graph/nodes/prompt/prompt",
        "too_long",
    ),
    "a prompt with NUL in it": (
        text_to_image(prompt={"prompt": "a\0b"}),
        "/graph/nodes/prompt/prompt",
        "invalid_text",
    ),
    "a value nested without end": (
        _with(_node(type="metadata_item", label="x", value=[[[[[[[[[[[1]]]]]]]]]]])),
        "/graph/nodes/new/value/0/0/0/0/0/0/0",
        "too_deep",
    ),
    "a picture of a gigabyte": (
        _with(_node(type="blank_image", width=30_000, height=9_000)),
        "/graph/nodes/new/width",
        "out_of_range",
    ),
    "more pixels than the model paints": (
        text_to_image(noise={"width": 1024, "height": 1024}),
        "/graph/nodes/denoise/noise",
        "too_many_pixels",
    ),
    "a range of a billion": (
        _with(_node(type="range", start=0, stop=10**9)),
        "/graph/nodes/new/stop",
        "too_long",
    ),
    "a range of a billion behind a product": (
        graph_of(
            {"many": {"type": "mul", "a": 10**5, "b": 10**5}, "range": {"type": "range_of_size"}},
            ("many.value", "range.size"),
        ),
        "/graph/nodes/range/size",
        "out_of_range",
    ),
    "a cycle": (_with(_edge("image.width", "noise.width")), "/graph/nodes/denoise/noise", "cycle"),
    "an edge from a node to itself": (
        _with(_edge("noise.width", "noise.height")),
        "/graph/nodes/noise/height",
        "self_loop",
    ),
    "two edges into one input": (
        _with(_edge("model.clip", "prompt.clip")),
        "/graph/nodes/prompt/clip",
        "duplicate_edge",
    ),
    "another edge into an input": (
        _with(_node(type="clip_skip"), _edge("model.clip", "new.clip"), _edge("new.clip", "prompt.clip")),
        "/graph/nodes/prompt/clip",
        "input_taken",
    ),
    "an edge between unlike things": (
        _with(_edge("model.vae", "denoise.latents")),
        "/graph/nodes/denoise/latents",
        "type_mismatch",
    ),
    "an edge from nowhere": (
        _with(_edge("nowhere.value", "noise.seed")),
        "/graph/edges/7/source/node_id",
        "unknown_node",
    ),
    "an edge to nothing": (
        _with(_edge("noise.width", "noise.nothing")),
        "/graph/edges/7/destination/field",
        "unknown_field",
    ),
    "an edge that is a number": (
        _with(lambda g: g["edges"].append(7)),
        "/graph/edges/7/source",
        "invalid_type",
    ),
    "an input without edge": (
        _with(lambda g: g["edges"].pop()),
        "/graph/nodes/image/latents",
        "missing",
    ),
    "an iterate node that nothing feeds": (
        _with(_node(type="iterate")),
        "/graph/nodes/new/collection",
        "missing_edge",
    ),
    "an unknown model": (
        text_to_image(model={"model": "mona-lisa"}),
        "/graph/nodes/model/model",
        "not_found",
    ),
    "a model for another kind of node": (
        _with(_node(type="vae_loader", vae_model="impasto-shapes")),
        "/graph/nodes/new/vae_model",
        "wrong_model",
    ),
    "an image that does not exist": (
        noisy("img_01jcp0f85v6zg8yq0gs8zfwdq4"),
        "/graph/nodes/noisy/image/image_name",
        "not_found",
    ),
    "an image by a file's name": (noisy("../../cat.png"), "/graph/nodes/noisy/image/image_name", "not_found"),
    "latents by their name": (
        _with(lambda g: g["nodes"]["denoise"].update(latents={"latents_name": "object-0"})),
        "/graph/nodes/denoise/latents/latents_name",
        "edge_needed",
    ),
    "nothing to return": (
        text_to_image(image={"is_intermediate": True}),
        "/graph/nodes",
        "no_image",
    ),
    "too many images": (
        graph_of({f"n{i}": {"type": "blank_image", "width": 8, "height": 8} for i in range(40)}),
        "/graph/nodes",
        "too_many_images",
    ),
}  # fmt: skip


def refused(response: httpx.Response) -> list[tuple[str, str]]:
    """Where the request was found to be wrong, and how."""
    assert (response.status_code, response.json()["code"]) == (422, "validation-failed"), response.text
    return [(error["pointer"], error["code"]) for error in response.json()["errors"]]


async def test_a_graph_that_is_wrong_is_refused_at_the_right_place(
    client: httpx.AsyncClient, owner_database: Database, subtests: pytest.Subtests
) -> None:
    for what, (graph, pointer, code) in BAD.items():
        with subtests.test(what):
            body = _as_json({"graph": graph})
            response = await client.post(
                "/v1/jobs", content=body, headers={"Content-Type": "application/json"}
            )
            assert (pointer, code) in refused(response)
            assert (
                await client.post("/v1/quotes", content=body, headers={"Content-Type": "application/json"})
            ).status_code == 422
    async with owner_database.session() as session:
        for table in (Job, Upload, Image):
            assert (await session.exec(select(func.count()).select_from(table))).one() == 0


def _as_json(body: Any) -> str:  # httpx refuses infinity

    return json.dumps(body)


async def test_a_million_nodes_are_too_large_a_body(client: httpx.AsyncClient) -> None:
    graph = {"nodes": {str(number): {} for number in range(10**6)}}
    assert_problem(await create(client, graph), 413, "body-too-large", field="body")


async def test_all_that_is_wrong_is_said_at_once(client: httpx.AsyncClient) -> None:
    graph = text_to_image(denoise={"steps": "x", "foo": 1}, noise={"width": 65}, model={"model": "mona-lisa"})
    response = await create(client, graph)
    assert {pointer for pointer, _ in refused(response)} == {
        "/graph/nodes/denoise/steps",
        "/graph/nodes/denoise/foo",
        "/graph/nodes/noise/width",
        "/graph/nodes/model/model",
    }


async def test_twenty_problems_are_enough(client: httpx.AsyncClient) -> None:
    graph = graph_of({f"n{i}": {"type": "string", "value": i} for i in range(100)})
    response = await create(client, graph)
    assert len(refused(response)) == 20


async def test_anothers_image_is_as_one_that_does_not_exist(
    client: httpx.AsyncClient, base_url: str, stranger: Tenant, painter: Painter
) -> None:
    async with httpx.AsyncClient(base_url=base_url, headers=stranger.headers, timeout=20) as theirs:
        body = {"pipeline": "text-to-image", "input": {"prompt": "x"}}
        job = (await theirs.post("/v1/jobs", json=body)).json()
        await painter.paint_next()
        [image] = (await theirs.get(f"/v1/jobs/{job['id']}")).json()["images"]
        assert (await create(theirs, noisy(image["id"]))).status_code == 202

    response = await create(client, noisy(image["id"]))

    assert response.json()["errors"] == [
        {
            "location": "body",
            "field": "graph.nodes.noisy.image.image_name",
            "pointer": "/graph/nodes/noisy/image/image_name",
            "code": "not_found",
            "detail": f"There is no upload or image {image['id']}.",
        }
    ]


@pytest.mark.parametrize("body", [{}, {"input": {}}, {"pipeline": "graph", "input": {}}, {"pipeline": 7}])
async def test_neither_pipeline_nor_graph(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    assert refused(await client.post("/v1/jobs", json=body)) == [("/pipeline", "unknown_pipeline")]


async def test_a_graph_beside_a_pipeline(client: httpx.AsyncClient) -> None:
    body = {"pipeline": "text-to-image", "graph": text_to_image(), "input": {"prompt": "x"}}
    response = await client.post("/v1/jobs", json=body)
    assert refused(response) == [("/pipeline", "extra_forbidden"), ("/input", "extra_forbidden")]


async def test_nodes_can_be_listed_and_searched(client: httpx.AsyncClient) -> None:
    page = (await client.get("/v1/nodes", params={"category": "image", "search": "blur image"})).json()
    assert [node["type"] for node in page["data"]] == ["img_blur"]

    names: list[str] = []
    params: dict[str, Any] = {"limit": 50}
    while True:
        page = (await client.get("/v1/nodes", params=params)).json()
        names += [node["type"] for node in page["data"]]
        if not page["has_more"]:
            break
        params["cursor"] = page["next_cursor"]
    assert names == sorted(set(names))
    assert {"denoise_latents", "iterate", "core_metadata"} <= set(names)
    assert "prompt_from_file" not in names
    nonsense = await client.get("/v1/nodes", params={"cursor": "nonsense"})
    assert_problem(nonsense, 422, "validation-failed", field="cursor")


async def test_a_node_shows_what_it_takes_and_gives(client: httpx.AsyncClient) -> None:
    node = (await client.get("/v1/nodes/denoise_latents")).json()
    inputs = {field["name"]: field for field in node["inputs"]}
    assert inputs["steps"]["type"] == "int"
    assert inputs["steps"]["value_schema"]["exclusiveMinimum"] == 0
    assert inputs["unet"] | {"source": "connection", "required": True} == inputs["unet"]
    assert [field["type"] for field in node["outputs"] if field["name"] == "latents"] == ["LatentsField"]
    assert node["invokeai_version"] == "6.14.2"
    refused = assert_problem(await client.get("/v1/nodes/prompt_from_file"), 404, "not-found")
    assert "reads or writes files" in refused["detail"]
    assert_problem(await client.get("/v1/nodes/teleport"), 404, "not-found")


async def test_graphs_are_for_plans_that_include_them(
    base_url: str, owner_database: Database, settings: Settings, tenant: Tenant
) -> None:
    small = await make_tenant(owner_database, settings, plan="free")
    async with httpx.AsyncClient(base_url=base_url, headers=small.headers, timeout=20) as client:
        response = await create(client, text_to_image())
    problem = assert_problem(response, 403, "not-in-plan", field="graph")
    assert problem["allowed_by"] == "pro"
