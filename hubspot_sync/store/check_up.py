"""What `doctor` asks the database: is it there, has it the table, may we write, is it the hour."""

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, cast, func, inspect, literal, select, text
from sqlalchemy.exc import DBAPIError

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import HubSpotSyncError
from hubspot_sync.report import Check, CheckState
from hubspot_sync.rules.alarm import span
from hubspot_sync.rules.lifecycle import ProcessingStatus, SyncStatus
from hubspot_sync.rules.mapping import PropertyMapping
from hubspot_sync.rules.settlement import MAX_ERROR_LENGTH
from hubspot_sync.rules.source_fit import faults_of_lookup, faults_of_source
from hubspot_sync.sentences import Message
from hubspot_sync.store.catalogue import found_table
from hubspot_sync.store.database import transaction
from hubspot_sync.store.expressions import DatabaseTime
from hubspot_sync.store.indexes import missing_indexes
from hubspot_sync.store.relation import (
    Kind,
    hides_rows,
    kind_of_table,
    missing_rights,
    no_table,
    why_not_writable,
)
from hubspot_sync.store.source_table import SourceTable

_NO_MAPPING = PropertyMapping(())
OLDEST_POSTGRESQL = 15
MANY_CONTACTS = 10_000
"""A table of fewer needs no index."""

MOST_SKEW = timedelta(minutes=1)
"""Clocks further apart than this make times in tables and logs hard to read."""

_LABELS: Mapping[str, Iterable[str]] = {
    "hubspot_sync_status": SyncStatus,
    "hubspot_processing_status": ProcessingStatus,
}
_UTC_ZONES = ("UTC", "Etc/UTC", "GMT", "Etc/GMT", "Zulu", "UCT", "Universal")


def look_at_database(
    engine: Engine, contacts: SourceTable, mapping: PropertyMapping = _NO_MAPPING
) -> list[Check]:
    """Look at everything that a sync needs in the database; write nothing.

    Args:
        engine: from `make_engine`.
        contacts: the table.
        mapping: whose file is named where the table is not as it says, with the other tables that
            it takes values from.
    """
    try:
        with transaction(engine, read_only=True) as connection:
            checks = [_server(connection)]
            columns = _columns(connection, contacts)
            kind = kind_of_table(connection, contacts)
            checks += _by_mapping(connection, contacts, mapping) or _table(
                connection, contacts, columns, kind
            )
            checks += _lookups(connection, mapping)
            if columns:
                checks += _rights(connection, contacts)
                checks.append(_clock(connection))
                checks += _time_zone(connection, contacts, columns)
        return checks + (_indexes(engine, contacts, kind) if kind and columns else [])
    except HubSpotSyncError as trouble:
        state = CheckState.FIX if trouble.exit_code < 3 else CheckState.UNREACHABLE
        return [Check.of("database", state, trouble.message)]


def _by_mapping(
    connection: Connection, contacts: SourceTable, mapping: PropertyMapping
) -> list[Check]:
    """Look for what a mapping file names; of the built-in one, whether the key names one row."""
    found = found_table(connection, contacts.name)
    faults = faults_of_source(contacts.source, mapping, found)
    if mapping.file is None:
        # The columns of a table that everybody has the same are told all in one line.
        others = [each for each in faults if each.code is not ErrorCode.MAPPING_KEY_NOT_UNIQUE]
        faults = [] if others else faults
    return [Check.of("table", CheckState.FIX, fault) for fault in faults]


def _lookups(connection: Connection, mapping: PropertyMapping) -> list[Check]:
    faults = [
        Check.of("lookups", CheckState.FIX, fault)
        for lookup in mapping.lookups
        for fault in faults_of_lookup(lookup, mapping, found_table(connection, lookup.table))
    ]
    names = ", ".join(lookup.name for lookup in mapping.lookups)
    return faults or ([Check("lookups", CheckState.OK, names)] if names else [])


def _server(connection: Connection) -> Check:
    if connection.dialect.name == "sqlite":
        version = connection.exec_driver_sql("SELECT sqlite_version()").scalar_one()
        return Check("database", CheckState.OK, f"SQLite {version}")
    version = connection.exec_driver_sql("SHOW server_version").scalar_one()
    if int(connection.exec_driver_sql("SHOW server_version_num").scalar_one()) // 10_000 < 15:
        old = Message(ErrorCode.DATABASE_TOO_OLD, version=version, oldest=OLDEST_POSTGRESQL)
        return Check.of("database", CheckState.FIX, old)
    return Check("database", CheckState.OK, f"PostgreSQL {version}")


