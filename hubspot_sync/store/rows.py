"""Rows as they are read and written: between the table's columns and the rules' plain values.

A write returns the rows as the database has them afterwards: triggers may rewrite them, columns
round, and rules or triggers leave a row as it was, without a word.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, RowMapping, Update, case, update
from sqlalchemy.exc import DBAPIError

from hubspot_sync.errors import RowRefused
from hubspot_sync.rules.lifecycle import Changes, Row
from hubspot_sync.rules.mapping import Contact
from hubspot_sync.rules.source import Key
from hubspot_sync.store.failures import is_data_fault, why_refused
from hubspot_sync.store.source_table import NOW, SourceTable

Result = TypeVar("Result")

_VARYING = ("hubspot_processing_error", "hubspot_contact_id")


@dataclass(frozen=True, slots=True)
class LockedRow:
    """A row under its lock, with the database's time."""

    row: Row
    now: datetime


UNCHANGED = "a trigger or rule leaves the row as it is"
"""Why a row that was to be written did not change, where the database raised no error."""


@dataclass(frozen=True, slots=True)
class Written:
    """What became of writes.

    Attributes:
        rows: those that were written, by key, as the database has them now.
        refused: why the others were not, by key.
    """

    rows: Mapping[Key, Row] = field(default_factory=dict)
    refused: Mapping[Key, str] = field(default_factory=dict)


def rows_by_id(contacts: SourceTable, found: Any) -> dict[Key, LockedRow]:
    """Return what the query for rows found, by key."""
    return {
        entry["id"]: LockedRow(to_row(contacts, entry), entry[NOW]) for entry in found.mappings()
    }


def to_contact(contacts: SourceTable, found: RowMapping) -> Contact:
    """Return what HubSpot may get of a row."""
    return Contact(
        id=found["id"],
        email=found["email"],
        values=tuple((name, found[key]) for name, key in contacts.value_keys),
        hubspot_contact_id=found["hubspot_contact_id"],
    )


def to_row(contacts: SourceTable, found: RowMapping) -> Row:
    """Return a row as the rules know it."""
    return Row(
        contact=to_contact(contacts, found),
        sync_status=found["hubspot_sync_status"],
        processing_status=found["hubspot_processing_status"],
        error=found["hubspot_processing_error"],
        # NULL where somebody made the column without its default.
        retry_count=found["retry_count"] or 0,
        last_failed_crm=found["last_failed_crm"],
        next_retry_at=found["next_retry_at"],
        last_retry_at=found["last_retry_at"],
        updated_at=found["updated_at"],
        crm_name=contacts.source.crm_name,
    )


def write_rows(
    connection: Connection,
    contacts: SourceTable,
    writes: Iterable[tuple[Key, Changes]],
    *,
    singly: bool = False,
) -> Written:
    """Write each row's changes; those without changes are passed over.

    Args:
        connection: in a transaction.
        contacts: the table.
        writes: keys and changes.
        singly: one row at a time, so that a row which the database refuses keeps no other; else
            its refusal is raised.
    """
    wanted = [(contact_id, changes) for contact_id, changes in writes if changes]
    rows: dict[Key, Row] = {}
    refused: dict[Key, str] = {}
    for part in [[each] for each in wanted] if singly else [wanted]:
        try:
            if singly:
                with connection.begin_nested():
                    rows |= _write(connection, contacts, part)
            else:
                rows |= _write(connection, contacts, part)
        except DBAPIError as error:
            if not singly or not is_data_fault(error):
                raise
            refused[part[0][0]] = why_refused(error)
    for contact_id, _ in wanted:
        if contact_id not in rows:
            refused.setdefault(contact_id, UNCHANGED)
    return Written(rows, refused)


def _write(
    connection: Connection, contacts: SourceTable, writes: Iterable[tuple[Key, Changes]]
) -> dict[Key, Row]:
    """Write rows, one statement for all that change alike.

    Statuses and times are constants of a statement: an enum column takes a constant of no type,
    but refuses the text of a CASE. Only error and record id differ from row to row.
    """
    groups: dict[tuple[Any, ...], list[tuple[Key, Changes]]] = defaultdict(list)
    for contact_id, changes in writes:
        constant = tuple(
            (name, value) for name, value in sorted(changes.items()) if name not in _VARYING
        )
        varying = tuple(name for name in _VARYING if name in changes and changes[name] is not None)
        cleared = tuple(name for name in _VARYING if name in changes and changes[name] is None)
        groups[constant, varying, cleared].append((contact_id, changes))
    written: dict[Key, Row] = {}
    for (constant, varying, cleared), rows in groups.items():
        statement = _update(contacts, dict(constant) | dict.fromkeys(cleared), varying, rows)
        found = connection.execute(statement.returning(*contacts.selected)).mappings()
        written |= {entry["id"]: to_row(contacts, entry) for entry in found}
    return written


def _update(
    contacts: SourceTable,
    constant: Mapping[str, object],
    varying: Sequence[str],
    rows: Sequence[tuple[Key, Changes]],
) -> Update:
    ids = [contact_id for contact_id, _ in rows]
    # No WITH, which PostgreSQL refuses on a table with a rule that does something else as well.
    differing = {
        name: case(*((contacts.c.id == contact_id, changes[name]) for contact_id, changes in rows))
        for name in varying
    }
    return update(contacts.table).where(contacts.c.id.in_(ids)).values(**constant, **differing)


def singly_if_refused(write: Callable[[bool], Result]) -> Result:
    """Write rows together; where the database refuses one of them, each by itself."""
    try:
        return write(False)
    except RowRefused:
        return write(True)
