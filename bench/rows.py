"""What a measurement says: one row of the table, with what was wanted beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """`measured` and `wanted` are ratios to what it is measured against, or carry the unit that is given."""

    what: str
    against: str
    measured: float
    wanted: float
    unit: str = "x"
    more_is_better: bool = False
    detail: str = ""

    @property
    def margin(self) -> float:
        """How many times better than wanted; under 1 it falls short."""
        return self.measured / self.wanted if self.more_is_better else self.wanted / self.measured

    @property
    def cells(self) -> Sequence[str]:
        bound = "at least" if self.more_is_better else "at most"
        return (
            self.what,
            self.against,
            f"{bound} {self.wanted:g} {self.unit}".replace(" x", "x"),
            f"**{self.measured:.3g} {self.unit}**".replace(" x", "x")
            + ("" if self.margin >= 1 else " (short)"),
            self.detail,
        )


def table(rows: Iterable[Row]) -> str:
    head = ("what", "against", "wanted", "measured", "")
    lines = [head, ("---",) * len(head), *(row.cells for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
