"""PostgreSQL as the owner: what only impastoctl may do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from uuid import UUID

from sqlalchemy import make_url, text
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_core.database import Database, Role
from impasto_ctl.errors import ControlError


@asynccontextmanager
async def owner_session(owner_url: str, *, statement_seconds: float = 30) -> AsyncIterator[AsyncSession]:
    """A transaction of the owner, who sees every organization."""
    database = Database(owner_url, pool_size=1, statement_seconds=statement_seconds)
    try:
        async with database.session() as session:
            yield session
    except OSError as error:
        url = make_url(owner_url)
        raise ControlError(
            f"PostgreSQL cannot be reached at {url.host}:{url.port or 5432} ({error})."
            " Is `impastoctl up` running, or IMPASTO_DATABASE_URL right?"
        ) from error
    finally:
        await database.close()


async def assign_plan(session: AsyncSession, organization_id: UUID, plan: str) -> None:
    """Raises ControlError where there is no such plan."""
    from impasto_billing.plans import service as plans

    try:
        await plans.assign(session, organization_id, plan)
    except plans.UnknownPlan:
        known = ", ".join(one.slug for one in await plans.all_plans(session))
        raise ControlError(
            f"There is no plan {plan}. There are: {known}."
            if known
            else "There are no plans yet. Make them: impastoctl plans sync"
        ) from None


async def let_in(owner_url: str, passwords: Mapping[Role, str]) -> dict[Role, str]:
    """Lets the roles log in, each with its password; the URL of each. The migrations made the roles."""
    async with owner_session(owner_url) as session:
        connection = await session.connection()
        for role, password in passwords.items():
            # PostgreSQL takes no parameters here, so it quotes the password itself first.
            quoted = await connection.scalar(text("SELECT quote_literal(:password)"), {"password": password})
            await connection.execute(text(f"ALTER ROLE {role} LOGIN PASSWORD {quoted}"))
    url = make_url(owner_url)
    return {
        role: url.set(username=role, password=password).render_as_string(hide_password=False)
        for role, password in passwords.items()
    }
