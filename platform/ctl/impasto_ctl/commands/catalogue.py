"""`impastoctl catalogue`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from impasto_ctl.errors import ControlError

app = typer.Typer(help="InvokeAI's nodes, as the API knows them.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keeps `export` a subcommand while it is the only one."""


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="Where to, gzipped.")],
    worker_python: Annotated[
        Path, typer.Option(envvar="IMPASTO_WORKER_PYTHON", help="A Python that has InvokeAI.")
    ] = Path(sys.executable),
) -> None:
    """Write the nodes of the installed InvokeAI: their fields, and which of them connect.

    The API judges graphs by the file that it carries. The same InvokeAI gives the same bytes.

    **Example**

    * `impastoctl catalogue export platform/core/impasto_core/graphs/invokeai-6.14.2.jsonl.gz`
    """
    module = "impasto_workers.runtime.catalogue"
    try:
        ran = subprocess.run(  # noqa: S603  # the operator says which Python
            [worker_python, "-m", module, file], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise ControlError(f"{worker_python} cannot be run: {error}.") from error
    if ran.returncode != 0:
        raise ControlError(f"{worker_python} -m {module} failed:\n{ran.stderr.strip()}")
    typer.echo(f"{file} {file.stat().st_size} bytes")
