"""Webhook endpoints, secrets and deliveries as callers see them."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from impasto_api.webhooks.keys import Keys
from impasto_core.fields import Moment, Text
from impasto_core.ids import JobId, WebhookDeliveryId, WebhookEndpointId, WebhookEventId
from impasto_core.webhooks.redelivery import MAX_REDELIVERIES
from impasto_core.webhooks.secrets import OVERLAP
from impasto_core.webhooks.tables import (
    DeliveryStatus,
    DisabledReason,
    EndpointStatus,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
)
from impasto_core.webhooks.types import EventType

MAX_OVERLAP = timedelta(days=7)

MAX_LOG = 50
"""Attempts that are shown of a delivery. Whoever has it sent again and again may have thousands."""

Url = Annotated[
    Text,
    Field(
        min_length=1,
        max_length=2048,
        description="https, and reached from the internet.",
        examples=["https://example.com/impasto"],
    ),
]
Description = Annotated[Text, Field(max_length=500, description="Your own note.", examples=["orders"])]


def _each_once(events: list[EventType]) -> list[EventType]:
    return list(dict.fromkeys(events))


Events = Annotated[
    list[EventType],
    Field(
        max_length=len(EventType),
        description="The types that it is told of; empty for all, also those that there will be."
        " `webhook.test` always comes.",
        examples=[["job.succeeded", "job.failed"]],
    ),
    AfterValidator(_each_once),
]
Ordered = Annotated[
    bool,
    Field(
        description="One event at a time, in the order in which they happened: while one cannot arrive, the"
        " others wait. If false, each goes its own way."
    ),
]


Secret = Annotated[
    str,
    Field(
        description="What the signatures `v1` are made and verified with.",
        examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="],
    ),
]
PublicKey = Annotated[
    str,
    Field(
        description="What the signatures `v1a` are verified with, by those who shall not be able to sign.",
        examples=["whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="],
    ),
]


class WebhookEndpointCreate(BaseModel):
    """A URL that is to be told of events."""

    model_config = ConfigDict(extra="forbid")

    url: Url
    description: Description = ""
    events: Events = []
    ordered: Ordered = False
    enabled: bool = True


class WebhookEndpointUpdate(BaseModel):
    """What is to change. The rest stays as it is."""

    model_config = ConfigDict(extra="forbid")

    url: Url | None = None
    description: Description | None = None
    events: Events | None = None
    ordered: Ordered | None = None
    enabled: bool | None = Field(
        default=None, description="True also ends a disabling for its failures: what happens is told again."
    )


class WebhookEndpointView(BaseModel):
    """A URL that is told of events."""

    id: WebhookEndpointId
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    url: str
    description: str
    events: list[str] = Field(description="The types that it is told of; empty for all.")
    ordered: bool
    status: EndpointStatus
    disabled_reason: DisabledReason | None = Field(
        description="`gone`: it answered 410. `failing`: nothing got through for days. `manual`: you did it."
    )
    disabled_at: AwareDatetime | None
    failing_since: AwareDatetime | None = Field(
        description="The first failure since something got through; null while all is well."
    )
    public_key: PublicKey
    created_at: AwareDatetime

    @classmethod
    def of(cls, endpoint: WebhookEndpoint, public_key: str) -> WebhookEndpointView:
        return cls(**endpoint.model_dump(exclude={"organization_id"}), public_key=public_key)


class NewWebhookEndpointView(WebhookEndpointView):
    """An endpoint just made. Keep `secret` safe: it cannot be shown again."""

    secret: Secret

    @classmethod
    def made(cls, endpoint: WebhookEndpoint, keys: Keys) -> NewWebhookEndpointView:
        fields = endpoint.model_dump(exclude={"organization_id"})
        return cls(**fields, public_key=keys.public_key, secret=keys.secret)


class WebhookSecretRotate(BaseModel):
    """How long the old secret still signs."""

    model_config = ConfigDict(extra="forbid")

    overlap_seconds: int = Field(
        default=int(OVERLAP.total_seconds()),
        ge=0,
        le=int(MAX_OVERLAP.total_seconds()),
        description="For how long the old one signs too.",
    )


class WebhookSecretView(BaseModel):
    """What webhooks are signed with."""

    object: Literal["webhook_secret"] = "webhook_secret"
    secret: Secret
    public_key: PublicKey
    created_at: AwareDatetime
    previous_expires_at: AwareDatetime | None = Field(description="Until then, the one before it signs too.")

    @classmethod
    def of(cls, keys: Keys) -> WebhookSecretView:
        return cls(
            secret=keys.secret,
            public_key=keys.public_key,
            created_at=keys.created_at,
            previous_expires_at=keys.previous_expires_at,
        )


class WebhookAttemptView(BaseModel):
    """One request to the URL, and what it answered."""

    number: int
    started_at: AwareDatetime
    duration_ms: int
    outcome: Literal["succeeded", "failed"]
    url: str
    request_headers: dict[str, str]
    response_status: int | None = Field(description="Null where no answer came.")
    response_headers: dict[str, str] | None
    response_body: str | None = Field(description="The first 4 kB of it.")
    error: str | None = Field(description="Why no answer came.")

    @classmethod
    def of(cls, attempt: WebhookAttempt) -> WebhookAttemptView:
        return cls(**attempt.model_dump(exclude={"organization_id", "delivery_id"}))


class WebhookDeliveryView(BaseModel):
    """An event on its way to a URL."""

    id: WebhookDeliveryId
    object: Literal["webhook_delivery"] = "webhook_delivery"
    event_id: WebhookEventId = Field(description="The header `webhook-id` of every attempt.")
    event_type: str = Field(examples=["job.succeeded"])
    endpoint_id: WebhookEndpointId | None = Field(description="Null where it goes to a job's `webhook_url`.")
    url: str
    job_id: JobId | None = Field(description="Of events of jobs.")
    status: DeliveryStatus = Field(description="`pending` until it has arrived, or is given up.")
    attempts: int
    next_attempt_at: AwareDatetime | None = Field(description="While it is pending.")
    created_at: AwareDatetime
    finished_at: AwareDatetime | None

    @classmethod
    def of(cls, delivery: WebhookDelivery, event: WebhookEvent, url: str) -> WebhookDeliveryView:
        stored = delivery.model_dump(
            exclude={"organization_id", "url", "lane", "position", "failures", "next_attempt_at"}
        )
        pending = delivery.status == DeliveryStatus.PENDING
        return cls(
            **stored,
            event_type=event.type,
            job_id=event.job_id,
            url=url,
            next_attempt_at=delivery.next_attempt_at if pending else None,
        )


class WebhookDeliveryDetailsView(WebhookDeliveryView):
    """A delivery with what was sent, and each of its attempts."""

    request_body: str = Field(description="The same in every attempt.")
    log: list[WebhookAttemptView] = Field(
        description=f"The latest {MAX_LOG}, in order. One that is missing was cut short."
    )


class WebhookRedeliver(BaseModel):
    """Which deliveries are to be sent again."""

    model_config = ConfigDict(extra="forbid")

    since: Moment = Field(description="Deliveries made from then on.", examples=["2026-11-22T05:00:00Z"])
    until: Moment | None = Field(default=None, description="Deliveries made before then; now, if null.")
    include_succeeded: bool = Field(default=False, description="Not only those that failed.")


class RedeliveryView(BaseModel):
    """How many deliveries are sent again."""

    object: Literal["redelivery"] = "redelivery"
    count: int
    next_since: AwareDatetime | None = Field(
        description=f"The `since` to go on with: {MAX_REDELIVERIES} at once are sent, the oldest first."
    )
