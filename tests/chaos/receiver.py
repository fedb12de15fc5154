"""Where webhooks arrive: written with `standardwebhooks` alone, and failing at random."""

from __future__ import annotations

import random
from collections import defaultdict

from fastapi import FastAPI, Request, Response
from standardwebhooks.webhooks import Webhook, WebhookVerificationError


class Receiver:
    """One for all organizations, each with a path and a secret of its own."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(f"receiver {seed}")
        self._secrets: dict[str, Webhook] = {}
        self._ids: dict[str, set[str]] = defaultdict(set)
        self._states: dict[str, set[str]] = defaultdict(set)
        self.fails = True
        """Whether it does, at random."""
        self.taken = 0
        self.refused = 0
        self.repeated = 0
        self.forged = 0
        self.app = FastAPI()
        self.app.post("/{organization}")(self._receive)

    def trust(self, organization: str, secret: str) -> None:
        self._secrets[organization] = Webhook(secret)

    def ids_of(self, job_id: str) -> set[str]:
        """The webhook-ids under which the job's end was announced."""
        return self._ids.get(job_id, set())

    def states_of(self, job_id: str) -> set[str]:
        """The final states that were announced."""
        return self._states.get(job_id, set())

    async def _receive(self, organization: str, request: Request) -> Response:
        body = await request.body()
        try:
            event = self._secrets[organization].verify(body, dict(request.headers))
        except WebhookVerificationError:
            self.forged += 1
            return Response(status_code=400)
        chance = self._chance.random() if self.fails else 1.0
        if chance < 0.1:
            self.refused += 1
            return Response(status_code=500)
        if event["type"].startswith("job."):
            self._take(request.headers["webhook-id"], event)
        if chance < 0.15:  # it has taken it, and the sender does not hear so
            return Response(status_code=503)
        return Response(status_code=204)

    def _take(self, webhook_id: str, event: dict[str, object]) -> None:
        self.taken += 1
        data = event["data"]
        assert isinstance(data, dict)
        job_id = str(data["id"])
        self.repeated += webhook_id in self._ids[job_id]
        self._ids[job_id].add(webhook_id)
        self._states[job_id].add(str(event["type"]).removeprefix("job."))
