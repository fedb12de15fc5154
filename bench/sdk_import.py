"""How long `import impasto` takes, beside the SDKs that a user would otherwise import.

Whole interpreter starts, less the start of a bare interpreter.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial

from bench.installation import Platform
from bench.interleave import milliseconds, p50, take_turns
from bench.rows import Row

STATEMENTS = {
    "nothing": "pass",
    # With a resource, since pydantic is loaded only then.
    "impasto": (
        "from impasto import Impasto; Impasto(api_key='imp_live_x', base_url='http://localhost').images"
    ),
    "replicate": "from replicate.client import Client; Client(api_token='x')",
    "openai": "from openai import OpenAI; OpenAI(api_key='x')",
}


def rows(_platform: Platform) -> Iterator[Row]:
    sides = {name: partial(_seconds, statement) for name, statement in STATEMENTS.items()}
    times = take_turns("imports", sides, rounds=12)
    bare = p50(times["nothing"])
    cost = {name: p50(seconds) - bare for name, seconds in times.items()}
    for other in ("replicate", "openai"):
        yield Row(
            "import of the SDK, to the first resource",
            f"`{other}`",
            cost["impasto"] / cost[other],
            1,
            detail=f"{milliseconds(cost['impasto'])} and {milliseconds(cost[other])}",
        )


def _seconds(statement: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)  # noqa: S603
    return time.perf_counter() - started
