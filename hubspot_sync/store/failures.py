"""What a failure of the database means to an operator, and what to do about it."""

import re
import sqlite3

from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, SQLAlchemyError

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import (
    Contended,
    DatabaseUnavailable,
    HubSpotSyncError,
    QueryTimedOut,
    RowLocked,
    RowRefused,
    WrongUsage,
)

SQLITE_BUSY_SECONDS = 5.0
"""How long SQLite waits for another program that keeps the database locked."""

_LOCK_TIMEOUT = "55P03"
_CONTENDED = ("40001", "40P01")
"""The SQLSTATEs of a conflict and a deadlock, which a transaction survives if it is tried again."""

_UNFIT_TABLE = ("0A000", "42809", "55000", "42P10", "428C9")
"""The SQLSTATEs of a statement that a view, or whatever else is no table, does not take.

Nor does a table where a rule or a publication stands against it, or a column is generated.
"""

_POLICY_CHECK = "ExecWithCheckOptions"
"""Where in the server a policy of row security refuses a row; the SQLSTATE is that of rights."""

_DATA_CLASSES = frozenset({"09", "22", "23", "27", "38", "39", "44", "45", "P0"})
"""SQLSTATE classes that blame what a row holds: data, constraints, view checks, triggers."""

_SERVERS_CLASSES = re.compile("[0-4]|5[34578]|72|F0|HV|XX")
"""SQLSTATE classes that PostgreSQL keeps for itself; any other is a trigger's own."""

_UNREADABLE_VALUES = ("22P02", "22003", "22007", "22008")
"""The SQLSTATEs of a text that is no value of the type wanted, or is out of its range."""

_TUPLE = re.compile(r"\(\d+,\d+\)")
"""In the context of an error, a row that the statement waited for, in whatever language."""

_ADDRESS = re.compile(r"[^\s()'\"=]+@[^\s()'\"]+")


class UnusableFile(sqlite3.OperationalError):
    """An SQLite file that this user cannot open or make, and why."""


def explain(error: SQLAlchemyError, table: str) -> HubSpotSyncError:
    """Return the error of ours that a database error amounts to.

    Args:
        error: from the driver, or from SQLAlchemy.
        table: the source's table.
    """
    cause = error.orig if isinstance(error, DBAPIError) else None
    words = _first_line(str(cause or error))
    code = getattr(cause, "pgcode", None)
    return (
        _explain_table(error, code, words, table)
        or _explain_refusal(error, code, words, table)
        or _explain_limit(cause, code, words, table)
        or _explain_file(cause, words)
        or DatabaseUnavailable(ErrorCode.DATABASE_UNAVAILABLE, words=words)
    )


def _explain_table(
    error: SQLAlchemyError, code: str | None, words: str, table: str
) -> WrongUsage | None:
    """Return the error of a table that is not what the sync needs; None where it is."""
    if code == "42P01" or "no such table" in words or is_missing_file(error):
        return WrongUsage(ErrorCode.TABLE_MISSING, table=table)
    if code == "42703" or "no such column" in words:
        return WrongUsage(ErrorCode.TABLE_LACKS_COLUMN, table=table, words=words)
    if code in _UNFIT_TABLE:
        return WrongUsage(ErrorCode.TABLE_UNFIT, table=table, words=words)
    return None


def _explain_refusal(
    error: SQLAlchemyError, code: str | None, words: str, table: str
) -> DatabaseUnavailable | None:
    """Return the error of a database that may be used, but not so; None where it is another."""
    if is_data_fault(error):
        # A trigger's words may hold the address; the driver's other lines, which do, are left out.
        return RowRefused(
            ErrorCode.ROW_REFUSED,
            table=table,
            words=_ADDRESS.sub("…", words),
            why=why_refused(error),
        )
    if code in ("42501", "25006") or "readonly database" in words:
        return DatabaseUnavailable(ErrorCode.DATABASE_READ_ONLY, table=table, words=words)
    if code == _LOCK_TIMEOUT:
        return RowLocked(ErrorCode.ROW_LOCKED, table=table, words=words)
    if code in _CONTENDED:
        return Contended(ErrorCode.DATABASE_CONTENDED, table=table, words=words)
    return None


