"""Errors as RFC 9457 problem details: one exception type per problem, one shape for all of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import asyncpg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.routing import Match

from impasto_core.graphs import GraphProblem, InvalidGraph
from impasto_core.jobs import lifecycle
from impasto_core.pipelines import PIPELINES, InvalidInput
from impasto_core.storage import StorageUnavailable

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
API_VERSION_HEADER = "Impasto-Version"
TYPE_PREFIX = "https://docs.impasto.dev/problems/"

_AWAY = ("08", "53", "57")
"""SQLSTATE classes of a server that cannot serve now: no connection, no resources, stopping or timed out."""


class FieldError(BaseModel):
    """One thing that is wrong in a request, and where."""

    location: Literal["body", "query", "path", "header"]
    field: str = Field(examples=["input.width"])
    pointer: str | None = Field(
        default=None, description="JSON pointer into the body.", examples=["/input/width"]
    )
    code: str = Field(examples=["multiple_of"])
    detail: str = Field(examples=["Input should be a multiple of 8"])


class ProblemDetails(BaseModel):
    """An RFC 9457 problem document. `code` is the last part of `type`, for programs that branch on it."""

    type: str = Field(examples=[TYPE_PREFIX + "validation-failed"])
    title: str = Field(examples=["The request is not valid"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["input.width: Input should be a multiple of 8"])
    instance: str = Field(description="Path of the request.", examples=["/v1/jobs"])
    code: str = Field(examples=["validation-failed"])
    request_id: str = Field(examples=["req_01jcp0f85v6zg8yq0gs8zfwdq4"])
    errors: list[FieldError] = []


class Problem(HTTPException):
    """Base of every problem the API answers with. `extensions` are members of the document of its own."""

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]
    type: ClassVar[str | None] = None  # where it is another's, and not ours of that code

    def __init__(
        self,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        extensions: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(self.status, detail, dict(headers or {}))
        self.errors = list(errors)
        self.extensions = dict(extensions or {})


class MalformedJson(Problem):
    status, code, title = 400, "malformed-json", "The body is not JSON"


class BadRequest(Problem):
    status, code, title = 400, "bad-request", "The request could not be understood"


class WebhookRefused(Problem):
    status, code, title = 400, "webhook-refused", "The event was not signed by its provider"


class UnknownApiVersion(Problem):
    status, code, title = 400, "unknown-api-version", "There is no such version of the API"

    def __init__(self, known: Sequence[str]) -> None:
        detail = (
            f"Known are {', '.join(known)}. Without the header, the version holds that your key is pinned to."
        )
        error = FieldError(location="header", field=API_VERSION_HEADER, code="unknown", detail=detail)
        super().__init__(detail, errors=[error])


class Unauthenticated(Problem):
    status, code, title = 401, "unauthenticated", "A valid API key is needed"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class NotEnoughCredits(Problem):
    status, code, title = 402, "not-enough-credits", "The balance does not cover the job"

    def __init__(self, *, required: int, available: int, top_up_url: str) -> None:
        super().__init__(
            f"The job can cost {required} credits and {available} are available. Get more at {top_up_url}",
            extensions={"required": required, "available": available, "top_up_url": top_up_url},
        )


class SpendCapReached(Problem):
    status, code, title = 402, "spend-cap-reached", "A spend cap does not leave enough for the job"

    def __init__(self, *, required: int, spent: int, cap: int, api_key_id: str | None) -> None:
        whose = f"The key {api_key_id}" if api_key_id else "Your organization"
        super().__init__(
            f"{whose} may spend {cap} credits a month. {spent} are spent or held, it can cost {required}.",
            extensions={"required": required, "spent": spent, "cap": cap, "api_key_id": api_key_id},
        )


class NotInPlan(Problem):
    status, code, title = 403, "not-in-plan", "The plan does not include this"

    def __init__(self, detail: str, *, field: str, plan: str, allowed_by: str | None) -> None:
        error = FieldError(
            location="body",
            field=field,
            pointer=_pointer(field.split(".")),
            code="not_in_plan",
            detail=detail,
        )
        super().__init__(detail, errors=[error], extensions={"plan": plan, "allowed_by": allowed_by})


class StorageQuotaExceeded(Problem):
    status, code, title = 403, "storage-quota-exceeded", "The storage of the plan is full"

    def __init__(self, *, used: int, limit: int) -> None:
        super().__init__(
            f"{used} of {limit} bytes are used. Delete images with DELETE /v1/images/{{id}}, or take a plan"
            " with more: see GET /v1/plans.",
            extensions={"used_bytes": used, "limit_bytes": limit},
        )


class PaymentDeclined(Problem):
    status, code, title = 402, "payment-declined", "The payment was declined"


class Forbidden(Problem):
    status, code, title = 403, "forbidden", "The API key may not do this"


class NotFound(Problem):
    status, code, title = 404, "not-found", "There is no such thing"


class MethodNotAllowed(Problem):
    status, code, title = 405, "method-not-allowed", "This path does not take that method"

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(f"It takes {' and '.join(allowed)}.", headers={"Allow": ", ".join(allowed)})


class IdempotencyInFlight(Problem):
    status, code, title = 409, "idempotency-in-flight", "The first request with this key is still running"

    def __init__(self) -> None:
        super().__init__(
            "Send the request again in a moment: it will get the first one's answer.",
            headers={"Retry-After": "1"},
        )


class JobAlreadyFinished(Problem):
    status, code, title = 409, "job-already-finished", "The job has already ended"


class CancelAlreadyRequested(Problem):
    status, code, title = 409, "cancel-already-requested", "The job is already being canceled"


class AlreadySubscribed(Problem):
    status, code, title = 409, "already-subscribed", "There is a subscription already"


class NoSubscription(Problem):
    status, code, title = 409, "no-subscription", "There is no subscription"


class PaymentMethodNeeded(Problem):
    status, code, title = 409, "payment-method-needed", "No card is saved to pay with"


class ApiKeyRevoked(Problem):
    status, code, title = 409, "api-key-revoked", "The API key is revoked"


class ApiKeyRolled(Problem):
    status, code, title = 409, "api-key-rolled", "The API key has a successor"


class ApiKeyExpired(Problem):
    status, code, title = 409, "api-key-expired", "The API key has expired"


class WorkflowExists(Problem):
    status, code, title = 409, "workflow-exists", "There is a workflow of that slug"


class WorkflowArchived(Problem):
    status, code, title = 409, "workflow-archived", "The workflow is archived"


class TooManyWebhookEndpoints(Problem):
    status, code, title = 409, "too-many-webhook-endpoints", "There are too many webhook endpoints"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"An organization may have {limit}. Delete one first: DELETE /v1/webhook-endpoints/{{id}}."
        )


class WebhookEndpointDisabled(Problem):
    status, code, title = 409, "webhook-endpoint-disabled", "The webhook endpoint is disabled"

    def __init__(self) -> None:
        super().__init__('It is told nothing. Enable it first: PATCH it with {"enabled": true}.')


class TooManyWebhookSecrets(Problem):
    status, code, title = 409, "too-many-webhook-secrets", "There are too many secrets that still sign"

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} may sign at the same time: wait until one has expired.")


class BodyTooLarge(Problem):
    status, code, title = 413, "body-too-large", "The body is too large"

    def __init__(self, limit: int) -> None:
        detail = f"The body may have at most {limit} bytes. Pictures go to POST /v1/uploads."
        super().__init__(
            detail, errors=[FieldError(location="body", field="body", code="too_large", detail=detail)]
        )


class TooManyFollowers(Problem):
    status, code, title = 429, "too-many-followers", "Too many streams are open"

    def __init__(self, limit: int) -> None:
        detail = f"Your organization has {limit} open. Close one, or ask for the job now and then."
        super().__init__(detail, headers={"Retry-After": "5"})


class TooManySubscriptions(Problem):
    status, code, title = 429, "too-many-subscriptions", "The connection follows too many jobs"

    def __init__(self, limit: int) -> None:
        super().__init__(f"A connection follows {limit} jobs at most. Unsubscribe from one, or open another.")


class QuotaExceeded(Problem):
    status, code, title = 429, "quota-exceeded", "Too many requests"
    type = "https://iana.org/assignments/http-problem-types#quota-exceeded"

    def __init__(self, violated_policies: Sequence[str], detail: str, *, retry_after: int) -> None:
        super().__init__(
            detail,
            headers={"Retry-After": str(retry_after)},
            extensions={"violated-policies": list(violated_policies)},
        )


class UnsupportedMediaType(Problem):
    status, code, title = 415, "unsupported-media-type", "The body must be JSON"


class ValidationFailed(Problem):
    status, code, title = 422, "validation-failed", "The request is not valid"

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.detail}" for error in errors[:3]), errors=errors)

    @classmethod
    def of(
        cls,
        location: Literal["body", "query", "path", "header"],
        field: str,
        code: str,
        detail: str,
    ) -> ValidationFailed:
        pointer = _pointer(field.split(".")) if location == "body" else None
        return cls([FieldError(location=location, field=field, pointer=pointer, code=code, detail=detail)])

    @classmethod
    def of_graph(cls, problems: Sequence[GraphProblem], root: str = "graph") -> ValidationFailed:
        """`root` is the member of the body that the problems' paths begin at."""
        return cls([_graph_error(problem, root) for problem in problems])


