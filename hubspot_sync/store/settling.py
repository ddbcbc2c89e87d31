"""How claims end in the table: each row is compared with its claim, then what follows is written.

What follows is decided in `rules.settlement`.
"""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Connection, Engine, select

from hubspot_sync.errors import RowLocked
from hubspot_sync.rules.lifecycle import Claim
from hubspot_sync.rules.retry import RetryPolicy
from hubspot_sync.rules.settlement import Outcome, Settlement, instead_of, settle
from hubspot_sync.store.database import retried, transaction
from hubspot_sync.store.rows import LockedRow, rows_by_id, singly_if_refused, write_rows
from hubspot_sync.store.source_table import SourceTable

ROW_LOCK_TIMEOUT_MS = 2000
"""How long a settle waits for what the app holds, before it lets others go first."""

Delivery = tuple[Claim, Outcome]


class Settling:
    """Ends claims, each transaction short.

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
            return singly_if_refused(write)
        except RowLocked:
            # The row itself; or, in a unique index, what one of the rows is to bear.
            return []

    @retried
    def _settle_together(self, deliveries: Sequence[Delivery], singly: bool) -> list[Settlement]:
        with transaction(self._engine, singly=singly) as connection:
            limit_waiting(connection)
            ids = [claim.contact.id for claim, _ in deliveries]
            wanted = (
                self._contacts.rows()
                .where(self._contacts.c.id.in_(ids))
                .order_by(self._contacts.c.id)
            )
            locked = rows_by_id(
                self._contacts, connection.execute(wanted.with_for_update(skip_locked=True))
            )
            # What was not locked is either held by another session or gone.
            there = set(
                connection.scalars(select(self._contacts.c.id).where(self._contacts.c.id.in_(ids)))
            )
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
    def _settle_waiting(self, delivery: Delivery, singly: bool) -> list[Settlement]:
        claim, outcome = delivery
        with transaction(self._engine, singly=singly) as connection:
            limit_waiting(connection)
            wanted = (
                self._contacts.rows()
                .where(self._contacts.c.id == claim.contact.id)
                .with_for_update()
            )
            rows = rows_by_id(self._contacts, connection.execute(wanted))
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
            self._contacts,
            [(settlement.claim.contact.id, settlement.changes) for settlement in settlements],
            singly=singly,
        )
        return [
            self._write_instead(
                connection, settlement, written.refused.get(settlement.claim.contact.id)
            )
            for settlement in settlements
        ]

    def _write_instead(
        self, connection: Connection, settlement: Settlement, why: str | None
    ) -> Settlement:
        """Write what comes nearest to a settlement that the database refuses."""
        if why is None:
            return settlement
        instead = settlement
        for instead in instead_of(settlement, why):
            key = instead.claim.contact.id
            if not write_rows(
                connection, self._contacts, [(key, instead.changes)], singly=True
            ).refused:
                break
        return instead


def limit_waiting(connection: Connection) -> None:
    """Have the transaction wait briefly for what others hold, then fail."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {ROW_LOCK_TIMEOUT_MS}")
