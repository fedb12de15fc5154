"""Endpoints and jobs put straight into the database, and a look at what became of their webhooks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, text
from sqlmodel import col, select

from impasto_billing.settlement import settle
from impasto_core.clock import utc_now
from impasto_core.database import Database
from impasto_core.jobs import lifecycle
from impasto_core.jobs.lifecycle import JobError, Lease
from impasto_core.jobs.tables import Job
from impasto_core.webhooks import secrets
from impasto_core.webhooks.secrets import SecretBox
from impasto_core.webhooks.tables import (
    DeliveryStatus,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
)
from tests.support.job_desk import Jobs, until
from tests.support.jobs import image_of


class Desk:
    """Of one organization."""

    def __init__(self, owner: Database, worker: Database, api: Database, jobs: Jobs, box: SecretBox) -> None:
        self.owner = owner
        self._worker = worker
        self._api = api
        self._jobs = jobs
        self._box = box
        self.organization_id = jobs.organization_id

    async def endpoint(self, url: str, *events: str, **terms: object) -> WebhookEndpoint:
        endpoint = WebhookEndpoint(organization_id=self.organization_id, url=url, events=list(events))
        async with self._api.tenant(self.organization_id) as session:
            session.add(endpoint.sqlmodel_update(terms))
            await session.flush()
            await secrets.ensure(session, self._box, self.organization_id, endpoint.id, utc_now())
        return endpoint

    async def shown(self, endpoint: WebhookEndpoint | None = None) -> list[str]:
        """What the owner is given to verify with: whsec_ and whpk_, of live secrets, the newest first."""
        async with self._api.tenant(self.organization_id) as session:
            live = await secrets.live(
                session, self.organization_id, endpoint.id if endpoint else None, utc_now()
            )
        keys = [secrets.signing_key(self._box, secret).shown for secret in live]
        return sorted(keys, key=lambda key: key.startswith("whpk_"))

    async def job(self, *, images: int = 0, error: JobError | None = None, **changes: object) -> Job:
        """A job that has just ended: painted, or failed with the error."""
        queued = await self._jobs.add()
        if changes:
            await self._jobs.change(queued, **changes)
        async with self._worker.session() as session:
            claimed = await lifecycle.claim(session, pool=queued.pool, worker="w", lease_seconds=60)
            assert claimed is not None
        async with self._worker.session() as session:
            lease = Lease(claimed.id, claimed.attempt)
            if error is None:
                made = [image_of(claimed, index) for index in range(images)]
                job = await lifecycle.succeed(session, lease, made)
            else:
                job = await lifecycle.fail(session, lease, error)
            await settle(session, job)
        return job

    async def events(self) -> Sequence[WebhookEvent]:
        async with self.owner.session() as session:
            return (await session.exec(select(WebhookEvent).order_by(col(WebhookEvent.id)))).all()

    async def deliveries(self) -> Sequence[WebhookDelivery]:
        """In the order of their events."""
        async with self.owner.session() as session:
            return (await session.exec(select(WebhookDelivery).order_by(col(WebhookDelivery.position)))).all()

    async def delivery(self) -> WebhookDelivery:
        """The only one there is."""
        (delivery,) = await self.deliveries()
        return delivery

    async def attempts(self, delivery_id: UUID | None = None) -> Sequence[WebhookAttempt]:
        query = select(WebhookAttempt).order_by(col(WebhookAttempt.started_at))
        if delivery_id is not None:
            query = query.where(WebhookAttempt.delivery_id == delivery_id)
        async with self.owner.session() as session:
            return (await session.exec(query)).all()

    async def until_attempts(self, count: int) -> Sequence[WebhookAttempt]:
        """Once so many have been written down."""

        async def enough() -> bool:
            return len(await self.attempts()) >= count

        await until(enough, f"there are not {count} attempts")
        return await self.attempts()

    async def until_finished(self) -> Sequence[WebhookDelivery]:
        """Once no delivery is pending."""

        async def finished() -> bool:
            return all(one.status != DeliveryStatus.PENDING for one in await self.deliveries())

        await until(finished, "deliveries are pending")
        return await self.deliveries()

    async def until(self, condition: Callable[[], bool], complaint: str) -> None:
        """Once the condition holds, which the receiver's thread makes true."""

        async def holds() -> bool:
            return condition()

        await until(holds, complaint)

    async def read_endpoint(self, endpoint: WebhookEndpoint) -> WebhookEndpoint:
        async with self.owner.session() as session:
            return await session.get_one(WebhookEndpoint, endpoint.id)

    async def due_in(self) -> timedelta:
        """From now until the next attempt at the only delivery."""
        async with self.owner.session() as session:
            return (await session.exec(select(WebhookDelivery.next_attempt_at - func.now()))).one()

    async def pass_time(self, time: timedelta) -> None:
        """Move the clock: for webhooks, everything happened so much earlier."""
        async with self.owner.session() as session:
            connection = await session.connection()
            for table, column in (
                ("webhook_deliveries", "next_attempt_at"),
                ("webhook_deliveries", "created_at"),
                ("webhook_endpoints", "failing_since"),
            ):
                await connection.execute(
                    text(f"UPDATE {table} SET {column} = {column} - CAST(:time AS interval)"),  # noqa: S608  # names of ours
                    {"time": time},
                )
            await connection.execute(text("NOTIFY webhook_due"))
