"""The OpenAPI document: what FastAPI finds out by itself, and the problems that every operation shares."""

from __future__ import annotations

import json
import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from impasto_api.examples import EXAMPLES, NOT_ENOUGH_CREDITS, QUOTA_EXCEEDED
from impasto_api.jobs.schemas import JobEvent
from impasto_api.problems import API_VERSION_HEADER, MEDIA_TYPE, ProblemDetails
from impasto_api.rate_limits.middleware import UNLIMITED
from impasto_api.webhooks import contract
from impasto_core.api_versions import LATEST, VERSIONS

DESCRIPTION = """\
Impasto paints pictures from prompts. Create a job, follow its events, download its images.

Every error is an [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem document. Every answer has an
`X-Request-Id`, and the `Impasto-Version` that it is in. Lists are newest first and paged by cursor.
"""

TAGS = [
    {"name": "jobs", "description": "Requests for pictures, from queued to finished."},
    {"name": "images", "description": "What jobs made."},
    {"name": "uploads", "description": "Pictures to start from."},
    {"name": "models", "description": "What jobs can run on."},
    {"name": "pipelines", "description": "The ways to make pictures."},
    {"name": "graphs", "description": "InvokeAI's nodes, and workflows made of them."},
    {"name": "billing", "description": "Plans, credits and what is spent of them."},
    {"name": "webhooks", "description": "What is sent to you when something has happened."},
    {"name": "api keys", "description": "Who may call the API."},
    {"name": "health", "description": "For load balancers and people. No key needed."},
]

_PROBLEMS = {
    "400": "The request could not be understood",
    "401": "A valid API key is needed",
    "402": "Credits are missing, a spend cap is reached, or a payment was declined",
    "403": "The API key may not do this, or the plan does not include it",
    "404": "There is no such thing",
    "409": "The state of things does not allow it",
    "413": "The body is too large",
    "415": "The body must be JSON",
    "422": "The request is not valid: `errors` names the fields",
    "429": "Too many requests or open streams: `violated-policies` names the limits",
    "500": "Something went wrong on our side",
    "501": "This installation, or its payment provider, does not offer it",
    "503": "A part of the service is away: try again in a moment",
}


_OWN_PROBLEMS = {
    "jobs.create": ("402", "409"),
    "jobs.cancel": ("409",),
    "workflows.create": ("409",),
    "workflows.add_version": ("409",),
    "workflows.create_run": ("402", "409"),
    "api_keys.roll": ("409",),
    "webhooks.endpoints.create": ("409",),
    "webhooks.endpoints.rotate_secret": ("409",),
    "webhooks.endpoints.test": ("409",),
    "webhooks.endpoints.redeliver": ("409",),
    "webhooks.deliveries.redeliver": ("409",),
    "webhooks.secret.rotate": ("409",),
    "billing.create_checkout_session": ("409",),
    "billing.change_subscription": ("402", "409"),
    "billing.cancel_subscription": ("409",),
    "billing.resume_subscription": ("409",),
    "billing.set_auto_top_up": ("409",),
}
"""What an operation may answer beside that which follows from its form."""

_REF = "#/components/schemas/{model}"
_HEADERS = {
    "RequestId": {
        "description": "Quote it if you ask about it.",
        "schema": {"type": "string"},
        "example": "req_01jcp0f85v6zg8yq0gs8zfwdq4",
    },
    "ApiVersion": {
        "description": "The version of the API that the answer is in.",
        "schema": {"type": "string"},
        "example": LATEST,
    },
    "RateLimitPolicy": {
        "description": "The limits that the request met: each one's amount `q` in a window of `w` seconds.",
        "schema": {"type": "string"},
        "example": '"key";q=60;w=60, "organization";q=120;w=60, "job-creations";q=10;w=3600',
    },
    "RateLimit": {
        "description": "What remains of each, `r`, and the seconds `t` until there is more.",
        "schema": {"type": "string"},
        "example": '"key";r=59;t=60, "organization";r=119;t=60, "job-creations";r=9;t=3600',
    },
    "RetryAfter": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}, "example": 42},
}
_EVERY_ANSWER = {
    "X-Request-Id": {"$ref": "#/components/headers/RequestId"},
    API_VERSION_HEADER: {"$ref": "#/components/headers/ApiVersion"},
}
_API_VERSION = {
    "name": API_VERSION_HEADER,
    "in": "header",
    "required": False,
    "description": "The version of the API to speak, in place of the one that the key is pinned to.",
    "schema": {"type": "string", "enum": list(VERSIONS), "examples": [LATEST]},
}
_RATE_LIMITS = {
    "RateLimit-Policy": {"$ref": "#/components/headers/RateLimitPolicy"},
    "RateLimit": {"$ref": "#/components/headers/RateLimit"},
}


def as_text(app: FastAPI) -> str:
    """The document as openapi/openapi.json has it."""
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"


