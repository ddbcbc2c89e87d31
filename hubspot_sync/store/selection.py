"""Which contacts an operator means, as a value and as a condition."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Engine, and_, false, func, or_, select

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import WrongUsage
from hubspot_sync.rules.lifecycle import ProcessingStatus, SyncStatus
from hubspot_sync.rules.mapping import normalise_email
from hubspot_sync.rules.source import Key, spellings
from hubspot_sync.store.database import transaction
from hubspot_sync.store.due import Due
from hubspot_sync.store.source_table import SourceTable

DOMAIN_ID = "domain_id"
"""The column by which `--domain-id` selects."""


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


class Selecting:
    """What is selected in one table, as conditions.

    Args:
        contacts: the table.
    """

    def __init__(self, contacts: SourceTable) -> None:
        self._contacts = contacts
        self._c = contacts.c
        self._is_ours = Due(contacts).is_ours

    @property
    def is_retried(self) -> ColumnElement[bool]:
        """The condition that a contact failed and waits for its retry."""
        return and_(
            self._c.hubspot_sync_status == SyncStatus.QUEUED,
            self._c.hubspot_processing_status == ProcessingStatus.ERROR,
        )

    @property
    def is_not_skipped(self) -> ColumnElement[bool]:
        """The condition that nobody decided never to send a contact."""
        decision = self._c.hubspot_sync_status
        return or_(decision.is_(None), decision != SyncStatus.SKIPPED)

    def selected(self, wanted: Selection) -> ColumnElement[bool]:
        """Return the condition that a contact is meant."""
        c = self._c
        if wanted.contact_ids:
            return c.id.in_(as_stored(wanted.contact_ids))
        if wanted.email:
            # SQL knows fewer blanks and capitals than we do, so as it is written, too.
            is_alike = func.lower(func.trim(c.email)) == normalise_email(wanted.email)
            return or_(is_alike, c.email == wanted.email)
        if wanted.status is not None:
            return self._has_status(wanted.status)
        if wanted.domain_id is not None:
            return self._domain == wanted.domain_id
        return c.id.is_not(None) if wanted.every else false()

    @property
    def _domain(self) -> ColumnElement[Any]:
        """The column of domains.

        Raises:
            WrongUsage: the mapping reads no column of that name.
        """
        if DOMAIN_ID not in self._contacts.source.columns:
            raise WrongUsage(ErrorCode.DOMAIN_NOT_MAPPED, table=self._contacts.name)
        return self._c[self._contacts.value_key(DOMAIN_ID)]

    def took_part(self, wanted: Selection) -> ColumnElement[bool]:
        """Return the condition that a contact is meant and has taken part in a sync."""
        c = self._c
        if wanted.contact_ids or wanted.status is not None:
            return self.selected(wanted)
        took_part = or_(
            and_(c.hubspot_sync_status.is_not(None), c.hubspot_sync_status != SyncStatus.NEW),
            c.hubspot_processing_status.is_not(None),
            c.hubspot_processing_error.is_not(None),
            c.hubspot_contact_id.is_not(None),
            and_(c.retry_count > 0, self._is_ours),
        )
        # Skipped is a person's decision never to send; it is nothing that a sync wrote.
        return and_(took_part, self.is_not_skipped)

    def can_be_skipped(self, wanted: Selection) -> ColumnElement[bool]:
        """Return the condition that a contact is meant and not skipped yet."""
        return and_(self.selected(wanted), self.is_not_skipped)

    def _has_status(self, status: SyncStatus) -> ColumnElement[bool]:
        decision = self._c.hubspot_sync_status
        if status is SyncStatus.NEW:
            return or_(decision.is_(None), decision == SyncStatus.NEW)
        if status is SyncStatus.ERROR:
            return or_(decision == SyncStatus.ERROR, self.is_retried)
        return decision == status


def find_keys(engine: Engine, contacts: SourceTable, wanted: Selection) -> list[Key]:
    """Return the keys of the contacts that are meant."""
    key = contacts.c.id
    chosen = select(key).where(Selecting(contacts).selected(wanted)).order_by(key)
    with transaction(engine, read_only=True) as connection:
        return list(connection.scalars(chosen))


def as_stored(keys: Sequence[Key]) -> list[Key]:
    """Return every spelling in which the table may hold these keys."""
    return [each for key in keys for each in (spellings(key) if isinstance(key, str) else (key,))]
