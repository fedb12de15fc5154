"""`impastoctl organizations`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from impasto_ctl.errors import ControlError
from impasto_ctl.installation import DEFAULT_STATE_DIR, Installation, StateDirOption

app = typer.Typer(help="Organizations own everything: keys, jobs, images.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keeps `create` a subcommand while it is the only one."""


@app.command()
def create(
    slug: Annotated[str, typer.Argument(help="Its name in commands: lower case, unique.")],
    name: Annotated[str | None, typer.Option(help="As people read it.", show_default="the slug")] = None,
    plan: Annotated[str, typer.Option(help="What it may do: see `impastoctl plans`.")] = "free",
    credits_: Annotated[
        int, typer.Option("--credits", min=0, help="Given to it at once, valid for ever.")
    ] = 0,
    state_dir: StateDirOption = DEFAULT_STATE_DIR,
) -> None:
    """Make an organization and print its id.

    **Examples**

    * `impastoctl organizations create acme --name "Acme Corporation"`

    * `impastoctl organizations create acme --plan enterprise --credits 100000`
    """
    owner_url = Installation(state_dir).database_url
    typer.echo(asyncio.run(_create(owner_url, slug, name or slug, plan, credits_)))


async def _create(owner_url: str, slug: str, name: str, plan: str, credits_: int) -> str:
    from impasto_billing.ledger import service as ledger
    from impasto_billing.ledger.tables import GrantSource
    from impasto_core.ids import format_id
    from impasto_core.organizations.service import create_organization, find_organization
    from impasto_ctl.database import assign_plan, owner_session

    async with owner_session(owner_url) as session:
        if await find_organization(session, slug):
            raise ControlError(f"There is an organization {slug} already.")
        organization = await create_organization(session, slug=slug, name=name)
        await assign_plan(session, organization.id, plan)
        if credits_:
            try:
                await ledger.grant(
                    session,
                    organization_id=organization.id,
                    source=GrantSource.MANUAL,
                    amount=credits_,
                    reference="opening",
                )
            except ledger.LedgerError as error:
                raise ControlError(f"Nothing was made: {error}.") from error
        return format_id("org", organization.id)
