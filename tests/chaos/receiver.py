"""Where webhooks arrive: written with `standardwebhooks` alone, and failing at random."""

from __future__ import annotations

import random
from collections import defaultdict

from fastapi import FastAPI, Request, Response
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

REFUSED = 0.1
"""The share of webhooks that it fails to take."""

NOT_THANKED_FOR = 0.05
"""The share that it takes and then fails."""


class Receiver:
    """Has many addresses, each with a secret of its own."""

    def __init__(self, seed: int) -> None:
        self.base_url = ""
        """Known once it is served."""
        self.taken = 0
        self.taken_again = 0
        self.refused = 0
        self.forged = 0
        self._chance = random.Random(f"receiver {seed}")
        self._verifiers: dict[str, Webhook] = {}
        self._ids: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._states: dict[str, set[str]] = defaultdict(set)
        self.app = FastAPI()
        self.app.post("/{address}")(self._receive)

    def url(self, address: str) -> str:
        return f"{self.base_url}/{address}"

    def trust(self, address: str, secret: str) -> None:
        self._verifiers[address] = Webhook(secret)

    def ids_of(self, address: str, job_id: str) -> set[str]:
        """The webhook-ids under which the job's end was announced there."""
        return self._ids.get((address, job_id), set())

    def states_of(self, job_id: str) -> set[str]:
        """The ends that were announced."""
        return self._states.get(job_id, set())

    async def _receive(self, address: str, request: Request) -> Response:
        try:
            event = self._verifiers[address].verify(await request.body(), dict(request.headers))
        except WebhookVerificationError:
            self.forged += 1
            return Response(status_code=400)
        chance = self._chance.random()
        if chance < REFUSED:
            self.refused += 1
            return Response(status_code=500)
        self.take(address, request.headers["webhook-id"], event)
        return Response(status_code=503 if chance < REFUSED + NOT_THANKED_FOR else 204)

    def take(self, address: str, webhook_id: str, event: dict[str, object]) -> None:
        data = event["data"]
        assert isinstance(data, dict)
        ids = self._ids[address, data["id"]]
        self.taken += 1
        self.taken_again += webhook_id in ids
        ids.add(webhook_id)
        self._states[data["id"]].add(str(event["type"]).removeprefix("job."))
