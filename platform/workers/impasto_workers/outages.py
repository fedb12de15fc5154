"""What other people's servers make us raise: nothing to repair here, and worth another try."""

from __future__ import annotations

import asyncpg
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from impasto_core.queue import QueueUnavailable
from impasto_core.storage import StorageUnavailable

DATABASE_ERRORS = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
"""PostgreSQL restarts, is away or out of connections. A connection that cannot be made is an OSError."""

OUTAGES = (*DATABASE_ERRORS, RedisError, QueueUnavailable, StorageUnavailable)
