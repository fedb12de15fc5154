"""`impastoctl credits`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import typer

from impasto_ctl.errors import ControlError
from impasto_ctl.installation import DEFAULT_STATE_DIR, Installation, StateDirOption

app = typer.Typer(help="What organizations pay with: 1 credit is 1 second of a GPU.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keeps `grant` a subcommand while it is the only one."""


@app.command()
def grant(
    organization: Annotated[str, typer.Argument(help="The slug of the organization that gets them.")],
    amount: Annotated[int, typer.Argument(help="How many.")],
    source: Annotated[
        Literal["manual", "promotion"], typer.Option(help="What the organization will read.")
    ] = "manual",
    days: Annotated[
        float | None, typer.Option(help="How long they are valid.", min=0, show_default="for ever")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="What they are for. The same a second time gives nothing.", show_default="a new one"
        ),
    ] = None,
    description: Annotated[str, typer.Option(help="A sentence for the organization's statement.")] = "",
    state_dir: StateDirOption = DEFAULT_STATE_DIR,
) -> None:
    """Give credits to an organization and print its balance.

    **Examples**

    * `impastoctl credits grant acme 5000`

    * `impastoctl credits grant acme 500 --source promotion --days 30 --reference black-friday`
    """
    valid_until = None if days is None else datetime.now(UTC) + timedelta(days=days)
    owner_url = Installation(state_dir).database_url
    available = asyncio.run(
        _grant(owner_url, organization, amount, source, valid_until, reference, description)
    )
    typer.echo(f"{organization} has {available} credits.")


async def _grant(
    owner_url: str,
    slug: str,
    amount: int,
    source: str,
    valid_until: datetime | None,
    reference: str | None,
    description: str,
) -> int:
    from impasto_billing.ledger import service as ledger
    from impasto_billing.ledger.tables import GrantSource
    from impasto_core.clock import utc_now
    from impasto_core.ids import new_id
    from impasto_core.organizations.service import find_organization
    from impasto_ctl.database import owner_session

    async with owner_session(owner_url) as session:
        organization = await find_organization(session, slug)
        if organization is None:
            raise ControlError(f"There is no organization {slug}.")
        try:
            await ledger.grant(
                session,
                organization_id=organization.id,
                source=GrantSource(source),
                amount=amount,
                valid_until=valid_until,
                reference=reference or f"{source}-{new_id()}",
                description=description,
            )
        except ledger.LedgerError as error:
            raise ControlError(f"Nothing was granted: {error}.") from error
        return (await ledger.balance(session, organization.id, utc_now())).available
