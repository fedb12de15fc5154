"""Every task of the project. `nox` alone lints and tests; `nox --list` shows the rest.

Two environments serve all of them: `platform`, small, and `worker`, which has InvokeAI and torch. Each is
made once and kept until a dependency changes.
"""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "tests"]

ROOT = Path(__file__).parent
PLATFORM = ROOT / ".nox" / "platform" / "bin"
WORKER = ROOT / ".nox" / "worker" / "bin"
PLATFORM_DISTRIBUTIONS = [
    *(
        f"-e./platform/{name}"
        for name in ("core", "billing", "api", "workers", "demo_model", "ctl[embedded]")
    ),
    "-e./sdk[ed25519,pil]",
]
DEV, WORKER_DEV, BENCH = (
    nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), group)
    for group in ("dev", "worker-dev", "bench")
)


@nox.session
def platform(session: nox.Session) -> None:
    """Make the environment of everything but the worker's InvokeAI."""
    _install_once(session, *PLATFORM_DISTRIBUTIONS, *DEV)


@nox.session
def worker(session: nox.Session) -> None:
    """Make the environment of the GPU worker: InvokeAI and torch, about 2.7 GB."""
    local = [f"-e./platform/{name}" for name in ("core", "billing", "workers[invokeai]")]
    # Tests start servers through impasto_ctl, but the API that it depends on does not fit InvokeAI's pins.
    _install_once(session, *local, *WORKER_DEV, without_dependencies=["-e./platform/ctl"])


@nox.session(venv_backend="none", requires=["platform", "worker"])
def demo(session: nox.Session) -> None:
    """Start everything, paint a picture with the SDK, stop everything."""
    _up(session, "--", str(PLATFORM / "python"), "examples/quickstart.py", *session.posargs)


@nox.session(venv_backend="none", requires=["platform", "worker"])
def up(session: nox.Session) -> None:
    """Start everything and stay up until Ctrl-C."""
    _up(session, *session.posargs)


@nox.session(venv_backend="none", requires=["platform"])
def lint(session: nox.Session) -> None:
    """Style, types, and the arrows between the packages."""
    _run(session, PLATFORM / "ruff", "check", ".")
    _run(session, PLATFORM / "ruff", "format", "--check", ".")
    _run(session, PLATFORM / "mypy")
    _run(session, PLATFORM / "pyright", "--project", "sdk", "--pythonpath", PLATFORM / "python")
    _run(session, PLATFORM / "lint-imports")
    _lint_contract(session)


@nox.session(venv_backend="none", requires=["platform", "worker"])
def tests(session: nox.Session) -> None:
    """All tests, in both environments, and the coverage gate."""
    for old in ROOT.glob(".coverage*"):
        old.unlink()
    env = {"IMPASTO_WORKER_PYTHON": str(WORKER / "python")}
    _run(session, PLATFORM / "coverage", "run", "-m", "pytest", "--ignore=tests/workers", env=env)
    _run(session, WORKER / "coverage", "run", "-m", "pytest", "tests/workers")
    _run(session, PLATFORM / "coverage", "combine", "--quiet")
    _run(session, PLATFORM / "coverage", "report")


@nox.session(venv_backend="none", requires=["platform"])
def sdk(session: nox.Session) -> None:
    """The SDK's tests only."""
    _run(session, PLATFORM / "pytest", "tests/sdk", *session.posargs)


@nox.session(venv_backend="none", requires=["platform"])
def api(session: nox.Session) -> None:
    """The tests of core, API and contract only."""
    _run(session, PLATFORM / "pytest", "tests/core", "tests/api", "tests/contract", *session.posargs)


@nox.session(venv_backend="none", requires=["platform"])
def stripe(session: nox.Session) -> None:
    """The scenarios of payments against Stripe itself, with the test key in IMPASTO_TEST_STRIPE_KEY."""
    if not os.environ.get("IMPASTO_TEST_STRIPE_KEY"):
        session.error("Set IMPASTO_TEST_STRIPE_KEY to a test key: sk_test_...")
    scenarios = ("test_packs.py", "test_subscriptions.py")
    folder = Path("tests/billing/payments")
    _run(session, PLATFORM / "pytest", "-rs", *(folder / name for name in scenarios), *session.posargs)