def _columns(connection: Connection, contacts: SourceTable) -> dict[str, Any]:
    found, table = inspect(connection), contacts.table
    if not found.has_table(table.name, schema=table.schema):
        return {}
    described = found.get_columns(table.name, schema=table.schema)
    return {column["name"]: column for column in described}


def _table(
    connection: Connection,
    contacts: SourceTable,
    columns: Mapping[str, Any],
    kind: Kind | None,
) -> list[Check]:
    if not columns or kind is None:
        return [Check.of("table", CheckState.FIX, no_table(connection, contacts.name))]
    if not kind.is_table:
        unfit = Message(ErrorCode.TABLE_NOT_LOCKABLE, table=contacts.name, kind=kind)
        return [Check.of("table", CheckState.FIX, unfit)]
    missing = [name for name in contacts.source.all_columns if name not in columns]
    if missing:
        lacks = Message(ErrorCode.COLUMNS_MISSING, table=contacts.name, columns=", ".join(missing))
        return [Check.of("table", CheckState.FIX, lacks)]
    wrong = [
        fault
        for key in _NEEDS
        if (fault := _fault_of(connection, contacts, key, columns[contacts.c[key].name]))
    ]
    if wrong:
        return [Check.of("table", CheckState.FIX, fault) for fault in wrong]
    if connection.dialect.name == "postgresql" and not missing_rights(connection, contacts):
        why = why_not_writable(connection, contacts)
        if why:
            fixed = Message(ErrorCode.TABLE_TAKES_NO_UPDATE, table=contacts.name, why=why)
            return [Check.of("table", CheckState.FIX, fixed)]
    also = ", partitioned" if kind is Kind.PARTITIONED else ""
    columns_told = f"with all {len(contacts.source.all_columns)} columns{also}"
    return [Check("table", CheckState.OK, f"{contacts.name}, {columns_told}")]


class _Need(NamedTuple):
    """What a column must take.

    Attributes:
        length: characters at least; None where it is no text.
        kind: what its values are in Python.
        is_cleared: whether we write NULL into it.
    """

    length: int | None
    kind: type
    is_cleared: bool = False


_KINDS = {str: "text", int: "a whole number", datetime: "a time"}
_NEEDS = {
    # Without a length of its own where it is an enum type, whose labels are looked at.
    "hubspot_sync_status": _Need(10, str),
    "hubspot_processing_status": _Need(10, str, is_cleared=True),
    "hubspot_processing_error": _Need(MAX_ERROR_LENGTH, str, is_cleared=True),
    "hubspot_contact_id": _Need(20, str, is_cleared=True),
    "retry_count": _Need(None, int),
    "next_retry_at": _Need(None, datetime, is_cleared=True),
    "last_retry_at": _Need(None, datetime, is_cleared=True),
    "last_failed_crm": _Need(None, str, is_cleared=True),
    "updated_at": _Need(None, datetime),
}


def _fault_of(
    connection: Connection, contacts: SourceTable, key: str, column: Mapping[str, Any]
) -> Message | None:
    """Return why a column cannot hold what the sync writes, as far as its type tells."""
    need, name, kind = _NEEDS[key], column["name"], column["type"]
    missing = [label for label in _LABELS.get(key, ()) if not _takes_label(connection, kind, label)]
    if missing:
        return Message(ErrorCode.COLUMN_LACKS_LABELS, column=name, labels=", ".join(missing))
    kind = _without_domain(kind)
    if not getattr(kind, "enums", None) and not _is(kind, need):
        wanted = _KINDS[need.kind]
        return Message(ErrorCode.COLUMN_TYPE_WRONG, column=name, kind=kind, wanted=wanted)
    length, least = getattr(kind, "length", None), need.length
    if key == "last_failed_crm":
        least = len(contacts.source.crm_name)
    if least and length and length < least:
        return Message(ErrorCode.COLUMN_TOO_SHORT, column=name, length=length, least=least)
    if need.is_cleared and not column["nullable"]:
        return Message(ErrorCode.COLUMN_NOT_NULL, column=name)
    if key == "retry_count" and column["nullable"]:
        return Message(ErrorCode.COLUMN_NULLABLE, column=name)
    return None


def _takes_label(connection: Connection, kind: Any, label: str) -> bool:
    labels = getattr(kind, "enums", None)
    if labels:
        return label in labels
    if kind is _without_domain(kind):
        return True
    try:
        with connection.begin_nested():
            # A cast cuts what is too long, without a word.
            return bool(connection.execute(select(cast(literal(label), kind))).scalar() == label)
    except DBAPIError:
        return False


def _without_domain(kind: Any) -> Any:
    """Return the type below PostgreSQL's domains."""
    while hasattr(kind, "data_type"):
        kind = kind.data_type
    return kind


