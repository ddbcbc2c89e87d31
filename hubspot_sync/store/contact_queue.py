"""The queue in the contacts table: each method is one short transaction, and none calls HubSpot.

What follows from a row's state is decided in `rules.lifecycle`; here it is read and written.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, func, select

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import DatabaseUnavailable, WrongUsage
from hubspot_sync.rules.claiming import Candidates, in_turn, rows_to_take
from hubspot_sync.rules.clearing import Clearing
from hubspot_sync.rules.identity import Rename
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
from hubspot_sync.rules.mapping import Contact, Lookup, PropertyMapping
from hubspot_sync.rules.retry import RetryPolicy
from hubspot_sync.rules.settlement import Settlement
from hubspot_sync.rules.source import Key
from hubspot_sync.sentences import Message
from hubspot_sync.store.catalogue import require_tables
from hubspot_sync.store.clearings import may_be_cleared
from hubspot_sync.store.database import retried, transaction
from hubspot_sync.store.due import KIND, Due, DueKind, prefer_indexes
from hubspot_sync.store.expressions import DatabaseTime
from hubspot_sync.store.lookups import look_up
from hubspot_sync.store.passed_over import PassedOver
from hubspot_sync.store.relation import hides_rows
from hubspot_sync.store.renames import may_be_renamed
from hubspot_sync.store.rows import UNCHANGED, singly_if_refused, to_row, write_rows
from hubspot_sync.store.selection import as_stored
from hubspot_sync.store.settling import Delivery, Settling
from hubspot_sync.store.source_table import NOW, SourceTable

log = logging.getLogger(__name__)

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


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
        contacts: the table.
        policy: when a failed contact is tried again.
        lease: how long a claim holds.
    """

    def __init__(
        self, engine: Engine, contacts: SourceTable, *, policy: RetryPolicy, lease: timedelta
    ) -> None:
        self._engine = engine
        self._contacts = contacts
        self._policy = policy
        self._lease = lease
        self._due = Due(contacts)
        self._settling = Settling(engine, contacts, policy=policy, lease=lease)

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
            without = passed_over.keys
            taken = self._claim_due(limit, without, lone=lone)
            _log_taken(taken)
            for key in taken.refused.keys() & set(without):
                # It comes again and again, for no statement finds it by its key.
                why = "its key is neither text nor a whole number"
                raise DatabaseUnavailable(ErrorCode.ROWS_REFUSED, contact=key, why=why)
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
                return self._write_taken(connection, freed, claimed, singly=singly)

        return singly_if_refused(claim)

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
            wanted = self._contacts.rows().where(self._is(contact_id))
            found = connection.execute(wanted.with_for_update(skip_locked=True)).mappings().first()
            if found is None:
                if connection.execute(wanted).first() is None:
                    raise self._not_there(contact_id)
                return Held(self._why_unlocked(connection))
            row, now = to_row(self._contacts, found), found[NOW]
            held = self._reason_to_hold(row, now, force=force)
            if held:
                return held
            claimed = [claim_row(row, self._policy, now)]
            taken = self._write_taken(connection, {}, claimed, singly=True)
        _log_taken(taken)
        for why in taken.refused.values():
            return Held(Message(ErrorCode.CONTACT_ROW_REFUSED, why=why))
        return taken.claims[0]

    def settle(self, deliveries: Sequence[Delivery]) -> list[Settlement]:
        """End claims: compare each row with its claim, and write what follows.

        Rows that another session holds are left out of the answer and keep nobody waiting; pass
        them in again, alone.
        """
        return self._settling.settle(deliveries)

    @retried
    def count_due(self) -> int:
        """Count the contacts that a run would claim now."""
        is_due = self._due.is_due(self._lease)
        with transaction(self._engine, read_only=True) as connection:
            counted = select(func.count()).select_from(self._contacts.table)
            return connection.execute(counted.where(is_due)).scalar_one()

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
        """Return the ids of the records that no other row of the table has a part in."""
        return may_be_renamed(self._engine, self._contacts, renames)

    def require_tables(self, mapping: PropertyMapping) -> None:
        """Find out whether the database has all that a mapping file goes by; claim nothing.

        Raises:
            SettingsError: it has not; with one sentence for each fault.
        """
        require_tables(self._engine, self._contacts.source, mapping)

    def may_be_cleared(
        self, clearings: Sequence[Clearing], mapping: PropertyMapping
    ) -> Mapping[str, frozenset[str]]:
        """Return by record id the properties for which no other row of the table has a value."""
        return may_be_cleared(self._engine, self._contacts, clearings, mapping)

    def look_up(self, contacts: Sequence[Contact], lookups: Iterable[Lookup]) -> list[Contact]:
        """Return the contacts with what other tables hold of them.

        Raises:
            DatabaseUnavailable: one of these tables cannot be read.
        """
        return look_up(self._engine, contacts, lookups)

    @retried
    def read_one(self, contact_id: Key) -> Row:
        """Return one contact as it is.

        Raises:
            NotThere: the table has no such contact.
        """
        wanted = self._contacts.rows().where(self._is(contact_id))
        with transaction(self._engine, read_only=True) as connection:
            found = connection.execute(wanted).mappings().first()
            if found is None:
                raise self._not_there(contact_id)
            return to_row(self._contacts, found)

    def reason_to_hold(self, row: Row, *, force: bool) -> Held | None:
        """Return why `claim_one` would not claim a contact, if it would not."""
        with transaction(self._engine, read_only=True) as connection:
            now: datetime = connection.execute(select(DatabaseTime())).scalar_one()
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
        query = self._due.rows_to_claim(
            limit,
            self._lease,
            lone=lone,
            lone_from=lone_from(self._policy),
            without=without,
            lock=lock,
        )
        found = connection.execute(query).mappings().all()
        left = self._rows_of(DueKind.LEFT_BEHIND, found, _turn)
        due = Candidates(
            lone=self._rows_of(DueKind.LONE, found, _turn),
            takeovers=[row for row in left if not row.is_abandoned],
            fresh=self._rows_of(DueKind.FRESH, found, _turn),
            retries=self._rows_of(DueKind.RETRY, found, _retry_turn),
        )
        now = found[0][NOW] if found else _LONG_AGO
        return due, [row for row in left if row.is_abandoned], now

    def _reason_to_hold(self, row: Row, now: datetime, *, force: bool) -> Held | None:
        if row.sync_status == SyncStatus.SKIPPED and not force:
            return Held(Message(ErrorCode.CONTACT_SKIPPED))
        if row.updated_at and is_held(row, now, self._lease):
            ends = row.updated_at + self._lease
            return Held(Message(ErrorCode.CONTACT_HELD, ends=ends))
        return None

    def _is(self, contact_id: Key) -> ColumnElement[bool]:
        return self._contacts.c.id.in_(as_stored([contact_id]))

    def _rows_of(
        self,
        kind: DueKind,
        found: Iterable[RowMapping],
        turn: Callable[[Row], tuple[datetime, bool, Key]],
    ) -> list[Row]:
        return sorted(
            (to_row(self._contacts, each) for each in found if each[KIND] == kind), key=turn
        )

    def _write_taken(
        self,
        connection: Connection,
        freed: Mapping[Key, Changes],
        claimed: Iterable[tuple[Claim, Changes]],
        *,
        singly: bool,
    ) -> "_Taken":
        """Mark rows, and hold those that bear the marks afterwards."""
        wanted = {claim.contact.id: (claim, changes) for claim, changes in claimed}
        writes = [*freed.items(), *((key, changes) for key, (_, changes) in wanted.items())]
        written = write_rows(connection, self._contacts, writes, singly=singly)
        claims, refused = [], dict(written.refused)
        are_free = {
            key for key in freed if key in written.rows and not written.rows[key].is_abandoned
        }
        refused |= dict.fromkeys(freed.keys() - are_free - refused.keys(), UNCHANGED)
        for key, (claim, _) in wanted.items():
            confirmed = claim.confirmed_by(written.rows[key]) if key in written.rows else None
            if confirmed:
                claims.append(confirmed)
            else:
                refused.setdefault(key, UNCHANGED)
        return _Taken(claims, are_free, refused)

    def _why_unlocked(self, connection: Connection) -> Message:
        if connection.dialect.name == "postgresql" and hides_rows(connection, self._contacts):
            return Message(ErrorCode.CONTACT_ROW_BUSY_OR_HIDDEN)
        return Message(ErrorCode.CONTACT_ROW_BUSY)

    def _not_there(self, contact_id: Key) -> NotThere:
        shown = str(contact_id)[:80]
        return NotThere(ErrorCode.CONTACT_NOT_THERE, contact=shown, table=self._contacts.name)


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


def _named(contact_id: Key) -> dict[str, str]:
    return {"contact_id": str(contact_id)}


def _turn(row: Row) -> tuple[datetime, bool, Key]:
    return row.updated_at or _LONG_AGO, *_order(row)


def _retry_turn(row: Row) -> tuple[datetime, bool, Key]:
    return row.next_retry_at or _LONG_AGO, *_order(row)


def _order(row: Row) -> tuple[bool, Key]:
    # A column of SQLite may hold numbers and texts, which Python does not compare.
    return isinstance(row.contact.id, str), row.contact.id
