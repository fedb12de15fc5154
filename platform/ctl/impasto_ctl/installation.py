"""Which installation an operator's command works on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from impasto_ctl.errors import ControlError
from impasto_ctl.state import StateDirectory

StateDirOption = Annotated[
    Path,
    typer.Option(
        "--state-dir",
        envvar="IMPASTO_STATE_DIR",
        help="Where data, secrets, ports and logs of `impastoctl up` are kept.",
        file_okay=False,
    ),
]
DEFAULT_STATE_DIR = Path(".impasto")


@dataclass(frozen=True)
class Installation:
    """The one that the environment names, or else the one that `impastoctl up` keeps in a state directory."""

    state_dir: Path

    @property
    def database_url(self) -> str:
        """The owner's. Raises ControlError where none is known."""
        url = os.environ.get("IMPASTO_DATABASE_URL") or self._remembered("database_url")
        if url is None:
            raise ControlError(
                f"Which database? Nothing was started in {self.state_dir.absolute()}. Start `impastoctl up`,"
                " name its directory with --state-dir, or set IMPASTO_DATABASE_URL to the owner role's URL."
            )
        return url

    @property
    def api_key_pepper(self) -> str:
        """Raises ControlError where none is known: a key made with another pepper would open nothing."""
        pepper = os.environ.get("IMPASTO_API_KEY_PEPPER") or self._remembered("api_key_pepper")
        if pepper is None:
            raise ControlError("Set IMPASTO_API_KEY_PEPPER to what the API has.")
        return pepper

    def _remembered(self, name: str) -> str | None:
        if not (self.state_dir / "secrets.json").exists():
            return None
        return StateDirectory(self.state_dir).recall(name)
