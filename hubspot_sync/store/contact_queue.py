"""The queue in the contacts table: each method is one short transaction, and none calls HubSpot.

What follows from a row's state is decided in `rules.lifecycle`; here it is read and written.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from sqlalchemy import (
    Connection,
    Engine,
    RowMapping,
    func,
    or_,
    select,
)

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import QueryTimedOut, RowLocked, RowRefused, WrongUsage
from hubspot_sync.rules.claiming import Candidates, in_turn, rows_to_take
from hubspot_sync.rules.identity import Bearer, Rename, free_to_rename
from hubspot_sync.rules.lifecycle import (
    Changes,
    Claim,
    Row,
    SyncStatus,
    claim_row,
    is_held,
    leave_to_them,
    lone_from,
)
from hubspot_sync.rules.mapping import normalise_email
from hubspot_sync.rules.retry import RetryPolicy
from hubspot_sync.rules.settlement import Outcome, Settlement, instead_of, settle
from hubspot_sync.rules.source import Key
from hubspot_sync.sentences import Message
from hubspot_sync.store.database import retried, transaction
from hubspot_sync.store.due import DueKind, is_due, prefer_indexes, rows_to_claim
from hubspot_sync.store.passed_over import PassedOver
from hubspot_sync.store.relation import hides_rows
from hubspot_sync.store.rows import (
    UNCHANGED,
    LockedRow,
    all_columns,
    rows_by_id,
    to_row,
    write_rows,
)
from hubspot_sync.store.table import TABLE, DatabaseTime, contacts

log = logging.getLogger(__name__)

ROW_LOCK_TIMEOUT_MS = 2000
"""How long a settle waits for what the app holds, before it lets others go first."""

RENAME_TIMEOUT_MS = 2000
"""How long the database may take to say whether a record is a contact's alone."""

MOST_BEARERS = 10_000
"""Rows that the answer may have."""

Delivery = tuple[Claim, Outcome]
Result = TypeVar("Result")

_LONG_AGO = datetime.min.replace(tzinfo=UTC)

_now = DatabaseTime()
_c = contacts.c


class NotThere(WrongUsage):
    """There is no contact with this id."""


@dataclass(frozen=True, slots=True)
class Held:
    """Why a contact could not be claimed by its id.

    Attributes:
        reason: in words, for the operator.
    """

    reason: Message