@nox.session(venv_backend="none", requires=["platform", "worker"])
def buy_credits(session: nox.Session) -> None:
    """Start everything and a Stripe that is a fake, buy credits with the SDK, stop everything."""
    stripe_port, api_port = _free_port(), _free_port()
    command = [PLATFORM / "python", "-m", "tests.fakes.stripe", "--port", str(stripe_port)]
    webhook = f"http://127.0.0.1:{api_port}/v1/billing/webhooks/stripe"
    settings = {
        "IMPASTO_API_PORT": str(api_port),
        "IMPASTO_STRIPE_SECRET_KEY": "sk_test_fake",
        "IMPASTO_STRIPE_WEBHOOK_SECRET": "whsec_fake",
        "IMPASTO_STRIPE_API_BASE": f"http://127.0.0.1:{stripe_port}",
    }
    fake = subprocess.Popen([*command, "--webhook-url", webhook], cwd=ROOT)  # noqa: S603
    try:
        _up(session, "--", str(PLATFORM / "python"), "examples/buy_credits.py", env=settings)
    finally:
        fake.terminate()
        fake.wait()


@nox.session(venv_backend="none", requires=["platform", "worker"])
def chaos(session: nox.Session) -> None:
    """Kill, pause and cut a platform under load, then ask it for all that it owes: -- --seed N --minutes M"""
    command = (
        PLATFORM / "python",
        "-m",
        "tests.chaos",
        "--worker-python",
        WORKER / "python",
        *session.posargs,
    )
    session.run(*map(str, command), external=True, interrupt_timeout=20, terminate_timeout=5)


@nox.session(venv_backend="none", requires=["worker"])
def demo_model(session: nox.Session) -> None:
    """Ask the demo model for what it never saw, print its accuracies, and draw docs/demo-model.png."""
    path = {"PYTHONPATH": str(ROOT / "platform/demo_model")}
    _run(session, WORKER / "python", "examples/demo_model/evaluate.py", *session.posargs, env=path)


@nox.session(requires=["worker"])
def bench(session: nox.Session) -> None:
    """Measure everything, and write docs/benchmarks.md. With names, only those parts."""
    _install_once(session, *PLATFORM_DISTRIBUTIONS, *BENCH)
    session.run("python", "-m", "bench", "--worker-python", str(WORKER / "python"), *session.posargs)


def _lint_contract(session: nox.Session) -> None:
    """openapi.json by the linters that openapi/package-lock.json pins, on the Node.js of a wheel."""
    folder = ROOT / "openapi"
    lock, installed = folder / "package-lock.json", folder / "node_modules" / "installed"
    quiet = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    with session.chdir(folder):
        if not installed.exists() or installed.read_text() != lock.read_text():
            _run(session, PLATFORM / "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
            installed.write_text(lock.read_text())
        for package, *arguments in (
            ("@stoplight/spectral-cli/dist/index.js", "lint", "openapi.json", "--fail-severity=hint"),
            ("@redocly/cli/bin/cli.js", "lint"),
        ):
            _run(session, PLATFORM / "node", Path("node_modules") / package, *arguments, env=quiet)


def _free_port() -> int:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        return int(reserved.getsockname()[1])


def _up(session: nox.Session, *arguments: str, env: dict[str, str] | None = None) -> None:
    command = (PLATFORM / "impastoctl", "up", "--worker-python", WORKER / "python", *arguments)
    # After Ctrl-C a running picture is given back and everything stopped in order: that takes a moment.
    session.run(*map(str, command), env=env, external=True, interrupt_timeout=20, terminate_timeout=5)


def _run(session: nox.Session, *command: str | os.PathLike[str], env: dict[str, str] | None = None) -> None:
    session.run(*map(str, command), env=env, external=True)


def _install_once(session: nox.Session, *requirements: str, without_dependencies: Sequence[str] = ()) -> None:
    """Install, unless this very thing was installed before: a second run starts at once."""
    described = [
        *requirements,
        *without_dependencies,
        *(path.read_text() for path in sorted(ROOT.glob("**/pyproject.toml"))),
    ]
    digest = hashlib.sha256("\n".join(described).encode()).hexdigest()
    stamp = Path(session.virtualenv.location) / "installed"
    if not (stamp.exists() and stamp.read_text() == digest):
        session.install("--upgrade", "pip")
        session.install(*requirements, silent=False)
        if without_dependencies:
            session.install("--no-deps", *without_dependencies)
        stamp.write_text(digest)