def _is(kind: Any, need: _Need) -> bool:
    try:
        found = kind.python_type
    except NotImplementedError:
        return True
    return issubclass(found, need.kind)


def _rights(connection: Connection, contacts: SourceTable) -> list[Check]:
    if connection.dialect.name == "sqlite":
        found = connection.exec_driver_sql(
            "SELECT file FROM pragma_database_list WHERE name = 'main'"
        )
        return _rights_to_file(Path(found.scalar_one()))
    missing = missing_rights(connection, contacts)
    if missing:
        lacks = Message(ErrorCode.RIGHTS_MISSING, table=contacts.name, rights=missing)
        return [Check.of("rights", CheckState.FIX, lacks)]
    if connection.exec_driver_sql("SHOW default_transaction_read_only").scalar_one() == "on":
        return [Check.of("rights", CheckState.FIX, Message(ErrorCode.TRANSACTIONS_READ_ONLY))]
    if connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar_one():
        return [Check.of("rights", CheckState.FIX, Message(ErrorCode.DATABASE_IS_REPLICA))]
    return [
        Check("rights", CheckState.OK, "may read and write the table"),
        *_row_security(connection, contacts),
    ]


def _row_security(connection: Connection, contacts: SourceTable) -> list[Check]:
    is_hiding = hides_rows(connection, contacts)
    if is_hiding is None:
        return []
    if not is_hiding:
        shown = "enabled, with policies that show this user every contact"
        return [Check("row security", CheckState.OK, shown)]
    user = connection.exec_driver_sql("SELECT quote_ident(current_user)").scalar_one()
    hidden = Message(ErrorCode.ROWS_MAY_BE_HIDDEN, table=contacts.name, user=user)
    return [Check.of("row security", CheckState.FIX, hidden)]


def _rights_to_file(path: Path) -> list[Check]:
    """SQLite writes a journal beside the file, so it needs the folder, too."""
    places = (path, path.parent)
    closed = [str(each) for each in places if not os.access(each, os.W_OK, effective_ids=True)]
    if not closed:
        return []
    found = Message(ErrorCode.FILE_NOT_WRITABLE, paths=" and ".join(closed))
    return [Check.of("rights", CheckState.FIX, found)]


def _clock(connection: Connection) -> Check:
    there: datetime = connection.execute(select(DatabaseTime())).scalar_one()
    skew = abs(there - datetime.now(UTC))
    apart = Message(ErrorCode.CLOCKS_APART, skew=span(skew))
    if skew > MOST_SKEW:
        return Check.of("clocks", CheckState.FIX, apart)
    return Check("clocks", CheckState.OK, apart.what)


def _time_zone(
    connection: Connection, contacts: SourceTable, columns: Mapping[str, Any]
) -> list[Check]:
    """A column without a zone, written by sessions in another zone, moves leases by hours."""
    name = contacts.c.updated_at.name
    if name not in columns:
        return []
    is_naive = not getattr(columns[name]["type"], "timezone", True)
    if connection.dialect.name == "sqlite" or not is_naive:
        return []
    usual = text("SELECT reset_val FROM pg_settings WHERE name = 'TimeZone'")
    zone = connection.execute(usual).scalar_one()
    if zone in _UTC_ZONES:
        return []
    return [
        Check.of(
            "time zone",
            CheckState.FIX,
            Message(ErrorCode.TIME_ZONE_NOT_UTC, column=name, zone=zone),
        )
    ]


def _is_long(engine: Engine, contacts: SourceTable) -> bool:
    """Tell whether the queue may be long; without the right to look, it may."""
    some = select(contacts.c.id).limit(MANY_CONTACTS + 1).subquery()
    try:
        with transaction(engine, read_only=True) as connection:
            counted = connection.execute(select(func.count()).select_from(some)).scalar_one()
    except HubSpotSyncError:
        return True
    return int(counted) > MANY_CONTACTS


def _indexes(engine: Engine, contacts: SourceTable, kind: Kind) -> list[Check]:
    if not kind.is_table:
        impossible = Message(ErrorCode.INDEXES_IMPOSSIBLE, kind=kind)
        return [Check.of("indexes", CheckState.UNKNOWN, impossible)]
    missing = missing_indexes(engine, contacts)
    if missing and not _is_long(engine, contacts):
        return [Check("indexes", CheckState.OK, "none; a queue of many thousands needs them")]
    if missing:
        lacks = Message(ErrorCode.INDEXES_MISSING, indexes=", ".join(missing))
        return [Check.of("indexes", CheckState.FIX, lacks)]
    return [Check("indexes", CheckState.OK, "all that the queue wants")]
