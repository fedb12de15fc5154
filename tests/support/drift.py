"""Every test leaves a sound ledger behind."""

from __future__ import annotations

import asyncpg

from impasto_billing.ledger.verify import VERIFICATION


async def assert_zero_drift(owner_url: str) -> None:
    connection = await asyncpg.connect(owner_url)
    try:
        findings = await connection.fetch(VERIFICATION)
    except asyncpg.UndefinedTableError:  # the test has undone the migrations
        return
    finally:
        await connection.close()
    wrong = [example for finding in findings for example in finding["examples"]]
    assert not wrong, "the test leaves a ledger that has drifted:\n" + "\n".join(wrong)
