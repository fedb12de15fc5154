"""Alembic's entry: runs on the connection that `impasto_core.database.migrate` hands over."""

from alembic import context

from impasto_core.database.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
