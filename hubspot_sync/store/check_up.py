"""What `doctor` asks the database: is it there, has it the table, may we write, is it the hour."""

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Engine, String, cast, func, inspect, literal, select, text
from sqlalchemy.exc import DBAPIError

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import HubSpotSyncError
from hubspot_sync.report import Check, CheckState
from hubspot_sync.rules.alarm import span
from hubspot_sync.rules.lifecycle import CRM, ProcessingStatus, SyncStatus
from hubspot_sync.rules.settlement import MAX_ERROR_LENGTH
from hubspot_sync.sentences import Message
from hubspot_sync.store.database import transaction
from hubspot_sync.store.indexes import INDEXES, has_index
from hubspot_sync.store.relation import (
    Kind,
    hides_rows,
    kind_of_table,
    missing_rights,
    no_table,
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
        state = CheckState.FIX if trouble.exit_code < 3 else CheckState.UNREACHABLE
        return [Check.of("database", state, trouble.message)]


def _server(connection: Connection) -> Check:
    if connection.dialect.name == "sqlite":
        version = connection.exec_driver_sql("SELECT sqlite_version()").scalar_one()
        return Check("database", CheckState.OK, f"SQLite {version}")
    version = connection.exec_driver_sql("SHOW server_version").scalar_one()
    if int(connection.exec_driver_sql("SHOW server_version_num").scalar_one()) // 10_000 < 15:
        old = Message(ErrorCode.DATABASE_TOO_OLD, version=version, oldest=OLDEST_POSTGRESQL)
        return Check.of("database", CheckState.FIX, old)
    return Check("database", CheckState.OK, f"PostgreSQL {version}")


def _columns(connection: Connection) -> dict[str, Any]:
    found = inspect(connection)
    if not found.has_table(TABLE):
        return {}
    return {described["name"]: described for described in found.get_columns(TABLE)}


def _table(connection: Connection, columns: Mapping[str, Any], kind: Kind | None) -> list[Check]:
    if not columns or kind is None:
        return [Check.of("table", CheckState.FIX, no_table(connection, TABLE))]
    if not kind.is_table:
        unfit = Message(ErrorCode.TABLE_NOT_LOCKABLE, table=TABLE, kind=kind)
        return [Check.of("table", CheckState.FIX, unfit)]
    missing = [column.name for column in contacts.columns if column.name not in columns]
    if missing:
        lacks = Message(ErrorCode.COLUMNS_MISSING, table=TABLE, columns=", ".join(missing))
        return [Check.of("table", CheckState.FIX, lacks)]
    wrong = [fault for name in _NEEDS if (fault := _fault_of(connection, name, columns[name]))]
    if wrong:
        return [Check.of("table", CheckState.FIX, fault) for fault in wrong]
    if connection.dialect.name == "postgresql" and not missing_rights(connection):
        why = why_not_writable(connection)
        if why:
            fixed = Message(ErrorCode.TABLE_TAKES_NO_UPDATE, table=TABLE, why=why)
            return [Check.of("table", CheckState.FIX, fixed)]
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


def _fault_of(connection: Connection, name: str, column: Mapping[str, Any]) -> Message | None:
    """Return why a column cannot hold what the sync writes, as far as its type tells."""
    need, kind = _NEEDS[name], column["type"]
    missing = [
        label for label in _LABELS.get(name, ()) if not _takes_label(connection, kind, label)
    ]
    if missing:
        return Message(ErrorCode.COLUMN_LACKS_LABELS, column=name, labels=", ".join(missing))
    kind = _without_domain(kind)
    if not getattr(kind, "enums", None) and not _is(kind, need):
        wanted = _KINDS[need.kind]
        return Message(ErrorCode.COLUMN_TYPE_WRONG, column=name, kind=kind, wanted=wanted)
    length = getattr(kind, "length", None)
    if need.length and length and length < need.length:
        least = need.length
        return Message(ErrorCode.COLUMN_TOO_SHORT, column=name, length=length, least=least)
    if need.is_cleared and not column["nullable"]:
        return Message(ErrorCode.COLUMN_NOT_NULL, column=name)
    if name == "retry_count" and column["nullable"]:
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
        lacks = Message(ErrorCode.RIGHTS_MISSING, table=TABLE, rights=missing)
        return [Check.of("rights", CheckState.FIX, lacks)]
    if connection.exec_driver_sql("SHOW default_transaction_read_only").scalar_one() == "on":
        return [Check.of("rights", CheckState.FIX, Message(ErrorCode.TRANSACTIONS_READ_ONLY))]
    if connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar_one():
        return [Check.of("rights", CheckState.FIX, Message(ErrorCode.DATABASE_IS_REPLICA))]
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
    hidden = Message(ErrorCode.ROWS_MAY_BE_HIDDEN, table=TABLE, user=user)
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
    return [Check.of("time zone", CheckState.FIX, Message(ErrorCode.TIME_ZONE_NOT_UTC, zone=zone))]


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
        impossible = Message(ErrorCode.INDEXES_IMPOSSIBLE, kind=kind)
        return [Check.of("indexes", CheckState.UNKNOWN, impossible)]
    missing = [each.name for each in INDEXES if not has_index(engine, each.name)]
    if missing and not _is_long(engine):
        return [Check("indexes", CheckState.OK, "none; a queue of many thousands wants them")]
    if missing:
        lacks = Message(ErrorCode.INDEXES_MISSING, indexes=", ".join(missing))
        return [Check.of("indexes", CheckState.FIX, lacks)]
    return [Check("indexes", CheckState.OK, "all that the queue wants")]
