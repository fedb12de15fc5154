"""Making organizations, and what they keep."""

from __future__ import annotations

from uuid import UUID

from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_core.organizations.tables import Organization, StorageUsage


async def find_organization(session: AsyncSession, slug: str) -> Organization | None:
    """Needs the owner role."""
    return (await session.exec(select(Organization).where(Organization.slug == slug))).one_or_none()


async def create_organization(session: AsyncSession, *, slug: str, name: str) -> Organization:
    """Needs the owner role. Raises sqlalchemy.exc.IntegrityError where the slug is taken."""
    organization = Organization(slug=slug, name=name)
    session.add(organization)
    await session.flush()
    return organization


async def storage_used(session: AsyncSession, organization_id: UUID) -> int:
    """Bytes of the organization's images and uploads, exact in this transaction."""
    found = select(StorageUsage.bytes).where(StorageUsage.organization_id == organization_id)
    return (await session.exec(found)).one_or_none() or 0