def _explain_limit(
    cause: object, code: str | None, words: str, table: str
) -> DatabaseUnavailable | None:
    """Return the error of a database that has too little of something; None where it has not."""
    if re.search("too many (connections|clients)|connection slots|connection limit", words):
        return DatabaseUnavailable(ErrorCode.DATABASE_NO_CONNECTION, words=words)
    if code == "57014":
        context = getattr(getattr(cause, "diag", None), "context", None)
        if context and _TUPLE.search(context):
            return QueryTimedOut(ErrorCode.QUERY_WAITED_FOR_LOCK, table=table, words=words)
        return QueryTimedOut(ErrorCode.QUERY_TIMED_OUT, words=words)
    if code == "53100" or "disk is full" in words:
        return DatabaseUnavailable(ErrorCode.DATABASE_FULL, words=words)
    return None


def _explain_file(cause: object, words: str) -> DatabaseUnavailable | None:
    """Return the error that only a file can have; None where it has another."""
    if isinstance(cause, UnusableFile):
        return DatabaseUnavailable(ErrorCode.DATABASE_FILE_UNUSABLE, words=words)
    if "database is locked" in words:
        return DatabaseUnavailable(ErrorCode.DATABASE_LOCKED, seconds=SQLITE_BUSY_SECONDS)
    return None


def is_data_fault(error: SQLAlchemyError) -> bool:
    """Tell whether the database refuses a row for what it would hold, so that others may do.

    That is bad data, a constraint, a view's check option, or whatever a trigger raises; never a
    fault of the connection, of rights, or of another transaction.
    """
    code = getattr(error.orig, "pgcode", None) if isinstance(error, DBAPIError) else None
    if code is None:
        return isinstance(error, IntegrityError)
    if _is_policy_check(error):
        return True
    state_class = code[:2]
    return state_class in _DATA_CLASSES or not _SERVERS_CLASSES.match(state_class)


def why_not_asked(error: SQLAlchemyError) -> str | None:
    """Return why a question cannot be asked: a value in it is none of the column's type."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    if getattr(cause, "pgcode", None) not in _UNREADABLE_VALUES:
        return None
    return _first_line(str(cause))


def _is_policy_check(error: SQLAlchemyError) -> bool:
    cause = error.orig if isinstance(error, DBAPIError) else None
    return getattr(getattr(cause, "diag", None), "source_function", None) == _POLICY_CHECK


def why_refused(error: SQLAlchemyError) -> str:
    """Return the code and the rule by which the database refuses a row, in ASCII.

    Nothing that the row holds is in it, so that it can be stored and logged.
    """
    cause = error.orig if isinstance(error, DBAPIError) else None
    code = getattr(cause, "pgcode", None) or getattr(cause, "sqlite_errorname", None) or "no code"
    rule = getattr(getattr(cause, "diag", None), "constraint_name", None)
    if _is_policy_check(error):
        rule = "row security"
    told = f"{code}, {rule}" if rule else str(code)
    return told.encode("ascii", "replace").decode()[:100]


def _first_line(words: str) -> str:
    # The driver's first line names the fault; the password is in none of its messages, the
    # address may be, and what is left of a URL with one is taken out all the same.
    line = words.strip().splitlines()[0] if words.strip() else "no reason given"
    return re.sub(r"://[^@\s]*@", "://…@", line).rstrip(".")


def is_missing_file(error: SQLAlchemyError) -> bool:
    """Tell whether there is no SQLite file, and nothing that keeps one from being made."""
    return isinstance(error, OperationalError) and "unable to open database file" in str(error.orig)
