"""`impastoctl keys`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import typer

from impasto_ctl.errors import ControlError
from impasto_ctl.installation import DEFAULT_STATE_DIR, Installation, StateDirOption

app = typer.Typer(help="API keys, for those who cannot make one through the API yet.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keeps `create` a subcommand while it is the only one."""


@app.command()
def create(
    organization: Annotated[str, typer.Argument(help="The slug of the organization that the key is for.")],
    name: Annotated[str, typer.Option(help="What people will know it by.")] = "made by impastoctl",
    mode: Annotated[Literal["live", "test"], typer.Option(help="imp_live_... or imp_test_...")] = "live",
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="What it may do; repeat it for more.", show_default="all but the power over keys and money"
        ),
    ] = None,
    days: Annotated[
        float | None, typer.Option(help="How long it is valid.", min=0, show_default="for ever")
    ] = None,
    state_dir: StateDirOption = DEFAULT_STATE_DIR,
) -> None:
    """Make an API key and print it, the only time that it can be seen.

    Needs IMPASTO_API_KEY_PEPPER as the API has it; that of a running `impastoctl up` is found by itself.

    **Examples**

    * `impastoctl keys create acme`

    * `impastoctl keys create acme --name reporting --scope jobs:read --scope images:read --days 90`
    """
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    typer.echo(asyncio.run(_create(Installation(state_dir), organization, name, mode, scope, expires_at)))


async def _create(
    installation: Installation,
    slug: str,
    name: str,
    mode: Literal["live", "test"],
    scopes: list[str] | None,
    expires_at: datetime | None,
) -> str:
    from impasto_core.api_keys.scopes import ALL_SCOPES, DEFAULT_SCOPES, Scope
    from impasto_core.api_keys.service import create_api_key
    from impasto_core.organizations.service import find_organization
    from impasto_ctl.database import owner_session

    unknown = set(scopes or ()) - set(ALL_SCOPES)
    if unknown:
        raise ControlError(f"Unknown scope {', '.join(sorted(unknown))}. There are: {', '.join(ALL_SCOPES)}.")
    async with owner_session(installation.database_url) as session:
        organization = await find_organization(session, slug)
        if organization is None:
            raise ControlError(
                f"There is no organization {slug}. Make it: impastoctl organizations create {slug}"
            )
        _, token = await create_api_key(
            session,
            organization_id=organization.id,
            name=name,
            mode=mode,
            pepper=installation.api_key_pepper,
            scopes=[Scope(scope) for scope in scopes] if scopes else DEFAULT_SCOPES,
            expires_at=expires_at,
        )
        return token
