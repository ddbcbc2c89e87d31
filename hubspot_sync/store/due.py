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
from functools import cached_property
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
    DUE_DECISIONS,
    TAKEOVER_DECISIONS,
    ProcessingStatus,
    SyncStatus,
)
from hubspot_sync.rules.source import Key
from hubspot_sync.store.expressions import DatabaseTime, DatabaseTimeBefore
from hubspot_sync.store.source_table import SourceTable


class DueKind(StrEnum):
    """Why a contact is due."""

    LONE = "lone"
    LEFT_BEHIND = "left behind"
    FRESH = "fresh"
    RETRY = "retry"


KIND = "hubspot_sync_kind"
"""The label of why a row is due."""


class Due:
    """What is due in one table, as conditions and as the query of a claim.

    Args:
        contacts: the table.
    """

    def __init__(self, contacts: SourceTable) -> None:
        self._contacts = contacts
        self._c = contacts.c

    @cached_property
    def ready(self) -> ColumnElement[bool]:
        """The condition that a contact is wanted, and no retry time of ours delays it."""
        # Another CRM's retry time does not delay us.
        has_no_time = or_(
            self._c.next_retry_at.is_(None),
            self._c.last_failed_crm != self._contacts.source.crm_name,
        )
        return and_(self._is_wanted, has_no_time)

    @cached_property
    def timed(self) -> ColumnElement[bool]:
        """The condition that a contact is wanted, but not before a retry time of ours."""
        return and_(self._is_wanted, self._c.next_retry_at.is_not(None), self.is_ours)

    @cached_property
    def is_ours(self) -> ColumnElement[bool]:
        """The condition that the shared retry columns speak of us."""
        failed_crm = self._c.last_failed_crm
        return or_(failed_crm.is_(None), failed_crm == self._contacts.source.crm_name)

    @cached_property
    def is_marked(self) -> ColumnElement[bool]:
        """The condition that a row has one of a claim's two marks.

        Both, or what is left of them where a person took one away.
        """
        decision, state = self._c.hubspot_sync_status, self._c.hubspot_processing_status
        return or_(
            self._is_processing,
            and_(
                decision == SyncStatus.PROCESSING,
                or_(state.is_(None), state != ProcessingStatus.QUEUED),
            ),
        )

    def is_due(self, lease: timedelta) -> ColumnElement[bool]:
        """Return the condition that a contact is due."""
        is_takeover = and_(
            self._is_processing, self.is_left_behind(lease), self._is_one_of(TAKEOVER_DECISIONS)
        )
        is_time = and_(self.timed, self._c.next_retry_at <= DatabaseTime())
        return or_(self.ready, is_time, is_takeover)

    def is_left_behind(self, lease: timedelta) -> ColumnElement[bool]:
        """Return the condition that a worker died holding the contact: its lease is over."""
        updated_at = self._c.updated_at
        return and_(self.is_marked, or_(updated_at.is_(None), self._is_before(lease)))

    def rows_to_claim(
        self,
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
        parts = self._parts(limit, lease, lone=lone, lone_from=lone_from, without=without)
        named = [
            select(_locked(part, lock=lock).cte(f"part_{number}"))
            for number, part in enumerate(parts)
        ]
        return named[0].union_all(*named[1:])

    def _parts(
        self, limit: int, lease: timedelta, *, lone: bool, lone_from: int, without: Collection[Key]
    ) -> Iterator[Select[Any]]:
        c = self._c

        def part(
            kind: DueKind, condition: ColumnElement[bool], order: Column[Any], most: int = limit
        ) -> Select[Any]:
            query = self._contacts.rows().add_columns(literal(kind).label(KIND))
            if without:
                condition = and_(condition, c.id.not_in(without))
            return query.where(condition).order_by(order, c.id).limit(most)

        is_undated = c.updated_at.is_(None)
        is_lone = self._may_kill(lone_from)
        together = and_(self.is_marked, not_(is_lone))
        is_time = c.next_retry_at <= DatabaseTime()
        yield part(DueKind.FRESH, and_(self.ready, is_undated), c.updated_at)
        yield part(DueKind.FRESH, and_(self.ready, not_(is_undated)), c.updated_at)
        yield part(DueKind.RETRY, and_(self.timed, is_time), c.next_retry_at)
        yield part(DueKind.LEFT_BEHIND, and_(together, is_undated), c.updated_at)
        yield part(DueKind.LEFT_BEHIND, and_(together, self._is_before(lease)), c.updated_at)
        if lone:
            alone = and_(self.is_marked, is_lone)
            yield part(DueKind.LONE, and_(alone, is_undated), c.updated_at, 1)
            yield part(DueKind.LONE, and_(alone, self._is_before(lease)), c.updated_at, 1)

    @cached_property
    def _is_wanted(self) -> ColumnElement[bool]:
        decision, state = self._c.hubspot_sync_status, self._c.hubspot_processing_status
        return or_(
            and_(
                state == ProcessingStatus.QUEUED,
                or_(decision.is_(None), decision != SyncStatus.SKIPPED),
            ),
            # Marked with plain SQL, by somebody who set the decision alone.
            and_(self._is_one_of(DUE_DECISIONS), state.is_(None)),
            and_(decision == SyncStatus.QUEUED, state == ProcessingStatus.ERROR),
        )

    @cached_property
    def _is_processing(self) -> ColumnElement[bool]:
        return self._c.hubspot_processing_status == ProcessingStatus.PROCESSING

    def _is_one_of(self, decisions: Collection[SyncStatus]) -> ColumnElement[bool]:
        # Not IN, which an enum column refuses for the texts of a list.
        return or_(*(self._c.hubspot_sync_status == decision for decision in decisions))

    def _may_kill(self, lone_from: int) -> ColumnElement[bool]:
        """Return the condition that a contact left behind may be what killed its worker."""
        own_retry_count = case((self.is_ours, func.coalesce(self._c.retry_count, 0)), else_=0)
        is_wanted = self._is_one_of(TAKEOVER_DECISIONS)
        may_kill = and_(self._is_processing, is_wanted, own_retry_count >= lone_from)
        return func.coalesce(may_kill, false())

    def _is_before(self, lease: timedelta) -> ColumnElement[bool]:
        return self._c.updated_at <= DatabaseTimeBefore(lease.total_seconds())


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
