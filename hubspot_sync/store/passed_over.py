"""Contacts that a run leaves alone from now on, so that none of them holds up the others."""

import threading
from collections.abc import Collection, Mapping

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import DatabaseUnavailable
from hubspot_sync.rules.source import Key

MOST_PASSED_OVER = 1_000
"""With more than this, the fault is the table's and not a row's."""


class PassedOver:
    """What one run passes over; its workers share it.

    Those that the database refuses would be due again at once, and so would a contact whose values
    change with every settlement.
    """

    def __init__(self) -> None:
        self._refused: dict[Key, str] = {}
        self._requeued: set[Key] = set()
        self._passed_over: set[Key] = set()
        self._lock = threading.Lock()

    @property
    def keys(self) -> Collection[Key]:
        """The contacts that no later claim of the run takes."""
        with self._lock:
            return frozenset(self._passed_over)

    @property
    def refused(self) -> Mapping[Key, str]:
        """Those that could not be claimed, with the database's reason."""
        with self._lock:
            return dict(self._refused)

    def add_refused(self, refused: Mapping[Key, str]) -> None:
        """Pass over contacts whose rows the database does not let us claim.

        Raises:
            DatabaseUnavailable: there are too many of them.
        """
        with self._lock:
            self._refused |= refused
            self._passed_over |= refused.keys()
            count = len(self._refused)
        if count > MOST_PASSED_OVER:
            contact_id, why = next(iter(refused.items()))
            raise DatabaseUnavailable(ErrorCode.ROWS_REFUSED, contact=contact_id, why=why)

    def note_requeued(self, contact_id: Key) -> None:
        """Let a contact be sent again because its values were edited meanwhile, but only once."""
        with self._lock:
            if contact_id in self._requeued:
                self._passed_over.add(contact_id)
            self._requeued.add(contact_id)
