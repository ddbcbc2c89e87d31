"""What the workers of one run share. Safe from any thread, as each of its parts is."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from hubspot_sync.budget import Budget
from hubspot_sync.circuit_breaker import CircuitBreaker
from hubspot_sync.clock import Pulse
from hubspot_sync.errors import HubSpotDenied, RunStopped
from hubspot_sync.ledger import Ledger
from hubspot_sync.portal_state import PortalState
from hubspot_sync.report import ContactReport
from hubspot_sync.rules.mapping import PropertyMapping
from hubspot_sync.rules.settlement import Settlement
from hubspot_sync.rules.source import Key
from hubspot_sync.stop_reasons import StopReasons
from hubspot_sync.store.passed_over import PassedOver

if TYPE_CHECKING:
    from hubspot_sync.hubspot.careful_lane import Lanes
    from hubspot_sync.hubspot.client import HubSpotClient
    from hubspot_sync.store.contact_queue import ContactQueue

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is to go by.

    Attributes:
        mapping: what is to be filled.
        lease: how long a claim holds.
        attempts: attempts that a contact has in all.
        portal_id: the only portal that may be written to; None for any.
        limit: contacts to claim at most; None for all that are due.
        longest: claim nothing more after this time; None for no end.
        workers: batches in flight at once.
        run_id: the run's name, which a mapping may send.
    """

    mapping: PropertyMapping
    lease: timedelta
    attempts: int
    portal_id: str | None = None
    limit: int | None = None
    longest: timedelta | None = None
    workers: int = 1
    run_id: str = ""


def lanes_of(client: "HubSpotClient", queue: "ContactQueue", mapping: PropertyMapping) -> "Lanes":
    """Return what lanes go by that write to a portal for a table.

    Args:
        client: a connection to HubSpot.
        queue: asked before records get a new address, and before values are cleared.
        mapping: fitted to the portal.
    """
    from hubspot_sync.hubspot.careful_lane import Lanes

    may_be_cleared = partial(queue.may_be_cleared, mapping=mapping)
    return Lanes(client, mapping, client.object_type, queue.may_be_renamed, may_be_cleared)


class Run:
    """One run, as its workers share it.

    Args:
        plan: what to go by.
        pulse: clocks, waits and the wish to end.
        on_settled: told of each contact as soon as its row is written, by the worker that wrote it;
            several may tell it at once.

    Attributes:
        budget: what may still be claimed.
        circuit_breaker: whether refusals concern every contact.
        portal: what is learnt once about the portal.
        ledger: what became of each contact.
        reasons: why the run stopped.
        passed_over: contacts that it leaves alone.
    """

    def __init__(
        self, plan: Plan, pulse: Pulse, on_settled: Callable[[ContactReport], None] | None = None
    ) -> None:
        self.plan = plan
        self.pulse = pulse
        self.budget = Budget(pulse, limit=plan.limit, longest=plan.longest)
        self.circuit_breaker = CircuitBreaker()
        self.portal = PortalState(pulse, plan.mapping, plan.portal_id)
        self.ledger = Ledger(plan.attempts, pulse.now)
        self.reasons = StopReasons()
        self.passed_over = PassedOver()
        self._on_settled = on_settled

    def stop(self, stop: RunStopped) -> None:
        """End the run for all workers: no further request starts."""
        if isinstance(stop, HubSpotDenied):
            log.critical(stop.alarm, extra={"correlation_id": stop.correlation_id})
        self.reasons.stopped(stop)
        self.pulse.ending.ask()

    def note(
        self, settlements: Sequence[Settlement], shared: Mapping[Key, tuple[Key, ...]]
    ) -> None:
        """Enter the ends of claims into the ledger, and tell of them while no lock is held."""
        for settlement in settlements:
            report = self.ledger.add(settlement, shared.get(settlement.claim.contact.id, ()))
            log.debug(
                "contact %s: %s",
                report.id,
                report.outcome,
                extra={"contact_id": str(report.id)},
            )
            if self._on_settled:
                self._on_settled(report)
