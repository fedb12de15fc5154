"""How long `import impasto` takes, beside the SDKs that a user would otherwise import.

Whole interpreter starts, interleaved, less the start of a bare interpreter; medians and ratios.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 15
STATEMENTS = {
    "nothing": "pass",
    "impasto": "from impasto import Impasto; Impasto(api_key='imp_live_x', base_url='http://localhost')",
    # What the first picture needs: pydantic is loaded only now.
    "impasto, with .images": (
        "from impasto import Impasto; Impasto(api_key='imp_live_x', base_url='http://localhost').images"
    ),
    "replicate": "from replicate.client import Client; Client(api_token='x')",
    "openai": "from openai import OpenAI; OpenAI(api_key='x')",
}


def main() -> None:
    seconds: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for round_ in range(ROUNDS + 1):
        for name, statement in STATEMENTS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)  # noqa: S603
            if round_:  # the first round fills the disk cache
                seconds[name].append(time.perf_counter() - started)
        print(f"\rround {round_}/{ROUNDS}", end="", file=sys.stderr)
    print(file=sys.stderr)
    bare = statistics.median(seconds["nothing"])
    costs = {name: statistics.median(times) - bare for name, times in seconds.items() if name != "nothing"}
    print("| import and make a client | median | against impasto |")
    print("| --- | --- | --- |")
    for name, cost in costs.items():
        print(f"| {name} | {cost * 1000:.0f} ms | {cost / costs['impasto']:.2f}x |")


if __name__ == "__main__":
    main()
