"""Functions of the database, as tables to select from."""

from __future__ import annotations

from typing import TypeVar

from sqlalchemy import bindparam, column, func, inspect
from sqlalchemy.orm import aliased
from sqlmodel import SQLModel

Row = TypeVar("Row", bound=SQLModel)


def returned_by(function: str, table: type[Row], *parameters: str) -> type[Row]:
    """What a function gives that returns rows of a table, called with the statement's parameters."""
    call = getattr(func, function)(*map(bindparam, parameters))
    columns = [column(each.name, each.type) for each in inspect(table).local_table.columns]
    return aliased(table, call.table_valued(*columns), adapt_on_names=True)
