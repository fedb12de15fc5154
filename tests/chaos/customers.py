"""Organizations that order pictures with the SDK and do not give up, and what each was promised."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from impasto import (
    APIConnectionError,
    APIError,
    AsyncImpasto,
    JobCanceled,
    JobFailed,
    ResponseError,
    WaitTimeout,
)
from impasto.types import AsyncJob
from tests.chaos.receiver import Receiver

COME_BACK = {"service-unavailable", "idempotency-in-flight"}
"""The second where the process that has the first request is slow, or was paused in the middle of it."""

PAUSE_SECONDS = (0.1, 1.0)
"""Before an order that was not answered is sent again, beyond the SDK's own retries."""


@dataclass
class Order:
    """One idempotency key, and all that its customer was ever told about it."""

    customer: str
    key: str
    pictures: int
    addresses: list[str]
    """Where its end is to be announced."""
    answers: list[str] = field(default_factory=list)
    """The ids of the jobs that were answered, once for each time that it was sent and accepted."""
    heard: set[str] = field(default_factory=set)
    """Final states that the customer was told of."""

    @property
    def job_id(self) -> str:
        return self.answers[0]


class Customer:
    """One organization's program. It knows both APIs, and after a failure turns to the other."""

    def __init__(
        self,
        name: str,
        api_key: str,
        api_urls: Sequence[str],
        models: Sequence[str],
        seed: int,
        receiver: Receiver,
    ) -> None:
        self.name = name
        self.orders: list[Order] = []
        self.surprises: list[str] = []
        """Answers that no fault excuses."""
        self.retries = 0
        self._models = models
        self._receiver = receiver
        self._addresses = (f"{name}-endpoint", f"{name}-url")
        self._chance = random.Random(f"{seed} {name}")
        self._apis = [AsyncImpasto(api_key, base_url=url, timeout=5, max_retries=1) for url in api_urls]
        self._next_api: Iterator[AsyncImpasto] = itertools.cycle(self._apis)

    @property
    def api(self) -> AsyncImpasto:
        return next(self._next_api)

    async def close(self) -> None:
        async with AsyncExitStack() as stack:
            for api in self._apis:
                stack.push_async_callback(api.close)

    async def subscribe(self) -> None:
        """To the ends of all jobs. Some orders name a URL of their own besides."""
        endpoint_address, url_address = self._addresses
        ends = ["job.succeeded", "job.failed", "job.canceled"]
        endpoint = await self.api.webhooks.endpoints.create(self._receiver.url(endpoint_address), events=ends)
        self._receiver.trust(endpoint_address, endpoint.secret)
        self._receiver.trust(url_address, (await self.api.webhooks.secret.get()).secret)

    async def shop(self, pause: float, closing: asyncio.Event) -> None:
        """Order every `pause` seconds or so until closing time, and see every order through."""
        async with asyncio.TaskGroup() as visits:
            for number in itertools.count():
                visits.create_task(self._visit(number))
                try:
                    async with asyncio.timeout(pause * self._chance.uniform(0.5, 1.5)):
                        await closing.wait()
                except TimeoutError:
                    continue
                return

    async def _visit(self, number: int) -> None:
        pictures = self._chance.choice((1, 1, 1, 2))
        model = self._models[0] if self._chance.random() < 0.94 else self._models[-1]
        chance = self._chance.random()
        own_url = self._chance.random() < 0.2
        order = Order(self.name, f"{self.name}-{number}", pictures, [*self._addresses[: 1 + own_url]])
        url = self._receiver.url(self._addresses[1]) if own_url else None
        values = {
            "prompt": f"order {number}",
            "model": model,
            "n": pictures,
            "width": 64,
            "height": 64,
            "steps": 3,
        }
        if chance < 0.1:  # a program that sends everything twice at once
            await asyncio.gather(self._send(order, values, url), self._send(order, values, url))
        else:
            await self._send(order, values, url)
        self.orders.append(order)
        if chance < 0.5:
            await self._wait(order)
        elif chance < 0.6:
            await self._cancel(order)
        if 0.05 < chance < 0.3:  # one that lost the answer, and asks again when much has happened
            await self._send(order, values, url)

    async def _send(self, order: Order, values: dict[str, Any], url: str | None) -> None:
        """Until it is accepted."""
        while True:
            try:
                job = await self.api.jobs.create(
                    "text-to-image", values, webhook_url=url, idempotency_key=order.key
                )
            except (APIConnectionError, ResponseError) as error:
                self._excuse(error, f"order {order.key}")
                self.retries += 1
                await asyncio.sleep(self._chance.uniform(*PAUSE_SECONDS))
            else:
                order.answers.append(job.id)
                return

    async def _wait(self, order: Order) -> None:
        """By its stream of events, and patiently."""
        while True:
            try:
                job: AsyncJob = await self.api.jobs.wait(order.job_id, timeout=300)
            except (JobFailed, JobCanceled) as end:
                order.heard.add(end.job.status)
                return
            except WaitTimeout:
                self.surprises.append(f"{order.job_id} did not end within 300 s")
                return
            except (APIConnectionError, ResponseError) as error:
                self._excuse(error, f"wait for {order.job_id}")
                await asyncio.sleep(self._chance.uniform(*PAUSE_SECONDS))
            else:
                order.heard.add(job.status)
                return

    async def _cancel(self, order: Order) -> None:
        """One try: whether it came too late, or did not arrive, the job must end."""
        await asyncio.sleep(self._chance.uniform(0, 0.3))
        try:
            job = await self.api.jobs.cancel(order.job_id)
        except APIError as error:
            if error.status != 409:
                self._excuse(error, f"cancel {order.job_id}")
        except (APIConnectionError, ResponseError) as error:
            self._excuse(error, f"cancel {order.job_id}")
        else:
            if job.finished:
                order.heard.add(job.status)

    def _excuse(self, error: APIConnectionError | ResponseError, what: str) -> None:
        """No answer, or "come back later": that is what faults look like. Anything else is a finding."""
        if isinstance(error, APIError) and error.code in COME_BACK:
            return
        if isinstance(error, ResponseError):
            self.surprises.append(f"{what}: {error!r}: {error.response.text[:300]}")
