"""What goes wrong and when: all of it a function of the seed."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

SERVERS = ("postgres", "valkey", "s3")
"""Behind a proxy each. The S3 server is one for tests, and forgets its users when it is killed: it has the
proxy's faults only."""


class Kind(StrEnum):
    KILL = "kill -9"
    CRASH = "kill -9 a backend"
    """PostgreSQL ends every session and recovers from its log, as after a segmentation fault."""
    PAUSE = "pause"
    """SIGSTOP, and SIGCONT some seconds later: a machine that swaps, a collector of garbage, a moved VM."""
    CUT = "cut"
    """Every connection is reset."""
    REFUSE = "refuse"
    """And none can be made for a while."""
    HANG = "hang"
    """Connections are made and nothing is said on them: a network that drops packets."""


KILLS = (Kind.KILL, Kind.CRASH)


@dataclass(frozen=True, order=True)
class Fault:
    """`at` and `seconds`, how long it lasts, are seconds."""

    at: float
    kind: Kind
    target: str
    seconds: float = 0

    def __str__(self) -> str:
        return f"{self.at:7.1f} s  {self.kind} {self.target}" + (
            f", {self.seconds:.1f} s" * (self.seconds > 0)
        )


@dataclass(frozen=True)
class Rates:
    """Faults a minute, of each sort."""

    kills: float
    pauses: float
    network: float


STEADY = Rates(kills=7, pauses=2, network=3)
DENSE = Rates(kills=36, pauses=6, network=12)
"""For the short form, which has a few seconds for what the long one has minutes."""


def plan(seed: int, seconds: float, programs: Sequence[str], rates: Rates) -> list[Fault]:
    """The faults of a run, in order. One falls at random into each equal part of the time.

    `programs` are the names of processes to kill; each is hit about as often as any other, except
    `worker-invokeai`, which takes half a minute to start: it is killed at most every 90 seconds.
    """
    chance = random.Random(f"impasto {seed}")
    quick = [name for name in programs if name != "worker-invokeai"]
    kills = [(Kind.KILL, name) for name in (*quick, "postgres", "valkey")] + [(Kind.CRASH, "postgres")]
    pauses = [(Kind.PAUSE, name) for name in (*quick, "postgres", "valkey")]
    network = [(kind, name) for name in SERVERS for kind in (Kind.CUT, Kind.REFUSE, Kind.HANG)]
    chosen = [
        fault
        for sort, rate in ((kills, rates.kills), (pauses, rates.pauses), (network, rates.network))
        for fault in itertools.islice(_shuffled_again_and_again(sort, chance), round(rate * seconds / 60))
    ]
    chance.shuffle(chosen)
    slot = seconds / max(1, len(chosen))
    faults = [
        Fault(round((number + chance.random()) * slot, 1), kind, target, _lasts(kind, chance))
        for number, (kind, target) in enumerate(chosen)
    ]
    if "worker-invokeai" in programs:
        faults += _now_and_then("worker-invokeai", seconds, chance)
    return sorted(faults)


def _shuffled_again_and_again(
    sort: Iterable[tuple[Kind, str]], chance: random.Random
) -> Iterator[tuple[Kind, str]]:
    while True:
        yield from chance.sample(list(sort), len(list(sort)))


def _lasts(kind: Kind, chance: random.Random) -> float:
    """Longer than a lease now and then, and long enough for time limits to be reached."""
    match kind:
        case Kind.PAUSE:
            return round(chance.uniform(1, 8), 1)
        case Kind.REFUSE | Kind.HANG:
            return round(chance.uniform(1, 6), 1)
        case _:
            return 0


def _now_and_then(target: str, seconds: float, chance: random.Random) -> list[Fault]:
    return [
        Fault(round(start + chance.uniform(40, 70), 1), Kind.KILL, target)
        for start in range(0, max(0, int(seconds) - 75), 90)
    ]