class QuoteAboveMaxCost(Problem):
    status, code, title = 422, "quote-above-max-cost", "The job can cost more than you allow"

    def __init__(self, *, quote: int, max_cost: int) -> None:
        detail = f"The job is quoted at {quote} credits, and max_cost is {max_cost}."
        error = FieldError(
            location="body", field="max_cost", pointer="/max_cost", code="too_low", detail=detail
        )
        super().__init__(detail, errors=[error], extensions={"quote": quote, "max_cost": max_cost})


class IdempotencyKeyReused(Problem):
    status, code, title = 422, "idempotency-key-reused", "The Idempotency-Key belongs to another request"

    def __init__(self) -> None:
        detail = "This key was used with a different body. Use a new key for a new request."
        error = FieldError(location="header", field="Idempotency-Key", code="reused", detail=detail)
        super().__init__(detail, errors=[error])


class InternalError(Problem):
    status, code, title = 500, "internal-error", "Something went wrong on our side"

    def __init__(self) -> None:
        super().__init__("The error has been recorded. Quote the request id if you ask about it.")


class PaymentsNotConfigured(Problem):
    status, code, title = 501, "payments-not-configured", "This installation takes no payments"

    def __init__(self) -> None:
        super().__init__("No payment provider is set up here. Its operator can grant credits.")


