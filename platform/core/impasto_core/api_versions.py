"""The dated versions of the public API.

A new date is added here when answers change in a way that could break a program that works today. The code
then asks which version a request speaks, and goes on answering the older ones as before.
"""

from __future__ import annotations

VERSIONS = {
    "2026-11-22": "The first version.",
}
"""Date -> what is different from the one before. Oldest first; nothing is ever removed or renamed."""

LATEST = list(VERSIONS)[-1]
"""What a new API key is pinned to."""
