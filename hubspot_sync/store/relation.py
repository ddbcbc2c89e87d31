"""What stands under the table's name, and how much of it this user may see and write."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import ClauseElement, Connection, Executable, false, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from hubspot_sync.codes import ErrorCode
from hubspot_sync.sentences import Message
from hubspot_sync.store.source_table import SourceTable


class Kind(StrEnum):
    """What a relation is, in the words that an operator reads."""

    TABLE = "a table"
    PARTITIONED = "a partitioned table"
    VIEW = "a view"
    MATERIALIZED_VIEW = "a materialized view"
    FOREIGN_TABLE = "a foreign table"

    @property
    def is_table(self) -> bool:
        """Whether its rows can be locked, and it can have indexes."""
        return self in (Kind.TABLE, Kind.PARTITIONED)


_KINDS = {
    "r": Kind.TABLE,
    "p": Kind.PARTITIONED,
    "v": Kind.VIEW,
    "m": Kind.MATERIALIZED_VIEW,
    "f": Kind.FOREIGN_TABLE,
    # SQLite's words.
    "table": Kind.TABLE,
    "view": Kind.VIEW,
}


class Policy(NamedTuple):
    """A policy of row security that applies to this user.

    Attributes:
        command: `r` for SELECT, `w` for UPDATE, `*` for all.
        is_permissive: whether it adds rows; a restrictive one takes rows away.
        shown: the condition for rows that there are; None where the policy has none.
        taken: that for rows as they are written; None where it is the same.
    """

    command: str
    is_permissive: bool
    shown: str | None
    taken: str | None

    @property
    def is_open(self) -> bool:
        """Whether it lets every row through."""
        return self.shown == "true" and self.taken in (None, "true")


class _Explained(Executable, ClauseElement):
    """A statement without values that is explained instead of executed."""

    inherit_cache = False

    def __init__(self, statement: ClauseElement) -> None:
        self.statement = statement


@compiles(_Explained)
def _explained(element: _Explained, compiler: SQLCompiler, **_: object) -> str:
    return f"EXPLAIN {element.statement.compile(dialect=compiler.dialect)}"


def kind_of_table(connection: Connection, contacts: SourceTable) -> Kind | None:
    """Return what stands under the source's name; None where nothing does."""
    return kind_of(connection, contacts.name)


def kind_of(connection: Connection, table: str) -> Kind | None:
    """Return what stands under a name that the mapping has; None where nothing does."""
    if connection.dialect.name == "sqlite":
        name = table.rpartition(".")[2]
        query = text(
            "SELECT type FROM sqlite_master WHERE lower(name) = lower(:table) "
            "AND type IN ('table', 'view')"
        )
    else:
        name = quoted_name(connection, table)
        query = text("SELECT relkind FROM pg_class WHERE oid = to_regclass(:table)")
    found = connection.execute(query, {"table": name}).scalar_one_or_none()
    return None if found is None else _KINDS.get(found, Kind.TABLE)


def quoted_name(connection: Connection, table: str) -> str:
    """Return the name as SQL has it, which is what PostgreSQL's `to_regclass` takes."""
    schema, _, name = table.rpartition(".")
    quote = connection.dialect.identifier_preparer.quote
    return ".".join(quote(part) for part in (schema, name) if part)


def no_table(connection: Connection, table: str) -> Message:
    """Return what is said of a table that this user does not find.

    PostgreSQL passes over a schema that this user may not use as if it were not there.
    """
    if connection.dialect.name == "postgresql":
        schema, _, name = table.rpartition(".")
        query = text(
            "SELECT nspname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
            "WHERE relname = :name AND relkind IN ('r', 'p', 'v', 'm', 'f') "
            "AND (nspname = :schema OR :schema = '') "
            "AND NOT has_schema_privilege(pg_namespace.oid, 'USAGE') ORDER BY nspname LIMIT 1"
        )
        found = connection.execute(query, {"name": name, "schema": schema}).scalar_one_or_none()
        if found is not None:
            return Message(ErrorCode.SCHEMA_CLOSED, schema=found, table=name)
    return Message(ErrorCode.TABLE_MISSING, table=table)


