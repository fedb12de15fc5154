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
    state_dir: StateDirOption = DEFAULT_STATE_DIR,
) -> None:
    """Make an organization and print its id.

    **Example**

    * `impastoctl organizations create acme --name "Acme Corporation"`
    """
    typer.echo(asyncio.run(_create(Installation(state_dir).database_url, slug, name or slug)))


async def _create(owner_url: str, slug: str, name: str) -> str:
    from impasto_core.ids import format_id
    from impasto_core.organizations.service import create_organization, find_organization
    from impasto_ctl.database import owner_session

    async with owner_session(owner_url) as session:
        if await find_organization(session, slug):
            raise ControlError(f"There is an organization {slug} already.")
        organization = await create_organization(session, slug=slug, name=name)
        return format_id("org", organization.id)
