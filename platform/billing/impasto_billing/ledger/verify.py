"""Whether the ledger is sound: all that follows from its entries, derived from them once more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

SHOWN = 20
"""Of what is wrong, so many things are told of in words for each check."""


@dataclass(frozen=True)
class Finding:
    """What a check looked at, how much of it is wrong, and how."""

    check: str
    checked: int
    wrong: int
    examples: Sequence[str]


# Each check gives a row for whatever it looks at: whether it is wrong, and how that reads.
CHECKS: Mapping[str, str] = {
    "balances": """
        SELECT account.balance <> coalesce(entered.total, 0)
            OR (account.balance < 0 AND account.kind <> 'house') AS wrong,
            format('%s account %s of organization %s has a balance of %s, its entries add up to %s',
                account.kind, account.id, account.organization_id, account.balance,
                coalesce(entered.total, 0)) AS how
        FROM ledger_accounts AS account LEFT JOIN (
            SELECT account_id, sum(amount) AS total FROM ledger_entries GROUP BY account_id
        ) AS entered ON entered.account_id = account.id
    """,
    "transactions": """
        SELECT coalesce(sum(entry.amount), 0) <> 0 OR count(entry.amount) < 2
            OR bool_or(entry.organization_id <> movement.organization_id)
            OR bool_or(account.organization_id <> movement.organization_id) AS wrong,
            format('%s of organization %s has %s entries, in sum %s, or has some of another organization',
                movement.business_key, movement.organization_id, count(entry.amount), sum(entry.amount))
            AS how
        FROM ledger_transactions AS movement
        LEFT JOIN ledger_entries AS entry ON entry.transaction_id = movement.id
        LEFT JOIN ledger_accounts AS account ON account.id = entry.account_id
        GROUP BY movement.id
    """,
    "grants": """
        SELECT entry.amount IS DISTINCT FROM term.amount
            OR account.valid_until IS DISTINCT FROM term.valid_until AS wrong,
            format('grant %s of organization %s is of %s credits until %s, its account got %s until %s',
                term.reference, term.organization_id, term.amount, coalesce(term.valid_until, 'infinity'),
                coalesce(entry.amount, 0), coalesce(account.valid_until, 'infinity')) AS how
        FROM credit_grants AS term
        LEFT JOIN ledger_accounts AS account ON account.grant_id = term.id
        LEFT JOIN ledger_transactions AS movement ON movement.organization_id = term.organization_id
            AND movement.business_key = 'grant:' || term.reference
        LEFT JOIN ledger_entries AS entry
            ON entry.transaction_id = movement.id AND entry.account_id = account.id
    """,
    "holds": """
        SELECT holds <> 1 OR settlements > 1 OR (settlements = 1 AND remaining <> 0) AS wrong,
            format('job %s has %s holds and %s settlements, which leave %s credits on hold',
                job_id, holds, settlements, remaining) AS how
        FROM (
            SELECT movement.job_id,
                count(*) FILTER (WHERE movement.kind = 'hold') AS holds,
                count(*) FILTER (WHERE movement.kind = 'settle') AS settlements,
                coalesce(sum(entry.amount), 0) AS remaining
            FROM ledger_transactions AS movement
            LEFT JOIN (ledger_entries AS entry JOIN ledger_accounts AS account
                ON account.id = entry.account_id AND account.kind = 'holds'
            ) ON entry.transaction_id = movement.id
            WHERE movement.kind IN ('hold', 'settle')
            GROUP BY movement.organization_id, movement.job_id
        ) AS job
    """,
    "finished jobs": """
        SELECT settlement.id IS NULL AS wrong,
            format('job %s has %s, but its hold is not settled', job.id, job.status) AS how
        FROM ledger_transactions AS hold
        JOIN jobs AS job ON job.id = hold.job_id AND job.finished_at IS NOT NULL
        LEFT JOIN ledger_transactions AS settlement ON settlement.organization_id = hold.organization_id
            AND settlement.business_key = 'settle:' || hold.job_id
        WHERE hold.kind = 'hold'
    """,
    # What a job has on hold and has cost adds up to what its month counts it for.
    "spending": """
        SELECT counter.amount <> coalesce(sum(entry.amount), 0) AS wrong,
            format('key %s of organization %s counts %s credits in the month of %s, its jobs come to %s',
                coalesce(counter.api_key_id::text, 'any'), counter.organization_id, counter.amount,
                counter.month, coalesce(sum(entry.amount), 0)) AS how
        FROM spending AS counter LEFT JOIN (
            ledger_transactions AS movement
            JOIN jobs AS job ON job.id = movement.job_id
            JOIN ledger_entries AS entry ON entry.transaction_id = movement.id
            JOIN ledger_accounts AS account
                ON account.id = entry.account_id AND account.kind IN ('holds', 'spent')
        ) ON movement.kind IN ('hold', 'settle') AND movement.organization_id = counter.organization_id
            AND date_trunc('month', job.created_at AT TIME ZONE 'UTC') = counter.month
            AND (counter.api_key_id IS NULL OR counter.api_key_id = movement.api_key_id)
        GROUP BY counter.id
    """,
}

VERIFICATION = " UNION ALL ".join(
    f"""
    SELECT '{name}' AS name, count(*) AS checked, count(*) FILTER (WHERE wrong) AS wrong,
        coalesce((array_agg(how ORDER BY how) FILTER (WHERE wrong))[1:{SHOWN}], ARRAY[]::text[]) AS examples
    FROM ({rows}) AS looked_at
    """  # noqa: S608  # constants
    for name, rows in CHECKS.items()
)
"""All checks in one statement, which sees one moment of a ledger that may be in use."""


async def verify(session: AsyncSession) -> list[Finding]:
    """Check the ledger of every organization. Needs the owner role, and reads all of it several times."""
    connection = await session.connection()
    found = await connection.execute(text(VERIFICATION))
    return [Finding(row.name, row.checked, row.wrong, row.examples) for row in found]