def is_locked(connection: Connection, table: str) -> bool:
    """Tell whether another session keeps readers or writers of the table waiting."""
    query = text(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = to_regclass(:table) AND granted "
        "AND pid <> pg_backend_pid() AND mode IN ('AccessExclusiveLock', 'ExclusiveLock', "
        "'ShareRowExclusiveLock', 'ShareLock'))"
    )
    return bool(connection.execute(query, {"table": table}).scalar_one())


def missing_rights(connection: Connection, contacts: SourceTable) -> list[str]:
    """Return what PostgreSQL does not let this user do, such as `UPDATE on retry_count`.

    Columns count, for rights may be given or taken one by one.
    """
    query = text(
        "SELECT attname, has_column_privilege(attrelid, attnum, 'SELECT') AS may_read, "
        "has_column_privilege(attrelid, attnum, 'UPDATE') AS may_write FROM pg_attribute "
        "WHERE attrelid = to_regclass(:table) AND attnum > 0 AND NOT attisdropped"
    )
    columns = connection.execute(query, {"table": contacts.quoted(connection)}).all()
    readable = {column.attname for column in columns if column.may_read}
    writable = {column.attname for column in columns if column.may_write}
    there = {column.attname for column in columns}
    read = [name for name in contacts.source.all_columns if name in there]
    written = [name for name in contacts.written if name in there]
    return [*_missing("SELECT", read, readable), *_missing("UPDATE", written, writable)]


def _missing(right: str, wanted: Sequence[str], held: Iterable[str]) -> list[str]:
    lacking = [name for name in wanted if name not in held]
    if not lacking:
        return []
    return [right if lacking == wanted else f"{right} on {', '.join(lacking)}"]


def why_not_writable(connection: Connection, contacts: SourceTable) -> str | None:
    """Return why PostgreSQL takes no update of the table, in its words; None where it takes them.

    It is asked to explain one, which changes nothing: of a view, a rule, a generated column or a
    publication it says the same there as at a claim.
    """
    columns = [column for column in contacts.c if column.name in contacts.written]
    an_update = update(contacts.table).where(false()).values({column: column for column in columns})
    try:
        with connection.begin_nested():
            connection.execute(_Explained(an_update.returning(contacts.c.id)))
    except DBAPIError as error:
        diag = getattr(error.orig, "diag", None)
        words = [getattr(diag, part, None) for part in ("message_primary", "message_detail")]
        return ": ".join(filter(None, words)) or str(error.orig)
    return None


def hides_rows(connection: Connection, contacts: SourceTable) -> bool | None:
    """Tell whether row security may hide contacts; None where it does not apply to this user."""
    is_active = text("SELECT row_security_active(to_regclass(:table)::oid)")
    if not connection.execute(is_active, {"table": contacts.quoted(connection)}).scalar_one():
        return None
    return not shows_all(_policies(connection, contacts))


def shows_all(policies: Sequence[Policy]) -> bool:
    """Tell whether policies let this user see and write every row."""
    opened = {each.command for each in policies if each.is_permissive and each.is_open}
    is_opened = "*" in opened or {"r", "w"} <= opened
    return is_opened and all(each.is_permissive or each.is_open for each in policies)


def _policies(connection: Connection, contacts: SourceTable) -> list[Policy]:
    query = text(
        "SELECT polcmd, polpermissive, pg_get_expr(polqual, polrelid), "
        "pg_get_expr(polwithcheck, polrelid) FROM pg_policy "
        "WHERE polrelid = to_regclass(:table) AND polcmd IN ('*', 'r', 'w') AND EXISTS "
        "(SELECT FROM unnest(polroles) AS role WHERE role = 0 OR pg_has_role(role, 'USAGE'))"
    )
    found: Any = connection.execute(query, {"table": contacts.quoted(connection)})
    return [Policy(*each) for each in found]
