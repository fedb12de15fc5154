"""`impastoctl up`, as its own process, with a stand-in for the worker's heavy interpreter."""

from __future__ import annotations

import json
import signal
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from impasto_ctl.main import app
from tests.support.processes import Script, alive, eventually

WORKER = """\
#!{python}
import os, pathlib, sys, time
module, *arguments = sys.argv[2:]
assert module == "impasto_workers.main", module
assert "impasto_worker:" in os.environ["IMPASTO_DATABASE_URL"]
pathlib.Path(os.environ["IMPASTO_WORKER_READY_FILE"]).touch()
time.sleep(600)
"""

WHAT_A_COMMAND_SEES = """
import os
print(os.environ["IMPASTO_BASE_URL"], os.environ["IMPASTO_API_KEY"])
raise SystemExit(7)
"""


@pytest.fixture
def worker(tmp_path: Path) -> Path:
    """Answers to what `up` asks of the worker's interpreter, without torch."""
    script = tmp_path / "worker-python"
    script.write_text(WORKER.format(python=sys.executable))
    script.chmod(0o755)
    return script


@pytest.fixture
def arguments(tmp_path: Path, worker: Path) -> list[str]:
    state = tmp_path / "state"
    return ["-m", "impasto_ctl.main", "up", "--state-dir", str(state), "--worker-python", str(worker)]


def get(url: str, key: str) -> Any:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
        return json.load(response)


def impastoctl(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def greeting(up: Script) -> tuple[str, str]:
    """The base URL and the key that `up` prints once all is up."""
    lines: list[str] = []
    while "Ctrl-C" not in (line := up.line()):
        assert up.process.poll() is None, lines
        lines.append(line)
    found = dict(line.split(maxsplit=2)[1:] for line in lines if line.startswith(("Base URL", "API key")))
    return found["URL"], found["key"]


def test_up_serves_until_ctrl_c_and_the_next_up_finds_everything_as_it_was(
    tmp_path: Path, arguments: list[str], run: Callable[..., Script]
) -> None:
    state = tmp_path / "state"
    up = run(*arguments)
    url, key = greeting(up)
    assert [model["id"] for model in get(f"{url}/v1/models", key)["data"]] == ["impasto-shapes"]

    refused = impastoctl("up", "--state-dir", str(state))
    assert refused.exit_code == 1
    assert f"Impasto already runs on {state} (process {up.process.pid})" in refused.stderr

    made = impastoctl("keys", "create", "development", "--scope", "models:read", "--state-dir", str(state))
    assert get(f"{url}/v1/models", made.output.strip())["data"]

    family = up.family()
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(60) == 0
    assert not alive(family)

    again = run(*arguments, "--", sys.executable, "-c", WHAT_A_COMMAND_SEES)
    assert again.line() == f"{url} {key}"
    family = again.family()
    assert again.process.wait(60) == 7
    assert not alive(family)


def test_kill_9_of_up_leaves_no_process_behind(arguments: list[str], run: Callable[..., Script]) -> None:
    up = run(*arguments)
    greeting(up)
    family = up.family()
    assert len(family) > 6  # three servers, three programs, and PostgreSQL's own children
    up.kill()
    eventually(lambda: not alive(family), "something outlived impastoctl")


def test_a_worker_that_cannot_start_ends_it_and_shows_why(arguments: list[str], worker: Path) -> None:
    worker.write_text(f"#!{sys.executable}\nraise SystemExit('No module named torch')\n")
    failed = impastoctl(*arguments[2:])
    assert failed.exit_code == 1
    assert "worker ended with code 1" in failed.stderr
    assert "No module named torch" in failed.stderr
