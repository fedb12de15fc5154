"""webhook_endpoints, webhook_secrets, webhook_events, webhook_deliveries and webhook_attempts."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, Text, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel

from impasto_core.database.columns import (
    created_now,
    json_column,
    ordered_json_column,
    organization_key,
    primary_key,
    timestamp,
)

_PENDING = "status = 'pending'"


class EndpointStatus(StrEnum):
    ENABLED = "enabled"
    DISABLED = "disabled"


class DisabledReason(StrEnum):
    """GONE: it answered 410. FAILING: nothing has got through for days. MANUAL: its owner said so."""

    GONE = "gone"
    FAILING = "failing"
    MANUAL = "manual"


class WebhookEndpoint(SQLModel, table=True):
    """Where an organization wants to be told of events: those in `events`, or all where it is empty.

    `ordered`: one at a time, in the order of the events. `failing_since` is when the first of the attempts
    failed that have failed without a success between them; null while they succeed.
    """

    __tablename__ = "webhook_endpoints"
    __table_args__ = (
        CheckConstraint("status IN ('enabled', 'disabled')", name="status"),
        CheckConstraint("disabled_reason IN ('gone', 'failing', 'manual')", name="disabled_reason"),
        CheckConstraint(
            "(status = 'disabled') = (disabled_at IS NOT NULL)"
            " AND (status = 'disabled') = (disabled_reason IS NOT NULL)",
            name="disabled",
        ),
        Index("ix_webhook_endpoints_organization_id_id", "organization_id", "id"),
    )

    id: UUID = primary_key()
    organization_id: UUID = organization_key()
    url: str = Field(max_length=2048)
    description: str = Field(default="", max_length=500)
    events: list[str] = Field(default_factory=list, sa_type=ARRAY(Text))
    ordered: bool = False
    status: str = Field(default=EndpointStatus.ENABLED, max_length=16)
    disabled_reason: str | None = Field(default=None, max_length=16)
    disabled_at: datetime | None = timestamp(default=None)
    failing_since: datetime | None = timestamp(default=None)
    created_at: datetime = created_now()


class SecretKind(StrEnum):
    """HMAC makes the signature v1, ED25519 v1a."""

    HMAC = "hmac"
    ED25519 = "ed25519"


class WebhookSecret(SQLModel, table=True):
    """What an endpoint's webhooks are signed with; the organization's own, where `endpoint_id` is null, signs
    those to the `webhook_url` of a job. `ciphertext` is the secret's bytes as `secrets.SecretBox` seals them.

    `expires_at` is null until a newer one of its kind takes its place: until then both sign.
    """

    __tablename__ = "webhook_secrets"
    __table_args__ = (
        CheckConstraint("kind IN ('hmac', 'ed25519')", name="kind"),
        CheckConstraint("(kind = 'ed25519') = (public_key IS NOT NULL)", name="public_key"),
        Index("ix_webhook_secrets_endpoint_id", "endpoint_id"),
        Index(
            "ix_webhook_secrets_current",
            "organization_id",
            "endpoint_id",
            "kind",
            unique=True,
            postgresql_where="expires_at IS NULL",
            postgresql_nulls_not_distinct=True,
        ),
    )

    id: UUID = primary_key()
    organization_id: UUID = organization_key()
    endpoint_id: UUID | None = Field(default=None, foreign_key="webhook_endpoints.id", ondelete="CASCADE")
    kind: str = Field(max_length=16)
    ciphertext: bytes
    public_key: bytes | None = None
    created_at: datetime = created_now()
    expires_at: datetime | None = timestamp(default=None)


class WebhookEvent(SQLModel, table=True):
    """Something that happened and is to be told: the outbox, written in the transaction of what it tells.

    There is none where nobody wants to know. Its public id is the `webhook-id` of every attempt to tell it.
    A job ends once, so that it has one event at most. `traceparent` is the job's.
    """

    __tablename__ = "webhook_events"
    __table_args__ = (
        CheckConstraint("octet_length(CAST(data AS text)) < 20000", name="size"),
        Index("ix_webhook_events_organization_id_id", "organization_id", "id"),
        Index("ix_webhook_events_job_id", "job_id", unique=True),
        Index("ix_webhook_events_created_at", "created_at"),
    )

    id: UUID = primary_key()
    organization_id: UUID = organization_key()
    type: str = Field(max_length=63)
    data: dict[str, Any] = ordered_json_column()
    job_id: UUID | None = None
    traceparent: str | None = Field(default=None, max_length=55)
    created_at: datetime = created_now()


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class WebhookDelivery(SQLModel, table=True):
    """An event on its way to one endpoint, or to the `url` that its job was given.

    `lane` is what has a queue of its own: the endpoint, or an organization's host. `position` counts in the
    order in which events were written. `attempts` counts claims and is the fencing token of the running one;
    `failures` is the place in the schedule of retries, and starts anew with a redelivery. A claim moves
    `next_attempt_at` to when it is given up for lost: until then the delivery is nobody else's. All by the
    database's clock.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        CheckConstraint("status IN ('pending', 'succeeded', 'failed')", name="status"),
        CheckConstraint("(status = 'pending') = (finished_at IS NULL)", name="finished_once"),
        CheckConstraint("(endpoint_id IS NULL) <> (url IS NULL)", name="endpoint_or_url"),
        Index("ix_webhook_deliveries_due", "next_attempt_at", postgresql_where=_PENDING),
        Index("ix_webhook_deliveries_lane", "lane", "next_attempt_at", postgresql_where=_PENDING),
        Index("ix_webhook_deliveries_order", "lane", "position", postgresql_where=_PENDING),
        Index("ix_webhook_deliveries_event_id", "event_id"),
        Index("ix_webhook_deliveries_endpoint_id_id", "endpoint_id", "id"),
        Index("ix_webhook_deliveries_organization_id_id", "organization_id", "id"),
    )

    id: UUID = primary_key()
    organization_id: UUID = organization_key()
    event_id: UUID = Field(foreign_key="webhook_events.id", ondelete="CASCADE")
    endpoint_id: UUID | None = Field(default=None, foreign_key="webhook_endpoints.id", ondelete="CASCADE")
    url: str | None = Field(default=None, max_length=2048)
    lane: UUID
    position: int | None = Field(
        default=None, nullable=False, sa_type=BigInteger, sa_column_args=(Identity(always=True),)
    )
    status: str = Field(default=DeliveryStatus.PENDING, max_length=16)
    attempts: int = 0
    failures: int = 0
    next_attempt_at: datetime = timestamp(
        default=None, nullable=False, sa_column_kwargs={"server_default": func.now()}
    )
    created_at: datetime = created_now()
    finished_at: datetime | None = timestamp(default=None)


class WebhookAttempt(SQLModel, table=True):
    """One attempt at a delivery, as its owner may read it. A number that is missing was cut short.

    The request's body is the event's (`impasto_core.webhooks.payloads.body_of`). Of the response there is
    what was read: `response_status` is null where none came, and then `error` says why.
    """

    __tablename__ = "webhook_attempts"
    __table_args__ = (
        CheckConstraint("outcome IN ('succeeded', 'failed')", name="outcome"),
        Index("ix_webhook_attempts_organization_id", "organization_id"),
    )

    delivery_id: UUID = Field(foreign_key="webhook_deliveries.id", ondelete="CASCADE", primary_key=True)
    number: int = Field(primary_key=True)
    organization_id: UUID = organization_key()
    started_at: datetime = timestamp()
    duration_ms: int
    outcome: str = Field(max_length=16)
    url: str = Field(max_length=2048)
    request_headers: dict[str, str] = json_column(default_factory=dict)
    response_status: int | None = None
    response_headers: dict[str, str] | None = json_column(default=None)
    response_body: str | None = Field(default=None, max_length=4096)
    error: str | None = Field(default=None, max_length=500)
