"""`impastoctl openapi`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The contract: the API's OpenAPI document.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keeps `export` a subcommand while it is the only one."""


@app.command()
def export(
    file: Annotated[Path | None, typer.Argument(help="Where to.", show_default="standard output")] = None,
) -> None:
    """Write the OpenAPI document that the code describes. Needs no server.

    **Example**

    * `impastoctl openapi export openapi/openapi.json`
    """
    from impasto_api.app import create_app
    from impasto_api.openapi import as_text

    document = as_text(create_app())
    if file is None:
        typer.echo(document, nl=False)
    else:
        file.write_text(document)
