"""`impastoctl openapi`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The contract: the API's OpenAPI document.", no_args_is_help=True)


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


@app.command()
def check(
    folder: Annotated[
        Path, typer.Argument(help="Where openapi.json, released/ and allowed-changes.toml are.")
    ],
) -> None:
    """Say what the document breaks for programs written against the last release. Fails where it does.

    **Example**

    * `impastoctl openapi check openapi`
    """
    from impasto_ctl.contract import allowed_changes, judge, last_release

    released = last_release(folder / "released")
    verdict = judge(
        json.loads(released.read_text()),
        json.loads((folder / "openapi.json").read_text()),
        allowed_changes(folder / "allowed-changes.toml"),
    )
    for breach in verdict.breaches:
        typer.echo(f"breaks {released.stem}: {breach}")
    for name in verdict.forgotten:
        typer.echo(f"allowed, but not so: {name}")
    if verdict.breaches or verdict.forgotten:
        raise typer.Exit(1)
    typer.echo(f"Nothing that {released.stem} promises is broken.")