class ContactQueue:
    """Claims contacts, settles them, and gives them back.

    Args:
        engine: from `make_engine`.
        policy: when a failed contact is tried again.
        lease: how long a claim holds.
    """

    def __init__(self, engine: Engine, *, policy: RetryPolicy, lease: timedelta) -> None:
        self._engine = engine
        self._policy = policy
        self._lease = lease

    def claim(
        self, limit: int, *, lone: bool = True, passed_over: PassedOver | None = None
    ) -> list[Claim]:
        """Claim up to `limit` due contacts, in the order of `rules.claiming`.

        Contacts that a dead worker held and that nobody wants sent any more are freed.

        Args:
            limit: contacts wanted.
            lone: also take over a contact that has to be alone; it is the only one claimed then.
            passed_over: contacts that the run leaves alone; a contact whose row cannot be changed
                is added, and others are claimed in its place.

        Raises:
            DatabaseUnavailable: the database cannot be used, or refuses row after row.
        """
        passed_over = passed_over or PassedOver()
        while True:
            taken = self._claim_due(limit, passed_over.keys, lone=lone)
            _log_taken(taken)
            passed_over.add_refused(taken.refused)
            if taken.claims or not (taken.freed or taken.refused):
                return list(taken.claims)

    def _claim_due(self, limit: int, without: Collection[Key], *, lone: bool) -> "_Taken":
        @retried
        def claim(singly: bool) -> _Taken:
            with transaction(self._engine, singly=singly) as connection:
                due, abandoned, now = self._candidates(connection, limit, without, lone=lone)
                freed = {row.contact.id: leave_to_them(row) for row in abandoned}
                # Those may hide a takeover, which comes before all others: free them, ask again.
                rows = [] if abandoned else rows_to_take(due, limit)
                claimed = [claim_row(row, self._policy, now) for row in rows]
                return _write_taken(connection, freed, claimed, singly=singly)

        return _singly_if_refused(claim)

    @retried
    def claim_one(self, contact_id: Key, *, force: bool = False) -> Claim | Held:
        """Claim one contact, whatever its status, unless it is skipped or held.

        Args:
            contact_id: its key.
            force: claim it even where the decision is Skipped.

        Raises:
            NotThere: the table has no such contact.
        """
        with transaction(self._engine, singly=True) as connection:
            wanted = all_columns().where(_c.id == contact_id)
            found = connection.execute(wanted.with_for_update(skip_locked=True)).mappings().first()
            if found is None:
                if connection.execute(wanted).first() is None:
                    raise _not_there(contact_id)
                return Held(_why_unlocked(connection))
            row, now = to_row(found), found["now"]
            held = self._reason_to_hold(row, now, force=force)
            if held:
                return held
            claimed = [claim_row(row, self._policy, now)]
            taken = _write_taken(connection, {}, claimed, singly=True)
        _log_taken(taken)
        for why in taken.refused.values():
            return Held(Message(ErrorCode.CONTACT_ROW_REFUSED, why=why))
        return taken.claims[0]

    def settle(self, deliveries: Sequence[Delivery]) -> list[Settlement]:
        """End claims: compare each row with its claim, and write what follows.

        Rows that another session holds are left out of the answer and keep nobody waiting; pass
        them in again, alone.
        """
        is_alone = len(deliveries) == 1

        def write(singly: bool) -> list[Settlement]:
            if is_alone:
                return self._settle_waiting(deliveries[0], singly)
            return self._settle_together(deliveries, singly)

        try:
            return _singly_if_refused(write)
        except RowLocked:
            # The row itself; or, in a unique index, what one of the rows is to bear.
            return []

    @retried
    def _settle_together(self, deliveries: Sequence[Delivery], singly: bool) -> list[Settlement]:
        with transaction(self._engine, singly=singly) as connection:
            _limit_waiting(connection)
            ids = [claim.contact.id for claim, _ in deliveries]
            wanted = all_columns().where(_c.id.in_(ids)).order_by(_c.id)
            locked = rows_by_id(connection.execute(wanted.with_for_update(skip_locked=True)))
            # What was not locked is either held by another session or gone.
            there = set(connection.scalars(select(_c.id).where(_c.id.in_(ids))))
            return self._write_settlements(
                connection,
                [
                    (claim, outcome, locked.get(claim.contact.id))
                    for claim, outcome in deliveries
                    if claim.contact.id in locked or claim.contact.id not in there
                ],
                singly=singly,
            )

    @retried
    def count_due(self) -> int:
        """Count the contacts that a run would claim now."""
        with transaction(self._engine, read_only=True) as connection:
            counted = select(func.count()).select_from(contacts).where(is_due(self._lease))
            return connection.execute(counted).scalar_one()

    def peek_due(self, limit: int) -> list[Row]:
        """Return what `claim` would take, without taking it."""
        with transaction(self._engine, read_only=True) as connection:
            due, _, _ = self._candidates(connection, limit, lock=False)
        # A run takes over first, and claims the others after that.
        left = [*due.lone, *due.takeovers]
        return [*left, *in_turn(due, max(0, limit - len(left)))][:limit]

    def death_notice(self, row: Row) -> Message | None:
        """Return why a claim of this row would end before anything is sent, if it would."""
        claim, _ = claim_row(row, self._policy, row.updated_at or _LONG_AGO)
        return claim.death_notice if claim.is_out_of_attempts else None

    def may_be_renamed(self, renames: Sequence[Rename]) -> frozenset[str]:
        """Return the ids of the records that no other row of the table has a part in.

        Asked last before the write: what rows do between question and write, it cannot know. Where
        the database takes too long over the answer, no record may be renamed.
        """
        began, is_locked = time.monotonic(), False
        try:
            bearers = self._bearers(renames)
        except QueryTimedOut as slow:
            bearers, is_locked = None, slow.code is ErrorCode.QUERY_WAITED_FOR_LOCK
        if bearers is None or time.monotonic() - began > RENAME_TIMEOUT_MS / 1000:
            count = len(renames)
            log.warning(Message(ErrorCode.RENAMES_TOO_SLOW, count=count, is_locked=is_locked))
            return frozenset()
        return free_to_rename(renames, bearers)

    @retried
    def _bearers(self, renames: Sequence[Rename]) -> list[Bearer] | None:
        """Return the rows with one of these record ids or addresses; None if they are too many."""
        ids = [rename.record_id for rename in renames]
        emails = [rename.primary_email for rename in renames if rename.primary_email]
        address = func.lower(func.trim(_c.email))
        wanted = or_(_c.hubspot_contact_id.in_(ids), address.in_(emails))
        query = select(_c.id, _c.hubspot_contact_id, _c.email).where(wanted)
        with transaction(self._engine, read_only=True) as connection:
            if connection.dialect.name == "postgresql":
                # An index on an expression has no statistics before ANALYZE; without them,
                # PostgreSQL expects half of the table, and reads all of it.
                connection.exec_driver_sql(
                    f"SET LOCAL statement_timeout = {RENAME_TIMEOUT_MS}; "
                    "SET LOCAL enable_seqscan = off; SET LOCAL jit = off"
                )
            found = connection.execute(query.limit(MOST_BEARERS + 1)).all()
        if len(found) > MOST_BEARERS:
            return None
        return [Bearer(key, stored, normalise_email(email or "")) for key, stored, email in found]

    @retried
    def read_one(self, contact_id: Key) -> Row:
        """Return one contact as it is.

        Raises:
            NotThere: the table has no such contact.
        """
        with transaction(self._engine, read_only=True) as connection:
            found = connection.execute(all_columns().where(_c.id == contact_id)).mappings().first()
            if found is None:
                raise _not_there(contact_id)
            return to_row(found)

    def reason_to_hold(self, row: Row, *, force: bool) -> Held | None:
        """Return why `claim_one` would not claim a contact, if it would not."""
        with transaction(self._engine, read_only=True) as connection:
            now: datetime = connection.execute(select(_now)).scalar_one()
        return self._reason_to_hold(row, now, force=force)

    def _candidates(
        self,
        connection: Connection,
        limit: int,
        without: Collection[Key] = (),
        *,
        lone: bool = True,
        lock: bool = True,
    ) -> tuple[Candidates, list[Row], datetime]:
        """Read what is due, what was left behind and is not wanted any more, and the time."""
        prefer_indexes(connection)
        query = rows_to_claim(
            limit,
            self._lease,
            lone=lone,
            lone_from=lone_from(self._policy),
            without=without,
            lock=lock,
        )
        found = connection.execute(query).mappings().all()
        left = _rows_of(DueKind.LEFT_BEHIND, found, _turn)
        due = Candidates(
            lone=_rows_of(DueKind.LONE, found, _turn),
            takeovers=[row for row in left if not row.is_abandoned],
            fresh=_rows_of(DueKind.FRESH, found, _turn),
            retries=_rows_of(DueKind.RETRY, found, _retry_turn),
        )
        now = found[0]["now"] if found else _LONG_AGO
        return due, [row for row in left if row.is_abandoned], now

    def _reason_to_hold(self, row: Row, now: datetime, *, force: bool) -> Held | None:
        if row.sync_status == SyncStatus.SKIPPED and not force:
            return Held(Message(ErrorCode.CONTACT_SKIPPED))
        if row.updated_at and is_held(row, now, self._lease):
            ends = row.updated_at + self._lease
            return Held(Message(ErrorCode.CONTACT_HELD, ends=ends))
        return None

    @retried
    def _settle_waiting(self, delivery: Delivery, singly: bool) -> list[Settlement]:
        claim, outcome = delivery
        with transaction(self._engine, singly=singly) as connection:
            _limit_waiting(connection)
            wanted = all_columns().where(_c.id == claim.contact.id).with_for_update()
            rows = rows_by_id(connection.execute(wanted))
            return self._write_settlements(
                connection, [(claim, outcome, rows.get(claim.contact.id))], singly=singly
            )

    def _write_settlements(
        self,
        connection: Connection,
        ends: Sequence[tuple[Claim, Outcome, LockedRow | None]],
        *,
        singly: bool,
    ) -> list[Settlement]:
        settlements = [
            settle(
                claim,
                outcome,
                locked.row if locked else None,
                policy=self._policy,
                now=locked.now if locked else claim.claimed_at,
                lease=self._lease,
            )
            for claim, outcome, locked in ends
        ]
        written = write_rows(
            connection,
            [(settlement.claim.contact.id, settlement.changes) for settlement in settlements],
            singly=singly,
        )
        return [
            _write_instead(connection, settlement, written.refused.get(settlement.claim.contact.id))
            for settlement in settlements
        ]


