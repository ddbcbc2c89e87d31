"""The queue in the contacts table: each method is one short transaction, and none calls HubSpot.

What follows from a row's state is decided in `rules.lifecycle`; here it is read and written.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import (
    Connection,
    Engine,
    func,
    select,
)
from sqlalchemy.exc import SQLAlchemyError

from hubspot_sync.errors import WrongUsage
from hubspot_sync.rules.lifecycle import (
    Claim,
    ProcessingStatus,
    Row,
    SyncStatus,
    claim_row,
    is_held,
    leave_to_them,
)
from hubspot_sync.rules.retry import RetryPolicy
from hubspot_sync.rules.settlement import Outcome, Settlement, settle
from hubspot_sync.store.database import retried, transaction
from hubspot_sync.store.due import is_due, prefer_indexes, rows_to_claim
from hubspot_sync.store.failures import explain, is_lock_timeout
from hubspot_sync.store.rows import LockedRow, all_columns, rows_by_id, to_row, write_rows
from hubspot_sync.store.table import TABLE, DatabaseTime, contacts

log = logging.getLogger(__name__)

ROW_LOCK_TIMEOUT_MS = 2000
"""How long a settle waits for one row that the app holds, before it lets others go first."""


Delivery = tuple[Claim, Outcome]

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

    reason: str


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

    @retried
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
            _log_freed(abandoned)
            _log_takeovers(claims)
            if claims or not abandoned:
                return claims

    @retried
    def claim_one(self, contact_id: UUID, *, force: bool = False) -> Claim | Held:
        """Claim one contact, whatever its status, unless it is skipped or held.

        Args:
            contact_id: its key.
            force: claim it even where the decision is Skipped.

        Raises:
            NotThere: the table has no such contact.
        """
        with transaction(self._engine) as connection:
            wanted = all_columns().where(_c.id == contact_id)
            found = connection.execute(wanted.with_for_update(skip_locked=True)).mappings().first()
            if found is None:
                if connection.execute(wanted).first() is None:
                    raise _not_there(contact_id)
                return Held("another program holds its row; try again in a moment")
            row, now = to_row(found), found["now"]
            held = self._reason_to_hold(row, now, force=force)
            if held:
                return held
            (claim,) = self._write_claims(connection, [(row, now)])
        _log_takeovers([claim])
        return claim

    @retried
    def settle(self, deliveries: Sequence[Delivery]) -> list[Settlement]:
        """End claims: compare each row with its claim, and write what follows.

        Rows that another session holds are left out of the answer and keep nobody waiting; pass
        them in again, alone.
        """
        if len(deliveries) == 1:
            return self._settle_waiting(deliveries[0])
        with transaction(self._engine) as connection:
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
            )

    @retried
    def count_due(self) -> int:
        """Count the contacts that a run would claim now."""
        with transaction(self._engine, read_only=True) as connection:
            counted = select(func.count()).select_from(contacts).where(is_due(self._lease))
            return connection.execute(counted).scalar_one()

    @retried
    def peek_due(self, limit: int) -> list[Row]:
        """Return what `claim` would take, without taking it."""
        with transaction(self._engine, read_only=True) as connection:
            found = self._rows_to_claim(connection, limit, lock=False)
            due = [row for row, _ in found if not row.is_abandoned]
            # A claim takes over first, so a short run would get no further than that.
            return sorted(due, key=lambda row: not _is_processing(row))[:limit]

    def death_notice(self, row: Row) -> str | None:
        """Return why a claim of this row would end before anything is sent, if it would."""
        claim, _ = claim_row(row, self._policy, row.updated_at)
        return claim.death_notice if claim.is_out_of_attempts else None

    @retried
    def read_one(self, contact_id: UUID) -> Row:
        """Return one contact as it is.

        Raises:
            NotThere: the table has no such contact.
        """
        with transaction(self._engine, read_only=True) as connection:
            found = connection.execute(all_columns().where(_c.id == contact_id)).mappings().first()
            if found is None:
                raise _not_there(contact_id)
            return to_row(found)

    @retried
    def reason_to_hold(self, row: Row, *, force: bool) -> Held | None:
        """Return why `claim_one` would not claim a contact, if it would not."""
        with transaction(self._engine, read_only=True) as connection:
            now: datetime = connection.execute(select(_now)).scalar_one()
        return self._reason_to_hold(row, now, force=force)

    def _rows_to_claim(
        self, connection: Connection, limit: int, *, lock: bool
    ) -> list[tuple[Row, datetime]]:
        prefer_indexes(connection)
        found = connection.execute(rows_to_claim(limit, self._lease, lock=lock))
        rows = [(to_row(row), row["now"]) for row in found.mappings()]
        return sorted(rows, key=lambda entry: (entry[0].updated_at, entry[0].contact.id))

    def _reason_to_hold(self, row: Row, now: datetime, *, force: bool) -> Held | None:
        if row.sync_status == SyncStatus.SKIPPED and not force:
            return Held("its decision is Skipped; use --force to send it all the same")
        if is_held(row, now, self._lease):
            ends = row.updated_at + self._lease
            return Held(
                f"a run holds it, or died holding it, until {ends:%H:%M:%S} UTC at the latest"
            )
        return None

    def _free(self, connection: Connection, rows: Sequence[Row]) -> None:
        write_rows(connection, [(row.contact.id, leave_to_them(row)) for row in rows])

    def _write_claims(
        self, connection: Connection, rows: Sequence[tuple[Row, datetime]]
    ) -> list[Claim]:
        claimed = [claim_row(row, self._policy, now) for row, now in rows]
        write_rows(connection, [(claim.contact.id, changes) for claim, changes in claimed])
        return [claim for claim, _ in claimed]

    def _settle_waiting(self, delivery: Delivery) -> list[Settlement]:
        claim, outcome = delivery
        try:
            with self._engine.begin() as connection:
                if connection.dialect.name == "postgresql":
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {ROW_LOCK_TIMEOUT_MS}")
                wanted = all_columns().where(_c.id == claim.contact.id).with_for_update()
                rows = rows_by_id(connection.execute(wanted))
                return self._write_settlements(
                    connection, [(claim, outcome, rows.get(claim.contact.id))]
                )
        except SQLAlchemyError as error:
            if is_lock_timeout(error):
                return []
            raise explain(error) from error

    def _write_settlements(
        self, connection: Connection, ends: Sequence[tuple[Claim, Outcome, LockedRow | None]]
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
        write_rows(
            connection,
            [(settlement.claim.contact.id, settlement.changes) for settlement in settlements],
        )
        return settlements


def _not_there(contact_id: UUID) -> NotThere:
    return NotThere(
        f"There is no contact {contact_id} in the table '{TABLE}'. Look for it by its email, or "
        "see whether DATABASE_URL names the right database."
    )


def _log_freed(rows: Sequence[Row]) -> None:
    for row in rows:
        log.warning(
            "contact %s: freed; its worker died and nobody wants it sent",
            row.contact.id,
            extra={"contact_id": str(row.contact.id)},
        )


def _log_takeovers(claims: Sequence[Claim]) -> None:
    for claim in claims:
        if claim.is_takeover:
            log.warning(
                "contact %s: taken over; its worker died",
                claim.contact.id,
                extra={"contact_id": str(claim.contact.id)},
            )


def _is_processing(row: Row) -> bool:
    return row.processing_status == ProcessingStatus.PROCESSING
