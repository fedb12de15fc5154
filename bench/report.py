"""docs/benchmarks.md and its chart, from the rows of a run."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from bench.rows import Row, table

DOCS = Path(__file__).parents[1] / "docs"

_PAGE = """\
# Benchmarks

`nox -s bench` measures all of it in one run and writes this page. Whatever is compared takes turns, so that
the rest of the machine falls on both sides alike. The ratios say something; the absolute figures are of
{cores} shared cores (Python {python}, no GPU, {day}).

![how far each figure is from what was wanted](benchmarks.svg)

{table}

The stock server, diffusers and the bare handlers are started and warmed up by the bench itself: see
[bench/](../bench/).
"""


def write(rows: Sequence[Row], *, notes: str = "") -> None:
    page = _PAGE.format(
        cores=os.cpu_count(),
        python=platform.python_version(),
        day=date.today().isoformat(),  # noqa: DTZ011  # the day where the bench runs
        table=table(rows),
    )
    (DOCS / "benchmarks.md").write_text(page + notes)
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
