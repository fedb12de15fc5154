from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field, SkipValidation

from ._base import Result


class WebhookEndpoint(Result):
    """A URL of yours that is told of events."""

    id: str
    url: str
    description: str
    events: list[str]
    """The types it is told of; empty for all of them."""
    ordered: bool
    """Whether an event waits until the one before it has arrived."""
    status: SkipValidation[Literal["enabled", "disabled"]]
    disabled_reason: str | None = None
    disabled_at: datetime | None = None
    failing_since: datetime | None = None
    """The first failure since something got through."""
    public_key: str
    """`whpk_...`: it verifies, and cannot sign."""
    created_at: datetime


class NewWebhookEndpoint(WebhookEndpoint):
    """An endpoint just made, with the secret that is never shown again."""

    secret: str = Field(repr=False)
    """`whsec_...`, what `webhooks.unwrap` verifies with."""


class WebhookSecret(Result):
    """What webhooks are signed with, and verified."""

    secret: str = Field(repr=False)
    """`whsec_...`"""
    public_key: str
    """`whpk_...`: it verifies, and cannot sign."""
    created_at: datetime
    previous_expires_at: datetime | None = None
    """Until then, the one before it signs too."""


class WebhookAttempt(Result):
    """One request to your URL, and what it answered."""

    number: int
    started_at: datetime
    duration_ms: int
    outcome: SkipValidation[Literal["succeeded", "failed"]]
    url: str
    request_headers: dict[str, str]
    response_status: int | None = None
    response_headers: dict[str, str] | None = None
    response_body: str | None = None
    """Its beginning, up to 4 kB."""
    error: str | None = None
    """Why no answer came."""


class WebhookDelivery(Result):
    """An event on its way to a URL."""

    id: str
    event_id: str
    event_type: str
    endpoint_id: str | None = None
    """None where it goes to a job's `webhook_url`."""
    url: str
    job_id: str | None = None
    status: SkipValidation[Literal["pending", "succeeded", "failed"]]
    attempts: int
    next_attempt_at: datetime | None = None
    created_at: datetime
    finished_at: datetime | None = None


class WebhookDeliveryDetails(WebhookDelivery):
    """A delivery with what was sent, and each of its attempts."""

    request_body: str
    log: list[WebhookAttempt]


class Redelivery(Result):
    """How many deliveries are sent again."""

    count: int
    next_since: datetime | None = None
    """Where there are more than are sent again at once: the `since` to go on with."""
