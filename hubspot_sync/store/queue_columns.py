"""The columns that the queue is kept in, for a table that lacks them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Engine, Table
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateColumn, ExecutableDDLElement
from sqlalchemy.sql.compiler import DDLCompiler

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import DatabaseUnavailable, WrongUsage
from hubspot_sync.rules.source import Source
from hubspot_sync.sentences import Message
from hubspot_sync.store.catalogue import found_table
from hubspot_sync.store.database import transaction
from hubspot_sync.store.embedded import embedded_table
from hubspot_sync.store.expressions import DatabaseTime
from hubspot_sync.store.settling import limit_waiting


class AddColumn(ExecutableDDLElement):
    """ALTER TABLE … ADD COLUMN, for one column."""

    def __init__(self, table: Table, column: Column[Any]) -> None:
        self.table = table
        self.column = column


@compiles(AddColumn)
def _add_column(element: AddColumn, compiler: DDLCompiler, **_: object) -> str:
    table = compiler.preparer.format_table(element.table)
    column = compiler.process(CreateColumn(element.column))
    return f"ALTER TABLE {table} ADD COLUMN {column}"


def missing_queue_columns(engine: Engine, source: Source) -> list[AddColumn]:
    """Return what would add the queue's columns that the table lacks, in this database's words.

    Raises:
        WrongUsage: there is no table, or it is a view.
    """
    with transaction(engine, read_only=True) as connection:
        found = found_table(connection, source.table)
    if isinstance(found, Message):
        raise WrongUsage(found.code, **found.data)
    if found.not_a_table:
        raise WrongUsage(ErrorCode.TABLE_NOT_LOCKABLE, table=source.table, kind=found.not_a_table)
    table = embedded_table(source)
    lacking = [name for name in source.queue.names if found.without(name, found.columns)]
    return [AddColumn(table, _addable(table.c[name], engine.dialect.name)) for name in lacking]


def _addable(column: Column[Any], dialect: str) -> Column[Any]:
    """Return a column as rows that there are can get it.

    SQLite adds none whose default is an expression; without one `updated_at` is NULL in new rows,
    which the queue takes for the longest wait.
    """
    default = getattr(column.server_default, "arg", None)
    if dialect == "sqlite" and isinstance(default, DatabaseTime):
        return Column(column.name, column.type)
    return column


def statement_of(engine: Engine, addition: AddColumn) -> str:
    """Return an addition as a person may run it."""
    return f"{addition.compile(dialect=engine.dialect)};"


def add_columns(engine: Engine, source: Source, additions: Sequence[AddColumn]) -> None:
    """Add columns, all or none; whoever has the table open is waited for briefly.

    Raises:
        RowLocked: another program has it open for longer.
        DatabaseUnavailable: the database refuses, usually because the user does not own the table.
    """
    try:
        with transaction(engine) as connection:
            limit_waiting(connection)
            for addition in additions:
                connection.execute(addition)
    except DatabaseUnavailable as refusal:
        if refusal.code is not ErrorCode.DATABASE_READ_ONLY:
            raise
        words = refusal.message.data["words"]
        raise DatabaseUnavailable(
            ErrorCode.COLUMNS_NEED_OWNER, table=source.table, words=words
        ) from refusal
