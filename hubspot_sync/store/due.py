"""What is due, as SQL: the rules of the queue, and the indexes that answer them.

A claim asks several questions, each with its own order and limit, so that each is answered by one
index: contacts without a retry time of ours, contacts whose retry time has come, and contacts that
a dead worker left behind, alone or together. One question for all of them would read past every
contact that waits for its retry (a second behind a million of them). A row whose `updated_at` is
NULL counts as very old, and an index keeps such rows apart; so they are asked for apart, too.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    CompoundSelect,
    Connection,
    Engine,
    Index,
    MetaData,
    Select,
    Table,
    and_,
    case,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.schema import CreateIndex, DropIndex

from hubspot_sync.errors import DatabaseUnavailable, HubSpotSyncError, WrongUsage
from hubspot_sync.rules.lifecycle import (
    CRM,
    DUE_DECISIONS,
    TAKEOVER_DECISIONS,
    ProcessingStatus,
    SyncStatus,
)
from hubspot_sync.store.database import transaction
from hubspot_sync.store.failures import explain
from hubspot_sync.store.relation import Kind, kind_of_table
from hubspot_sync.store.table import TABLE, DatabaseTime, DatabaseTimeBefore, contacts


class DueKind(StrEnum):
    """Why a contact is due."""

    LONE = "lone"
    LEFT_BEHIND = "left behind"
    FRESH = "fresh"
    RETRY = "retry"


_c = contacts.c

_IS_WANTED = or_(
    and_(
        _c.hubspot_processing_status == ProcessingStatus.QUEUED,
        or_(_c.hubspot_sync_status.is_(None), _c.hubspot_sync_status != SyncStatus.SKIPPED),
    ),
    and_(
        # Marked with plain SQL, by somebody who set the decision alone.
        or_(*(_c.hubspot_sync_status == decision for decision in DUE_DECISIONS)),
        _c.hubspot_processing_status.is_(None),
    ),
    and_(
        _c.hubspot_sync_status == SyncStatus.QUEUED,
        _c.hubspot_processing_status == ProcessingStatus.ERROR,
    ),
)
# Another CRM's retry time does not delay us.
_HAS_NO_RETRY_TIME = or_(_c.next_retry_at.is_(None), _c.last_failed_crm != CRM)
_HAS_RETRY_TIME = and_(
    _c.next_retry_at.is_not(None), or_(_c.last_failed_crm.is_(None), _c.last_failed_crm == CRM)
)
_IS_PROCESSING = _c.hubspot_processing_status == ProcessingStatus.PROCESSING
# One of a claim's two marks: both, or what is left of them where a person took one away.
_IS_MARKED = or_(
    _IS_PROCESSING,
    and_(
        _c.hubspot_sync_status == SyncStatus.PROCESSING,
        or_(
            _c.hubspot_processing_status.is_(None),
            _c.hubspot_processing_status != ProcessingStatus.QUEUED,
        ),
    ),
)

READY = and_(_IS_WANTED, _HAS_NO_RETRY_TIME)
TIMED = and_(_IS_WANTED, _HAS_RETRY_TIME)

INDEXES = (
    ("hubspot_sync_ready", (_c.updated_at, _c.id), READY),
    ("hubspot_sync_timed", (_c.next_retry_at, _c.id), TIMED),
    ("hubspot_sync_processing", (_c.updated_at, _c.id), _IS_MARKED),
)
"""Name, columns and condition of each index that `init-db --indexes` makes."""


def is_due(lease: timedelta) -> ColumnElement[bool]:
    """Return the condition that a contact is due."""
    is_takeover = and_(
        _IS_PROCESSING,
        is_left_behind(lease),
        or_(*(_c.hubspot_sync_status == decision for decision in TAKEOVER_DECISIONS)),
    )
    return or_(READY, and_(TIMED, _c.next_retry_at <= DatabaseTime()), is_takeover)


def is_left_behind(lease: timedelta) -> ColumnElement[bool]:
    """Return the condition that a worker died holding the contact: its lease is over."""
    return and_(_IS_MARKED, or_(_c.updated_at.is_(None), _is_before(lease)))


def _may_kill(lone_from: int) -> ColumnElement[bool]:
    """Return the condition that a contact left behind may be what killed its worker."""
    is_ours = or_(_c.last_failed_crm.is_(None), _c.last_failed_crm == CRM)
    own_retry_count = case((is_ours, func.coalesce(_c.retry_count, 0)), else_=0)
    is_wanted = or_(*(_c.hubspot_sync_status == decision for decision in TAKEOVER_DECISIONS))
    return func.coalesce(and_(_IS_PROCESSING, is_wanted, own_retry_count >= lone_from), false())


def _is_before(lease: timedelta) -> ColumnElement[bool]:
    return _c.updated_at <= DatabaseTimeBefore(lease.total_seconds())


def rows_to_claim(
    limit: int,
    lease: timedelta,
    *,
    lone: bool,
    lone_from: int = 1,
    without: Collection[UUID] = (),
    lock: bool,
) -> CompoundSelect[Any]:
    """Return the query of a claim: what is due and what was left behind, each with its kind.

    It returns the best `limit` rows of each kind, in no order.

    Args:
        limit: contacts wanted.
        lease: how long a claim holds.
        lone: also ask for a contact that is to be taken over alone.
        lone_from: the retries of ours from which it is.
        without: keys of contacts to leave out.
        lock: lock the rows, and pass over those that others hold.
    """
    parts = _parts(limit, lease, lone=lone, lone_from=lone_from, without=without)
    named = [
        select(_locked(part, lock=lock).cte(f"part_{number}")) for number, part in enumerate(parts)
    ]
    return named[0].union_all(*named[1:])


def _parts(
    limit: int, lease: timedelta, *, lone: bool, lone_from: int, without: Collection[UUID]
) -> Iterator[Select[Any]]:
    def part(
        kind: DueKind, condition: ColumnElement[bool], order: Column[Any], most: int = limit
    ) -> Select[Any]:
        query = select(contacts, DatabaseTime().label("now"), literal(kind).label("kind"))
        if without:
            condition = and_(condition, _c.id.not_in(without))
        return query.where(condition).order_by(order, _c.id).limit(most)

    is_undated = _c.updated_at.is_(None)
    is_lone = _may_kill(lone_from)
    together = and_(_IS_MARKED, not_(is_lone))
    yield part(DueKind.FRESH, and_(READY, is_undated), _c.updated_at)
    yield part(DueKind.FRESH, and_(READY, not_(is_undated)), _c.updated_at)
    yield part(DueKind.RETRY, and_(TIMED, _c.next_retry_at <= DatabaseTime()), _c.next_retry_at)
    yield part(DueKind.LEFT_BEHIND, and_(together, is_undated), _c.updated_at)
    yield part(DueKind.LEFT_BEHIND, and_(together, _is_before(lease)), _c.updated_at)
    if lone:
        alone = and_(_IS_MARKED, is_lone)
        yield part(DueKind.LONE, and_(alone, is_undated), _c.updated_at, 1)
        yield part(DueKind.LONE, and_(alone, _is_before(lease)), _c.updated_at, 1)


def prefer_indexes(connection: Connection) -> None:
    """Have the rest of the transaction planned with the order that the indexes give.

    Without statistics, which a new index does not have before ANALYZE, PostgreSQL may take an
    index of the app's on a status alone, and sort all that it finds there. What is switched off
    counts as very dear, so that a server which compiles dear queries would do so at every claim,
    for a quarter of a second.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(
            "SET LOCAL enable_sort = off; SET LOCAL enable_incremental_sort = off; "
            "SET LOCAL jit = off"
        )