def document(app: FastAPI) -> dict[str, Any]:
    """The app's OpenAPI 3.1 document."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=app.description,
            routes=app.routes,
            tags=TAGS,
            license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
            servers=[{"url": "/", "description": "This server"}],
        )
        components = schema["components"]
        for generated in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(generated, None)
        for name, added in {
            "ProblemDetails": ProblemDetails.model_json_schema(ref_template=_REF),
            "JobEvent": JobEvent.json_schema(ref_template=_REF, mode="serialization"),
        }.items():
            components["schemas"] = added.pop("$defs") | components["schemas"] | {name: added}
        for event in components["schemas"]["JobEvent"]["discriminator"]["mapping"].values():
            described = components["schemas"][event.rpartition("/")[2]]
            described["required"] = sorted({"type", *described["required"]})  # it tells them apart
        components["responses"] = {f"Problem{status}": _problem(text) for status, text in _PROBLEMS.items()}
        components["responses"]["Problem402"] = _payment_required()
        components["responses"]["Problem429"] = _quota_exceeded()
        components["headers"] = _HEADERS
        for path, methods in schema["paths"].items():
            for method, operation in methods.items():
                for response in operation["responses"].values():
                    response["headers"] = response.get("headers", {}) | _EVERY_ANSWER
                    if path not in UNLIMITED:
                        response["headers"] |= _RATE_LIMITS
                for status in _possible_problems(path, method, operation):
                    operation["responses"][status] = {"$ref": f"#/components/responses/Problem{status}"}
                for parameter in operation.get("parameters", []):
                    if parameter["schema"].get("type") == "array":
                        parameter |= {"style": "form", "explode": False}  # separated by commas
                operation.setdefault("parameters", []).append(_API_VERSION)
                operation.setdefault("security", [])  # none is needed, and that is meant
        webhooks, told = contract.webhooks(_REF)
        components["schemas"] |= told
        components["parameters"] = contract.HEADERS
        schema["webhooks"] = webhooks
        schema = _with_public_names(schema)
        for name, example in EXAMPLES.items():
            schema["components"]["schemas"][name]["examples"] = [example]
        app.openapi_schema = schema
    return app.openapi_schema


def _with_public_names(schema: dict[str, Any]) -> dict[str, Any]:
    """`Job` and `JobPage` for JobView and Page[JobView]: only our own code tells a view from its table."""
    text = re.sub(r"Page_(\w+?)View_", r"\1Page", json.dumps(schema))
    text = re.sub(r"Page\[(\w+?)View\]", r"\1Page", text)
    renamed: dict[str, Any] = json.loads(re.sub(r"\b([A-Z]\w+)View\b", r"\1", text))
    return renamed


def _problem(description: str) -> dict[str, Any]:
    return {
        "description": description,
        "headers": dict(_EVERY_ANSWER),
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}},
    }


def _payment_required() -> dict[str, Any]:
    """402 says how many credits are missing, or which cap is reached."""
    problem = _problem(_PROBLEMS["402"])
    credits_ = {"type": "integer", "minimum": 0}
    members = {
        "required": credits_ | {"description": "What the job can cost."},
        "available": credits_ | {"description": "Where these are not enough."},
        "top_up_url": {"type": "string", "format": "uri", "description": "Where there are more."},
        "cap": credits_ | {"description": "The spend cap that is reached."},
        "spent": credits_ | {"description": "What is spent or held of it this month."},
        "api_key_id": {"type": ["string", "null"], "description": "The key whose cap it is."},
    }
    problem["content"][MEDIA_TYPE] = {
        "schema": {
            "allOf": [
                {"$ref": "#/components/schemas/ProblemDetails"},
                {"type": "object", "properties": members},
            ]
        },
        "examples": {"not enough credits": {"value": NOT_ENOUGH_CREDITS}},
    }
    return problem


def _quota_exceeded() -> dict[str, Any]:
    """429 has a member of its own, and tells when to come back."""
    problem = _problem(_PROBLEMS["429"])
    problem["headers"] |= _RATE_LIMITS | {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}
    violated = {"type": "array", "items": {"type": "string"}, "examples": [["job-creations"]]}
    problem["content"][MEDIA_TYPE] = {
        "schema": {
            "allOf": [
                {"$ref": "#/components/schemas/ProblemDetails"},
                {"type": "object", "properties": {"violated-policies": violated}},
            ]
        },
        "examples": {"no more jobs this hour": {"value": QUOTA_EXCEEDED}},
    }
    return problem


def _possible_problems(path: str, method: str, operation: dict[str, Any]) -> list[str]:
    operation["responses"].pop("422", None)
    statuses = ["400", "500", "503"]
    if operation.get("security"):
        statuses += ["401", "403"]
    if "{" in path:
        statuses += ["404"]
    if "requestBody" in operation:
        statuses += ["400", "413", "415", "422"]
    elif any(parameter["in"] != "path" for parameter in operation.get("parameters", [])):
        statuses += ["422"]
    if operation["operationId"].startswith("billing."):
        statuses += ["501"]
    statuses += _OWN_PROBLEMS.get(operation["operationId"], ())
    if path not in UNLIMITED:
        statuses += ["429"]
    return sorted(set(statuses))
