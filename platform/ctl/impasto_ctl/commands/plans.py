"""`impastoctl plans`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from impasto_ctl.errors import ControlError
from impasto_ctl.installation import DEFAULT_STATE_DIR, Installation, StateDirOption

app = typer.Typer(help="What organizations pay, and what they get for it.", no_args_is_help=True)


@app.command()
def sync(
    file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Plans as TOML.", show_default="this release's"),
    ] = None,
    state_dir: StateDirOption = DEFAULT_STATE_DIR,
) -> None:
    """Make the installation's plans those of the file, and print what changed.

    It holds at once, for queued jobs too. An organization without a plan is put on `free`. A plan that is no
    longer in the file goes, if no organization is on it. The same file a second time changes nothing.

    **Examples**

    * `impastoctl plans sync`

    * `impastoctl plans sync --file our-plans.toml`
    """
    changes = asyncio.run(_sync(Installation(state_dir).database_url, file))
    for change in changes or ["Nothing changed."]:
        typer.echo(change)


@app.command()
def assign(
    organization: Annotated[str, typer.Argument(help="Its slug.")],
    plan: Annotated[str, typer.Argument(help="Its new plan.")],
    state_dir: StateDirOption = DEFAULT_STATE_DIR,
) -> None:
    """Put an organization on a plan. It holds at once, for queued jobs too; no credits come with it.

    **Example**

    * `impastoctl plans assign acme pro`
    """
    asyncio.run(_assign(Installation(state_dir).database_url, organization, plan))
    typer.echo(f"{organization} is on {plan}.")


async def _sync(owner_url: str, file: Path | None) -> list[str]:
    from impasto_billing.plans import read_plans
    from impasto_billing.plans import service as plans
    from impasto_ctl.database import owner_session

    try:
        described = read_plans(file) if file else read_plans()
    except ValueError as error:
        raise ControlError(f"{file} has no plans: {error}") from error
    async with owner_session(owner_url) as session:
        try:
            return await plans.sync(session, described)
        except plans.PlanInUse as error:
            raise ControlError(f"Nothing was changed: {error}.") from error


async def _assign(owner_url: str, slug: str, plan: str) -> None:
    from impasto_core.organizations.service import find_organization
    from impasto_ctl.database import assign_plan, owner_session

    async with owner_session(owner_url) as session:
        organization = await find_organization(session, slug)
        if organization is None:
            raise ControlError(f"There is no organization {slug}.")
        await assign_plan(session, organization.id, plan)
