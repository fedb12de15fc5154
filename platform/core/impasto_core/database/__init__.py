"""PostgreSQL: the engine, the columns all tables share, and the migrations."""

from impasto_core.database.engine import Database
from impasto_core.database.roles import Role

__all__ = ["Database", "Role"]
