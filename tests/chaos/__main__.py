"""python -m tests.chaos --seed N --minutes M"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from impasto_ctl.signals import StopRequested, stop_requests
from tests.chaos import faults
from tests.chaos.conductor import Run, conduct
from tests.chaos.report import tables


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="of the plan of faults")
    parser.add_argument("--minutes", type=float, default=10, help="that faults go on for")
    parser.add_argument(
        "--worker-python", type=Path, help="an interpreter with InvokeAI, for one such worker"
    )
    parser.add_argument("--keep", type=Path, help="a folder for data and logs, which stays")
    arguments = parser.parse_args()
    console = Console()
    try:
        with tempfile.TemporaryDirectory(prefix="impasto-chaos-") as temporary, stop_requests():
            return _run(arguments, arguments.keep or Path(temporary), console)
    except StopRequested as stop:
        console.print(f"stopped by {stop.by.name}")
        return 130


def _run(arguments: argparse.Namespace, folder: Path, console: Console) -> int:
    seconds = arguments.minutes * 60
    run = Run(
        seed=arguments.seed,
        seconds=seconds,
        rates=faults.STEADY,
        folder=folder,
        worker_python=arguments.worker_python,
    )
    console.print(f"seed {run.seed}, {arguments.minutes:g} minutes")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("starting", total=round(seconds))

        def progress(passed: float, struck: int) -> None:
            bar.update(task, completed=round(passed), description=f"{struck} faults survived")

        outcome = conduct(run, report=bar.console.print, progress=progress)
    console.print(tables(outcome))
    for broken in outcome.verdict.broken:
        console.print(broken, style="bold red", markup=False)
    console.print("lost" if outcome.verdict.broken else "nothing lost")
    console.print(f"once more: nox -s chaos -- --seed {run.seed} --minutes {arguments.minutes:g}")
    return 1 if outcome.verdict.broken else 0


if __name__ == "__main__":
    sys.exit(main())
