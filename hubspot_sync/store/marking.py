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
    or_,
    select,
)

from hubspot_sync.rules.lifecycle import (
    CRM,
    Changes,
    ProcessingStatus,
    Row,
    SyncStatus,
    enqueue_changes,
    is_held,
    reset_changes,
    skip_changes,
)
from hubspot_sync.rules.mapping import normalise_email
from hubspot_sync.rules.source import Key
from hubspot_sync.store.database import retried, transaction
from hubspot_sync.store.due import READY, is_left_behind
from hubspot_sync.store.rows import all_columns, to_row, write_rows
from hubspot_sync.store.table import TABLE, contacts

CHUNK = 500
"""Contacts that one transaction takes."""

MOST_HELD = 10_000
"""Contacts that runs hold, or died holding, that are told."""

_c = contacts.c
_IS_RETRIED = and_(
    _c.hubspot_sync_status == SyncStatus.QUEUED,
    _c.hubspot_processing_status == ProcessingStatus.ERROR,
)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which contacts an operator means; one of these, and only one.

    Attributes:
        contact_ids: these.
        email: those with this address, however it is written.
        status: those with this decision; NULL counts as New, and what failed and waits for its
            retry as Error.
        domain_id: those of this domain.
        every: all.
    """

    contact_ids: Sequence[Key] = ()
    email: str | None = None
    status: SyncStatus | None = None
    domain_id: Key | None = None
    every: bool = False

    @property
    def is_one(self) -> bool:
        """Whether exactly one of them is given."""
        given = (self.contact_ids, self.email, self.status, self.domain_id, self.every)
        return sum(bool(each) for each in given) == 1


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
        lease: how long a claim holds.
    """

    def __init__(self, engine: Engine, *, lease: timedelta) -> None:
        self._engine = engine
        self._lease = lease

    def look_at_reset(self, wanted: Selection, *, rows_wanted: int) -> Preview:
        """Find out what a reset would do, without doing it.

        Args:
            wanted: `every` means all that took part in a sync.
            rows_wanted: how many rows to show of what may be very many.
        """
        return self._preview(_took_part(wanted), wanted, rows_wanted, None)

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

        return _sum(self._chunks(_took_part(wanted), change=lambda rows, _: change(rows)))

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
        return self._preview(_can_be_skipped(wanted), wanted, 0, None)

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

        chunks = self._chunks(_can_be_skipped(wanted), change=change, change_held=change_held)
        count, held = _sum(chunks)
        return count + len(held), held

    @retried
    def has_synced(self) -> bool:
        """Tell whether any contact has ever been delivered."""
        with transaction(self._engine, read_only=True) as connection:
            delivered = select(_c.id).where(_c.hubspot_contact_id.is_not(None)).limit(1)
            return connection.execute(delivered).first() is not None

    @retried
    def _preview(
        self, condition: ColumnElement[bool], wanted: Selection, most: int, limit: int | None
    ) -> Preview:
        """Count what a change would take, and read only what is to be shown."""
        is_live = and_(
            _c.hubspot_processing_status == ProcessingStatus.PROCESSING,
            not_(is_left_behind(self._lease)),
        )
        is_free = and_(condition, not_(func.coalesce(is_live, false())))
        chosen = _selected(wanted)
        with transaction(self._engine, read_only=True) as connection:

            def read(where: ColumnElement[bool], count: int) -> list[Row]:
                query = all_columns().where(where).order_by(_c.id).limit(count)
                return [to_row(entry) for entry in connection.execute(query).mappings()]

            def count(where: ColumnElement[bool]) -> int:
                return int(
                    connection.execute(
                        select(func.count()).select_from(contacts).where(where)
                    ).scalar_one()
                )

            found = (
                set(connection.scalars(select(_c.id).where(chosen)))
                if wanted.contact_ids
                else set()
            )
            taken = is_free
            if limit is not None:
                taken = _c.id.in_(select(_c.id).where(is_free).order_by(_c.id).limit(limit))
            return Preview(
                total=count(taken),
                rows=read(is_free, most) if most else [],
                held=read(and_(condition, is_live), MOST_HELD),
                found=found,
                queued=count(and_(chosen, READY)),
                skipped=count(and_(chosen, _c.hubspot_sync_status == SyncStatus.SKIPPED)),
                retrying=count(and_(taken, _IS_RETRIED)),
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
        query = all_columns().where(condition).order_by(_c.id).with_for_update()
        after: Key | None = None
        left = limit
        while left is None or left > 0:
            size = CHUNK if left is None else min(CHUNK, left)
            beyond = query if after is None else query.where(_c.id > after)
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
                (to_row(entry), entry["now"]) for entry in connection.execute(query).mappings()
            ]
            live = [row for row, now in timed if is_held(row, now, self._lease)]
            free = [row for row, now in timed if not is_held(row, now, self._lease)]
            if free:
                written = write_rows(connection, change(free, timed[0][1]))
                # A trigger or rule may leave a row as it is.
                free = [row for row in free if row.contact.id in written.rows]
            if live and change_held:
                write_rows(connection, change_held(live))
        return [row for row, _ in timed], free, live

    @retried
    def _never_synced(self) -> str | None:
        """Return the decision of a contact that nobody marked: NULL where the column takes it."""
        with transaction(self._engine, read_only=True) as connection:
            for described in inspect(connection).get_columns(TABLE):
                if described["name"] == "hubspot_sync_status":
                    return None if described["nullable"] else SyncStatus.NEW
        return None

    def _can_be_marked(self, wanted: Selection) -> ColumnElement[bool]:
        is_queued = func.coalesce(READY, false())
        if wanted.contact_ids:
            return and_(_selected(wanted), not_(is_queued))
        # What a dead run left is in the queue already: the next run takes it over.
        is_left = func.coalesce(is_left_behind(self._lease), false())
        return and_(_selected(wanted), not_(is_queued), not_(is_left), _is_not_skipped())


