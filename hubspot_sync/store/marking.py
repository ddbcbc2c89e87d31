"""What operators do to many contacts: mark them as the app would, skip them, or take marks back.

Some hundreds a transaction, in the order of their keys, so that the app never waits long.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Engine,
    Select,
    and_,
    false,
    func,
    inspect,
    not_,
    select,
)

from hubspot_sync.rules.lifecycle import (
    Changes,
    ProcessingStatus,
    Row,
    SyncStatus,
    enqueue_changes,
    is_held,
    reset_changes,
    skip_changes,
)
from hubspot_sync.rules.source import Key
from hubspot_sync.store.database import retried, transaction
from hubspot_sync.store.due import Due
from hubspot_sync.store.rows import to_row, write_rows
from hubspot_sync.store.selection import Selecting, Selection
from hubspot_sync.store.source_table import NOW, SourceTable

CHUNK = 500
"""Contacts that one transaction takes."""

MOST_HELD = 10_000
"""Contacts that runs hold, or died holding, that are told."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a command would do to contacts.

    Attributes:
        total: contacts that it would change.
        rows: the first of them.
        held: contacts that a run holds, or one that died whose lease is not over.
        found: the keys of those that were named and are there.
        queued: contacts among those meant that wait for their turn already.
        skipped: contacts among them that are never to be sent.
        retrying: contacts among `total` that failed and wait for their retry.
    """

    total: int
    rows: list[Row]
    held: list[Row]
    found: set[Key] = field(default_factory=set)
    queued: int = 0
    skipped: int = 0
    retrying: int = 0


class Marking:
    """Marks contacts, and takes the marks back; of those that a run holds, only `skip` does.

    Args:
        engine: from `make_engine`.
        contacts: the table.
        lease: how long a claim holds.
    """

    def __init__(self, engine: Engine, contacts: SourceTable, *, lease: timedelta) -> None:
        self._engine = engine
        self._contacts = contacts
        self._lease = lease
        self._due = Due(contacts)
        self._selecting = Selecting(contacts)

    def look_at_reset(self, wanted: Selection, *, rows_wanted: int) -> Preview:
        """Find out what a reset would do, without doing it.

        Args:
            wanted: `every` means all that took part in a sync.
            rows_wanted: how many rows to show of what may be very many.
        """
        return self._preview(self._selecting.took_part(wanted), wanted, rows_wanted, None)

    def look_at_enqueue(
        self, wanted: Selection, *, rows_wanted: int, limit: int | None = None
    ) -> Preview:
        """Find out what `enqueue` would do, without doing it."""
        return self._preview(self._can_be_marked(wanted), wanted, rows_wanted, limit)

    def reset(
        self, wanted: Selection, *, keep_copy: Callable[[Sequence[Row]], None]
    ) -> tuple[int, list[Row]]:
        """Bring contacts back to never synced.

        Args:
            wanted: as in `look_at_reset`.
            keep_copy: called with rows before they are erased; returns when their copy is safe.

        Returns:
            How many were reset, and the rows left because their lease is not over.
        """
        never_synced = self._never_synced()
        kept: frozenset[Row] = frozenset()

        def change(rows: list[Row]) -> list[tuple[Key, Changes]]:
            nonlocal kept
            # A transaction that is tried again finds rows whose copy is safe already.
            keep_copy([row for row in rows if row not in kept])
            kept = frozenset(rows)
            return [(row.contact.id, reset_changes(row, never_synced)) for row in rows]

        return _sum(
            self._chunks(self._selecting.took_part(wanted), change=lambda rows, _: change(rows))
        )

    def enqueue(self, wanted: Selection, *, limit: int | None = None) -> tuple[int, list[Row]]:
        """Mark contacts for HubSpot as the app does, with all attempts before them.

        Skipped ones are left alone unless they are named; so are those that are queued already,
        which would lose their turn.

        Returns:
            How many were marked, and the rows left because their lease is not over.
        """

        def change(rows: list[Row], now: datetime) -> list[tuple[Key, Changes]]:
            return [(row.contact.id, enqueue_changes(row, now)) for row in rows]

        return _sum(self._chunks(self._can_be_marked(wanted), change=change, limit=limit))

    def look_at_skip(self, wanted: Selection) -> Preview:
        """Find out what `skip` would do, without doing it; it does so to what is held, too."""
        return self._preview(self._selecting.can_be_skipped(wanted), wanted, 0, None)

    def skip(self, wanted: Selection) -> tuple[int, list[Row]]:
        """Set the decision to Skipped, and take what is asked for out of the queue.

        Of a contact that a run holds the decision alone is set: its state is the run's, which
        respects the decision as it settles, keeps the HubSpot id, and leaves no mark of its own. To
        leave such a contact would lose the decision, and send it again if that run is dead. Error,
        HubSpot id and retry values stay, as the record of what was; `updated_at` stays as well,
        for a lease is counted from it.

        Returns:
            How many were skipped, and the rows among them whose lease is not over.
        """

        def change(rows: list[Row], _: datetime) -> list[tuple[Key, Changes]]:
            return [(row.contact.id, skip_changes(row, is_held=False)) for row in rows]

        def change_held(rows: list[Row]) -> list[tuple[Key, Changes]]:
            return [(row.contact.id, skip_changes(row, is_held=True)) for row in rows]

        chunks = self._chunks(
            self._selecting.can_be_skipped(wanted), change=change, change_held=change_held
        )
        count, held = _sum(chunks)
        return count + len(held), held

    @retried
    def has_synced(self) -> bool:
        """Tell whether any contact has ever been delivered."""
        with transaction(self._engine, read_only=True) as connection:
            delivered = (
                select(self._contacts.c.id)
                .where(self._contacts.c.hubspot_contact_id.is_not(None))
                .limit(1)
            )
            return connection.execute(delivered).first() is not None

    @retried
    def _preview(
        self, condition: ColumnElement[bool], wanted: Selection, most: int, limit: int | None
    ) -> Preview:
        """Count what a change would take, and read only what is to be shown."""
        is_live = and_(
            self._contacts.c.hubspot_processing_status == ProcessingStatus.PROCESSING,
            not_(self._due.is_left_behind(self._lease)),
        )
        is_free = and_(condition, not_(func.coalesce(is_live, false())))
        chosen = self._selecting.selected(wanted)
        with transaction(self._engine, read_only=True) as connection:

            def read(where: ColumnElement[bool], count: int) -> list[Row]:
                query = (
                    self._contacts.rows().where(where).order_by(self._contacts.c.id).limit(count)
                )
                return [
                    to_row(self._contacts, entry) for entry in connection.execute(query).mappings()
                ]

            def count(where: ColumnElement[bool]) -> int:
                return int(
                    connection.execute(
                        select(func.count()).select_from(self._contacts.table).where(where)
                    ).scalar_one()
                )

            found = (
                set(connection.scalars(select(self._contacts.c.id).where(chosen)))
                if wanted.contact_ids
                else set()
            )
            taken = is_free
            if limit is not None:
                taken = self._contacts.c.id.in_(
                    select(self._contacts.c.id)
                    .where(is_free)
                    .order_by(self._contacts.c.id)
                    .limit(limit)
                )
            return Preview(
                total=count(taken),
                rows=read(is_free, most) if most else [],
                held=read(and_(condition, is_live), MOST_HELD),
                found=found,
                queued=count(and_(chosen, self._due.ready)),
                skipped=count(
                    and_(chosen, self._contacts.c.hubspot_sync_status == SyncStatus.SKIPPED)
                ),
                retrying=count(and_(taken, self._selecting.is_retried)),
            )

    def _chunks(
        self,
        condition: ColumnElement[bool],
        *,
        change: Callable[[list[Row], datetime], list[tuple[Key, Changes]]],
        change_held: Callable[[list[Row]], list[tuple[Key, Changes]]] | None = None,
        limit: int | None = None,
    ) -> Iterator[tuple[list[Row], list[Row]]]:
        """Walk through contacts and change them; yield those that are free, and those held."""
        query = (
            self._contacts.rows().where(condition).order_by(self._contacts.c.id).with_for_update()
        )
        after: Key | None = None
        left = limit
        while left is None or left > 0:
            size = CHUNK if left is None else min(CHUNK, left)
            beyond = query if after is None else query.where(self._contacts.c.id > after)
            found, free, live = self._change(beyond.limit(size), change, change_held)
            yield free, live
            if len(found) < size:
                return
            after = found[-1].contact.id
            left = None if left is None else left - len(free)

    @retried
    def _change(
        self,
        query: Select[Any],
        change: Callable[[list[Row], datetime], list[tuple[Key, Changes]]],
        change_held: Callable[[list[Row]], list[tuple[Key, Changes]]] | None,
    ) -> tuple[list[Row], list[Row], list[Row]]:
        """Change what a query finds, in one transaction.

        Returns:
            All that it found, those that nobody held and that were changed, and those held.
        """
        with transaction(self._engine) as connection:
            timed = [
                (to_row(self._contacts, entry), entry[NOW])
                for entry in connection.execute(query).mappings()
            ]
            live = [row for row, now in timed if is_held(row, now, self._lease)]
            free = [row for row, now in timed if not is_held(row, now, self._lease)]
            if free:
                written = write_rows(connection, self._contacts, change(free, timed[0][1]))
                # A trigger or rule may leave a row as it is.
                free = [row for row in free if row.contact.id in written.rows]
            if live and change_held:
                write_rows(connection, self._contacts, change_held(live))
        return [row for row, _ in timed], free, live

    @retried
    def _never_synced(self) -> str | None:
        """Return the decision of a contact that nobody marked: NULL where the column takes it."""
        with transaction(self._engine, read_only=True) as connection:
            table, decision = self._contacts.table, self._contacts.c.hubspot_sync_status
            for described in inspect(connection).get_columns(table.name, schema=table.schema):
                if described["name"] == decision.name:
                    return None if described["nullable"] else SyncStatus.NEW
        return None

    def _can_be_marked(self, wanted: Selection) -> ColumnElement[bool]:
        is_queued = func.coalesce(self._due.ready, false())
        if wanted.contact_ids:
            return and_(self._selecting.selected(wanted), not_(is_queued))
        # What a dead run left is in the queue already: the next run takes it over.
        is_left = func.coalesce(self._due.is_left_behind(self._lease), false())
        return and_(
            self._selecting.selected(wanted),
            not_(is_queued),
            not_(is_left),
            self._selecting.is_not_skipped,
        )


def _sum(chunks: Iterator[tuple[list[Row], list[Row]]]) -> tuple[int, list[Row]]:
    count = 0
    held: list[Row] = []
    for free, live in chunks:
        count += len(free)
        held += live
    return count, held
