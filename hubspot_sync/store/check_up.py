"""What `doctor` asks the database: is it there, has it the table, may we write, is it the hour."""

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Engine, String, cast, func, inspect, literal, select, text
from sqlalchemy.exc import DBAPIError

from hubspot_sync.errors import HubSpotSyncError
from hubspot_sync.report import Check, CheckState
from hubspot_sync.rules.alarm import span
from hubspot_sync.rules.lifecycle import CRM, ProcessingStatus, SyncStatus
from hubspot_sync.rules.settlement import MAX_ERROR_LENGTH
from hubspot_sync.store.database import transaction
from hubspot_sync.store.indexes import INDEXES, has_index
from hubspot_sync.store.relation import (
    Kind,
    hides_rows,
    kind_of_table,
    missing_rights,
    why_not_writable,
)
from hubspot_sync.store.table import TABLE, DatabaseTime, contacts

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


def look_at_database(engine: Engine) -> list[Check]:
    """Look at everything that a sync needs in the database; write nothing."""
    try:
        with transaction(engine, read_only=True) as connection:
            checks = [_server(connection)]
            columns = _columns(connection)
            kind = kind_of_table(connection)
            checks += _table(connection, columns, kind)
            if columns:
                checks += _rights(connection)
                checks.append(_clock(connection))
                checks += _time_zone(connection, columns)
        return checks + (_indexes(engine, kind) if kind and columns else [])
    except HubSpotSyncError as trouble:
        if trouble.exit_code < 3:
            mend = "Correct DATABASE_URL, or run hubspot-sync init-db."
            return [Check("database", CheckState.MEND, str(trouble), mend)]
        # What a run would say of its contacts is no news here.
        told = trouble.message
        fix = f"{told.fix}." if told.fix else ""
        return [Check("database", CheckState.UNREACHABLE, told.what, fix)]


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


def _columns(connection: Connection) -> dict[str, Any]:
    found = inspect(connection)
    if not found.has_table(TABLE):
        return {}
    return {described["name"]: described for described in found.get_columns(TABLE)}


def _table(connection: Connection, columns: Mapping[str, Any], kind: Kind | None) -> list[Check]:
    if not columns or kind is None:
        words, mend = f"there is no table {TABLE}", "Correct DATABASE_URL, or run init-db."
        return [Check("table", CheckState.MEND, words, mend)]
    if not kind.is_table:
        words = f"{TABLE} is {kind}, whose rows the sync cannot lock"
        mend = "Point DATABASE_URL, or its user's search_path, at the table behind it."
        return [Check("table", CheckState.MEND, words, mend)]
    missing = [column.name for column in contacts.columns if column.name not in columns]
    if missing:
        words = f"{TABLE} lacks {', '.join(missing)}"
        return [Check("table", CheckState.MEND, words, "Add what is missing, or correct the URL.")]
    wrong = [fault for name in _NEEDS if (fault := _fault_of(connection, name, columns[name]))]
    if wrong:
        mend = "Alter the column; the README says what each is for."
        return [Check("table", CheckState.MEND, words, mend) for words in wrong]
    if connection.dialect.name == "postgresql" and not missing_rights(connection):
        why = why_not_writable(connection)
        if why:
            mend = (
                "Drop its rules for UPDATE, or make them triggers; let no column that the sync "
                "writes be generated; give it the REPLICA IDENTITY that its publications need."
            )
            return [Check("table", CheckState.MEND, f"{TABLE} takes no update ({why})", mend)]
    also = ", partitioned" if kind is Kind.PARTITIONED else ""
    columns_told = f"with all {len(contacts.columns)} columns{also}"
    return [Check("table", CheckState.OK, f"{TABLE}, {columns_told}")]


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


_KINDS = {UUID: "a UUID", str: "text", int: "a whole number", datetime: "a time"}
_NEEDS = {
    "id": _Need(36, UUID),
    # Without a length of its own where it is an enum type, whose labels are looked at.
    "hubspot_sync_status": _Need(10, str),
    "hubspot_processing_status": _Need(10, str, is_cleared=True),
    "hubspot_processing_error": _Need(MAX_ERROR_LENGTH, str, is_cleared=True),
    "hubspot_contact_id": _Need(20, str, is_cleared=True),
    "retry_count": _Need(None, int),
    "next_retry_at": _Need(None, datetime, is_cleared=True),
    "last_retry_at": _Need(None, datetime, is_cleared=True),
    "last_failed_crm": _Need(len(CRM), str, is_cleared=True),
    "updated_at": _Need(None, datetime),
}


