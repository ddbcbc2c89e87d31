"""The indexes that a long queue wants, made while the app goes on writing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Index,
    MetaData,
    Table,
    func,
    text,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.schema import CreateIndex, DropIndex

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import DatabaseUnavailable, HubSpotSyncError, WrongUsage
from hubspot_sync.store.database import table_of, transaction
from hubspot_sync.store.due import Due
from hubspot_sync.store.failures import explain
from hubspot_sync.store.index_forms import form_of_found, form_of_wanted
from hubspot_sync.store.relation import Kind, kind_of_table
from hubspot_sync.store.source_table import SourceTable


@dataclass(frozen=True, slots=True)
class WantedIndex:
    """An index of the table, or of one of its partitions.

    Attributes:
        keys: what it is ordered by, of the table that is given.
        condition: of the rows in it; None for all.
    """

    name: str
    keys: Callable[[Table], Sequence[ColumnElement[Any]]]
    condition: ColumnElement[bool] | None = None


MOST_NAME_LENGTH = 63
"""PostgreSQL cuts a longer name, without a word."""


def wanted_indexes(contacts: SourceTable) -> tuple[WantedIndex, ...]:
    """Return what `init-db --indexes` makes: three for claims, two for the question of a rename.

    One table may have a set for each of our names; the built-in source's have no more in theirs.
    """
    due, source = Due(contacts), contacts.source

    def named(purpose: str) -> str:
        is_built_in = source.table == "contacts" and source.crm_name == "hubspot"
        prefix = "hubspot_sync" if is_built_in else f"{contacts.table.name}_{source.crm_name}_sync"
        return f"{prefix[: MOST_NAME_LENGTH - len(purpose) - 1]}_{purpose}"

    return (
        WantedIndex(named("ready"), lambda t: (t.c.updated_at, t.c.id), due.ready),
        WantedIndex(named("timed"), lambda t: (t.c.next_retry_at, t.c.id), due.timed),
        WantedIndex(named("processing"), lambda t: (t.c.updated_at, t.c.id), due.is_marked),
        # Who else has a part in a record that would get a new address.
        WantedIndex(named("record_id"), lambda t: (t.c.hubspot_contact_id,)),
        WantedIndex(named("email"), lambda t: (func.lower(func.trim(t.c.email)),)),
    )


def create_indexes(engine: Engine, contacts: SourceTable) -> list[tuple[str, bool]]:
    """Make the indexes that a claim wants, and return of each whether it is new.

    On PostgreSQL CONCURRENTLY, for the app goes on writing meanwhile; so outside a transaction.
    An index that an earlier attempt left half made, or that has our name and other columns, is made
    anew.

    Raises:
        WrongUsage: there is no table, or it is a view.
        DatabaseUnavailable: the database refuses, usually because the user does not own the table.
    """
    is_concurrent = engine.dialect.name == "postgresql"
    options = {"isolation_level": "AUTOCOMMIT"} if is_concurrent else {}
    try:
        with engine.execution_options(**options).begin() as connection:
            kind = _require_indexable(connection, contacts)
            return [
                (wanted.name, _create_index(connection, contacts, kind, wanted))
                for wanted in wanted_indexes(contacts)
            ]
    except SQLAlchemyError as error:
        raise _explain_index(error, contacts.name) from error


def has_index(engine: Engine, contacts: SourceTable, name: str) -> bool:
    """Tell whether the database has one of the indexes under its name, whole."""
    (wanted,) = (each for each in wanted_indexes(contacts) if each.name == name)
    try:
        with engine.connect() as connection:
            return _is_whole(connection, contacts, _on_copy(contacts, wanted)) is True
    except SQLAlchemyError as error:
        raise explain(error, table_of(engine)) from error


def missing_indexes(engine: Engine, contacts: SourceTable) -> list[str]:
    """Return the indexes that the table has under no name, whole.

    On PostgreSQL they are told by keys and condition: the app may have one of them already, and one
    of our names may be left from other columns. An SQLite file is one program's, and its indexes
    have our names or are none.
    """
    wanted = wanted_indexes(contacts)
    if engine.dialect.name == "sqlite":
        return [each.name for each in wanted if not has_index(engine, contacts, each.name)]
    query = text(
        "SELECT pg_get_indexdef(indexrelid) FROM pg_index "
        "WHERE indrelid = to_regclass(:table) AND indisvalid"
    )
    with transaction(engine, read_only=True) as connection:
        found = connection.scalars(query, {"table": contacts.quoted(connection)})
        forms = {form_of_found(definition) for definition in found}
    return [
        each.name
        for each in wanted
        if form_of_wanted(_on_copy(contacts, each), engine.dialect) not in forms
    ]


def require_indexable(engine: Engine, contacts: SourceTable) -> None:
    """Find out whether the table can have indexes.

    Raises:
        WrongUsage: it is a view, or another thing that has none.
    """
    with transaction(engine, read_only=True) as connection:
        _require_indexable(connection, contacts)


def _require_indexable(connection: Connection, contacts: SourceTable) -> Kind:
    kind = kind_of_table(connection, contacts) or Kind.TABLE
    if not kind.is_table:
        raise WrongUsage(ErrorCode.TABLE_CANNOT_BE_INDEXED, table=contacts.name, kind=kind)
    return kind


def _explain_index(error: SQLAlchemyError, table: str) -> HubSpotSyncError:
    if isinstance(error, DBAPIError) and getattr(error.orig, "pgcode", None) == "42501":
        words = str(error.orig).strip().partition("\n")[0]
        return DatabaseUnavailable(ErrorCode.INDEXES_NEED_OWNER, table=table, words=words)
    return explain(error, table)


def _create_index(
    connection: Connection, contacts: SourceTable, kind: Kind, wanted: WantedIndex
) -> bool:
    """Make an index on the table; return False where there is one already."""
    is_partitioned = kind is Kind.PARTITIONED
    if is_partitioned and not _is_whole(connection, contacts, _on_copy(contacts, wanted)):
        # PostgreSQL makes none on a partitioned table CONCURRENTLY. On its partitions it does, and
        # what it finds there the index of the whole takes over, so that nobody waits for it.
        for key, partition in _partitions(connection, contacts):
            name = f"{wanted.name}_{key}"
            _make(connection, contacts, _index(name, partition, wanted, concurrently=True))
    return _make(connection, contacts, _on_copy(contacts, wanted, concurrently=not is_partitioned))


def _on_copy(contacts: SourceTable, wanted: WantedIndex, *, concurrently: bool = False) -> Index:
    # On a copy, for an index would stay with the table of every later statement.
    table = contacts.table.to_metadata(MetaData())
    return _index(wanted.name, table, wanted, concurrently=concurrently)


def _index(name: str, table: Table, wanted: WantedIndex, *, concurrently: bool) -> Index:
    return Index(
        name,
        *wanted.keys(table),
        postgresql_where=wanted.condition,
        postgresql_concurrently=concurrently,
        sqlite_where=wanted.condition,
    )


def _make(connection: Connection, contacts: SourceTable, index: Index) -> bool:
    is_whole = _is_whole(connection, contacts, index)
    if is_whole is False:
        connection.execute(DropIndex(index))
    if not is_whole:
        connection.execute(CreateIndex(index))
    return not is_whole


def _partitions(connection: Connection, contacts: SourceTable) -> list[tuple[int, Table]]:
    """Return the tables that hold a partitioned table's rows, each with its number."""
    found = connection.execute(
        text(
            "SELECT c.oid, n.nspname, c.relname FROM pg_partition_tree(to_regclass(:table)) AS p "
            "JOIN pg_class AS c ON c.oid = p.relid "
            "JOIN pg_namespace AS n ON n.oid = c.relnamespace "
            "WHERE p.isleaf AND c.relkind = 'r'"
        ),
        {"table": contacts.quoted(connection)},
    )
    return [
        (oid, contacts.table.to_metadata(MetaData(), name=name, schema=schema))
        for oid, schema, name in found
    ]


def _is_whole(connection: Connection, contacts: SourceTable, index: Index) -> bool | None:
    """Tell whether an index of this name is there, valid, and what it should be.

    None where there is none of this name.
    """
    if connection.dialect.name == "sqlite":
        by_name = text("SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = :name")
        return bool(connection.execute(by_name, {"name": index.name}).scalar()) or None
    # In the table's own schema: another one may have a table of this name, with its indexes.
    query = text(
        "SELECT indisvalid, pg_get_indexdef(indexrelid) FROM pg_index "
        "JOIN pg_class ON oid = indexrelid "
        "WHERE relname = :name AND relnamespace = coalesce("
        "to_regnamespace(quote_ident(CAST(:schema AS text))), "
        "(SELECT relnamespace FROM pg_class WHERE oid = to_regclass(:table)))"
    )
    schema = index.table.schema if index.table is not None else None
    values = {"name": index.name, "schema": schema, "table": contacts.quoted(connection)}
    found = connection.execute(query, values).one_or_none()
    if found is None:
        return None
    is_valid, definition = found
    return bool(is_valid) and form_of_found(definition) == form_of_wanted(index, connection.dialect)
