"""Whatever comes in, what goes out is a problem document that says what is wrong, and nothing is stored."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy import func
from sqlmodel import select

from impasto_core.api_keys.tokens import mint
from impasto_core.database import Database
from impasto_core.database.tables import metadata
from impasto_core.ids import format_id, new_id
from impasto_core.settings import Settings
from tests.api.conftest import MovableClock
from tests.support.problems import assert_problem
from tests.support.tenants import Tenant

PROMPT = {"prompt": "a big red heart"}
JSON = {"Content-Type": "application/json"}


def job(**changes: Any) -> dict[str, Any]:
    return {"pipeline": "text-to-image", "input": PROMPT} | changes


def job_input(**changes: Any) -> dict[str, Any]:
    return job(input=PROMPT | changes)


FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "no pipeline": ({"input": PROMPT}, "pipeline"),
    "a pipeline that does not exist": (job(pipeline="text-to-music"), "pipeline"),
    "a pipeline that is no text": (job(pipeline={"$ne": None}), "pipeline"),
    "a name with half a character": (job(**{"\udfff": 1}), "body"),
    "no input": ({"pipeline": "text-to-image"}, "input"),
    "input that is a list": (job(input=[PROMPT]), "input"),
    "no prompt": (job(input={}), "input.prompt"),
    "an empty prompt": (job_input(prompt=""), "input.prompt"),
    "a prompt that is too long": (job_input(prompt="x" * 2001), "input.prompt"),
    "a prompt that is no text": (job_input(prompt=7), "input.prompt"),
    "a prompt with NUL in it": (job_input(prompt="a\0b"), "input.prompt"),
    "a prompt with half a character": (job_input(prompt="\ud800"), "input.prompt"),
    "an unknown field": (job(urgency=1), "urgency"),
    "an unknown input": (job_input(promt="x"), "input.promt"),
    "an unknown input that reads like a path": (job_input(**{"a/b~c": 1}), "input.a/b~c"),
    "an unknown input with half a character": (job_input(**{"\udfff": 1}), "input"),
    "a width that is no multiple of 8": (job_input(width=65), "input.width"),
    "a width beyond all limits": (job_input(width=4096), "input.width"),
    "more pixels than the model can paint": (job_input(width=1024, height=1024), "input.width"),
    "a billion steps": (job_input(steps=10**9), "input.steps"),
    "a number of steps with a thousand digits": (job_input(steps=10**1000), "input.steps"),
    "guidance that is not a number": (job_input(guidance=math.nan), "input.guidance"),
    "guidance without end": (job_input(guidance=math.inf), "input.guidance"),
    "guidance without end the other way": (job_input(guidance=-math.inf), "input.guidance"),
    "a negative seed": (job_input(seed=-1), "input.seed"),
    "a seed of more than 32 bits": (job_input(seed=2**32), "input.seed"),
    "five images": (job_input(n=5), "input.n"),
    "a scheduler that does not exist": (job_input(scheduler="magic"), "input.scheduler"),
    "a model that does not exist": (job_input(model="huge"), "input.model"),
    "a model with NUL in it": (job_input(model="\0"), "input.model"),
    "metadata that is not text": (job(metadata={"a": 1}), "metadata.a"),
    "metadata with a nameless entry": (job(metadata={"": "x"}), "metadata."),
    "metadata with too much to say": (job(metadata={"a": "x" * 501}), "metadata.a"),
    "metadata of too many entries": (job(metadata={str(n): "x" for n in range(17)}), "metadata"),
    "metadata with NUL in it": (job(metadata={"a": "\0"}), "metadata.a"),
    "an init image where there is none": (job_input(init_image="upl_" + "0" * 26), "input.init_image"),
    "image-to-image without an image": (job(pipeline="image-to-image"), "input.init_image"),
    "an init image that is no id": (
        job(pipeline="image-to-image", input=PROMPT | {"init_image": "/etc/passwd"}),
        "input.init_image",
    ),
    "an init image that does not exist": (
        job(pipeline="image-to-image", input=PROMPT | {"init_image": "img_" + "0" * 26}),
        "input.init_image",
    ),
    "an init image beyond 128 bits": (
        job(pipeline="image-to-image", input=PROMPT | {"init_image": "upl_" + "z" * 26}),
        "input.init_image",
    ),
}

BODIES: dict[str, tuple[bytes, int, str, str | None]] = {
    "nothing": (b"", 422, "validation-failed", "body"),
    "truncated JSON": (b'{"pipeline": "text-to-image", "inp', 400, "malformed-json", None),
    "no JSON at all": (b"pipeline=text-to-image", 400, "malformed-json", None),
    "bytes that are no text": (b'{"pipeline": "\xff\xfe"}', 400, "malformed-json", None),
    "a list": (b"[]", 422, "validation-failed", "body"),
    "a text": (b'"text-to-image"', 422, "validation-failed", "body"),
    "null": (b"null", 422, "validation-failed", "body"),
    "JSON nested without end": (b'{"a":' * 150_000, 400, "malformed-json", None),
    "lists nested without end": (b"[" * 400_000 + b"]" * 400_000, 400, "malformed-json", None),
    "a number of a million digits": (
        b'{"pipeline": "text-to-image", "input": {"prompt": "p", "steps": ' + b"9" * 900_000 + b"}}",
        400,
        "malformed-json",
        None,
    ),
    "a prompt of 10 MB": (
        json.dumps(job_input(prompt="x" * 10_000_000)).encode(),
        413,
        "body-too-large",
        "body",
    ),
}


@pytest.fixture
async def nothing_stored(
    owner_database: Database, client: httpx.AsyncClient, redis: Redis
) -> AsyncIterator[None]:
    """Whatever the test does, it leaves no row behind and wakes no worker."""

    async def count() -> dict[str, int]:
        async with owner_database.session() as session:
            return {
                name: (await session.exec(select(func.count()).select_from(table))).one()
                for name, table in metadata.tables.items()
            }

    before = await count()
    yield
    assert await count() == before
    kept = {key async for key in redis.scan_iter() if not key.startswith(b"rate_limits:")}
    assert kept == set()


@pytest.mark.usefixtures("nothing_stored")
async def test_a_wrong_field_is_named(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    for name, (body, field) in FIELDS.items():
        with subtests.test(name):
            response = await client.post("/v1/jobs", content=json.dumps(body), headers=JSON)
            problem = assert_problem(response, 422, "validation-failed", field=field)
            [error] = problem["errors"]
            assert error["location"] == "body"
            assert problem["detail"] == f"{field}: {error['detail']}"


async def test_a_field_is_pointed_at_as_rfc_6901_wants_it(client: httpx.AsyncClient) -> None:
    async def pointer(body: Any) -> Any:
        response = await client.post("/v1/jobs", content=json.dumps(body), headers=JSON)
        return response.json()["errors"][0]["pointer"]

    assert await pointer(job_input(width=65)) == "/input/width"
    assert await pointer(job_input(model="huge")) == "/input/model"
    assert await pointer(job_input(**{"a/b~c": 1})) == "/input/a~1b~0c"
    assert await pointer([]) == ""


async def test_everything_that_is_wrong_is_named_at_once(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/jobs", json=job_input(width=65, steps=0, n=9))
    fields = [error["field"] for error in response.json()["errors"]]
    assert fields == ["input.width", "input.steps", "input.n"]


@pytest.mark.usefixtures("nothing_stored")
async def test_a_body_that_cannot_be_read_is_refused(
    client: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    for name, (body, status, code, field) in BODIES.items():
        with subtests.test(name):
            response = await client.post("/v1/jobs", content=body, headers=JSON)
            assert_problem(response, status, code, field=field)


@pytest.mark.usefixtures("nothing_stored")
async def test_a_body_that_never_says_how_long_it_is_is_cut_off(client: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(3000):
            yield b"x" * 1000

    response = await client.post("/v1/jobs", content=endless(), headers=JSON)
    assert_problem(response, 413, "body-too-large", field="body")


@pytest.mark.usefixtures("nothing_stored")
async def test_a_large_body_is_refused_wherever_it_goes(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    large = b"x" * 2_000_000
    for sender, method, path in (
        (client, "POST", "/v1/api-keys"),
        (client, "GET", "/v1/jobs"),
        (client, "DELETE", "/v1/images/img_" + "0" * 26),
        (client, "POST", "/v1/nowhere"),
        (anonymous, "POST", "/v1/jobs"),
        (anonymous, "GET", "/livez"),
    ):
        with subtests.test(f"{method} {path}"):
            response = await sender.request(method, path, content=large, headers=JSON)
            assert_problem(response, 413, "body-too-large", field="body")


@pytest.mark.usefixtures("nothing_stored")
async def test_a_body_that_is_not_said_to_be_json_is_refused(
    client: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    for content_type in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "nonsense",
    ):
        with subtests.test(content_type):
            response = await client.post(
                "/v1/jobs", content=json.dumps(job()), headers={"Content-Type": content_type}
            )
            assert_problem(response, 415, "unsupported-media-type")
    with subtests.test("nothing said"):
        response = await client.post("/v1/jobs", content=json.dumps(job()))
        assert_problem(response, 415, "unsupported-media-type")


async def test_json_may_be_said_in_more_words(client: httpx.AsyncClient) -> None:
    for content_type in ("application/json; charset=utf-8", "application/vnd.impasto+json"):
        response = await client.post(
            "/v1/jobs", content=json.dumps(job()), headers={"Content-Type": content_type}
        )
        assert response.status_code == 202, response.text


@pytest.mark.usefixtures("nothing_stored")
async def test_without_a_good_key_nothing_is_to_be_had(
    anonymous: httpx.AsyncClient,
    owner_database: Database,
    settings: Settings,
    tenant: Tenant,
    clock: MovableClock,
    subtests: pytest.Subtests,
) -> None:
    unknown = mint("live").text
    for name, authorization in {
        "no key": None,
        "an empty header": "",
        "no key in it": "Bearer",
        "another scheme": f"Basic {tenant.api_key}",
        "no scheme": tenant.api_key,
        "a key that was never made": f"Bearer {unknown}",
        "a key that was mistyped": f"Bearer {tenant.api_key[:-1]}",
        "a key with another's secret": f"Bearer {tenant.api_key[:21]}{unknown[21:]}",
        "a key with words behind it": f"Bearer {tenant.api_key} please",
        "garbage": "Bearer \xff\xfe",
        "a very long one": "Bearer " + "x" * 8000,
    }.items():
        for method, path in (("POST", "/v1/jobs"), ("GET", "/v1/jobs")):
            with subtests.test(name, method=method):
                headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
                response = await anonymous.request(method, path, headers=headers, json=job())
                assert_problem(response, 401, "unauthenticated")
                assert response.headers["www-authenticate"] == "Bearer"


async def test_a_query_that_makes_no_sense_is_refused_by_name(
    client: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    for path, field in {
        "/v1/jobs?limit=0": "limit",
        "/v1/jobs?limit=101": "limit",
        "/v1/jobs?limit=ten": "limit",
        "/v1/jobs?limit=9999999999999999999999": "limit",
        "/v1/jobs?cursor=nonsense": "cursor",
        "/v1/jobs?cursor=%00": "cursor",
        "/v1/jobs?cursor=%C3%A9": "cursor",
        "/v1/jobs?cursor=" + "A" * 65: "cursor",
        "/v1/jobs?status=lost": "status",
        "/v1/jobs?pipeline=%00": "pipeline",
        "/v1/jobs?created_after=yesterday": "created_after",
        "/v1/jobs?created_after=2026-01-01T00:00:00": "created_after",
        "/v1/jobs?created_after=1763790000": "created_after",
        "/v1/jobs?created_after=-0.5": "created_after",
        "/v1/jobs?created_before=0001-01-01T00:00:00%2B23:00": "created_before",
        "/v1/jobs?created_after=9999-12-31T23:59:59-23:00": "created_after",
        "/v1/images?job_id=nonsense": "job_id",
        "/v1/images?cursor=nonsense": "cursor",
        "/v1/models?limit=0": "limit",
        "/v1/api-keys?limit=0": "limit",
    }.items():
        with subtests.test(path):
            problem = assert_problem(await client.get(path), 422, "validation-failed", field=field)
            assert problem["errors"][0]["location"] == "query"
            assert problem["errors"][0]["pointer"] is None


async def test_what_does_not_exist_is_not_found(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    unknown = {prefix: format_id(prefix, new_id()) for prefix in ("job", "img", "upl", "key")}
    for method, path in (
        ("GET", f"/v1/jobs/{unknown['job']}"),
        ("GET", f"/v1/jobs/{unknown['job']}/events"),
        ("POST", f"/v1/jobs/{unknown['job']}/cancel"),
        ("GET", f"/v1/images/{unknown['img']}"),
        ("DELETE", f"/v1/images/{unknown['img']}"),
        ("GET", f"/v1/uploads/{unknown['upl']}"),
        ("GET", f"/v1/api-keys/{unknown['key']}"),
        ("DELETE", f"/v1/api-keys/{unknown['key']}"),
        ("GET", "/v1/models/huge"),
        ("GET", "/v1/models/%00"),
        ("GET", "/v1/models/" + "x" * 64),
        ("GET", "/v1/pipelines/text-to-music"),
        # Malformed ids name nothing that exists.
        ("GET", "/v1/jobs/7"),
        ("GET", "/v1/jobs/%00"),
        ("GET", "/v1/jobs/" + unknown["img"]),
        ("GET", "/v1/jobs/" + unknown["job"].upper()),
        ("GET", "/v1/images/..%2F..%2Fetc%2Fpasswd"),
        ("POST", "/v1/jobs/'; DROP TABLE jobs; --/cancel"),
        # Nor does any other path.
        ("GET", "/"),
        ("GET", "/v1"),
        ("GET", "/v1/jobs/"),
        ("GET", "/v2/jobs"),
        ("POST", "/v1/nowhere"),
        ("GET", "/v1/" + "x" * 5000),
    ):
        with subtests.test(f"{method} {path[:60]}"):
            response = await client.request(method, path)
            assert_problem(response, 404, "not-found")
    with subtests.test("rolling a key"):
        response = await client.post(f"/v1/api-keys/{unknown['key']}/roll", json={})
        assert_problem(response, 404, "not-found")


async def test_a_method_that_a_path_does_not_take_is_refused(
    client: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    for method, path, allowed in (
        ("DELETE", "/v1/jobs", {"GET", "POST"}),
        ("PUT", f"/v1/jobs/{format_id('job', new_id())}", {"GET"}),
        ("POST", "/v1/models", {"GET"}),
        ("PATCH", "/v1/jobs", {"GET", "POST"}),
        ("OPTIONS", "/v1/jobs", {"GET", "POST"}),
    ):
        with subtests.test(f"{method} {path}"):
            response = await client.request(method, path)
            assert_problem(response, 405, "method-not-allowed")
            assert set(response.headers["allow"].split(", ")) == allowed


@pytest.mark.usefixtures("nothing_stored")
async def test_a_malformed_idempotency_key_is_refused(
    client: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    for key in ("", '""', "x" * 256, "a\tb", "é"):
        with subtests.test(repr(key)):
            headers = {"Idempotency-Key": key.encode("latin-1")}
            response = await client.post("/v1/jobs", json=job(), headers=headers)
            problem = assert_problem(response, 422, "validation-failed", field="Idempotency-Key")
            assert problem["errors"][0]["location"] == "header"


async def test_every_answer_has_a_request_id_of_its_own(client: httpx.AsyncClient) -> None:
    answers = [await client.get(path) for path in ("/livez", "/v1/jobs", "/v1/jobs", "/nowhere")]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == len(ids)
    assert all(request_id.startswith("req_") for request_id in ids)


@pytest.mark.usefixtures("nothing_stored")
async def test_wrong_uploads_and_keys_are_refused_by_name(
    client: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    for path, body, field in (
        ("/v1/uploads", {"content_type": "image/gif", "size": 1}, "content_type"),
        ("/v1/uploads", {"content_type": "image/png", "size": 0}, "size"),
        ("/v1/uploads", {"content_type": "image/png", "size": 20_000_001}, "size"),
        ("/v1/uploads", {"content_type": "image/png"}, "size"),
        ("/v1/uploads", {"content_type": "image/png", "size": 1, "name": "x"}, "name"),
        ("/v1/api-keys", {}, "name"),
        ("/v1/api-keys", {"name": ""}, "name"),
        ("/v1/api-keys", {"name": "\0"}, "name"),
        ("/v1/api-keys", {"name": "x" * 101}, "name"),
        ("/v1/api-keys", {"name": "x", "mode": "prod"}, "mode"),
        ("/v1/api-keys", {"name": "x", "scopes": []}, "scopes"),
        ("/v1/api-keys", {"name": "x", "scopes": ["jobs:read", "root"]}, "scopes.1"),
        ("/v1/api-keys", {"name": "x", "expires_at": "tomorrow"}, "expires_at"),
        ("/v1/api-keys", {"name": "x", "expires_at": "2126-01-01T00:00:00"}, "expires_at"),
        ("/v1/api-keys", {"name": "x", "expires_at": 4_900_000_000}, "expires_at"),
        ("/v1/api-keys", {"name": "x", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ("/v1/api-keys", {"name": "x", "expires_at": "9999-12-31T23:59:59-23:00"}, "expires_at"),
        ("/v1/api-keys", {"name": "x", "secret": "mine"}, "secret"),
    ):
        with subtests.test(f"{path} {body}"):
            response = await client.post(path, json=body)
            assert_problem(response, 422, "validation-failed", field=field)