def _fault_of(connection: Connection, name: str, column: Mapping[str, Any]) -> str | None:
    """Return why a column cannot hold what the sync writes, as far as its type tells."""
    need, kind = _NEEDS[name], column["type"]
    missing = [
        label for label in _LABELS.get(name, ()) if not _takes_label(connection, kind, label)
    ]
    if missing:
        return f"{name} does not take {', '.join(missing)}"
    kind = _without_domain(kind)
    if not getattr(kind, "enums", None) and not _is(kind, need):
        return f"{name} is {kind}, not {_KINDS[need.kind]}"
    length = getattr(kind, "length", None)
    if need.length and length and length < need.length:
        return f"{name} takes {length} characters, fewer than {need.length}"
    if need.is_cleared and not column["nullable"]:
        return f"{name} does not take NULL"
    if name == "retry_count" and column["nullable"]:
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
    # SQLite keeps a UUID as text.
    return issubclass(found, need.kind) or (need.kind is UUID and isinstance(kind, String))


def _rights(connection: Connection) -> list[Check]:
    if connection.dialect.name == "sqlite":
        found = connection.exec_driver_sql(
            "SELECT file FROM pragma_database_list WHERE name = 'main'"
        )
        return _rights_to_file(Path(found.scalar_one()))
    missing = missing_rights(connection)
    if missing:
        mend = f"GRANT SELECT, UPDATE ON {TABLE} TO the user in DATABASE_URL;"
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
        *_row_security(connection),
    ]


def _row_security(connection: Connection) -> list[Check]:
    is_hiding = hides_rows(connection)
    if is_hiding is None:
        return []
    if not is_hiding:
        shown = "enabled, with policies that show this user every contact"
        return [Check("row security", CheckState.OK, shown)]
    user = connection.exec_driver_sql("SELECT quote_ident(current_user)").scalar_one()
    words = f"enabled on {TABLE}; it may hide contacts from this user, which are never sent then"
    mend = (
        f"CREATE POLICY hubspot_sync ON {TABLE} TO {user} USING (true) WITH CHECK (true); or, "
        f"where a restrictive policy stands against it, ALTER ROLE {user} BYPASSRLS;"
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


def _time_zone(connection: Connection, columns: Mapping[str, Any]) -> list[Check]:
    """A column without a zone, written by sessions in another zone, moves leases by hours."""
    if "updated_at" not in columns:
        return []
    is_naive = not getattr(columns["updated_at"]["type"], "timezone", True)
    if connection.dialect.name == "sqlite" or not is_naive:
        return []
    usual = text("SELECT reset_val FROM pg_settings WHERE name = 'TimeZone'")
    zone = connection.execute(usual).scalar_one()
    if zone in _UTC_ZONES:
        return []
    words = f"updated_at keeps no zone, and sessions are in {zone}"
    mend = "Let the app write UTC: ALTER DATABASE … SET timezone TO 'UTC';"
    return [Check("time zone", CheckState.MEND, words, mend)]


def _is_long(engine: Engine) -> bool:
    """Tell whether the queue may be long; without the right to look, it may."""
    some = select(contacts.c.id).limit(MANY_CONTACTS + 1).subquery()
    try:
        with transaction(engine, read_only=True) as connection:
            counted = connection.execute(select(func.count()).select_from(some)).scalar_one()
    except HubSpotSyncError:
        return True
    return int(counted) > MANY_CONTACTS


def _indexes(engine: Engine, kind: Kind) -> list[Check]:
    if not kind.is_table:
        return [Check("indexes", CheckState.UNKNOWN, f"none can be made on {kind}")]
    missing = [each.name for each in INDEXES if not has_index(engine, each.name)]
    if missing and not _is_long(engine):
        return [Check("indexes", CheckState.OK, "none; a queue of many thousands wants them")]
    if missing:
        words = f"missing: {', '.join(missing)}"
        mend = "Let the table's owner run hubspot-sync init-db --indexes."
        return [Check("indexes", CheckState.MEND, words, mend)]
    return [Check("indexes", CheckState.OK, "all that the queue wants")]
