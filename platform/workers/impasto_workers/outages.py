"""What other people's servers make us raise: nothing to repair here, and worth another try."""

from __future__ import annotations

from redis.exceptions import RedisError

from impasto_core.database import DATABASE_ERRORS
from impasto_core.queue import QueueUnavailable
from impasto_core.storage import StorageUnavailable

OUTAGES = (*DATABASE_ERRORS, RedisError, QueueUnavailable, StorageUnavailable)
