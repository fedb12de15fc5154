"""Whatever is sent, the running API answers as the contract says: schemathesis makes requests up from it.

The API is a process of its own, with real ids to work on, so that requests get further than 404.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from redis.asyncio import Redis
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from impasto_core.database import Database
from impasto_core.settings import Settings
from impasto_ctl.embedded import EmbeddedServers
from tests.support.databases import DatabaseUrls, Template
from tests.support.painters import Painter, png
from tests.support.processes import eventually
from tests.support.programs import Program, environ_of
from tests.support.tenants import make_tenant, register_model
from tests.support.workflows import text_to_image

DOCUMENT = json.loads((Path(__file__).parents[2] / "openapi" / "openapi.json").read_text())
EXAMPLES = 10
"""Drawn for each operation, beside those that cover its every parameter. The same in every run."""

SERVER_ERRORS = {500, 502, 503, 504}
"""501 is none: nobody has set up a payment provider."""

schema = schemathesis.openapi.from_dict(DOCUMENT)


@dataclass(frozen=True)
class Api:
    url: str
    headers: dict[str, str]
    poor_headers: dict[str, str]
    """Of an organization that can pay for nothing."""
    ids: dict[str, str]
    """Of things that exist, by the contract's names of path parameters."""


@pytest.fixture(scope="module")
def api(
    servers: EmbeddedServers, template: Template, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    name = f"impasto_fuzzing_{secrets.token_hex(4)}"
    urls = asyncio.run(template.copy(name))
    folder = tmp_path_factory.mktemp("fuzzing")
    pepper = "a pepper for tests"
    environ = environ_of(servers, urls.api) | {"IMPASTO_API_KEY_PEPPER": pepper, "IMPASTO_API_PORT": "0"}
    program = Program("impasto_api.server", environ, folder / "log")
    try:
        url = address(program)
        yield asyncio.run(furnish(url, servers, urls, pepper))
        assert program.is_running
    finally:
        program.close()
        asyncio.run(template.drop(name))


def address(program: Program) -> str:
    found: list[str] = []

    def is_up() -> bool:
        assert program.is_running, program.log.read_text()
        found.extend(
            record["message"].split()[3]
            for record in program.records()
            if record["message"].startswith("Uvicorn running on")
        )
        return bool(found) and httpx.get(f"{found[0]}/readyz").status_code == 200

    eventually(is_up, "the API did not get ready")
    return found[0]


async def furnish(url: str, servers: EmbeddedServers, urls: DatabaseUrls, pepper: str) -> Api:
    """An organization that has one of everything."""
    bucket = servers.bucket
    settings = Settings(
        database_url=urls.worker,
        redis_url=servers.redis_url,
        s3_endpoint_url=bucket.endpoint_url,
        s3_region=bucket.region,
        s3_bucket=bucket.name,
        s3_access_key_id=bucket.access_key_id,
        s3_secret_access_key=bucket.secret_access_key,
        api_key_pepper=pepper,
    )
    owner, worker = Database(urls.owner, pool_size=1), Database(urls.worker, pool_size=2)
    redis = Redis.from_url(servers.redis_url)
    try:
        await redis.flushdb()
        model = await register_model(owner)
        tenant = await make_tenant(owner, settings)
        async with httpx.AsyncClient(base_url=url, headers=tenant.headers) as client:
            endpoint = await client.post("/v1/webhook-endpoints", json={"url": "https://example.com/"})
            body = {"pipeline": "text-to-image", "input": {"prompt": "a big red heart"}}
            job = (await client.post("/v1/jobs", json=body)).json()
            await Painter(worker, redis, settings).paint_next()
            [delivery] = (await client.get("/v1/webhook-deliveries")).json()["data"]
            [image] = (await client.get(f"/v1/jobs/{job['id']}")).json()["images"]
            upload = await client.post("/v1/uploads", json={"content_type": "image/png", "size": len(png())})
            key = await client.post("/v1/api-keys", json={"name": "furniture"})
            cap = await client.put("/v1/billing/spend-caps", json={"amount": 1_000_000})
            workflow = {"slug": "tiger", "workflow": text_to_image()}
            assert (await client.post("/v1/workflows", json=workflow)).status_code == 201
        poor = await make_tenant(owner, settings, balance=0)
        async with httpx.AsyncClient(base_url=url, headers=poor.headers) as client:
            assert (await client.post("/v1/workflows", json=workflow)).status_code == 201
    finally:
        await redis.aclose()
        await worker.close()
        await owner.close()
    return Api(
        url,
        tenant.headers,
        poor.headers,
        {
            "job_id": job["id"],
            "image_id": image["id"],
            "upload_id": upload.json()["id"],
            "key_id": key.json()["id"],
            "model_id": model.slug,
            "pipeline_id": "text-to-image",
            "node_type": "noise",
            "spend_cap_id": cap.json()["id"],
            "endpoint_id": endpoint.json()["id"],
            "delivery_id": delivery["id"],
            "slug": "tiger",
            "version": "1",
        },
    )


bounded = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@schema.parametrize()
@bounded
def test_every_answer_is_as_the_contract_says(case: schemathesis.Case, api: Api) -> None:
    call(case, api, api.headers)


@schema.include(method="POST", path_regex="^/v1/(jobs|quotes|workflows)").parametrize()
@bounded
def test_so_is_every_answer_to_who_has_no_credits(case: schemathesis.Case, api: Api) -> None:
    call(case, api, api.poor_headers)


def call(case: schemathesis.Case, api: Api, headers: dict[str, str]) -> None:
    if case.meta is None or case.meta.generation.mode.is_positive:
        case.path_parameters |= {name: api.ids[name] for name in case.path_parameters if name in api.ids}
    # There is no worker: nobody waits for one.
    case.headers = {name: value for name, value in case.headers.items() if name.lower() != "prefer"}
    response = case.call(base_url=api.url, headers=headers, timeout=20)
    assert response.status_code not in SERVER_ERRORS, response.text
    checks = [status_code_conformance, content_type_conformance, response_headers_conformance]
    # What it would hold against the schema of a stream is one event, which is a thing of OpenAPI 3.2.
    if case.operation.definition.raw["operationId"] != "jobs.events":
        checks.append(response_schema_conformance)
    case.validate_response(response, checks=checks)
