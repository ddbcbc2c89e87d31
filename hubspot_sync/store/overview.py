"""The state of the queue as a whole, read without touching it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    String,
    and_,
    case,
    cast,
    func,
    not_,
    or_,
    select,
    text,
)

from hubspot_sync.rules.advice import Reason, reason_of
from hubspot_sync.rules.alarm import alarms
from hubspot_sync.rules.lifecycle import ProcessingStatus, SyncStatus
from hubspot_sync.sentences import Message
from hubspot_sync.store.database import retried, transaction
from hubspot_sync.store.due import KIND, Due, DueKind, prefer_indexes
from hubspot_sync.store.expressions import DatabaseTime, DatabaseTimeBefore, MomentAfter
from hubspot_sync.store.source_table import SourceTable

MOST_ERROR_TEXTS = 1_000
"""Different error texts that are read and grouped; the most frequent ones."""

DAY = timedelta(days=1)

OTHER = Reason("other reasons", "Ask the table: the README's runbook has the query.")


@dataclass(frozen=True, slots=True)
class Failures:
    """Contacts that failed for one reason.

    Attributes:
        retried: how many of them are tried again by themselves.
        example: one of them.
    """

    reason: Reason
    count: int
    retried: int
    example: str


@dataclass(frozen=True, slots=True)
class Overview:
    """The state of the queue at one moment of the database's clock.

    Attributes:
        now: that moment.
        states: how many contacts have each decision and state.
        due: contacts that a run would claim now.
        oldest_due_since: since when the one that waits longest is due; None where none is.
        oldest_due: its key.
        retries: retries to come: within five minutes, within an hour, later.
        failures: contacts whose state is Error, by reason, the most frequent first.
        delivered: contacts delivered in the last day and not changed since.
        last_delivery: when the newest of all delivered ones was claimed.
        last_failure: when a contact last failed for HubSpot.
        held: contacts that live runs hold.
        left_behind: contacts that dead runs left.
    """

    now: datetime
    states: dict[tuple[str | None, str | None], int]
    due: int
    oldest_due_since: datetime | None
    oldest_due: str | None
    retries: tuple[int, int, int]
    failures: list[Failures]
    delivered: int
    last_delivery: datetime | None
    last_failure: datetime | None
    held: int
    left_behind: int

    @property
    def last_work(self) -> datetime | None:
        """When a run last did something that the table still shows."""
        return max(filter(None, (self.last_delivery, self.last_failure)), default=None)


def alarms_of(
    found: Overview, *, runs: int, is_enabled: bool, interval: timedelta
) -> list[Message]:
    """Return what about the queue wants attention, with so many runs at work (`rules.alarm`)."""
    return alarms(
        now=found.now,
        oldest_due_since=found.oldest_due_since,
        oldest_due=found.oldest_due,
        last_work=found.last_work,
        is_working=runs > 0,
        is_enabled=is_enabled,
        left_behind=found.left_behind,
        interval=interval,
    )


@retried
def look_at_queue(
    engine: Engine,
    contacts: SourceTable,
    lease: timedelta,
    *,
    patience: timedelta | None = None,
) -> Overview:
    """Read the state of the queue, in one transaction that writes nothing.

    Args:
        engine: from `make_engine`.
        contacts: the table.
        lease: how long a claim holds.
        patience: on PostgreSQL, how long one query may take; a table that somebody keeps locked is
            waited for a second then. None waits without an end.

    Raises:
        WrongUsage: there is no table.
        DatabaseUnavailable: the database cannot be read.
    """
    with transaction(engine, read_only=True) as connection:
        if patience and engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL lock_timeout = '1s'")
            limit = text("SELECT set_config('statement_timeout', :milliseconds, true)")
            milliseconds = int(patience.total_seconds() * 1000)
            connection.execute(limit, {"milliseconds": str(milliseconds)})
        decision, state = contacts.c.hubspot_sync_status, contacts.c.hubspot_processing_status
        grouped = connection.execute(
            select(decision, state, func.count()).group_by(decision, state)
        )
        states = {(decision, state): count for decision, state, count in grouped}
        found = connection.execute(_totals(contacts, lease)).mappings().one()
        failures = connection.execute(_failures(contacts)).all()
        oldest = _oldest(connection, contacts, lease) if found["due"] else None
    failed = sum(
        count
        for (decision, state), count in states.items()
        if state == ProcessingStatus.ERROR and decision != SyncStatus.SKIPPED
    )
    return Overview(
        states=states,
        retries=(found["soon"], found["within_hour"], found["later"]),
        failures=_by_reason(failures, failed),
        now=found["now"],
        due=found["due"],
        oldest_due_since=found["oldest_due_since"],
        oldest_due=oldest,
        delivered=found["delivered"],
        last_delivery=found["last_delivery"],
        last_failure=found["last_failure"],
        held=found["held"],
        left_behind=found["left_behind"],
    )


def _totals(contacts: SourceTable, lease: timedelta) -> Select[Any]:
    """Count everything in one pass over the table."""
    c, due = contacts.c, Due(contacts)
    is_left = due.is_left_behind(lease)
    is_delivered = and_(
        c.hubspot_sync_status == SyncStatus.COMPLETE,
        c.hubspot_processing_status == ProcessingStatus.COMPLETE,
    )
    is_held = and_(c.hubspot_processing_status == ProcessingStatus.PROCESSING, not_(is_left))
    is_later = and_(due.timed, c.next_retry_at > DatabaseTime())
    in_five_minutes, in_an_hour = (
        c.next_retry_at <= DatabaseTimeBefore(-seconds) for seconds in (300.0, 3600.0)
    )
    due_since = case(
        # The contact of a dead run is due since its lease ended.
        (is_left, MomentAfter(c.updated_at, lease.total_seconds())),
        (due.timed, c.next_retry_at),
        else_=c.updated_at,
    )
    a_day_ago = DatabaseTimeBefore(DAY.total_seconds())
    return select(
        DatabaseTime().label("now"),
        _count("due", due.is_due(lease)),
        func.min(due_since).filter(due.is_due(lease)).label("oldest_due_since"),
        _count("soon", and_(is_later, in_five_minutes)),
        _count("within_hour", and_(is_later, not_(in_five_minutes), in_an_hour)),
        _count("later", and_(is_later, not_(in_an_hour))),
        _count("delivered", and_(is_delivered, c.updated_at > a_day_ago)),
        func.max(c.updated_at).filter(is_delivered).label("last_delivery"),
        func.max(c.last_retry_at)
        .filter(c.last_failed_crm == contacts.source.crm_name)
        .label("last_failure"),
        _count("held", is_held),
        _count("left_behind", is_left),
    ).select_from(contacts.table)


def _oldest(connection: Connection, contacts: SourceTable, lease: timedelta) -> str | None:
    """Return the key of the contact that waits longest."""
    prefer_indexes(connection)
    first_of_each_kind = Due(contacts).rows_to_claim(1, lease, lone=True, lock=False).cte("first")
    c = first_of_each_kind.c
    due_since = case(
        (c[KIND] == DueKind.RETRY, c.next_retry_at),
        (c[KIND] == DueKind.FRESH, c.updated_at),
        else_=MomentAfter(c.updated_at, lease.total_seconds()),
    )
    # Without a date it counts as very old.
    found = connection.execute(select(c.id).order_by(due_since.is_not(None), due_since).limit(1))
    key = found.scalar_one_or_none()
    return None if key is None else str(key)


def _count(name: str, condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count().filter(condition).label(name)


def _failures(contacts: SourceTable) -> Select[Any]:
    """Read each error's text once, with how many have it, how many are retried, and one of them."""
    c, due = contacts.c, Due(contacts)
    decision = c.hubspot_sync_status
    is_failed = and_(
        c.hubspot_processing_status == ProcessingStatus.ERROR,
        or_(decision.is_(None), decision != SyncStatus.SKIPPED),
    )
    count = func.count()
    # As text: PostgreSQL knows no smallest UUID before version 18.
    example = func.min(cast(c.id, String))
    return (
        select(c.hubspot_processing_error, count, count.filter(or_(due.ready, due.timed)), example)
        .where(is_failed)
        .group_by(c.hubspot_processing_error)
        .order_by(count.desc())
        .limit(MOST_ERROR_TEXTS)
    )


def _by_reason(texts: Sequence[Any], failed: int) -> list[Failures]:
    """Group the texts; what too many different ones leave over is a group of its own."""
    groups: dict[Reason, Failures] = {}
    for words, count, again, example in texts:
        reason = reason_of(words or "")
        known = groups.get(reason, Failures(reason, 0, 0, example))
        groups[reason] = replace(known, count=known.count + count, retried=known.retried + again)
    told = sorted(groups.values(), key=lambda group: -group.count)
    left = failed - sum(group.count for group in told)
    return [*told, Failures(OTHER, left, 0, "")] if left > 0 else told
