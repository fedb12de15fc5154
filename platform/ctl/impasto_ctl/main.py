"""`impastoctl`: starts, migrates and operates Impasto."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from impasto_ctl.commands import billing, catalogue, keys, ledger, models, openapi, organizations, plans
from impasto_ctl.commands import credits as credits_
from impasto_ctl.commands.migrate import migrate
from impasto_ctl.commands.up import up
from impasto_ctl.errors import ControlError


class _Commands(TyperGroup):
    """Tells an operator what went wrong in words."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ControlError as error:
            typer.secho(f"impastoctl: {error}", fg=typer.colors.RED, err=True)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=_Commands,
    help="""Start, migrate and operate Impasto.

    `impastoctl up` starts all of it on this machine. The other commands work on the installation whose owner
    role IMPASTO_DATABASE_URL names, or else on the one that `impastoctl up` keeps in --state-dir.
    """,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
app.command()(up)
app.command()(migrate)
app.add_typer(organizations.app, name="organizations")
app.add_typer(plans.app, name="plans")
app.add_typer(keys.app, name="keys")
app.add_typer(billing.app, name="billing")
app.add_typer(credits_.app, name="credits")
app.add_typer(ledger.app, name="ledger")
app.add_typer(models.app, name="models")
app.add_typer(openapi.app, name="openapi")
app.add_typer(catalogue.app, name="catalogue")

if __name__ == "__main__":
    app()
