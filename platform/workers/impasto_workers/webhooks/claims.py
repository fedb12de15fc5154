"""Which deliveries to attempt next, and what came of them: the dispatcher's work on the database.

Each endpoint has a queue of its own, a lane. A claim goes round the lanes from where the last one stopped and
takes from each that has something due as many as there is room for. So nobody's backlog keeps others waiting,
and no claim has to look through one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, text, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_core.webhooks import outbox, secrets
from impasto_core.webhooks.payloads import EndpointDisabledData
from impasto_core.webhooks.secrets import SecretBox
from impasto_core.webhooks.tables import (
    DeliveryStatus,
    DisabledReason,
    EndpointStatus,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
    WebhookSecret,
)
from impasto_core.webhooks.types import EventType

LEASE = timedelta(seconds=30)
"""A claimed delivery is left alone for so long: more than an attempt can take. Then it is held to be lost."""

DISABLE_AFTER = timedelta(days=5)
"""An endpoint at which nothing gets through for so long is disabled. A delivery is tried for three days."""

MAX_LANES = 100
"""So many lanes are served by one claim."""

FEW = 1000
"""Deliveries that are due: where there are fewer, their lanes are had from them."""

MAX_CLOSED = 1000
"""So many deliveries to endpoints that were disabled are closed at a time."""

NO_LANE = UUID(int=0)

# Where little is due, its lanes; else all lanes by a loose index scan: one look at the index for each,
# however much is in it.
_DUE_LANES = text(
    """
    WITH RECURSIVE due AS MATERIALIZED (
        SELECT lane FROM webhook_deliveries WHERE status = 'pending' AND next_attempt_at <= now()
        ORDER BY next_attempt_at LIMIT :few
    ), pending (lane) AS (
        (SELECT lane FROM webhook_deliveries WHERE status = 'pending' AND lane > :after
            ORDER BY lane LIMIT 1)
        UNION ALL
        SELECT (SELECT lane FROM webhook_deliveries WHERE status = 'pending' AND lane > pending.lane
            ORDER BY lane LIMIT 1)
        FROM pending WHERE pending.lane IS NOT NULL
    ), lanes AS (
        (SELECT DISTINCT lane FROM due WHERE (SELECT count(*) FROM due) < :few AND lane > :after
            ORDER BY lane)
        UNION ALL
        SELECT lane FROM pending WHERE (SELECT count(*) FROM due) = :few
    )
    SELECT lanes.lane, first.organization_id, coalesce(endpoint.ordered, false) AS ordered,
        coalesce(endpoint.status, 'enabled') AS status
    FROM lanes
    CROSS JOIN LATERAL (
        SELECT organization_id, next_attempt_at FROM webhook_deliveries
        WHERE status = 'pending' AND lane = lanes.lane ORDER BY next_attempt_at LIMIT 1
    ) AS first
    LEFT JOIN LATERAL (
        SELECT ordered, status FROM webhook_endpoints WHERE id = lanes.lane
        OFFSET 0  -- looked up for those that are left, and not joined with all there are
    ) AS endpoint ON true
    WHERE first.next_attempt_at <= now()
        AND lanes.lane <> ALL (CAST(:full_lanes AS uuid[]))
        AND first.organization_id <> ALL (CAST(:full_organizations AS uuid[]))
    LIMIT :lanes
    """
)

# Of an ordered lane only the head may be taken, when it is due. It is looked up without a lock: who passed
# over a locked one would take the next.
_CLAIM = text(
    """
    WITH wanted AS (
        SELECT * FROM unnest(CAST(:lanes AS uuid[]), CAST(:rooms AS integer[]), CAST(:ordered AS boolean[]))
            AS wanted (lane, room, ordered)
    ), picked AS MATERIALIZED (
        SELECT due.id FROM wanted CROSS JOIN LATERAL (
            SELECT id FROM webhook_deliveries
            WHERE status = 'pending' AND lane = wanted.lane AND next_attempt_at <= now()
            ORDER BY next_attempt_at LIMIT wanted.room FOR UPDATE SKIP LOCKED
        ) AS due WHERE NOT wanted.ordered
        UNION ALL
        SELECT head.id FROM wanted CROSS JOIN LATERAL (
            SELECT id FROM webhook_deliveries
            WHERE id = (
                SELECT id FROM webhook_deliveries WHERE status = 'pending' AND lane = wanted.lane
                ORDER BY position LIMIT 1
            ) AND status = 'pending' AND next_attempt_at <= now() FOR UPDATE SKIP LOCKED
        ) AS head WHERE wanted.ordered
    )
    UPDATE webhook_deliveries AS delivery
    SET attempts = attempts + 1, next_attempt_at = now() + CAST(:lease AS interval)
    FROM picked WHERE delivery.id = picked.id
    RETURNING delivery.id
    """
)

_CLOSE = text(
    """
    UPDATE webhook_deliveries SET status = 'failed', finished_at = now()
    WHERE id IN (
        SELECT id FROM webhook_deliveries
        WHERE status = 'pending' AND lane = ANY (CAST(:lanes AS uuid[])) AND next_attempt_at <= now()
        LIMIT :most FOR UPDATE SKIP LOCKED
    )
    """
)


@dataclass(frozen=True)
class Lane:
    """A queue in which something is due."""

    id: UUID
    organization_id: UUID
    ordered: bool
    enabled: bool


@dataclass(frozen=True)
class Claimed:
    """A delivery that is ours until its lease is over, and all that an attempt needs.

    `number` is that of the attempt, and the fencing token.
    """

    delivery: WebhookDelivery
    event: WebhookEvent
    endpoint: WebhookEndpoint | None
    url: str
    secrets: Sequence[WebhookSecret]

    @property
    def number(self) -> int:
        return self.delivery.attempts


async def due_lanes(
    session: AsyncSession,
    *,
    after: UUID,
    full_lanes: Collection[UUID] = (),
    full_organizations: Collection[UUID] = (),
) -> list[Lane]:
    """Lanes in which something is due, in a fixed order: MAX_LANES at most, from the one after `after` on."""
    connection = await session.connection()
    found = await connection.execute(
        _DUE_LANES,
        {
            "after": after,
            "full_lanes": list(full_lanes),
            "full_organizations": list(full_organizations),
            "lanes": MAX_LANES,
            "few": FEW,
        },
    )
    return [
        Lane(row.lane, row.organization_id, row.ordered, row.status == EndpointStatus.ENABLED)
        for row in found.all()
    ]


async def claim(
    session: AsyncSession, box: SecretBox, rooms: Sequence[tuple[Lane, int]], now: datetime
) -> list[Claimed]:
    """What is due in these lanes, so many of each at most. What others claim at this time is passed over."""
    connection = await session.connection()
    picked = await connection.execute(
        _CLAIM,
        {
            "lanes": [lane.id for lane, _ in rooms],
            "rooms": [room for _, room in rooms],
            "ordered": [lane.ordered for lane, _ in rooms],
            "lease": LEASE,
        },
    )
    ids = picked.scalars().all()
    if not ids:
        return []
    found = await session.exec(
        select(WebhookDelivery, WebhookEvent, WebhookEndpoint)
        .join(WebhookEvent, col(WebhookEvent.id) == WebhookDelivery.event_id)
        .join(WebhookEndpoint, col(WebhookEndpoint.id) == WebhookDelivery.endpoint_id, isouter=True)
        .where(col(WebhookDelivery.id).in_(ids))
        .order_by(col(WebhookDelivery.position))
    )
    rows = found.all()
    signing = await _secrets(
        session, box, {(one.organization_id, one.endpoint_id) for one, _, _ in rows}, now
    )
    return [
        Claimed(
            delivery=delivery,
            event=event,
            endpoint=endpoint,
            url=endpoint.url if endpoint else delivery.url or "",
            secrets=signing[delivery.organization_id, delivery.endpoint_id],
        )
        for delivery, event, endpoint in rows
    ]


async def close_disabled(session: AsyncSession, lanes: Sequence[Lane]) -> None:
    """What is due to endpoints that were disabled meanwhile is not sent."""
    connection = await session.connection()
    await connection.execute(_CLOSE, {"lanes": [lane.id for lane in lanes], "most": MAX_CLOSED})


async def _secrets(
    session: AsyncSession, box: SecretBox, owners: Collection[tuple[UUID, UUID | None]], now: datetime
) -> dict[tuple[UUID, UUID | None], Sequence[WebhookSecret]]:
    found = await session.exec(
        select(WebhookSecret)
        .where(
            col(WebhookSecret.organization_id).in_({organization_id for organization_id, _ in owners}),
            secrets.is_live(now),
        )
        .order_by(col(WebhookSecret.id).desc())
    )
    live = defaultdict(list)
    for secret in found.all():
        live[secret.organization_id, secret.endpoint_id].append(secret)
    # An organization's own are made when the first job of it names a `webhook_url`, or when it asks for them.
    return {owner: live[owner] or await secrets.ensure(session, box, *owner, now) for owner in owners}


async def record(
    session: AsyncSession,
    claimed: Claimed,
    attempt: WebhookAttempt,
    *,
    retry_in: timedelta | None,
    is_gone: bool = False,
) -> bool:
    """Write down an attempt, and what follows from it; False where the delivery is another's by now, or gone.

    retry_in: None where there is nothing left to try. It means nothing after a success.
    """
    succeeded = attempt.outcome == DeliveryStatus.SUCCEEDED
    endpoint = claimed.endpoint
    if endpoint is not None and not (succeeded and endpoint.failing_since is None):
        # It will be written to. Who deletes it locks it first and its deliveries then: so do we.
        held = select(WebhookEndpoint.id).where(WebhookEndpoint.id == endpoint.id)
        await session.exec(held.with_for_update(read=True, key_share=True))
    changes: dict[str, object] = {"failures": claimed.delivery.failures + (not succeeded)}
    if succeeded or retry_in is None:
        changes |= {"status": attempt.outcome, "finished_at": func.now()}
    else:
        changes["next_attempt_at"] = func.now() + retry_in
    recorded = await session.exec(
        update(WebhookDelivery)
        .where(
            col(WebhookDelivery.id) == claimed.delivery.id,
            col(WebhookDelivery.attempts) == claimed.number,
            col(WebhookDelivery.status) == DeliveryStatus.PENDING,
        )
        .values(**changes)
        .execution_options(synchronize_session=False)
    )
    if recorded.rowcount == 0:
        return False
    session.add(attempt)
    if endpoint is not None:
        await _note_health(session, endpoint, succeeded=succeeded, is_gone=is_gone)
    return True


async def _note_health(
    session: AsyncSession, endpoint: WebhookEndpoint, *, succeeded: bool, is_gone: bool
) -> None:
    """Its row is written only where that changes something, so that attempts at once seldom meet there."""
    failing_since = col(WebhookEndpoint.failing_since)
    this = update(WebhookEndpoint).where(col(WebhookEndpoint.id) == endpoint.id)
    this = this.execution_options(synchronize_session=False)
    if succeeded:
        if endpoint.failing_since is not None:
            await session.exec(this.values(failing_since=None))
    elif is_gone:
        await _disable(session, endpoint, DisabledReason.GONE)
    elif endpoint.failing_since is None:
        await session.exec(this.where(failing_since.is_(None)).values(failing_since=func.now()))
    else:
        days = select(failing_since < func.now() - DISABLE_AFTER).where(WebhookEndpoint.id == endpoint.id)
        if (await session.exec(days)).one_or_none():
            await _disable(session, endpoint, DisabledReason.FAILING)


async def _disable(session: AsyncSession, endpoint: WebhookEndpoint, reason: DisabledReason) -> None:
    disabled = await session.exec(
        update(WebhookEndpoint)
        .where(col(WebhookEndpoint.id) == endpoint.id, col(WebhookEndpoint.status) == EndpointStatus.ENABLED)
        .values(status=EndpointStatus.DISABLED, disabled_reason=reason, disabled_at=func.now())
        .returning(col(WebhookEndpoint.disabled_at))
        .execution_options(synchronize_session=False)
    )
    if (at := disabled.scalar_one_or_none()) is not None:
        data = EndpointDisabledData.of(endpoint, reason)
        await outbox.publish(session, endpoint.organization_id, EventType.ENDPOINT_DISABLED, data, at)
