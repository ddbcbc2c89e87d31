"""The source's table as statements name it: by what a column is for, not by what it is called."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Dialect,
    Engine,
    Integer,
    Label,
    MetaData,
    Select,
    String,
    Table,
    Text,
    select,
)
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from hubspot_sync.rules.source import Source
from hubspot_sync.store.expressions import DatabaseTime, KeyType, UtcDateTime, ValueType

NOW = "hubspot_sync_now"
"""The label of the database's time, which comes with each row."""


@dataclass(frozen=True)
class SourceTable:
    """One source's table; handed to everything that reads or writes it.

    In `c`, a column goes by the name that the built-in source gives it (`c.retry_count`), whatever
    the table calls it; so do the keys of a row that was selected, and of what is written.
    """

    source: Source

    @property
    def name(self) -> str:
        """The name as the mapping has it."""
        return self.source.table

    @cached_property
    def table(self) -> Table:
        """The table, for a statement's FROM."""
        schema, _, name = self.source.table.rpartition(".")
        return Table(name, MetaData(), *self._columns(), schema=schema or None)

    @property
    def c(self) -> ReadOnlyColumnCollection[str, Column[Any]]:
        """The columns that have a part in the queue."""
        return self.table.c

    def _columns(self) -> list[Column[Any]]:
        source, queue = self.source, self.source.queue
        roles: list[Column[Any]] = [
            # Plain strings for statuses: they work on string columns and, since literals have no
            # type yet when PostgreSQL reads them, on the app's enum columns too.
            Column(source.key, KeyType, primary_key=True, key="id"),
            Column(source.email, String, key="email"),
            Column(queue.decision, String, key="hubspot_sync_status"),
            Column(queue.state, String, key="hubspot_processing_status"),
            Column(queue.error, Text, key="hubspot_processing_error"),
            Column(queue.record_id, String, key="hubspot_contact_id"),
            Column(queue.retry_count, Integer, key="retry_count"),
            Column(queue.next_retry_at, UtcDateTime, key="next_retry_at"),
            Column(queue.last_retry_at, UtcDateTime, key="last_retry_at"),
            Column(queue.failed_crm, String, key="last_failed_crm"),
            Column(queue.updated_at, UtcDateTime, key="updated_at"),
        ]
        known = {column.name for column in roles}
        return roles + [
            Column(name, ValueType, key=_value_label(name))
            for name in dict.fromkeys(source.columns)
            if name not in known
        ]

    @cached_property
    def selected(self) -> tuple[Label[Any], ...]:
        """The columns to select or to return, each under the key that it has in `c`."""
        return tuple(column.label(key) for key, column in self.table.c.items())

    @cached_property
    def selected_values(self) -> tuple[Label[Any], ...]:
        """Of those columns, what HubSpot may get, with the row's key and the record's id."""
        wanted = {"id", "email", "hubspot_contact_id", *(key for _, key in self.value_keys)}
        return tuple(column.label(key) for key, column in self.table.c.items() if key in wanted)

    def value_key(self, column: str) -> str:
        """Return the key in `c`, and in a row, of a column that the mapping reads."""
        found = next((key for key, each in self.table.c.items() if each.name == column), None)
        return found or _value_label(column)

    @cached_property
    def value_keys(self) -> tuple[tuple[str, str], ...]:
        """The mapped columns, each with its key in a row."""
        return tuple((name, self.value_key(name)) for name in self.source.columns)

    def rows(self) -> Select[Any]:
        """Return the query for rows, each with the database's time."""
        return select(*self.selected, DatabaseTime().label(NOW))

    @property
    def written(self) -> tuple[str, ...]:
        """The table's names of the columns that we write; all others are read alone."""
        return self.source.queue.names

    def quoted(self, on: Connection | Engine | Dialect) -> str:
        """Return the name as SQL has it, which is what PostgreSQL's `to_regclass` takes."""
        dialect = on if isinstance(on, Dialect) else on.dialect
        return dialect.identifier_preparer.format_table(self.table)


def _value_label(column: str) -> str:
    return f"value of {column}"
