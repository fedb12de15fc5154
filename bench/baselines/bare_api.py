"""The least that FastAPI and PostgreSQL can do: a handler with one INSERT, and one with one SELECT.

The same app server, connection pool and ORM as our API; no key, no validation, no limits, no idempotency.
"""

from __future__ import annotations

import json
import sys
from typing import Any
from uuid import UUID

import uvicorn
from fastapi import FastAPI
from sqlalchemy import text
from sqlmodel import select

from impasto_core.database import Database
from impasto_core.jobs.tables import Job

INSERT = text("INSERT INTO bench_rows (body) VALUES (CAST(:body AS jsonb)) RETURNING id")


def create_app(database_url: str) -> FastAPI:
    app = FastAPI()
    database = Database(database_url)

    @app.post("/rows", status_code=202)
    async def create(body: dict[str, Any]) -> dict[str, int]:
        async with database.session() as session:
            connection = await session.connection()
            inserted = await connection.execute(INSERT, {"body": json.dumps(body)})
            return {"id": inserted.scalar_one()}

    @app.get("/jobs/{job_id}")
    async def get(job_id: UUID) -> Job:
        async with database.session() as session:
            return (await session.exec(select(Job).where(Job.id == job_id))).one()

    return app


def main(database_url: str, port: int) -> None:
    uvicorn.run(create_app(database_url), host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
