"""An error says what is wrong, where, and what to do."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import impasto
from impasto import APIError, InvalidRequestError, InvalidResponseError, ServerError
from tests.sdk import samples
from tests.sdk.conftest import Sdk
from tests.sdk.scripted_server import Answer, ScriptedServer, answer, problem


def get(client: Any) -> Any:
    return client.jobs.get("job_1")


async def test_a_problem_names_the_fields(sdk: Sdk, server: ScriptedServer) -> None:
    errors = [
        {
            "location": "body",
            "field": "input.width",
            "pointer": "/input/width",
            "code": "multiple_of",
            "detail": "Must be a multiple of 8.",
        },
        {
            "location": "header",
            "field": "Idempotency-Key",
            "pointer": None,
            "code": "x",
            "detail": "Too long.",
        },
    ]
    server.will(problem(422, "validation-failed", errors=errors))
    with pytest.raises(InvalidRequestError) as caught:
        await sdk(get)
    error = caught.value
    assert error.status == 422
    assert error.code == "validation-failed"
    assert error.type == "https://docs.impasto.dev/problems/validation-failed"
    assert error.title == "Validation failed"
    assert error.instance == "/v1/somewhere"
    assert error.request_id == "req_1"
    assert [(error.field, error.pointer) for error in error.errors] == [
        ("input.width", "/input/width"),
        ("Idempotency-Key", None),
    ]
    assert str(error) == (
        "422 validation-failed: This is validation-failed.\n"
        "  input.width: Must be a multiple of 8.\n"
        "  Idempotency-Key: Too long.\n"
        "(request req_1)"
    )


@pytest.mark.parametrize(
    ("status", "code", "name"),
    [
        (400, "malformed-json", "BadRequestError"),
        (401, "unauthenticated", "AuthenticationError"),
        (403, "forbidden", "PermissionDeniedError"),
        (404, "not-found", "NotFoundError"),
        (405, "method-not-allowed", "BadRequestError"),
        (409, "job-already-finished", "JobAlreadyFinishedError"),
        (409, "cancel-already-requested", "CancelAlreadyRequestedError"),
        (409, "something-new", "ConflictError"),
        (413, "body-too-large", "BadRequestError"),
        (415, "unsupported-media-type", "BadRequestError"),
        (418, "teapot", "APIError"),
        (422, "validation-failed", "InvalidRequestError"),
        (422, "idempotency-key-reused", "IdempotencyKeyReusedError"),
        (429, "quota-exceeded", "RateLimitError"),
        (500, "internal-error", "ServerError"),
        (503, "service-unavailable", "ServerError"),
    ],
)
async def test_each_problem_has_its_class(
    sdk: Sdk, server: ScriptedServer, status: int, code: str, name: str
) -> None:
    server.will(problem(status, code))
    with pytest.raises(APIError) as caught:
        await sdk.with_options(max_retries=0)(get)
    assert type(caught.value) is getattr(impasto, name)


async def test_a_wrong_key_says_what_to_do(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(problem(401, "unauthenticated"))
    with pytest.raises(impasto.AuthenticationError, match="IMPASTO_API_KEY"):
        await sdk(get)


async def test_an_error_from_something_in_front_of_the_api_is_still_an_error(
    sdk: Sdk, server: ScriptedServer
) -> None:
    server.will(Answer(502, b"<h1>nginx</h1>", {"content-type": "text/html"}))
    with pytest.raises(ServerError, match="502: Bad Gateway") as caught:
        await sdk.with_options(max_retries=0)(get)
    assert caught.value.code is None
    assert caught.value.request_id is None
    server.will(answer(404, ["not", "a", "problem"]))
    with pytest.raises(impasto.NotFoundError):
        await sdk(get)


@pytest.mark.parametrize("body", [b"hello", b'{"id": 3}', b"[]", b"", b"\xff"])
async def test_an_answer_that_makes_no_sense_is_an_error_too(
    sdk: Sdk, server: ScriptedServer, body: bytes
) -> None:
    server.will(Answer(200, body, {"x-request-id": "req_1"}))
    with pytest.raises(InvalidResponseError, match="req_1") as caught:
        await sdk(get)
    assert caught.value.status == 200


async def test_the_key_never_follows_a_redirect(sdk: Sdk, server: ScriptedServer) -> None:
    with ScriptedServer().running() as elsewhere:
        server.will(Answer(307, headers={"location": f"{elsewhere.url}/v1/jobs/job_1"}))
        with pytest.raises(APIError, match="base_url") as caught:
            await sdk(get)
        assert elsewhere.url in str(caught.value)
        assert elsewhere.received == []


async def test_errors_survive_pickling_and_copying(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(problem(404, "not-found"))
    with pytest.raises(impasto.NotFoundError) as caught:
        await sdk(get)
    for twin in (copy.copy(caught.value), pickle.loads(pickle.dumps(caught.value))):  # noqa: S301
        assert type(twin) is impasto.NotFoundError
        assert str(twin) == str(caught.value)
        assert "authorization" not in twin.response.request.headers
    timeout = pickle.loads(pickle.dumps(impasto.WaitTimeout("job_1", 3)))  # noqa: S301
    assert timeout.job_id == "job_1"


async def test_an_empty_id_does_not_get_the_whole_list(sdk: Sdk, server: ScriptedServer) -> None:
    with pytest.raises(ValueError, match="empty"):
        await sdk(lambda client: client.images.delete(""))
    assert server.received == []


async def test_an_id_cannot_wander_off(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(answer(200, samples.job()))
    await sdk(lambda client: client.jobs.get("../api-keys?x=1"))
    assert server.received[0].path == "/v1/jobs/..%2Fapi-keys%3Fx%3D1"
