"""Usage, summed up from jobs and ledger. Row-level security confines it to the session's organization."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_api.usage.query import Mark, UsageQuery

# What is not grouped by is the same empty text in every row.
_USAGE = text(
    """
    WITH usage AS (
        SELECT
            CASE WHEN CAST(:by_day AS boolean)
                THEN to_char(jobs.finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') ELSE '' END AS day,
            CASE WHEN CAST(:by_model AS boolean) THEN coalesce(jobs.models ->> 0, '') ELSE '' END AS model,
            CASE WHEN CAST(:by_api_key AS boolean)
                THEN coalesce(api_keys.id::text, '') ELSE '' END AS api_key,
            CASE WHEN CAST(:by_api_key AS boolean) THEN max(api_keys.name) END AS api_key_name,
            count(*) FILTER (WHERE jobs.status = 'succeeded') AS jobs_succeeded,
            count(*) FILTER (WHERE jobs.status = 'failed') AS jobs_failed,
            count(*) FILTER (WHERE jobs.status = 'canceled') AS jobs_canceled,
            coalesce(sum(jobs.images_made), 0) AS images,
            coalesce(sum(jobs.pixel_steps) FILTER (WHERE jobs.status = 'succeeded'), 0) AS pixel_steps,
            coalesce(sum(extract(epoch FROM jobs.finished_at - jobs.started_at)), 0) AS gpu_seconds,
            coalesce(sum(spent.amount), 0) AS credits
        FROM jobs
        LEFT JOIN api_keys ON api_keys.id = jobs.api_key_id
        LEFT JOIN ledger_transactions AS settled
            ON settled.organization_id = jobs.organization_id
            AND settled.business_key = 'settle:' || jobs.id
        LEFT JOIN ledger_entries AS spent
            ON spent.transaction_id = settled.id
            AND spent.account_id = (
                SELECT id FROM ledger_accounts WHERE organization_id = :organization_id AND kind = 'spent'
            )
        WHERE jobs.organization_id = :organization_id AND jobs.finished_at BETWEEN :first AND :last
        GROUP BY 1, 2, 3
    )
    SELECT * FROM usage
    WHERE NOT CAST(:goes_on AS boolean)
        OR (day COLLATE "C", model COLLATE "C", api_key COLLATE "C") < (:day, :model, :api_key)
    ORDER BY day COLLATE "C" DESC, model COLLATE "C" DESC, api_key COLLATE "C" DESC
    LIMIT :limit
    """
)


async def usage(
    session: AsyncSession, organization_id: UUID, query: UsageQuery, *, limit: int
) -> Sequence[Row[Any]]:
    """The first groups after the query's mark, latest day first. `mark_of` tells where each stands."""
    day, model, api_key = query.after or ("", "", "")
    connection = await session.connection()
    found = await connection.execute(
        _USAGE,
        {
            "organization_id": organization_id,
            "by_day": "day" in query.group_by,
            "by_model": "model" in query.group_by,
            "by_api_key": "api_key" in query.group_by,
            "first": datetime.combine(query.start, time.min, UTC),
            "last": datetime.combine(query.end, time.max, UTC),
            "goes_on": query.after is not None,
            "day": day,
            "model": model,
            "api_key": api_key,
            "limit": limit,
        },
    )
    return found.all()


def mark_of(row: Row[Any]) -> Mark:
    return row.day, row.model, row.api_key
