"""The contacts table that `init-db` makes where there is none, for use without the app."""

from typing import Any

from sqlalchemy import (
    Column,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    Uuid,
    inspect,
    text,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.schema import CreateTable

from hubspot_sync.rules.source import Source
from hubspot_sync.store.database import transaction
from hubspot_sync.store.expressions import DatabaseTime, NewKey, UtcDateTime
from hubspot_sync.store.failures import explain, is_missing_file

_UUID = String(36).with_variant(Uuid(as_uuid=False), "postgresql")


def embedded_table(source: Source) -> Table:
    """Return the table of a source, under the names that the source gives its columns."""
    queue = source.queue
    columns: list[Column[Any]] = [
        Column(source.key, _UUID, primary_key=True, server_default=NewKey()),
        Column(source.email, String),
        *(Column(name, String) for name in source.columns),
        Column(queue.decision, String),
        Column(queue.state, String),
        Column(queue.error, Text),
        Column(queue.record_id, String),
        Column(queue.retry_count, Integer, nullable=False, server_default=text("0")),
        Column(queue.next_retry_at, UtcDateTime),
        Column(queue.last_retry_at, UtcDateTime),
        Column(queue.failed_crm, String),
        Column("created_at", UtcDateTime, nullable=False, server_default=DatabaseTime()),
        Column(queue.updated_at, UtcDateTime, nullable=False, server_default=DatabaseTime()),
    ]
    each_once = {column.name: column for column in reversed(columns)}
    schema, _, name = source.table.rpartition(".")
    return Table(name, MetaData(), *reversed(each_once.values()), schema=schema or None)


def has_table(engine: Engine, source: Source) -> bool:
    """Tell whether the database has the source's table."""
    schema, _, name = source.table.rpartition(".")
    try:
        return inspect(engine).has_table(name, schema=schema or None)
    except OperationalError as error:
        if is_missing_file(error):
            return False
        raise explain(error, source.table) from error


def create_table(engine: Engine, source: Source) -> bool:
    """Make the source's table for embedded use; return False where there is one already."""
    if has_table(engine, source):
        return False
    with transaction(engine) as connection:
        connection.execute(CreateTable(embedded_table(source), if_not_exists=True))
    return True
