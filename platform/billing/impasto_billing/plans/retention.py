"""How long images are kept: `image_retention_days` of their organization's plan, and for good without it."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

GRACE = timedelta(days=7)
"""After an organization's plan has changed, or what the plan says, nothing is deleted for so long."""

# Organization by organization, each by its own index and oldest first.
_EXPIRE = text(
    """
    UPDATE images SET deleted_at = :now WHERE id IN (
        SELECT expired.id FROM organization_plans JOIN plans ON plans.slug = organization_plans.plan
        CROSS JOIN LATERAL (
            SELECT id FROM images
            WHERE images.organization_id = organization_plans.organization_id AND deleted_at IS NULL
            AND created_at < CAST(:now AS timestamptz)
                - make_interval(days => (terms ->> 'image_retention_days')::int)
            ORDER BY created_at LIMIT :limit
        ) AS expired
        WHERE terms ->> 'image_retention_days' IS NOT NULL
        AND greatest(assigned_at, plans.updated_at) < CAST(:now AS timestamptz) - CAST(:grace AS interval)
        LIMIT :limit
    )
    """
)


async def expire_images(session: AsyncSession, *, now: datetime, limit: int) -> int:
    """Mark up to `limit` images as deleted that are kept no longer, and return how many there were.

    Their objects and rows are the sweeper's to remove, as with images that their owners delete.
    """
    connection = await session.connection()
    values = {"now": now, "limit": limit, "grace": GRACE}
    return (await connection.execute(_EXPIRE, values)).rowcount
