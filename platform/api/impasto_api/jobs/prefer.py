"""The Prefer header: `wait=N` (RFC 7240, section 4.3)."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Depends, Header

MAX_WAIT_SECONDS = 60


async def wait_seconds(
    prefer: Annotated[
        str | None,
        Header(
            alias="Prefer",
            description=f"`wait=N` holds the answer until the job ends, at the longest N seconds, and"
            f" {MAX_WAIT_SECONDS} at most. What was honoured comes back as `Preference-Applied`.",
            examples=["wait=30"],
        ),
    ] = None,
) -> int | None:
    """Preferences that cannot be understood are ignored, as the RFC wants it."""
    for preference in (prefer or "").split(","):
        if found := re.fullmatch(r'\s*wait\s*=\s*"?(\d{1,6})"?\s*(;.*)?', preference, re.IGNORECASE):
            return min(int(found[1]), MAX_WAIT_SECONDS)
    return None


WaitSeconds = Annotated[int | None, Depends(wait_seconds)]
