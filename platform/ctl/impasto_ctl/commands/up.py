"""`impastoctl up`: everything, on this machine, with one command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

from impasto_ctl.console import Progress
from impasto_ctl.errors import ControlError
from impasto_ctl.installation import DEFAULT_STATE_DIR, StateDirOption
from impasto_ctl.process import die_with_parent
from impasto_ctl.signals import StopRequested, stop_requests

_BETWEEN_LOOKS = 0.1  # seconds

_READY = """\

Impasto is up.

    Base URL   {url}
    API key    {key}
    Docs       {url}/docs
    Logs       {logs}
    Metrics    {metrics}

A picture with curl:

    curl -s {url}/v1/jobs -H 'Authorization: Bearer {key}' \
-H 'Content-Type: application/json' -H 'Prefer: wait=60' \
-d '{{"pipeline": "text-to-image", "input": {{"prompt": "a red heart"}}}}'

and with Python:

    {python} -c "from impasto import Impasto; \
Impasto(base_url='{url}', api_key='{key}').images.generate('a red heart')[0].save('heart.png')"

Ctrl-C stops everything. What was made is kept in {state}.
"""


def up(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- COMMAND",
            help="Run this against it, then stop everything and exit as it did.",
            show_default=False,
        ),
    ] = None,
    state_dir: StateDirOption = DEFAULT_STATE_DIR,
    worker_python: Annotated[
        Path,
        typer.Option(
            envvar="IMPASTO_WORKER_PYTHON",
            help="Interpreter of the environment with InvokeAI, for the worker.",
            show_default="the one that runs impastoctl",
        ),
    ] = Path(sys.executable),
    broker: Annotated[
        Literal["redis", "sqs"],
        typer.Option(envvar="IMPASTO_BROKER", help="What tells workers of new jobs."),
    ] = "redis",
) -> None:
    """Start everything on this machine.

    PostgreSQL, Valkey and an S3 server, the API, one worker, the sweeper and the dispatcher of webhooks: no
    container engine, no GPU. Ctrl-C stops it all. Data, keys and addresses are kept in the state directory
    for the next time.

    Where IMPASTO_DATABASE_URL, IMPASTO_REDIS_URL, IMPASTO_S3_ENDPOINT_URL or IMPASTO_SQS_ENDPOINT_URL is set,
    that server is used and none started in its place. Every other IMPASTO_ variable reaches the processes.

    With a COMMAND, it is run with IMPASTO_BASE_URL and IMPASTO_API_KEY set, and its exit code is ours.

    **Examples**

    * `impastoctl up`

    * `impastoctl up -- python examples/quickstart.py`

    * `impastoctl up --broker sqs`

    * `IMPASTO_WORKER_DEVICE=cuda impastoctl up --worker-python .nox/worker/bin/python`
    """
    from impasto_ctl.local_platform import LocalPlatform

    stays_up = False
    try:
        with (
            stop_requests(),
            LocalPlatform(
                state_dir, worker_python=worker_python, progress=Progress(), with_sqs=broker == "sqs"
            ) as platform,
        ):
            if command:
                environ = {"IMPASTO_BASE_URL": platform.base_url, "IMPASTO_API_KEY": platform.api_key}
                code = run_to_end(command, os.environ | environ, meanwhile=platform.tend)
            else:
                state = platform.state.path
                typer.echo(
                    _READY.format(
                        url=platform.base_url,
                        key=platform.api_key,
                        # The SDK is often beside us, and seldom where a plain `python` looks.
                        python=sys.executable if find_spec("impasto") else "python",
                        logs=state / "logs",
                        metrics=" ".join(platform.metrics_urls),
                        state=state,
                    )
                )
                stays_up = True
                while True:
                    platform.tend()
                    time.sleep(_BETWEEN_LOOKS)
    except StopRequested as request:
        code = 0 if stays_up else 128 + request.by
    raise typer.Exit(code)


def run_to_end(command: Sequence[str], environ: Mapping[str, str], meanwhile: Callable[[], None]) -> int:
    """Runs the command in our place on the terminal; its exit code, as a shell would tell it."""
    try:
        process = subprocess.Popen(  # noqa: S603
            command, env=environ, preexec_fn=die_with_parent(signal.SIGTERM)
        )
    except OSError as error:
        raise ControlError(f"{command[0]} cannot be run: {error.strerror}") from error
    try:
        while True:
            try:
                code = process.wait(_BETWEEN_LOOKS)
            except subprocess.TimeoutExpired:
                meanwhile()
            else:
                return code if code >= 0 else 128 - code
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Lets it end by itself, for Ctrl-C reached it too; then by SIGTERM; then by SIGKILL."""
    for ask, seconds in ((process.terminate, 1), (process.kill, 3)):
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            ask()
    process.wait()
