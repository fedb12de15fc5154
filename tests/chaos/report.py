"""The tables that a run prints: what it survived, and what was asked of the platform afterwards."""

from __future__ import annotations

import re
from collections import Counter

from rich.console import Group
from rich.table import Table

from tests.chaos.conductor import Outcome
from tests.chaos.faults import Kind


def tables(outcome: Outcome) -> Group:
    return Group(_faults(outcome), _promises(outcome), _summary(outcome))


def _faults(outcome: Outcome) -> Table:
    """A row for each sort of target: replicas together."""
    kinds = list(Kind)
    struck: Counter[tuple[str, Kind]] = Counter()
    for (kind, target), number in outcome.struck.items():
        struck[_sort_of(target), kind] += number
    table = Table("", *kinds, title="Faults survived", show_footer=False)
    for sort in sorted({sort for sort, _ in struck}):
        table.add_row(sort, *(str(struck[sort, kind] or "") for kind in kinds))
    table.add_section()
    table.add_row(
        "all",
        *(str(sum(struck[sort, kind] for sort, kind in struck if kind is each) or "") for each in kinds),
    )
    return table


def _sort_of(target: str) -> str:
    return "worker with InvokeAI" if target == "worker-invokeai" else re.sub(r"-\d+$", "", target)


def _promises(outcome: Outcome) -> Table:
    table = Table("", "checked", "broken", title="Promises kept")
    for check in outcome.verdict.checks:
        table.add_row(check.promise, f"{check.checked:,}", f"{len(check.broken):,}")
    return table


def _summary(outcome: Outcome) -> str:
    customers, verdict = outcome.house.customers, outcome.verdict
    orders = sum(len(customer.orders) for customer in customers)
    answers = sum(len(order.answers) for customer in customers for order in customer.orders)
    retries = sum(customer.retries for customer in customers)
    ends = ", ".join(f"{number} {end}" for end, number in verdict.ends.most_common())
    attempts = ", ".join(f"{number} took {tries}" for tries, number in sorted(verdict.attempts.items()))
    lines = [
        f"{orders} jobs accepted: {ends}. {answers - orders} times a key was sent again once answered,"
        f" and {retries} times because the SDK had given up.",
        f"Attempts: {attempts}.",
        f"{outcome.kills} kills, {outcome.struck.total()} faults of {len(outcome.plan)} planned;"
        f" quiet {outcome.quiet_seconds:.1f} s after the last.",
    ]
    receiver = outcome.house.receiver
    lines.append(
        f"{receiver.taken} webhooks taken, {receiver.taken_again} of them again; {receiver.refused} refused"
        " at random."
    )
    return "\n".join(lines)
