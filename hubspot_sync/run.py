"""What the workers of one run share: its limits, its tally, its account. Safe from any thread."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from hubspot_sync.clock import Pulse
from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import (
    DatabaseUnavailable,
    HubSpotDenied,
    Interrupted,
    RunStopped,
    Signature,
)
from hubspot_sync.report import DELIVERED, ContactReport, Ledger
from hubspot_sync.rules.mapping import PropertyMap, PropertyNames
from hubspot_sync.rules.settlement import OutcomeName, Settlement
from hubspot_sync.rules.verdict import Tally, Verdict
from hubspot_sync.rules.words import one_line
from hubspot_sync.sentences import Message, with_assurance
from hubspot_sync.store.passed_over import PassedOver

if TYPE_CHECKING:
    from hubspot_sync.hubspot.client import HubSpotClient

log = logging.getLogger(__name__)

LONGEST_REASON = 1_000
"""Characters of the sentence that says why a run stopped; it may repeat HubSpot's words."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is to go by.

    Attributes:
        lease: how long a claim holds.
        attempts: attempts that a contact has in all.
        portal_id: the only portal that may be written to; None for any.
        limit: contacts to claim at most; None for all that are due.
        longest: claim nothing more after this time; None for no end.
        workers: batches in flight at once.
    """

    names: PropertyNames
    lease: timedelta
    attempts: int
    portal_id: str | None = None
    limit: int | None = None
    longest: timedelta | None = None
    workers: int = 1


class Run:
    """One run, as its workers share it.

    Args:
        plan: what to go by.
        pulse: clocks, waits and the wish to end.
        on_settled: told of each contact as soon as its row is written.
    """

    def __init__(
        self, plan: Plan, pulse: Pulse, on_settled: Callable[[ContactReport], None] | None = None
    ) -> None:
        self.plan = plan
        self.pulse = pulse
        self.ledger = Ledger(plan.attempts, pulse.now)
        self.passed_over = PassedOver()
        self.requests = 0
        self.stop_reason: Message | None = None
        self._remark: Message | None = None
        self._hold_up: Message | None = None
        self._began = pulse.monotonic()
        self._on_settled = on_settled
        self._lock = threading.Lock()
        self._mapping_lock = threading.Lock()
        self._mapping: PropertyMap | None = None
        self._day_lock = threading.Lock()
        self._is_day_asked = False
        self._next_day: datetime | None = None
        self._tally = Tally()
        self._reserved = 0

    @property
    def seconds(self) -> float:
        """How long the run has lasted."""
        return self.pulse.monotonic() - self._began

    def reserve(self, wanted: int) -> int:
        """Return how many contacts a worker may claim now; what it does not, it gives back."""
        longest = self.plan.longest
        if self.pulse.is_ending or (longest and self.seconds >= longest.total_seconds()):
            return 0
        if self.plan.limit is None:
            return wanted
        with self._lock:
            granted = max(0, min(wanted, self.plan.limit - self._reserved))
            self._reserved += granted
            return granted

    def give_back(self, unused: int) -> None:
        """Return places that were reserved and that no contact used."""
        if self.plan.limit is not None:
            with self._lock:
                self._reserved -= unused

    def mapping(self, client: "HubSpotClient") -> PropertyMap:
        """Look at the portal, once a run, before anything is written to it.

        Raises:
            RunStopped: it is the wrong portal, or lacks our properties, or does not answer.
            Interrupted: another worker has just learnt that.
        """
        with self._mapping_lock:
            if self._mapping is None:
                if self.pulse.is_ending:
                    raise Interrupted(ErrorCode.RUN_ENDING)
                from hubspot_sync.hubspot.portal import look_at_portal

                self._mapping = look_at_portal(client, self.plan.names, self.plan.portal_id)
            return self._mapping

    def next_day(self, client: "HubSpotClient") -> datetime | None:
        """Ask, once a run, when the portal's next day begins; each worker that stops wants it.

        Returns:
            The moment in UTC; None where HubSpot does not tell it.
        """
        with self._day_lock:
            if not self._is_day_asked:
                from hubspot_sync.hubspot.portal import next_day

                self._next_day = next_day(client, self.pulse.now())
                self._is_day_asked = True
            return self._next_day

    def stop(self, stop: RunStopped) -> None:
        """End the run for all workers: no further request starts."""
        if isinstance(stop, HubSpotDenied):
            log.critical(stop.alarm, extra={"correlation_id": stop.correlation_id})
        with self._lock:
            self.stop_reason = self.stop_reason or _reason_of(stop)
        self.pulse.ending.ask()

    def remark(self, words: Message) -> None:
        """Keep why contacts were stopped though the run goes on: the account refuses them."""
        with self._lock:
            self._remark = self._remark or _fitted(words)

    def held_up(self, words: Message) -> None:
        """Keep why contacts have to wait; it is the run's reason where none was delivered."""
        with self._lock:
            self._hold_up = _with_assurance(words)

    @property
    def reason(self) -> Message | None:
        """Why not everything could be delivered that was claimed; None where that was not so."""
        return self.stop_reason or self._remark

    @property
    def vain_reason(self) -> Message | None:
        """Why a run that sent contacts, and was not stopped, had none delivered.

        Nobody would hear of it else, and each run might end so. None where that was not so.
        """
        counts = self.ledger.counts
        if not counts[OutcomeName.STOPPED] or any(counts[outcome] for outcome in DELIVERED):
            return None
        return self._hold_up or Message(ErrorCode.NOTHING_CONFIRMED)

    @property
    def verdict(self) -> Verdict:
        """Whose fault the refusals seem that are withheld now."""
        with self._lock:
            return self._tally.verdict

    def accepted(self) -> None:
        """Count a delivery that HubSpot accepted."""
        with self._lock:
            self._tally = self._tally.accepted()

    def refused(self, signature: Signature) -> Verdict:
        """Count a delivery that HubSpot refused, and return whose fault it seems."""
        with self._lock:
            self._tally = self._tally.refused(signature)
            return self._tally.verdict

    def count_requests(self, requests: int) -> None:
        """Add up the HTTP requests that a worker has sent."""
        with self._lock:
            self.requests += requests

    def note(
        self, settlements: Sequence[Settlement], shared: "dict[UUID, tuple[UUID, ...]]"
    ) -> None:
        """Enter the ends of claims into the account."""
        with self._lock:
            for settlement in settlements:
                others = shared.get(settlement.claim.contact.id, ())
                report = self.ledger.add(settlement, others)
                log.debug(
                    "contact %s: %s",
                    report.id,
                    report.outcome,
                    extra={"contact_id": str(report.id)},
                )
                if self._on_settled:
                    self._on_settled(report)


def _reason_of(stop: RunStopped) -> Message:
    if isinstance(stop, DatabaseUnavailable):
        # Its words tell what becomes of the contacts, which depends on what had been sent.
        return _fitted(stop.message)
    return _with_assurance(stop.message)


def _with_assurance(words: Message) -> Message:
    return words.as_text(with_assurance(_fitted(words)))


def _fitted(words: Message) -> Message:
    return words.as_text(one_line(words, LONGEST_REASON))
