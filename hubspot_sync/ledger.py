"""The account of a run: what became of each contact, and how many requests it took."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime

from hubspot_sync.report import (
    DELIVERED,
    MOST_CONTACTS_LISTED,
    MOST_UNDELIVERED_LISTED,
    REFUSED,
    ContactReport,
    RunState,
)
from hubspot_sync.rules.settlement import OutcomeName, Settlement
from hubspot_sync.rules.source import Key


class Ledger:
    """Keeps the account of a run: one line a contact. Safe from any thread.

    Args:
        attempts: attempts that a contact has in all.
        now: this machine's clock.
    """

    def __init__(self, attempts: int, now: Callable[[], datetime]) -> None:
        self._attempts = attempts
        self._now = now
        self._lock = threading.Lock()
        self._counts: Counter[OutcomeName] = Counter()
        self._contacts: list[ContactReport] = []
        self._lists_delivered = True
        self._requests = 0

    @property
    def counts(self) -> dict[OutcomeName, int]:
        """The contacts claimed so far, by outcome."""
        with self._lock:
            return dict(self._counts)

    @property
    def contacts(self) -> tuple[ContactReport, ...]:
        """The contacts that a report lists: few, or those that were not delivered."""
        with self._lock:
            return tuple(self._contacts)

    @property
    def claimed(self) -> int:
        """The contacts claimed so far."""
        with self._lock:
            return self._counts.total()

    @property
    def requests(self) -> int:
        """The HTTP requests sent by workers that have ended."""
        with self._lock:
            return self._requests

    def count_requests(self, requests: int) -> None:
        """Add the HTTP requests that a worker has sent."""
        with self._lock:
            self._requests += requests

    def add(self, settlement: Settlement, shared_with: Sequence[Key] = ()) -> ContactReport:
        """Enter the end of a claim, and say which contacts had the same delivery."""
        claim = settlement.claim
        report = ContactReport(
            id=claim.contact.id,
            email=claim.contact.email,
            outcome=settlement.name,
            attempt=min(claim.attempt, self._attempts),
            attempts=self._attempts,
            hubspot_contact_id=settlement.hubspot_contact_id,
            error=settlement.error,
            next_retry_at=settlement.next_retry_at,
            shared_with=tuple(shared_with),
            is_takeover=claim.is_takeover,
            ended_at=self._now(),
        )
        with self._lock:
            self._counts[report.outcome] += 1
            self._list(report)
        return report

    def _list(self, report: ContactReport) -> None:
        is_listed = self._lists_delivered or report.outcome not in DELIVERED
        if is_listed and len(self._contacts) < MOST_UNDELIVERED_LISTED:
            self._contacts.append(report)
        if self._lists_delivered and len(self._contacts) > MOST_CONTACTS_LISTED:
            self._lists_delivered = False
            self._contacts = [each for each in self._contacts if each.outcome not in DELIVERED]

    def state(self, *, is_stopped: bool) -> RunState:
        """Return how the run ended."""
        if is_stopped:
            return RunState.STOPPED
        counts = self.counts
        if any(counts.get(name, 0) for name in REFUSED):
            return RunState.PARTIAL
        return RunState.DONE
