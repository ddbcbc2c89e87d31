"""What `doctor` asks the database: is it there, has it the table, may we write, is it the hour."""

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, cast, func, inspect, literal, select, text
from sqlalchemy.exc import DBAPIError

from hubspot_sync.errors import HubSpotSyncError
from hubspot_sync.report import Check, CheckState
from hubspot_sync.rules.alarm import span
from hubspot_sync.rules.lifecycle import ProcessingStatus, SyncStatus
from hubspot_sync.rules.settlement import MAX_ERROR_LENGTH
from hubspot_sync.store.database import transaction
from hubspot_sync.store.expressions import DatabaseTime
from hubspot_sync.store.indexes import has_index, wanted_indexes
from hubspot_sync.store.relation import (
    Kind,
    hides_rows,
    kind_of_table,
    missing_rights,
    why_not_writable,
)
from hubspot_sync.store.source_table import SourceTable

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


def look_at_database(engine: Engine, contacts: SourceTable) -> list[Check]:
    """Look at everything that a sync needs in the database; write nothing."""
    try:
        with transaction(engine, read_only=True) as connection:
            checks = [_server(connection)]
            columns = _columns(connection, contacts)
            kind = kind_of_table(connection, contacts)
            checks += _table(connection, contacts, columns, kind)
            if columns:
                checks += _rights(connection, contacts)
                checks.append(_clock(connection))
                checks += _time_zone(connection, contacts, columns)
        return checks + (_indexes(engine, contacts, kind) if kind and columns else [])
    except HubSpotSyncError as trouble:
        if trouble.exit_code < 3:
            mend = "Correct DATABASE_URL, or run hubspot-sync init-db."
            return [Check("database", CheckState.MEND, str(trouble), mend)]
        words, _, mend = str(trouble).partition(". ")
        # What a run would say of its contacts is no news here.
        mend = mend.partition("; what was not settled")[0].partition("; the contacts")[0]
        return [Check("database", CheckState.UNREACHABLE, words, f"{mend.rstrip('.')}.")]


