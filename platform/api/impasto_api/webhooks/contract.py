"""The requests that we send, for the `webhooks` of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from impasto_api.examples import WEBHOOKS
from impasto_core.webhooks.payloads import (
    BalanceData,
    EndpointDisabledData,
    InvoiceData,
    JobData,
    SpendAlertData,
    TestData,
)
from impasto_core.webhooks.types import EventType

HEADERS: dict[str, Any] = {
    "WebhookId": {
        "name": "webhook-id",
        "in": "header",
        "required": True,
        "description": "The event's id: the same in every attempt. Events come at least once, and it tells"
        " one that came before.",
        "schema": {"type": "string", "pattern": "^evt_[0-9a-hjkmnp-tv-z]{26}$"},
        "example": "evt_01m80whc6x8tz2m5n0b7d1r4qe",
    },
    "WebhookTimestamp": {
        "name": "webhook-timestamp",
        "in": "header",
        "required": True,
        "description": "When this attempt was made, in seconds since 1970. Refuse what is more than five"
        " minutes away.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
        "example": "1795326096",
    },
    "WebhookSignature": {
        "name": "webhook-signature",
        "in": "header",
        "required": True,
        "description": "Signatures of `{webhook-id}.{webhook-timestamp}.{body}`, separated by spaces: `v1,`"
        " and the base64 of an HMAC-SHA256 by the secret, `v1a,` and that of an ed25519 signature. While a"
        " secret is rotated there are several of each: one that verifies is enough.",
        "schema": {"type": "string"},
        "example": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
    },
}


@dataclass(frozen=True)
class _Told:
    summary: str
    description: str
    data: type[BaseModel]


_EVENTS: Mapping[EventType, _Told] = {
    EventType.JOB_SUCCEEDED: _Told("A job has succeeded", "Its images can be downloaded.", JobData),
    EventType.JOB_FAILED: _Told("A job has failed", "`error` says why. It costs nothing.", JobData),
    EventType.JOB_CANCELED: _Told(
        "A job was canceled", "By whoever called for it, or by a time limit that it was given.", JobData
    ),
    EventType.CREDITS_LOW: _Told(
        "Credits are low",
        "A job has ended, and fewer credits are available than the plan's threshold. Told once, and again"
        " after they were above it.",
        BalanceData,
    ),
    EventType.SPEND_CAP_ALERT: _Told(
        "A share of a spend cap is used",
        "Spending has reached 50, 80 or 100 % of it. Jobs that it leaves no room for are refused.",
        SpendAlertData,
    ),
    EventType.INVOICE_PAID: _Told("A payment has arrived", "What was bought is there.", InvoiceData),
    EventType.ENDPOINT_DISABLED: _Told(
        "An endpoint was disabled",
        "It answered 410, or nothing got through for days. Told to your other endpoints.",
        EndpointDisabledData,
    ),
    EventType.TEST: _Told(
        "A test", "You asked for it, with `POST /v1/webhook-endpoints/{id}/test`.", TestData
    ),
}


def webhooks(ref_template: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The document's webhooks, by the types of events, and the schemas that they refer to."""
    models = {told.data for told in _EVENTS.values()}
    references, definitions = models_json_schema(
        [(model, "serialization") for model in models], ref_template=ref_template
    )
    described = {
        event.value: {"post": _operation(event, told, references[told.data, "serialization"])}
        for event, told in _EVENTS.items()
    }
    return described, definitions["$defs"]


def _operation(event: EventType, told: _Told, data: dict[str, Any]) -> dict[str, Any]:
    body = {
        "type": "object",
        "properties": {
            "type": {"type": "string", "const": event.value},
            "timestamp": {"type": "string", "format": "date-time", "description": "When it happened."},
            "data": data,
        },
        "required": ["type", "timestamp", "data"],
    }
    return {
        "operationId": f"webhooks.on_{event.replace('.', '_')}",
        "tags": ["webhooks"],
        "summary": told.summary,
        "description": told.description,
        "security": [],
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in HEADERS],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": body, "examples": {"it": {"value": WEBHOOKS[event]}}}},
        },
        "responses": {
            "2XX": {"description": "It has arrived. Answer at once, and do what takes long afterwards"},
            "410": {"description": "Tell this endpoint no more: it is disabled"},
            "default": {
                "description": "It has not arrived: it is sent again later, and redirects count so too"
            },
        },
    }
