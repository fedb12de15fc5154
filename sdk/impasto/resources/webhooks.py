from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Generic, Literal

from .. import _request as ask
from .._pagination import Listing, paged
from .._twin import Colour, endpoint
from ..types import (
    NewWebhookEndpoint,
    Redelivery,
    WebhookDelivery,
    WebhookDeliveryDetails,
    WebhookEndpoint,
    WebhookSecret,
)
from ._base import Resource


class Webhooks(Resource[Colour], Generic[Colour]):
    """What is sent to you. `impasto.webhooks.unwrap` reads it."""

    @cached_property
    def endpoints(self) -> WebhookEndpoints[Colour]:
        """URLs of yours that are told of events."""
        return WebhookEndpoints(self._core)

    @cached_property
    def deliveries(self) -> WebhookDeliveries[Colour]:
        """What was sent, and what came of it."""
        return WebhookDeliveries(self._core)

    @cached_property
    def secret(self) -> OrganizationSecret[Colour]:
        """What is sent to the `webhook_url` of jobs is signed with."""
        return OrganizationSecret(self._core)


class WebhookEndpoints(Resource[Colour], Generic[Colour]):
    @endpoint
    def create(
        self,
        url: str,
        *,
        description: str | None = None,
        events: Sequence[str] | None = None,
        ordered: bool | None = None,
        enabled: bool | None = None,
    ) -> ask.Request[NewWebhookEndpoint]:
        """Have a URL told of events. The `secret` is in this answer and never again.

        If the connection breaks before the answer this is not retried, as a second endpoint might be made.

        Args:
            url: of https, and reached from the internet.
            description: your own note.
            events: the types to be told of, such as "job.succeeded"; all by default.
            ordered: one event at a time, each after the one before it has arrived. If it cannot arrive, the
                others wait: by default they do not.
            enabled: True by default.

        Raises:
            InvalidRequestError: the URL cannot be sent to, and why
        """
        body = {
            "url": url,
            "description": description,
            "events": None if events is None else [*events],
            "ordered": ordered,
            "enabled": enabled,
        }
        return ask.post(ask.path("webhook-endpoints"), NewWebhookEndpoint, ask.given(body))

    @paged
    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[WebhookEndpoint]:
        """Your organization's endpoints, newest first."""
        return Listing(ask.path("webhook-endpoints"), WebhookEndpoint, {"limit": limit, "cursor": cursor})

    @endpoint
    def get(self, endpoint_id: str) -> ask.Request[WebhookEndpoint]:
        """One of them."""
        return ask.get(ask.path("webhook-endpoints", endpoint_id), WebhookEndpoint)

    @endpoint
    def update(
        self,
        endpoint_id: str,
        *,
        url: str | None = None,
        description: str | None = None,
        events: Sequence[str] | None = None,
        ordered: bool | None = None,
        enabled: bool | None = None,
    ) -> ask.Request[WebhookEndpoint]:
        """Change what is given, and leave the rest. `enabled=True` also ends a disabling for its failures."""
        body = {
            "url": url,
            "description": description,
            "events": None if events is None else [*events],
            "ordered": ordered,
            "enabled": enabled,
        }
        return ask.patch(ask.path("webhook-endpoints", endpoint_id), WebhookEndpoint, ask.given(body))

    @endpoint
    def delete(self, endpoint_id: str) -> ask.Request[None]:
        """Tell it nothing more. What was on its way is not sent."""
        return ask.delete(ask.path("webhook-endpoints", endpoint_id), type(None))

    @endpoint
    def rotate_secret(
        self, endpoint_id: str, *, overlap_seconds: int | None = None
    ) -> ask.Request[WebhookSecret]:
        """Replace the endpoint's secret and public key. The new secret is in this answer and never again.

        For `overlap_seconds`, a day by default and a week at most, the old ones sign too.

        If the connection breaks before the answer this is not retried, as the secret might be replaced twice.
        """
        body = ask.given({"overlap_seconds": overlap_seconds})
        return ask.post(ask.path("webhook-endpoints", endpoint_id, "rotate-secret"), WebhookSecret, body)

    @endpoint
    def test(self, endpoint_id: str) -> ask.Request[WebhookDelivery]:
        """Send a `webhook.test` event now. What came of it: `deliveries.get(delivery.id)`."""
        return ask.post(ask.path("webhook-endpoints", endpoint_id, "test"), WebhookDelivery)

    @endpoint
    def redeliver(
        self,
        endpoint_id: str,
        *,
        since: datetime,
        until: datetime | None = None,
        include_succeeded: bool | None = None,
    ) -> ask.Request[Redelivery]:
        """Send again what failed of that which happened in some time: the oldest first, and 1000 at once.

        Args:
            since, until: when the deliveries were made; until now by default.
            include_succeeded: not only those that failed.
        """
        body = ask.given({"since": since, "until": until, "include_succeeded": include_succeeded})
        return ask.post(ask.path("webhook-endpoints", endpoint_id, "redeliver"), Redelivery, body)


class WebhookDeliveries(Resource[Colour], Generic[Colour]):
    @paged
    def list(
        self,
        *,
        endpoint_id: str | None = None,
        job_id: str | None = None,
        status: Literal["pending", "succeeded", "failed"] | None = None,
        event_type: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Listing[WebhookDelivery]:
        """What was sent, newest first. Filters add up. `limit` is the size of a page, not of the list."""
        return Listing(
            ask.path("webhook-deliveries"),
            WebhookDelivery,
            {
                "endpoint_id": endpoint_id,
                "job_id": job_id,
                "status": status,
                "event_type": event_type,
                "created_after": created_after,
                "created_before": created_before,
                "limit": limit,
                "cursor": cursor,
            },
        )

    @endpoint
    def get(self, delivery_id: str) -> ask.Request[WebhookDeliveryDetails]:
        """One of them, with every attempt: what was sent, and what was answered."""
        return ask.get(ask.path("webhook-deliveries", delivery_id), WebhookDeliveryDetails)

    @endpoint
    def redeliver(self, delivery_id: str) -> ask.Request[WebhookDelivery]:
        """Send it again, now. It has the same event, with the same id."""
        return ask.post(ask.path("webhook-deliveries", delivery_id, "redeliver"), WebhookDelivery)


class OrganizationSecret(Resource[Colour], Generic[Colour]):
    @endpoint
    def get(self) -> ask.Request[WebhookSecret]:
        """The secret, made when it is first asked for or used."""
        return ask.get(ask.path("webhook-secret"), WebhookSecret)

    @endpoint
    def rotate(self, *, overlap_seconds: int | None = None) -> ask.Request[WebhookSecret]:
        """Replace secret and public key. The old ones sign too, for a day, or `overlap_seconds` up to a week.

        If the connection breaks before the answer this is not retried, as it might be replaced twice.
        """
        body = ask.given({"overlap_seconds": overlap_seconds})
        return ask.post(ask.path("webhook-secret", "rotate"), WebhookSecret, body)
