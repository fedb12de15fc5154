"""docs/benchmarks.md and its chart, from the rows of a run."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from bench.rows import Row, table

DOCS = Path(__file__).parents[1] / "docs"

_BEGIN, _END = "<!-- measured -->", "<!-- /measured -->"


def write(rows: Sequence[Row]) -> None:
    """Replace what the page says was measured, and the chart beside it."""
    page = DOCS / "benchmarks.md"
    before, _, rest = page.read_text().partition(_BEGIN)
    machine = f"{os.cpu_count()} shared cores, Python {platform.python_version()}, no GPU"
    day = date.today().isoformat()  # noqa: DTZ011  # the day where the bench runs
    measured = f"\nMeasured on {day}: {machine}.\n\n{table(rows)}\n"
    page.write_text(before + _BEGIN + measured + _END + rest.partition(_END)[2])
    _chart(rows, DOCS / "benchmarks.svg")


def _chart(rows: Sequence[Row], file: Path) -> None:
    """Bars of how many times better than wanted, on a scale on which twice and half are equally far."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "impasto"  # the same rows, the same bytes
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 0.42 * len(rows) + 1.2), layout="constrained")
    margins = [row.margin for row in rows]
    colours = ["#2a9d8f" if margin >= 1 else "#e76f51" for margin in margins]
    positions = range(len(rows), 0, -1)
    axes.barh(positions, [margin - 1 for margin in margins], left=1, color=colours, height=0.6)
    axes.set_xscale("log", base=2)
    axes.set_yticks(positions, [row.what.replace("`", "") for row in rows], fontsize=8)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlabel("times better than wanted")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(file, metadata={"Date": None})