def find_keys(engine: Engine, wanted: Selection) -> list[Key]:
    """Return the keys of the contacts that are meant."""
    with transaction(engine, read_only=True) as connection:
        return list(connection.scalars(select(_c.id).where(_selected(wanted)).order_by(_c.id)))


def _sum(chunks: Iterator[tuple[list[Row], list[Row]]]) -> tuple[int, list[Row]]:
    count = 0
    held: list[Row] = []
    for free, live in chunks:
        count += len(free)
        held += live
    return count, held


def _selected(wanted: Selection) -> ColumnElement[bool]:
    if wanted.contact_ids:
        return _c.id.in_(wanted.contact_ids)
    if wanted.email:
        # SQL knows fewer blanks and capitals than we do, so as it is written, too.
        is_alike = func.lower(func.trim(_c.email)) == normalise_email(wanted.email)
        return or_(is_alike, _c.email == wanted.email)
    if wanted.status is SyncStatus.NEW:
        return or_(_c.hubspot_sync_status.is_(None), _c.hubspot_sync_status == SyncStatus.NEW)
    if wanted.status is SyncStatus.ERROR:
        return or_(_c.hubspot_sync_status == SyncStatus.ERROR, _IS_RETRIED)
    if wanted.status is not None:
        return _c.hubspot_sync_status == wanted.status
    if wanted.domain_id is not None:
        return _c.domain_id == str(wanted.domain_id)
    return _c.id.is_not(None) if wanted.every else false()


def _can_be_skipped(wanted: Selection) -> ColumnElement[bool]:
    return and_(_selected(wanted), _is_not_skipped())


def _is_not_skipped() -> ColumnElement[bool]:
    is_skipped = _c.hubspot_sync_status == SyncStatus.SKIPPED
    return or_(_c.hubspot_sync_status.is_(None), not_(is_skipped))


def _took_part(wanted: Selection) -> ColumnElement[bool]:
    if wanted.contact_ids or wanted.status is not None:
        return _selected(wanted)
    took_part = or_(
        and_(_c.hubspot_sync_status.is_not(None), _c.hubspot_sync_status != SyncStatus.NEW),
        _c.hubspot_processing_status.is_not(None),
        _c.hubspot_processing_error.is_not(None),
        _c.hubspot_contact_id.is_not(None),
        and_(_c.retry_count > 0, or_(_c.last_failed_crm.is_(None), _c.last_failed_crm == CRM)),
    )
    # Skipped is a person's decision never to send; it is nothing that a sync wrote.
    return and_(took_part, _is_not_skipped())
