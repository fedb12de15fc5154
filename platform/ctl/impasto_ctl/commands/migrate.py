"""`impastoctl migrate`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from impasto_ctl.installation import DEFAULT_STATE_DIR, Installation, StateDirOption


def migrate(
    revision: Annotated[str, typer.Argument(help="Where to: a revision of the schema, or `head`.")] = "head",
    down: Annotated[bool, typer.Option("--down", help="Go back to the revision. Loses data.")] = False,
    state_dir: StateDirOption = DEFAULT_STATE_DIR,
) -> None:
    """Bring the database's schema up to date.

    Runs as the owner role of IMPASTO_DATABASE_URL, which must be able to create roles: it makes `impasto_api`
    and `impasto_worker` without a way to log in, which a deployment then gives them
    (`ALTER ROLE impasto_api LOGIN PASSWORD ...`). All of it happens or nothing; several may run it at once.

    `impastoctl up` does all that by itself.

    **Examples**

    * `IMPASTO_DATABASE_URL=postgresql://owner:secret@db/impasto impastoctl migrate`

    * `impastoctl migrate --down 0001`
    """
    from impasto_core.database import migrate as migrations

    url = Installation(state_dir).database_url
    if down:
        asyncio.run(migrations.downgrade(url, revision))
    else:
        asyncio.run(migrations.upgrade(url, revision))
    typer.echo(f"The schema is at {revision}.", err=True)
