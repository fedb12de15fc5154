"""Making API keys: the same for the API and for an operator."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_core.api_keys.scopes import DEFAULT_SCOPES, Scope
from impasto_core.api_keys.tables import ApiKey
from impasto_core.api_keys.tokens import Mode, mint
from impasto_core.api_versions import LATEST


async def create_api_key(
    session: AsyncSession,
    *,
    organization_id: UUID,
    name: str,
    mode: Mode,
    pepper: str,
    scopes: Iterable[Scope] = DEFAULT_SCOPES,
    expires_at: datetime | None = None,
    api_version: str = LATEST,
) -> tuple[ApiKey, str]:
    """The stored key and its token. The token exists here and never again: it is not stored."""
    token = mint(mode)
    key = ApiKey(
        organization_id=organization_id,
        name=name,
        mode=mode,
        lookup_id=token.lookup_id,
        token_hash=token.hash(pepper),
        scopes=sorted(set(scopes)),
        api_version=api_version,
        expires_at=expires_at,
    )
    session.add(key)
    await session.flush()
    return key, token.text
