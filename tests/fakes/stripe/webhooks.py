"""Events on their way to the webhook endpoint: nothing leaves before the test says so, and how."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import httpx
from stripe import WebhookSignature


@dataclass(frozen=True)
class Delivery:
    """A signed request to the endpoint. Sent again it is a replay, changed it is a forgery."""

    body: str
    signature: str

    async def send(self, url: str) -> httpx.Response:
        async with httpx.AsyncClient() as client:
            headers = {"Stripe-Signature": self.signature, "Content-Type": "application/json; charset=utf-8"}
            return await client.post(url, content=self.body, headers=headers)


class Webhooks:
    def __init__(self, clock: Callable[[], int], *, secret: str, api_version: str) -> None:
        self.url = ""
        self.secret = secret
        self.history: list[dict[str, Any]] = []
        self.pending: list[dict[str, Any]] = []
        self.sent: list[Delivery] = []
        self._clock = clock
        self._api_version = api_version

    def announce(self, type_: str, object_: dict[str, Any]) -> None:
        """Something happened. The event keeps the object as it is at this moment."""
        event = {
            "id": f"evt_{len(self.history) + 1:06}",
            "object": "event",
            "api_version": self._api_version,
            "created": self._clock(),
            "data": {"object": json.loads(json.dumps(object_))},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": type_,
        }
        self.history.append(event)
        self.pending.append(event)

    def sign(self, event: dict[str, Any]) -> Delivery:
        body = json.dumps(event, indent=2)
        signature = WebhookSignature.generate_signature_header(body, self.secret, self._clock())
        return Delivery(body, signature)

    def lose(self) -> None:
        """What was announced so far never arrives."""
        self.pending.clear()

    async def deliver(
        self, *, order: Callable[[list[Any]], Iterable[Any]] | None = None, times: int = 1
    ) -> None:
        """Send all that is pending, by default as it happened; `reversed`, or `shuffled` by a seed."""
        pending, self.pending = self.pending, []
        for event in order(pending) if order else pending:
            delivery = self.sign(event)
            self.sent.append(delivery)
            for _ in range(times):
                response = await delivery.send(self.url)
                assert response.status_code == 200, response.text

    async def replay(self) -> None:
        """Send everything that was ever sent once more, the very same bytes."""
        for delivery in self.sent:
            response = await delivery.send(self.url)
            assert response.status_code == 200, response.text


def shuffled(seed: int) -> Callable[[list[Any]], list[Any]]:
    def shuffle(events: list[Any]) -> list[Any]:
        return random.Random(seed).sample(events, len(events))

    return shuffle
