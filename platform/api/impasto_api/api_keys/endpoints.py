"""/v1/api-keys"""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_api.api_keys import repository
from impasto_api.api_keys.schemas import ApiKeyCreate, ApiKeyRoll, ApiKeyView, NewApiKeyView
from impasto_api.auth.dependencies import ApiKeysReader, ApiKeysWriter
from impasto_api.pagination import Page, PageDep, make_page
from impasto_api.problems import (
    ApiKeyExpired,
    ApiKeyRevoked,
    ApiKeyRolled,
    Forbidden,
    NotFound,
    ValidationFailed,
)
from impasto_api.services import ServicesDep
from impasto_billing.spending import service as spending
from impasto_core.api_keys.scopes import Scope
from impasto_core.api_keys.service import create_api_key
from impasto_core.api_keys.tables import ApiKey
from impasto_core.ids import ApiKeyId, format_id

router = APIRouter(prefix="/v1/api-keys", tags=["api keys"])


@router.post("", operation_id="api_keys.create", summary="Create an API key", status_code=201)
async def create_key(services: ServicesDep, principal: ApiKeysWriter, request: ApiKeyCreate) -> NewApiKeyView:
    """The answer holds the secret. It is shown this once."""
    if principal.mode == "test" and request.mode == "live":
        raise Forbidden("A test key cannot make live ones.")
    lacking = sorted(set(request.scopes) - principal.scopes)
    if lacking:
        raise Forbidden(f"Your key cannot grant {lacking[0]}, which it does not have.")
    if request.expires_at is not None and request.expires_at <= services.clock():
        raise ValidationFailed.of("body", "expires_at", "past", "Must lie in the future.")
    async with services.database.tenant(principal.organization_id) as session:
        key, secret = await create_api_key(
            session,
            organization_id=principal.organization_id,
            name=request.name,
            mode=request.mode,
            pepper=services.settings.api_key_pepper.get_secret_value(),
            scopes=request.scopes,
            expires_at=request.expires_at,
        )
    return NewApiKeyView.made(key, secret)


@router.get("", operation_id="api_keys.list", summary="List API keys")
async def list_keys(services: ServicesDep, principal: ApiKeysReader, page: PageDep) -> Page[ApiKeyView]:
    """Revoked and expired keys too."""
    async with services.database.tenant(principal.organization_id) as session:
        rows, next_cursor = await page.select(session, select(ApiKey), ApiKey.id)
    return make_page(rows, next_cursor, ApiKeyView.of)


@router.get("/{key_id}", operation_id="api_keys.get", summary="Get an API key")
async def get_key(services: ServicesDep, principal: ApiKeysReader, key_id: ApiKeyId) -> ApiKeyView:
    """Also one that is revoked or has expired."""
    async with services.database.tenant(principal.organization_id) as session:
        key = await repository.get(session, key_id)
    if key is None:
        raise NotFound("There is no such API key.")
    return ApiKeyView.of(key)


@router.delete("/{key_id}", operation_id="api_keys.revoke", summary="Revoke an API key")
async def revoke_key(services: ServicesDep, principal: ApiKeysWriter, key_id: ApiKeyId) -> ApiKeyView:
    """The key stops working within a second, everywhere. Revoking it again changes nothing."""
    async with services.database.tenant(principal.organization_id) as session:
        key = await _locked(session, key_id)
        if key.revoked_at is None:
            key = await repository.change(session, key, revoked_at=services.clock())
    return ApiKeyView.of(key)


@router.post("/{key_id}/roll", operation_id="api_keys.roll", summary="Roll an API key", status_code=201)
async def roll_key(
    services: ServicesDep, principal: ApiKeysWriter, key_id: ApiKeyId, request: ApiKeyRoll
) -> NewApiKeyView:
    """Make a new key that can do and speaks the same, with the same spend cap, of which nothing is spent yet.

    The old one ends after the grace period.
    """
    now = services.clock()
    async with services.database.tenant(principal.organization_id) as session:
        old = await _locked(session, key_id)
        if old.revoked_at is not None:
            raise ApiKeyRevoked("Only a key that is not revoked can be rolled.")
        if old.successor_id is not None:
            successor = format_id("key", old.successor_id)
            raise ApiKeyRolled(f"It was rolled to {successor}: roll that one if its secret was lost.")
        if old.expires_at is not None and old.expires_at <= now:
            raise ApiKeyExpired("Only a key that has not expired can be rolled: create a new one.")
        if set(map(Scope, old.scopes)) - principal.scopes:
            raise Forbidden("Your key cannot roll one that may do more than itself.")
        new, secret = await create_api_key(
            session,
            organization_id=principal.organization_id,
            name=old.name,
            mode=old.mode,  # type: ignore[arg-type]  # the database checks it
            pepper=services.settings.api_key_pepper.get_secret_value(),
            scopes=map(Scope, old.scopes),
            api_version=old.api_version,
            expires_at=old.expires_at,
        )
        await spending.copy_cap(session, of=old.id, to=new.id, now=now)
        end = now + timedelta(seconds=request.grace_seconds)
        await repository.change(
            session,
            old,
            successor_id=new.id,
            expires_at=end if old.expires_at is None else min(end, old.expires_at),
        )
    return NewApiKeyView.made(new, secret)


async def _locked(session: AsyncSession, key_id: ApiKeyId) -> ApiKey:
    key = await repository.get(session, key_id, lock=True)
    if key is None:
        raise NotFound("There is no such API key.")
    return key
