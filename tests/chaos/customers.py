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

PAUSE_SECONDS = (0.1, 1.0)
"""Before an order that was not answered is sent again, beyond the SDK's own retries."""


@dataclass
class Order:
    """One idempotency key, and all that its customer was ever told about it."""

    customer: str
    key: str
    pictures: int
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
        self, name: str, api_key: str, api_urls: Sequence[str], models: Sequence[str], seed: int
    ) -> None:
        self.name = name
        self.orders: list[Order] = []
        self.surprises: list[str] = []
        """Answers that no fault excuses."""
        self.retries = 0
        self._models = models
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
        order = Order(self.name, f"{self.name}-{number}", pictures)
        values = {
            "prompt": f"order {number}",
            "model": model,
            "n": pictures,
            "width": 64,
            "height": 64,
            "steps": 3,
        }
        if chance < 0.1:  # a program that sends everything twice at once
            await asyncio.gather(self._send(order, values), self._send(order, values))
        else:
            await self._send(order, values)
        self.orders.append(order)
        if chance < 0.5:
            await self._wait(order)
        elif chance < 0.6:
            await self._cancel(order)
        if 0.05 < chance < 0.3:  # one that lost the answer, and asks again when much has happened
            await self._send(order, values)

    async def _send(self, order: Order, values: dict[str, Any]) -> None:
        """Until it is accepted."""
        while True:
            try:
                job = await self.api.jobs.create("text-to-image", values, idempotency_key=order.key)
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
        if isinstance(error, ResponseError) and error.status not in (429, 503):
            self.surprises.append(f"{what}: {error!r}")