class NotOffered(Problem):
    status, code, title = 501, "not-offered", "The payment provider does not offer this"


class ServiceUnavailable(Problem):
    status, code, title = 503, "service-unavailable", "A part of the service is away"

    def __init__(self, detail: str = "Try again in a moment, with the same Idempotency-Key.") -> None:
        super().__init__(detail, headers={"Retry-After": "2"})


def respond(request: Request, problem: Problem) -> JSONResponse:
    """The problem as a response, with the request's id in body and header."""
    request_id: str = request.state.request_id
    document = ProblemDetails(
        type=problem.type or TYPE_PREFIX + problem.code,
        title=problem.title,
        status=problem.status,
        detail=problem.detail,
        instance=request.url.path,
        code=problem.code,
        request_id=request_id,
        errors=problem.errors,
    )
    return JSONResponse(
        document.model_dump(mode="json") | problem.extensions,
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers={
            **(problem.headers or {}),
            "X-Request-Id": request_id,
            API_VERSION_HEADER: request.state.api_version,
        },
    )


def from_validation(request: Request, error: RequestValidationError) -> Problem:
    """What FastAPI found wrong, as a problem that names each field as the caller wrote it."""
    details = error.errors()
    if any(detail["type"] == "json_invalid" for detail in details):
        position = details[0]["loc"][-1]
        return MalformedJson(f"{details[0]['ctx']['error']} at position {position}.")
    if any(detail["loc"][0] == "path" for detail in details):
        # A malformed id names nothing that exists.
        return NotFound("Nothing is found under this path.")
    content_type = request.headers.get("content-type", "")
    if details[0]["loc"] == ("body",) and "json" not in content_type and request.method != "GET":
        return UnsupportedMediaType("Send JSON with Content-Type: application/json.")
    return ValidationFailed([_field_error(detail) for detail in details[:20]])


