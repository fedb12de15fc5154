"""What impastoctl says while it works, on standard error, so that standard output is left to results."""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console
from rich.markup import escape


class Progress:
    """A spinner on a terminal; a line for each thing begun and done, wherever it goes."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._status = self._console.status("")
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        self._status.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._status.stop()

    def doing(self, what: str) -> None:
        self._status.update(escape(what))
        if not self._console.is_terminal:
            self.done(what)

    def done(self, what: str) -> None:
        """Seconds since the beginning, and what happened."""
        self._console.print(f"[dim]{time.monotonic() - self._began:6.1f} s[/]  {escape(what)}")
