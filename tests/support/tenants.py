"""Organizations to test with, each with a key of every scope."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_billing.ledger import service as ledger
from impasto_billing.ledger.tables import GrantSource
from impasto_billing.plans import read_plans
from impasto_billing.plans.service import assign, sync
from impasto_core.api_keys.scopes import ALL_SCOPES, Scope
from impasto_core.api_keys.service import create_api_key
from impasto_core.database import Database
from impasto_core.models.service import put_model
from impasto_core.models.tables import Model
from impasto_core.organizations.service import create_organization
from impasto_core.settings import Settings


@dataclass(frozen=True)
class Tenant:
    organization_id: UUID
    api_key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"}


async def make_tenant(
    owner: Database,
    settings: Settings,
    *,
    scopes: Iterable[Scope] = ALL_SCOPES,
    plan: str = "enterprise",
    balance: int = 1_000_000,
) -> Tenant:
    async with owner.session() as session:
        slug = f"org-{secrets.token_hex(4)}"
        organization = await create_organization(session, slug=slug, name=slug)
        await assign(session, organization.id, plan)
        if balance:
            await give_credits(session, organization.id, balance)
        _, token = await create_api_key(
            session,
            organization_id=organization.id,
            name="tests",
            mode="live",
            pepper=settings.api_key_pepper.get_secret_value(),
            scopes=scopes,
        )
    return Tenant(organization.id, token)


async def make_customer(owner: Database, settings: Settings, **terms: object) -> Tenant:
    """An organization on a plan of its own, which limits nothing but what these terms say."""
    plan = next(plan for plan in read_plans() if plan.slug == "enterprise")
    plan = plan.model_copy(update={"slug": "special", "name": "Special", **terms})
    async with owner.session() as session:
        await sync(session, [*read_plans(), plan])
    return await make_tenant(owner, settings, plan="special")


async def give_credits(session: AsyncSession, organization_id: UUID, amount: int) -> None:
    await ledger.grant(
        session,
        organization_id=organization_id,
        source=GrantSource.MANUAL,
        amount=amount,
        reference=f"tests-{secrets.token_hex(4)}",
    )


async def register_model(owner: Database, slug: str = "impasto-shapes", **changes: object) -> Model:
    """A model that no worker needs to load."""
    model = Model(
        slug=slug,
        name=slug,
        base="sd-1",
        source="file:///nowhere",
        digest="sha256:0",
        default_width=64,
        default_height=64,
        max_pixels=512 * 512,
    )
    async with owner.session() as session:
        return await put_model(session, model.sqlmodel_update(changes))
