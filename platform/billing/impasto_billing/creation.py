"""Creating a job, and holding what it can cost: one statement, which does all or nothing.

It is a transaction by itself, so that the rows for which other requests of the organization wait, its
spending and its ledger, are locked for no longer than PostgreSQL needs.
"""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import SQLModel

from impasto_billing.ledger import service as ledger
from impasto_billing.spending import SpendCapReached
from impasto_billing.spending import service as spending
from impasto_core.database import Database
from impasto_core.idempotency.tables import IdempotencyRecord
from impasto_core.jobs.tables import JobBase

_CREATE = text(
    "SELECT create_job(CAST(:job AS json), CAST(:answer AS json), :quoted, CAST(:alerts AS integer[]))"
)


class KeyInUse(Exception):
    """A request with the same idempotency key is being answered right now."""


class KeyReused(Exception):
    """The idempotency key was another request's."""


class _AlertIsDue(Exception):
    """The job reaches a share of a cap: whoever creates it has something to tell in the same transaction."""


async def create_job(
    database: Database, job: JobBase, *, quoted: int, answer: IdempotencyRecord | None = None
) -> dict[str, Any] | None:
    """Store the job and the answer to its idempotency key, count what it can cost, and hold it.

    Returns the answer that the key was given before, if there is
    one: then nothing was done. Raises SpendCapReached, NotEnoughCredits, KeyInUse, KeyReused.
    """
    values = {"job": _as_json(job), "answer": _as_json(answer) if answer else None, "quoted": quoted}
    try:
        async with database.autocommit() as connection:
            return await _create(connection, values, alerts=spending.ALERT_PERCENTS)
    except _AlertIsDue:
        async with database.session() as session:
            earlier = await _create(await session.connection(), values, alerts=())
            await spending.tell(
                session,
                organization_id=job.organization_id,
                api_key_id=job.api_key_id,
                at=job.created_at,
                amount=quoted,
            )
        return earlier


async def _create(
    connection: AsyncConnection, values: dict[str, Any], *, alerts: tuple[int, ...]
) -> dict[str, Any] | None:
    """alerts: percents of a cap. A job that reaches one of them is not created, which raises _AlertIsDue."""
    try:
        created = await connection.execute(_CREATE, {**values, "alerts": list(alerts)})
    except DBAPIError as error:
        _raise_for(error)
        raise
    earlier: dict[str, Any] | None = created.scalar_one()
    return earlier


def _raise_for(error: DBAPIError) -> None:
    cause = error.orig.__cause__ if error.orig else None
    match getattr(cause, "sqlstate", ""):
        case "IM005":
            reached = json.loads(getattr(cause, "detail", "{}"))
            key = reached.pop("api_key_id")
            raise SpendCapReached(**reached, api_key_id=UUID(key) if key else None) from error
        case "IM006":
            raise KeyInUse from error
        case "IM007":
            raise KeyReused from error
        case "IM008":
            raise _AlertIsDue from error
    ledger.raise_for(error)


def _as_json(row: SQLModel) -> str:
    """As PostgreSQL's json_populate_record takes it: every column by its name."""
    return row.model_dump_json(by_alias=True)
