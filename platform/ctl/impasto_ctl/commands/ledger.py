"""`impastoctl ledger`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import typer

from impasto_ctl.errors import ControlError
from impasto_ctl.installation import DEFAULT_STATE_DIR, Installation, StateDirOption

if TYPE_CHECKING:
    from impasto_billing.ledger.verify import Finding

app = typer.Typer(help="Every credit: where it came from and where it went.", no_args_is_help=True)

_HOURS = 4
"""A large ledger takes its time."""


@app.callback()
def group() -> None:
    """Keeps `verify` a subcommand while it is the only one."""


@app.command()
def verify(state_dir: StateDirOption = DEFAULT_STATE_DIR) -> None:
    """Derive every balance from its entries again, and check that nothing is charged twice or left on hold.

    Says `zero drift`, or else what is wrong and exits with 1. It only reads, and may run at any time.

    **Example**

    * `impastoctl ledger verify`
    """
    findings = asyncio.run(_verify(Installation(state_dir).database_url))
    typer.echo(f"{'':<15}{'checked':>12}{'wrong':>12}")
    for finding in findings:
        typer.echo(f"{finding.check:<15}{finding.checked:>12,}{finding.wrong:>12,}")
    wrong = sum(finding.wrong for finding in findings)
    if wrong:
        for finding in findings:
            for example in finding.examples:
                typer.echo(f"{finding.check}: {example}")
        raise ControlError(f"The ledger has drifted: {wrong} wrong.")
    typer.echo("zero drift")


async def _verify(owner_url: str) -> list[Finding]:
    from impasto_billing.ledger.verify import verify
    from impasto_ctl.database import owner_session

    async with owner_session(owner_url, statement_seconds=_HOURS * 3600) as session:
        return await verify(session)
