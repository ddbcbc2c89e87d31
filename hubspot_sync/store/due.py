"""What is due, as SQL: the rules of the queue, and the query of a claim.

A claim asks several questions, each with its own order and limit, so that each is answered by one
index: contacts without a retry time of ours, contacts whose retry time has come, and contacts that
a dead worker left behind, alone or together. One question for all of them would read past every
contact that waits for its retry (a second behind a million of them). A row whose `updated_at` is
NULL counts as very old, and an index keeps such rows apart; so they are asked for apart, too.
"""

from collections.abc import Collection, Iterator
from datetime import timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    CompoundSelect,
    Connection,
    Select,
    and_,
    case,
    false,
    func,
    literal,
    not_,
    or_,
    select,
)

from hubspot_sync.rules.lifecycle import (
    CRM,
    DUE_DECISIONS,
    TAKEOVER_DECISIONS,
    ProcessingStatus,
    SyncStatus,
)
from hubspot_sync.rules.source import Key
from hubspot_sync.store.table import DatabaseTime, DatabaseTimeBefore, contacts


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
IS_MARKED = or_(
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
    return and_(IS_MARKED, or_(_c.updated_at.is_(None), _is_before(lease)))


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
    without: Collection[Key] = (),
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
    limit: int, lease: timedelta, *, lone: bool, lone_from: int, without: Collection[Key]
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
    together = and_(IS_MARKED, not_(is_lone))
    yield part(DueKind.FRESH, and_(READY, is_undated), _c.updated_at)
    yield part(DueKind.FRESH, and_(READY, not_(is_undated)), _c.updated_at)
    yield part(DueKind.RETRY, and_(TIMED, _c.next_retry_at <= DatabaseTime()), _c.next_retry_at)
    yield part(DueKind.LEFT_BEHIND, and_(together, is_undated), _c.updated_at)
    yield part(DueKind.LEFT_BEHIND, and_(together, _is_before(lease)), _c.updated_at)
    if lone:
        alone = and_(IS_MARKED, is_lone)
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


def _locked(part: Select[Any], *, lock: bool) -> Select[Any]:
    return part.with_for_update(skip_locked=True) if lock else part