def create_indexes(engine: Engine) -> list[tuple[str, bool]]:
    """Make the indexes that a claim wants, and return of each whether it is new.

    On PostgreSQL CONCURRENTLY, for the app goes on writing meanwhile; so outside a transaction.
    An index that an earlier attempt left half made is made anew.

    Raises:
        WrongUsage: there is no table, or it is a view.
        DatabaseUnavailable: the database refuses, usually because the user does not own the table.
    """
    is_concurrent = engine.dialect.name == "postgresql"
    options = {"isolation_level": "AUTOCOMMIT"} if is_concurrent else {}
    try:
        with engine.execution_options(**options).begin() as connection:
            kind = _require_indexable(connection)
            return [
                (name, _create_index(connection, kind, name, columns, condition))
                for name, columns, condition in INDEXES
            ]
    except SQLAlchemyError as error:
        raise _explain_index(error) from error


def has_index(engine: Engine, name: str) -> bool:
    """Tell whether the database has one of the indexes, whole."""
    try:
        with engine.connect() as connection:
            return _is_valid(connection, name) is True
    except SQLAlchemyError as error:
        raise explain(error) from error


def require_indexable(engine: Engine) -> None:
    """Find out whether the table can have indexes.

    Raises:
        WrongUsage: it is a view, or another thing that has none.
    """
    with transaction(engine, read_only=True) as connection:
        _require_indexable(connection)


