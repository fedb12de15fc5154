"""`impastoctl billing`."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Annotated

import typer

from impasto_ctl.errors import ControlError
from impasto_ctl.installation import DEFAULT_STATE_DIR, Installation, StateDirOption

if TYPE_CHECKING:
    from impasto_core.settings import Settings

app = typer.Typer(help="Payments, as the providers have them.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keeps `reconcile` a subcommand while it is the only one."""


@app.command()
def reconcile(
    days: Annotated[int, typer.Option(min=1, max=30, help="How far back to look.")] = 3,
    state_dir: StateDirOption = DEFAULT_STATE_DIR,
) -> None:
    """Ask the payment providers for events that never came, and mend what they should have done.

    Needs the settings of the providers, as API and sweeper have them. The sweeper does the same once a day.
    Prints what differed, and exits with 1 where something could not be mended.

    **Example**

    * `impastoctl billing reconcile --days 30`
    """
    left = asyncio.run(_reconcile(_settings(Installation(state_dir).database_url), days))
    if left:
        raise typer.Exit(1)


def _settings(owner_url: str) -> Settings:
    from pydantic import SecretStr

    from impasto_core.settings import Settings

    return Settings(
        database_url=SecretStr(owner_url),
        # Redis has no part in this, but no settings are whole without it.
        redis_url=SecretStr(os.environ.get("IMPASTO_REDIS_URL", "redis://127.0.0.1")),
    )


async def _reconcile(settings: Settings, days: int) -> bool:
    """Whether something is left that could not be mended."""
    from impasto_billing.payments.events import reconcile
    from impasto_billing.payments.providers import make_providers
    from impasto_core.clock import utc_now
    from impasto_core.database import Database

    providers = make_providers(settings)
    if not providers:
        raise ControlError("No payment provider is configured: set IMPASTO_STRIPE_SECRET_KEY and the like.")
    database = Database(settings.database_url.get_secret_value(), pool_size=2)
    looked_at = differed = left = 0
    try:
        async for event in reconcile(database, providers, utc_now(), days=days):
            looked_at += 1
            if event.outcome is None or event.reason is not None:
                left += 1
                typer.echo(f"{event.provider} {event.event_id}: {event.reason or 'waits'}: {event.detail}")
            elif event.detail:
                differed += 1
                typer.echo(f"{event.provider} {event.event_id}: {event.detail}")
    finally:
        for provider in providers.values():
            await provider.close()
        await database.close()
    typer.echo(f"{looked_at} looked at, {differed} mended, {left} left")
    return bool(left)