@dataclass(frozen=True, slots=True)
class _Taken:
    """What one claim did.

    Attributes:
        claims: contacts that this run holds now.
        freed: keys of contacts that nobody wants sent any more.
        refused: why others could not be claimed or freed, by key.
    """

    claims: Sequence[Claim] = ()
    freed: Collection[Key] = ()
    refused: Mapping[Key, str] = field(default_factory=dict)


def _limit_waiting(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {ROW_LOCK_TIMEOUT_MS}")


def _singly_if_refused(write: Callable[[bool], Result]) -> Result:
    """Write rows together; where the database refuses one of them, each by itself."""
    try:
        return write(False)
    except RowRefused:
        return write(True)


def _write_taken(
    connection: Connection,
    freed: Mapping[Key, Changes],
    claimed: Iterable[tuple[Claim, Changes]],
    *,
    singly: bool,
) -> _Taken:
    """Mark rows, and hold those that bear the marks afterwards."""
    wanted = {claim.contact.id: (claim, changes) for claim, changes in claimed}
    writes = [*freed.items(), *((key, changes) for key, (_, changes) in wanted.items())]
    written = write_rows(connection, writes, singly=singly)
    claims, refused = [], dict(written.refused)
    are_free = {key for key in freed if key in written.rows and not written.rows[key].is_abandoned}
    refused |= dict.fromkeys(freed.keys() - are_free - refused.keys(), UNCHANGED)
    for key, (claim, _) in wanted.items():
        confirmed = claim.confirmed_by(written.rows[key]) if key in written.rows else None
        if confirmed:
            claims.append(confirmed)
        else:
            refused.setdefault(key, UNCHANGED)
    return _Taken(claims, are_free, refused)


def _write_instead(connection: Connection, settlement: Settlement, why: str | None) -> Settlement:
    """Write what comes nearest to a settlement that the database refuses."""
    if why is None:
        return settlement
    instead = settlement
    for instead in instead_of(settlement, why):
        key = instead.claim.contact.id
        if not write_rows(connection, [(key, instead.changes)], singly=True).refused:
            break
    return instead


def _log_taken(taken: _Taken) -> None:
    for key in taken.freed:
        log.info(
            "contact %s: freed; its worker died and nobody wants it sent", key, extra=_named(key)
        )
    for key in (claim.contact.id for claim in taken.claims if claim.is_takeover):
        log.info("contact %s: taken over; its worker died", key, extra=_named(key))
    for key, why in taken.refused.items():
        log.info(
            "contact %s: passed over; the database refuses to change its row (%s)",
            key,
            why,
            extra=_named(key),
        )


def _why_unlocked(connection: Connection) -> Message:
    if connection.dialect.name == "postgresql" and hides_rows(connection):
        return Message(ErrorCode.CONTACT_ROW_BUSY_OR_HIDDEN)
    return Message(ErrorCode.CONTACT_ROW_BUSY)


def _named(contact_id: Key) -> dict[str, str]:
    return {"contact_id": str(contact_id)}


def _rows_of(
    kind: DueKind, found: Iterable[RowMapping], turn: Callable[[Row], tuple[datetime, Key]]
) -> list[Row]:
    return sorted((to_row(each) for each in found if each["kind"] == kind), key=turn)


def _turn(row: Row) -> tuple[datetime, Key]:
    return row.updated_at or _LONG_AGO, row.contact.id


def _retry_turn(row: Row) -> tuple[datetime, Key]:
    return row.next_retry_at or _LONG_AGO, row.contact.id


def _not_there(contact_id: Key) -> NotThere:
    return NotThere(ErrorCode.CONTACT_NOT_THERE, contact=contact_id, table=TABLE)