def _require_indexable(connection: Connection) -> Kind:
    kind = kind_of_table(connection) or Kind.TABLE
    if not kind.is_table:
        raise WrongUsage(
            f"'{TABLE}' is {kind}, which has no indexes for a claim. Point DATABASE_URL, or its "
            "user's search_path, at the table behind it; the sync needs that, too."
        )
    return kind


def _explain_index(error: SQLAlchemyError) -> HubSpotSyncError:
    if isinstance(error, DBAPIError) and getattr(error.orig, "pgcode", None) == "42501":
        words = str(error.orig).strip().partition("\n")[0]
        return DatabaseUnavailable(
            f"Only the owner of '{TABLE}' can make its indexes ({words}). Run 'hubspot-sync "
            "init-db --indexes' once with DATABASE_URL set to the owner's; runs need no more than "
            "SELECT and UPDATE."
        )
    return explain(error)


def _create_index(
    connection: Connection,
    kind: Kind,
    name: str,
    columns: Sequence[Column[Any]],
    condition: ColumnElement[bool],
) -> bool:
    """Make an index on the table; return False where there is one already."""
    is_partitioned = kind is Kind.PARTITIONED
    if is_partitioned and not _is_valid(connection, name):
        # PostgreSQL makes none on a partitioned table CONCURRENTLY. On its partitions it does, and
        # what it finds there the index of the whole takes over, so that nobody waits for it.
        for key, partition in _partitions(connection):
            own = _index(f"{name}_{key}", partition, columns, condition, concurrently=True)
            _make(connection, own)
    index = _index(name, contacts, columns, condition, concurrently=not is_partitioned)
    # The index is made where somebody asks for it, never together with the table.
    contacts.indexes.discard(index)
    return _make(connection, index)


def _index(
    name: str,
    table: Table,
    columns: Sequence[Column[Any]],
    condition: ColumnElement[bool],
    *,
    concurrently: bool,
) -> Index:
    return Index(
        name,
        *(table.c[column.name] for column in columns),
        postgresql_where=condition,
        postgresql_concurrently=concurrently,
        sqlite_where=condition,
    )


def _make(connection: Connection, index: Index) -> bool:
    schema = index.table.schema if index.table is not None else None
    is_valid = _is_valid(connection, str(index.name), schema)
    if is_valid is False:
        connection.execute(DropIndex(index))
    if not is_valid:
        connection.execute(CreateIndex(index))
    return not is_valid


def _partitions(connection: Connection) -> list[tuple[int, Table]]:
    """Return the tables that hold a partitioned table's rows, each with its number."""
    found = connection.execute(
        text(
            "SELECT c.oid, n.nspname, c.relname FROM pg_partition_tree(to_regclass(:table)) AS p "
            "JOIN pg_class AS c ON c.oid = p.relid "
            "JOIN pg_namespace AS n ON n.oid = c.relnamespace "
            "WHERE p.isleaf AND c.relkind = 'r'"
        ),
        {"table": TABLE},
    )
    return [
        (oid, contacts.to_metadata(MetaData(), name=name, schema=schema))
        for oid, schema, name in found
    ]


def _is_valid(connection: Connection, name: str, schema: str | None = None) -> bool | None:
    """Tell whether an index is there and whole; None where it is not there."""
    if connection.dialect.name == "sqlite":
        found = text(
            "SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = :name AND :schema IS NULL"
        )
    else:
        found = text(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass("
            "coalesce(quote_ident(CAST(:schema AS text)) || '.', '') || quote_ident(:name))"
        )
    valid = connection.execute(found, {"name": name, "schema": schema}).scalar_one_or_none()
    return None if valid is None else bool(valid)


def _locked(part: Select[Any], *, lock: bool) -> Select[Any]:
    return part.with_for_update(skip_locked=True) if lock else part
