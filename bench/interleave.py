"""Timing by turns, so that whatever else the machine does falls on all sides alike."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping


def progress(what: str, done: int, total: int) -> None:
    end = "\n" if done == total else ""
    print(f"\r{what}: {done}/{total}", end=end, file=sys.stderr, flush=True)


def take_turns(what: str, sides: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, list[float]]:
    """What each side returned in each round. A first round, to warm up, is not counted."""
    measured: dict[str, list[float]] = {name: [] for name in sides}
    for done in range(rounds + 1):
        for name, measure in sides.items():
            value = measure()
            if done:
                measured[name].append(value)
        progress(what, done, rounds)
    return measured


async def seconds_of(call: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await call()
    return time.perf_counter() - started


def p50(values: list[float]) -> float:
    return statistics.median(values)


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"
