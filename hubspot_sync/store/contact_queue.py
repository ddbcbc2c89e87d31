"""The queue in the contacts table: each method is one short transaction, and none calls HubSpot.

What follows from a row's state is decided in `rules.lifecycle`; here it is read and written.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    Select,
    String,
    and_,
    cast,
    column,
    func,
    inspect,
    not_,
    or_,
    select,
    update,
    values,
)
from sqlalchemy.exc import SQLAlchemyError

from hubspot_sync.errors import WrongUsage
from hubspot_sync.rules.lifecycle import (
    CRM,
    Changes,
    Claim,
    Outcome,
    ProcessingStatus,
    Row,
    Settlement,
    SyncStatus,
    claim_row,
    leave_to_them,
    reset_changes,
    settle,
)
from hubspot_sync.rules.mapping import Contact
from hubspot_sync.rules.retry import RetryPolicy
from hubspot_sync.store.database import (
    TABLE,
    DatabaseTime,
    Key,
    contacts,
    explain,
    is_lock_timeout,
    transaction,
)
from hubspot_sync.store.due import is_due, prefer_indexes, rows_to_claim

log = logging.getLogger(__name__)

ROW_LOCK_TIMEOUT_MS = 2000
"""How long a settle waits for one row that the app holds, before it lets others go first."""

RESET_CHUNK = 500
"""Contacts that one transaction of a reset takes, so that the app never waits long."""

Delivery = tuple[Claim, Outcome]

_now = DatabaseTime()
_c = contacts.c
_VARYING = ("hubspot_processing_error", "hubspot_contact_id")


class NotThere(WrongUsage):
    """There is no contact with this id."""


@dataclass(frozen=True, slots=True)
class Held:
    """Why a contact could not be claimed by its id.

    Attributes:
        reason: in words, for the operator.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class ResetPreview:
    """What a reset would do.

    Attributes:
        total: contacts that it would bring back to never synced.
        rows: the first of them.
        held: contacts that it would leave, because a live run works on them.
        found: the keys of all of these, where contacts were named.
    """

    total: int
    rows: list[Row]
    held: list[Row]
    found: set[UUID]


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

    def claim(self, limit: int) -> list[Claim]:
        """Claim up to `limit` due contacts, the longest waiting first.

        A takeover comes alone: it may be what killed its worker, and must take no other contact
        with it. Contacts that a dead worker held and that nobody wants sent any more are freed.
        """
        while True:
            with transaction(self._engine) as connection:
                rows = self._rows_to_claim(connection, limit, lock=True)
                abandoned = [row for row, _ in rows if row.is_abandoned]
                due = [(row, now) for row, now in rows if not row.is_abandoned]
                takeovers = [(row, now) for row, now in due if _is_processing(row)]
                self._free(connection, abandoned)
                claims = self._write_claims(connection, takeovers[:1] or due[:limit])
            if claims or not abandoned:
                return claims

    def claim_one(self, contact_id: UUID, *, force: bool = False) -> Claim | Held:
        """Claim one contact, whatever its status, unless it is skipped or held.

        Args:
            contact_id: its key.
            force: claim it even where the decision is Skipped.

        Raises:
            NotThere: the table has no such contact.
        """
        with transaction(self._engine) as connection:
            wanted = _all_columns().where(_c.id == contact_id)
            found = connection.execute(wanted.with_for_update(skip_locked=True)).mappings().first()
            if found is None:
                if connection.execute(wanted).first() is None:
                    raise NotThere(f"There is no contact {contact_id} in the table '{TABLE}'.")
                return Held("another program holds its row; try again in a moment")
            row, now = _to_row(found), found["now"]
            held = self._reason_to_hold(row, now, force=force)
            if held:
                return held
            return self._write_claims(connection, [(row, now)])[0]

    def settle(self, deliveries: Sequence[Delivery]) -> list[Settlement]:
        """End claims: compare each row with its claim, and write what follows.

        Rows that another session holds are left out of the answer and keep nobody waiting; pass
        them in again, alone.
        """
        if len(deliveries) == 1:
            return self._settle_waiting(deliveries[0])
        with transaction(self._engine) as connection:
            ids = [claim.contact.id for claim, _ in deliveries]
            wanted = _all_columns().where(_c.id.in_(ids)).order_by(_c.id)
            locked = _rows_by_id(connection.execute(wanted.with_for_update(skip_locked=True)))
            # What was not locked is either held by another session or gone.
            there = set(connection.scalars(select(_c.id).where(_c.id.in_(ids))))
            return self._write_settlements(
                connection,
                [
                    (claim, outcome, locked.get(claim.contact.id))
                    for claim, outcome in deliveries
                    if claim.contact.id in locked or claim.contact.id not in there
                ],
            )

    def count_due(self) -> int:
        """Count the contacts that a run would claim now."""
        with transaction(self._engine, read_only=True) as connection:
            counted = select(func.count()).select_from(contacts).where(is_due(self._lease))
            return connection.execute(counted).scalar_one()

    def peek_due(self, limit: int) -> list[Row]:
        """Return what `claim` would take, without taking it."""
        with transaction(self._engine, read_only=True) as connection:
            found = self._rows_to_claim(connection, limit, lock=False)
            return [row for row, _ in found if not row.is_abandoned][:limit]

    def read_one(self, contact_id: UUID) -> Row:
        """Return one contact as it is.

        Raises:
            NotThere: the table has no such contact.
        """
        with transaction(self._engine, read_only=True) as connection:
            found = connection.execute(_all_columns().where(_c.id == contact_id)).mappings().first()
            if found is None:
                raise NotThere(f"There is no contact {contact_id} in the table '{TABLE}'.")
            return _to_row(found)

    def reason_to_hold(self, row: Row, *, force: bool) -> Held | None:
        """Return why `claim_one` would not claim a contact, if it would not."""
        with transaction(self._engine, read_only=True) as connection:
            now: datetime = connection.execute(select(_now)).scalar_one()
        return self._reason_to_hold(row, now, force=force)

    def look_at_reset(
        self, contact_ids: Sequence[UUID], status: SyncStatus | None, *, rows_wanted: int
    ) -> ResetPreview:
        """Find out what a reset would do, without doing it.

        Args:
            contact_ids: only these; empty means all that `status` admits.
            status: only contacts with this decision; None means all that took part in a sync.
            rows_wanted: how many rows to show of what may be very many.
        """
        total = 0
        rows: list[Row] = []
        held: list[Row] = []
        found: set[UUID] = set()
        for free, live in self._chunks_to_reset(contact_ids, status, keep_copy=None):
            total += len(free)
            rows += free[: rows_wanted - len(rows)]
            held += live
            if contact_ids:
                found |= {row.contact.id for row in free + live}
        return ResetPreview(total, rows, held, found)

    def reset(
        self,
        contact_ids: Sequence[UUID],
        status: SyncStatus | None,
        *,
        keep_copy: Callable[[Sequence[Row]], None],
    ) -> tuple[int, list[Row]]:
        """Bring contacts back to never synced, some hundreds a transaction.

        Args:
            contact_ids: as in `look_at_reset`.
            status: as in `look_at_reset`.
            keep_copy: called with rows before they are erased; returns when their copy is safe.

        Returns:
            How many were reset, and the rows left because a live run holds them.
        """
        count = 0
        held: list[Row] = []
        for free, live in self._chunks_to_reset(contact_ids, status, keep_copy=keep_copy):
            count += len(free)
            held += live
        return count, held

    def _chunks_to_reset(
        self,
        contact_ids: Sequence[UUID],
        status: SyncStatus | None,
        *,
        keep_copy: Callable[[Sequence[Row]], None] | None,
    ) -> Iterator[tuple[list[Row], list[Row]]]:
        """Walk through the contacts in the order of their keys, resetting if a copy is kept."""
        never_synced = self._never_synced()
        wanted = _all_columns().where(_took_part(contact_ids, status)).order_by(_c.id)
        wanted = wanted.limit(RESET_CHUNK)
        if keep_copy is not None:
            wanted = wanted.with_for_update()
        after: UUID | None = None
        while True:
            with transaction(self._engine, read_only=keep_copy is None) as connection:
                beyond = wanted if after is None else wanted.where(_c.id > after)
                found = [
                    (_to_row(entry), entry["now"])
                    for entry in connection.execute(beyond).mappings()
                ]
                live = [row for row, now in found if self._is_held(row, now)]
                free = [row for row, now in found if not self._is_held(row, now)]
                if keep_copy is not None and free:
                    keep_copy(free)
                    _write_groups(
                        connection,
                        [(row.contact.id, reset_changes(row, never_synced)) for row in free],
                    )
            yield free, live
            if len(found) < RESET_CHUNK:
                return
            after = found[-1][0].contact.id

    def _rows_to_claim(
        self, connection: Connection, limit: int, *, lock: bool
    ) -> list[tuple[Row, datetime]]:
        prefer_indexes(connection)
        found = connection.execute(rows_to_claim(limit, self._lease, lock=lock))
        rows = [(_to_row(row), row["now"]) for row in found.mappings()]
        return sorted(rows, key=lambda entry: (entry[0].updated_at, entry[0].contact.id))

    def _reason_to_hold(self, row: Row, now: datetime, *, force: bool) -> Held | None:
        if row.sync_status == SyncStatus.SKIPPED and not force:
            return Held("its decision is Skipped; use --force to send it all the same")
        if self._is_held(row, now):
            ends = row.updated_at + self._lease
            return Held(f"a live run holds it until {ends:%H:%M:%S} UTC at the latest")
        return None

    def _is_held(self, row: Row, now: datetime) -> bool:
        return _is_processing(row) and now - row.updated_at < self._lease

    def _free(self, connection: Connection, rows: Sequence[Row]) -> None:
        _write_groups(connection, [(row.contact.id, leave_to_them(row)) for row in rows])
        for row in rows:
            log.warning(
                "contact %s: freed; its worker died and nobody wants it sent", row.contact.id
            )

    def _write_claims(
        self, connection: Connection, rows: Sequence[tuple[Row, datetime]]
    ) -> list[Claim]:
        claimed = [claim_row(row, self._policy, now) for row, now in rows]
        _write_groups(connection, [(claim.contact.id, changes) for claim, changes in claimed])
        for claim, _ in claimed:
            if claim.is_takeover:
                log.warning("contact %s: taken over; its worker died", claim.contact.id)
        return [claim for claim, _ in claimed]

    def _settle_waiting(self, delivery: Delivery) -> list[Settlement]:
        claim, outcome = delivery
        try:
            with self._engine.begin() as connection:
                if connection.dialect.name == "postgresql":
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {ROW_LOCK_TIMEOUT_MS}")
                wanted = _all_columns().where(_c.id == claim.contact.id).with_for_update()
                rows = _rows_by_id(connection.execute(wanted))
                return self._write_settlements(
                    connection, [(claim, outcome, rows.get(claim.contact.id))]
                )
        except SQLAlchemyError as error:
            if is_lock_timeout(error):
                return []
            raise explain(error) from error

    def _write_settlements(
        self, connection: Connection, ends: Sequence[tuple[Claim, Outcome, "LockedRow | None"]]
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
        _write_groups(
            connection,
            [(settlement.claim.contact.id, settlement.changes) for settlement in settlements],
        )
        return settlements

    def _never_synced(self) -> str | None:
        """Return the decision of a contact that nobody marked: NULL where the column takes it."""
        with transaction(self._engine, read_only=True) as connection:
            for described in inspect(connection).get_columns(TABLE):
                if described["name"] == "hubspot_sync_status":
                    return None if described["nullable"] else SyncStatus.NEW
        return None


@dataclass(frozen=True, slots=True)
class LockedRow:
    """A row under its lock, with the database's time."""

    row: Row
    now: datetime


def _all_columns() -> Select[Any]:
    return select(contacts, _now.label("now"))


def _to_row(found: RowMapping) -> Row:
    return Row(
        contact=Contact(
            id=found["id"],
            email=found["email"],
            name=found["name"],
            phone_number=found["phone_number"],
            domain_id=_as_text(found["domain_id"]),
            page_id=_as_text(found["page_id"]),
            hubspot_contact_id=found["hubspot_contact_id"],
        ),
        sync_status=found["hubspot_sync_status"],
        processing_status=found["hubspot_processing_status"],
        error=found["hubspot_processing_error"],
        retry_count=found["retry_count"],
        last_failed_crm=found["last_failed_crm"],
        next_retry_at=found["next_retry_at"],
        last_retry_at=found["last_retry_at"],
        updated_at=found["updated_at"],
    )


def _as_text(value: object) -> str | None:
    return None if value is None else str(value)


def _is_processing(row: Row) -> bool:
    return row.processing_status == ProcessingStatus.PROCESSING


def _rows_by_id(found: Any) -> dict[UUID, LockedRow]:
    return {entry["id"]: LockedRow(_to_row(entry), entry["now"]) for entry in found.mappings()}


def _took_part(contact_ids: Sequence[UUID], status: SyncStatus | None) -> ColumnElement[bool]:
    if contact_ids:
        return _c.id.in_(contact_ids)
    if status is not None:
        return _c.hubspot_sync_status == status
    took_part = or_(
        and_(_c.hubspot_sync_status.is_not(None), _c.hubspot_sync_status != SyncStatus.NEW),
        _c.hubspot_processing_status.is_not(None),
        _c.hubspot_processing_error.is_not(None),
        _c.hubspot_contact_id.is_not(None),
        and_(_c.retry_count > 0, or_(_c.last_failed_crm.is_(None), _c.last_failed_crm == CRM)),
    )
    # Skipped is a person's decision never to send; it is nothing that a sync wrote.
    is_skipped = _c.hubspot_sync_status == SyncStatus.SKIPPED
    return and_(took_part, or_(_c.hubspot_sync_status.is_(None), not_(is_skipped)))


def _write_groups(connection: Connection, writes: Iterable[tuple[UUID, Changes]]) -> None:
    """Write each row's changes, one statement for all rows that change alike.

    Statuses and times are constants of a statement: an enum column takes a constant of no type,
    but refuses the text of a VALUES list. Only error and record id differ from row to row.
    """
    groups: dict[tuple[Any, ...], list[tuple[UUID, Changes]]] = defaultdict(list)
    for contact_id, changes in writes:
        if changes:
            constant = tuple(
                (name, value) for name, value in sorted(changes.items()) if name not in _VARYING
            )
            varying = tuple(
                name for name in _VARYING if name in changes and changes[name] is not None
            )
            cleared = tuple(name for name in _VARYING if name in changes and changes[name] is None)
            groups[constant, varying, cleared].append((contact_id, changes))
    for (constant, varying, cleared), rows in groups.items():
        _write_group(connection, dict(constant) | dict.fromkeys(cleared), varying, rows)


def _write_group(
    connection: Connection,
    constant: Mapping[str, object],
    varying: Sequence[str],
    rows: Sequence[tuple[UUID, Changes]],
) -> None:
    if not varying:
        ids = [contact_id for contact_id, _ in rows]
        connection.execute(update(contacts).where(_c.id.in_(ids)).values(**constant))
        return
    new = (
        values(column("id", String), *(column(name, String) for name in varying), name="new_values")
        .data(
            [
                (str(contact_id), *(changes[name] for name in varying))
                for contact_id, changes in rows
            ]
        )
        .cte("new")
    )
    connection.execute(
        update(contacts)
        .where(_c.id == cast(new.c.id, Key))
        .values(**constant, **{name: new.c[name] for name in varying})
    )
