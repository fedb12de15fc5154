"""What an installation for development needs before it can paint: a schema, plans, a key, credits, a model.

Everything here is done once and found done the next time.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime

from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_billing.ledger import service as ledger
from impasto_billing.ledger.tables import CreditGrant, GrantSource
from impasto_billing.plans import read_plans
from impasto_billing.plans import service as plans
from impasto_core.api_keys.scopes import ALL_SCOPES
from impasto_core.api_keys.service import create_api_key
from impasto_core.api_keys.tables import ApiKey
from impasto_core.api_keys.tokens import MalformedToken, parse
from impasto_core.database import Role, migrate
from impasto_core.models.service import folder_digest, put_model
from impasto_core.models.tables import Model
from impasto_core.organizations.service import create_organization, find_organization
from impasto_core.organizations.tables import Organization
from impasto_ctl.database import let_in, owner_session
from impasto_ctl.state import StateDirectory, write_private
from impasto_demo_model import IMPASTO_SHAPES, model_folder

ORGANIZATION = "development"
CREDITS = 1_000_000
OPENING = "impastoctl up"
"""Reference of the grant of these credits."""


async def prepare_database(owner_url: str, state: StateDirectory) -> dict[Role, str]:
    """Migrates and syncs the plans; the URLs of the roles that the platform's processes log in as."""
    await migrate.upgrade(owner_url)
    async with owner_session(owner_url) as session:
        await plans.sync(session, read_plans())
    return await let_in(
        owner_url,
        {
            Role.API: state.secret("postgres_api_password"),
            Role.WORKER: state.secret("postgres_worker_password"),
            Role.PAYMENTS: state.secret("postgres_payments_password"),
            Role.WEBHOOKS: state.secret("postgres_webhooks_password"),
        },
    )


async def development_key(owner_url: str, state: StateDirectory, pepper: str) -> str:
    """The development organization's token, kept in the file `api_key`; a new one where it opens nothing."""
    file = state.path / "api_key"
    async with owner_session(owner_url) as session:
        organization = await _development_organization(session)
        if file.exists() and await _opens(session, token := file.read_text().strip(), pepper):
            return token
        _, token = await create_api_key(
            session,
            organization_id=organization.id,
            name="impastoctl up",
            mode="live",
            pepper=pepper,
            scopes=ALL_SCOPES,
        )
    write_private(file, token + "\n")
    return token


async def _development_organization(session: AsyncSession) -> Organization:
    """With the largest plan and plenty of credits at first; then as an operator has left it."""
    organization = await find_organization(session, ORGANIZATION)
    if organization is None:
        organization = await create_organization(session, slug=ORGANIZATION, name="Development")
    opening = select(CreditGrant.id).where(
        CreditGrant.organization_id == organization.id, CreditGrant.reference == OPENING
    )
    if (await session.exec(opening)).one_or_none() is None:
        await plans.assign(session, organization.id, "enterprise")
        await ledger.grant(
            session,
            organization_id=organization.id,
            source=GrantSource.MANUAL,
            amount=CREDITS,
            reference=OPENING,
            description="To try things out",
        )
    return organization


async def _opens(session: AsyncSession, token: str, pepper: str) -> bool:
    try:
        parsed = parse(token)
    except MalformedToken:
        return False
    key = (await session.exec(select(ApiKey).where(ApiKey.lookup_id == parsed.lookup_id))).one_or_none()
    return (
        key is not None
        and parsed.matches(key.token_hash, pepper)
        and key.revoked_at is None
        and (key.expires_at is None or key.expires_at > datetime.now(UTC))
    )


async def install_demo_model(owner_url: str) -> None:
    """The model that the repository carries, registered where its files lie now."""
    folder = model_folder()
    described = {field.name: getattr(IMPASTO_SHAPES, field.name) for field in fields(IMPASTO_SHAPES)}
    model = Model(**described, source=folder.as_uri(), digest=folder_digest(folder))
    async with owner_session(owner_url) as session:
        same = select(Model).where(Model.slug == model.slug, Model.source == model.source)
        if (await session.exec(same.where(Model.digest == model.digest))).one_or_none() is None:
            await put_model(session, model)