def _server(connection: Connection) -> Check:
    if connection.dialect.name == "sqlite":
        version = connection.exec_driver_sql("SELECT sqlite_version()").scalar_one()
        return Check("database", CheckState.OK, f"SQLite {version}")
    version = connection.exec_driver_sql("SHOW server_version").scalar_one()
    words = f"PostgreSQL {version}"
    if int(connection.exec_driver_sql("SHOW server_version_num").scalar_one()) // 10_000 < 15:
        mend = f"Upgrade to PostgreSQL {OLDEST_POSTGRESQL} or newer."
        return Check("database", CheckState.MEND, words, mend)
    return Check("database", CheckState.OK, words)


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
        words, mend = f"there is no table {contacts.name}", "Correct DATABASE_URL, or run init-db."
        return [Check("table", CheckState.MEND, words, mend)]
    if not kind.is_table:
        words = f"{contacts.name} is {kind}, whose rows the sync cannot lock"
        mend = "Point DATABASE_URL, or its user's search_path, at the table behind it."
        return [Check("table", CheckState.MEND, words, mend)]
    missing = [name for name in contacts.source.all_columns if name not in columns]
    if missing:
        words = f"{contacts.name} lacks {', '.join(missing)}"
        return [Check("table", CheckState.MEND, words, "Add what is missing, or correct the URL.")]
    wrong = [
        fault
        for key in _NEEDS
        if (fault := _fault_of(connection, contacts, key, columns[contacts.c[key].name]))
    ]
    if wrong:
        mend = "Alter the column; the README says what each is for."
        return [Check("table", CheckState.MEND, words, mend) for words in wrong]
    if connection.dialect.name == "postgresql" and not missing_rights(connection, contacts):
        why = why_not_writable(connection, contacts)
        if why:
            mend = (
                "Drop its rules for UPDATE, or make them triggers; let no column that the sync "
                "writes be generated; give it the REPLICA IDENTITY that its publications need."
            )
            return [
                Check("table", CheckState.MEND, f"{contacts.name} takes no update ({why})", mend)
            ]
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
) -> str | None:
    """Return why a column cannot hold what the sync writes, as far as its type tells."""
    need, name, kind = _NEEDS[key], column["name"], column["type"]
    missing = [label for label in _LABELS.get(key, ()) if not _takes_label(connection, kind, label)]
    if missing:
        return f"{name} does not take {', '.join(missing)}"
    kind = _without_domain(kind)
    if not getattr(kind, "enums", None) and not _is(kind, need):
        return f"{name} is {kind}, not {_KINDS[need.kind]}"
    length, wanted = getattr(kind, "length", None), need.length
    if key == "last_failed_crm":
        wanted = len(contacts.source.crm_name)
    if wanted and length and length < wanted:
        return f"{name} takes {length} characters, fewer than {wanted}"
    if need.is_cleared and not column["nullable"]:
        return f"{name} does not take NULL"
    if key == "retry_count" and column["nullable"]:
        return f"{name} takes NULL, which no program that counts in it expects"
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
        mend = f"GRANT SELECT, UPDATE ON {contacts.name} TO the user in DATABASE_URL;"
        return [Check("rights", CheckState.MEND, f"no {' and no '.join(missing)}", mend)]
    if connection.exec_driver_sql("SHOW default_transaction_read_only").scalar_one() == "on":
        words = "this user's transactions are read-only"
        mend = "ALTER ROLE … SET default_transaction_read_only = off, or ask who runs the server."
        return [Check("rights", CheckState.MEND, words, mend)]
    if connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar_one():
        words, mend = "this is a replica", "Point DATABASE_URL at the primary server."
        return [Check("rights", CheckState.MEND, words, mend)]
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
    words = (
        f"enabled on {contacts.name}; it may hide contacts from this user, which are never sent "
        "then"
    )
    mend = (
        f"CREATE POLICY hubspot_sync ON {contacts.name} TO {user} USING (true) "
        "WITH CHECK (true); or, where a restrictive policy stands against it, "
        f"ALTER ROLE {user} BYPASSRLS;"
    )
    return [Check("row security", CheckState.MEND, words, mend)]


def _rights_to_file(path: Path) -> list[Check]:
    """SQLite writes a journal beside the file, so it needs the folder, too."""
    places = (path, path.parent)
    closed = [str(each) for each in places if not os.access(each, os.W_OK, effective_ids=True)]
    if not closed:
        return []
    mend = "Run as the user who owns the file, or give the program's user both."
    words = f"this user may not write {' and '.join(closed)}"
    return [Check("rights", CheckState.MEND, words, mend)]


def _clock(connection: Connection) -> Check:
    there: datetime = connection.execute(select(DatabaseTime())).scalar_one()
    skew = abs(there - datetime.now(UTC))
    words = f"{span(skew)} between the database's and this machine's"
    if skew > MOST_SKEW:
        mend = "Let both machines keep their clocks by NTP. Leases are safe: the database's counts."
        return Check("clocks", CheckState.MEND, words, mend)
    return Check("clocks", CheckState.OK, words)


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
    words = f"{name} keeps no zone, and sessions are in {zone}"
    mend = "Let the app write UTC: ALTER DATABASE … SET timezone TO 'UTC';"
    return [Check("time zone", CheckState.MEND, words, mend)]


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
        return [Check("indexes", CheckState.UNKNOWN, f"none can be made on {kind}")]
    wanted = [each.name for each in wanted_indexes(contacts)]
    missing = [name for name in wanted if not has_index(engine, contacts, name)]
    if missing and not _is_long(engine, contacts):
        return [Check("indexes", CheckState.OK, "none; a queue of many thousands wants them")]
    if missing:
        words = f"missing: {', '.join(missing)}"
        mend = "Let the table's owner run hubspot-sync init-db --indexes."
        return [Check("indexes", CheckState.MEND, words, mend)]
    return [Check("indexes", CheckState.OK, "all that the queue wants")]
