"""How much an organization may keep: what is new is refused, and never a result that is there."""

from __future__ import annotations

from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_api.auth.keys import Principal
from impasto_api.problems import StorageQuotaExceeded
from impasto_core.organizations.service import storage_used


async def check_storage(session: AsyncSession, principal: Principal, *, added: int = 0) -> None:
    """There is room for more. `added` are bytes that this transaction has stored: they must fit.

    Raises StorageQuotaExceeded.
    """
    limit = principal.plan.storage_bytes
    if limit is None:
        return
    used = await storage_used(session, principal.organization_id)
    if used > limit or (used == limit and not added):
        raise StorageQuotaExceeded(used=used - added, limit=limit)
