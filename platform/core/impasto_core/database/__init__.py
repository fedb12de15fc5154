"""PostgreSQL: the engine, the columns all tables share, and the migrations."""

from impasto_core.database.engine import DATABASE_ERRORS, Database, act_for
from impasto_core.database.functions import returned_by
from impasto_core.database.roles import Role

__all__ = ["DATABASE_ERRORS", "Database", "Role", "act_for", "returned_by"]