def _field_error(detail: Mapping[str, Any]) -> FieldError:
    location, *path = detail["loc"]
    if detail["type"] == "unknown_pipeline":
        path += ["pipeline"] if isinstance(detail["input"], dict) else []
    elif detail["type"].startswith("union_tag"):
        path.append(detail["ctx"]["discriminator"].strip("'"))
    elif path and (path[0] in PIPELINES or path[0] == "graph"):
        path.pop(0)  # pydantic puts the union's tag first; the caller wrote no such level
    if path and path[-1] == "[key]":
        path.pop()  # pydantic's mark for a name that is wrong, and not the value under it
    names = [str(part) for part in path]
    return FieldError(
        location=location,
        field=".".join(names) or "body",
        pointer=_pointer(names) if location == "body" else None,
        code=detail["type"],
        detail=detail["msg"],
    )


def _graph_error(problem: GraphProblem, root: str) -> FieldError:
    names = [_printable(name) for name in (root, *problem.path)]
    return FieldError(
        location="body",
        field=".".join(names),
        pointer=_pointer(names),
        code=problem.code,
        detail=_printable(problem.detail),
    )


def _printable(text: str) -> str:
    """Callers' names may hold halves of characters, which nothing can be sent with."""
    return text.encode(errors="replace").decode()


def _pointer(names: Sequence[str]) -> str:
    """RFC 6901; the empty pointer is the whole document."""
    return "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in names)


def _methods_of_path(request: Request) -> list[str]:
    """Every method that the path takes. Starlette's own Allow header has those of one route only."""
    app: FastAPI = request.app
    return [
        method
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in app.routes)
    ]


def install(app: FastAPI) -> None:
    """Make every error of the app a problem document."""

    async def on_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101
        if isinstance(error, Problem):
            return respond(request, error)
        match error.status_code:
            case 404:
                problem: Problem = NotFound("Nothing is found under this path.")
            case 405:
                problem = MethodNotAllowed(_methods_of_path(request))
            case 400:
                # Nested too deep, no text at all, a number without end: FastAPI could not parse it.
                problem = MalformedJson("The body cannot be read.")
            case _:
                problem = BadRequest(str(error.detail))
        return respond(request, problem)

    async def on_validation(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        return respond(request, from_validation(request, error))

    async def on_invalid_input(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, InvalidInput)  # noqa: S101
        return respond(request, ValidationFailed.of("body", f"input.{error.field}", error.code, error.detail))

    async def on_invalid_graph(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, InvalidGraph)  # noqa: S101
        return respond(request, ValidationFailed.of_graph(error.problems))

    async def on_job_not_found(request: Request, error: Exception) -> JSONResponse:
        return respond(request, NotFound("There is no such job."))

    async def on_job_finished(request: Request, error: Exception) -> JSONResponse:
        return respond(request, JobAlreadyFinished("Only a queued or running job can be canceled."))

    async def on_cancel_repeated(request: Request, error: Exception) -> JSONResponse:
        return respond(request, CancelAlreadyRequested("The worker has been told; the job will end soon."))

    async def on_unavailable(request: Request, error: Exception) -> JSONResponse:
        logger.error("dependency unavailable", exc_info=error)
        return respond(request, ServiceUnavailable())

    async def on_database_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, DBAPIError)  # noqa: S101
        away = (getattr(error.orig, "sqlstate", None) or "").startswith(_AWAY)
        if away or error.connection_invalidated or isinstance(error.orig, OSError):
            return await on_unavailable(request, error)
        return await on_unexpected(request, error)

    async def on_unexpected(request: Request, error: Exception) -> JSONResponse:
        logger.error("unhandled error", exc_info=error)
        return respond(request, InternalError())

    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(InvalidInput, on_invalid_input)
    app.add_exception_handler(InvalidGraph, on_invalid_graph)
    app.add_exception_handler(lifecycle.JobNotFound, on_job_not_found)
    app.add_exception_handler(lifecycle.JobAlreadyFinished, on_job_finished)
    app.add_exception_handler(lifecycle.CancelAlreadyRequested, on_cancel_repeated)
    # asyncpg's own are of connections that are lost while SQLAlchemy makes them ready: told as they come.
    lost = (asyncpg.InterfaceError, asyncpg.InternalClientError)
    for unavailable in (StorageUnavailable, RedisError, PoolTimeout, OSError, *lost):
        app.add_exception_handler(unavailable, on_unavailable)
    app.add_exception_handler(DBAPIError, on_database_error)
    app.add_exception_handler(Exception, on_unexpected)
