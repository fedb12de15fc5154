"""Text from callers."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
"""Any text but with NUL in it, which PostgreSQL cannot store."""
