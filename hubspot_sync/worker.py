"""One worker of a run: claim, map, deliver, settle; everything about the order of effects.

A contact is claimed and committed before HubSpot hears of it, and its row is written only after
HubSpot has answered. Whatever ends the work, every claimed contact gets exactly one outcome.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from hubspot_sync.clock import Pulse
from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import (
    DatabaseUnavailable,
    EveryoneRefused,
    Interrupted,
    QuotaSpent,
    Refused,
    RunStopped,
    WrongUsage,
)
from hubspot_sync.hubspot.ends import Cut, Ends, Exposure
from hubspot_sync.rules.circuit_breaker import (
    CircuitState,
    is_by_mapping,
    said_of_everyone,
    signature_of,
)
from hubspot_sync.rules.grouping import Group, group_by_email
from hubspot_sync.rules.lifecycle import Claim
from hubspot_sync.rules.mapping import Contact, PropertyMapping, email_fault
from hubspot_sync.rules.reaction import RATE_LIMITED, not_confirmed
from hubspot_sync.rules.rejection import rejection_of, usable_fields
from hubspot_sync.rules.settlement import (
    UNDELIVERED,
    Delivered,
    Failed,
    Outcome,
    OutcomeName,
    Rejected,
    Released,
    Settlement,
    Stopped,
)
from hubspot_sync.rules.shaping import RunContext, Shaped, to_properties
from hubspot_sync.rules.source import Key
from hubspot_sync.run import Run, lanes_of
from hubspot_sync.sentences import Message
from hubspot_sync.store.contact_queue import ContactQueue, Held
from hubspot_sync.store.settling import Delivery

if TYPE_CHECKING:
    from hubspot_sync.hubspot.batch_lane import BatchLane
    from hubspot_sync.hubspot.careful_lane import Lanes
    from hubspot_sync.hubspot.client import HubSpotClient

log = logging.getLogger(__name__)

BATCH = 100
"""Contacts that a worker claims at a time: what HubSpot takes in one request."""

SETTLE_MARGIN = timedelta(seconds=30)
"""The end of a lease, kept free of requests so that what they told can be written in peace."""

LONGEST_SETTLE_PAUSE_SECONDS = 30.0


class Worker:
    """Works for one run, with a connection to HubSpot of its own.

    Args:
        run: what it shares with the other workers.
        queue: the contacts.
        open_client: makes the connection to HubSpot; called only where something is due, for a
            tick that finds nothing must not pay for it.
    """

    def __init__(
        self, run: Run, queue: ContactQueue, open_client: "Callable[[], HubSpotClient]"
    ) -> None:
        self._run = run
        self._queue = queue
        self._open_client = open_client
        self._pulse: Pulse = run.pulse
        self._lane: BatchLane | None = None
        self._waiting: dict[Key, Claim] = {}
        self._withheld: list[Delivery] = []
        self._unsettled: list[Delivery] = []
        self._claimed_before = 0.0
        self._client: HubSpotClient | None = None
        self._shared: dict[Key, tuple[Key, ...]] = {}

    def work_queue(self, claims: list[Claim] | None = None) -> None:
        """Deliver what is due until nothing is, or the run has taken all that it may.

        Args:
            claims: what this worker claimed already.

        Raises:
            RunStopped: nothing can be delivered to anyone now; nothing is held any more.
        """
        while claims := claims or self._claim():
            self._work(claims)
            claims = []

    def take_over_alone(self) -> list[Claim]:
        """Deliver the contacts that have to be taken over alone, one after the other.

        Returns:
            What was claimed after them, for `work_queue`.

        Raises:
            RunStopped: as above.
        """
        while claims := self._claim(lone=True):
            if not claims[0].is_lone:
                break
            self._work(claims)
        return claims

    def _claim(self, *, lone: bool = False) -> list[Claim]:
        """Claim as many contacts as a request takes and the run's limit leaves.

        Args:
            lone: also take over a contact that has to be alone; it is the only one claimed then.
        """
        wanted = self._run.budget.reserve(BATCH)
        if not wanted:
            return []
        self._start_lease()
        claims: list[Claim] = []
        try:
            claims = self._queue.claim(wanted, lone=lone, passed_over=self._run.passed_over)
        finally:
            self._run.budget.give_back(wanted - len(claims))
        return claims

    def work_one(self, contact_id: Key, *, force: bool) -> None:
        """Deliver one contact now, whatever its status.

        Raises:
            NotThere: there is no such contact.
            Refused: it is skipped, or a live run holds it.
            RunStopped: as above.
        """
        self._start_lease()
        claim = self._queue.claim_one(contact_id, force=force)
        if isinstance(claim, Held):
            raise Refused(ErrorCode.CONTACT_NOT_SENT, contact=contact_id, reason=claim.reason)
        self._work([claim], carefully=True)

    def close(self) -> None:
        """Close the connection to HubSpot."""
        if self._client is not None:
            self._client.transport.close()
            self._run.ledger.count_requests(self._client.transport.request_count)

    def _start_lease(self) -> None:
        # Before the claim, so that our clock runs ahead of the database's, never behind it.
        self._claimed_before = self._pulse.monotonic()

    @property
    def _lease_ends(self) -> float:
        return self._claimed_before + self._run.plan.lease.total_seconds()

    def _work(self, claims: Sequence[Claim], *, carefully: bool = False) -> None:
        """Bring every one of these claims to exactly one outcome, and settle it."""
        self._waiting = {claim.contact.id: claim for claim in claims}
        self._shared = {}
        carefully = carefully or any(claim.is_lone for claim in claims)
        try:
            lane = self._prepare()
            lane.deliver(self._map(lane.lanes), self._conclude, self._stumble, carefully=carefully)
        except Cut as cut:
            self._end(cut.why, cut.exposure)
        except (Interrupted, RunStopped) as why:
            self._end(why, Exposure())
        finally:
            self._unsettled += self._withheld
            self._unsettled += [(claim, Released()) for claim in self._waiting.values()]
            self._withheld, self._waiting = [], {}
            self._settle_rest()

    def _end(self, why: Interrupted | RunStopped, exposure: Exposure) -> None:
        """Give what may have been written its outcome; a stop goes on to the run."""
        if isinstance(why, Interrupted):
            log.info("no further request starts: %s", why)
            self._stop_groups(exposure.unconfirmed, not_confirmed(why))
            return
        told = self._with_hour(why)
        # Nobody pays for what is everyone's, those whose refusal was still open included.
        self._withheld = [(claim, Stopped(told.message)) for claim, _ in self._withheld]
        self._stop_groups(exposure.unconfirmed, told.message)
        if not (isinstance(told, QuotaSpent) and told.kept_back):
            self._stop_groups(exposure.refused, told.message)
        raise told from why

    def _with_hour(self, stop: RunStopped) -> RunStopped:
        """Add the hour at which the day's quota begins anew, where that is why the run stops."""
        if self._client is None or not isinstance(stop, QuotaSpent) or not stop.is_daily:
            return stop
        next_day = self._run.portal.next_day(self._client)
        return stop if next_day is None else stop.until(next_day)

    def _prepare(self) -> "BatchLane":
        """Look at the portal, once a run, before anything is written to it."""
        if self._client is None:
            self._client = self._open_client()
        self._client.transport.hold_lease_until(self._lease_ends - SETTLE_MARGIN.total_seconds())
        mapping = self._run.portal.mapping(self._client)
        if self._lane is None:
            from hubspot_sync.hubspot.batch_lane import BatchLane
            from hubspot_sync.hubspot.careful_lane import CarefulLane

            lanes = lanes_of(self._client, self._queue, mapping)
            self._lane = BatchLane(lanes, CarefulLane(lanes))
        return self._lane

    @property
    def _mapping(self) -> PropertyMapping:
        return self._lane.lanes.mapping if self._lane else self._run.plan.mapping

    def _map(self, lanes: "Lanes") -> list[Group]:
        """Map and group what can be sent; settle what cannot, before any request.

        Raises:
            DatabaseUnavailable: a table that fields take values from cannot be read.
            EveryoneRefused: it is a line of the mapping that rejects contact after contact.
        """
        context = RunContext(self._pulse.now(), self._run.plan.run_id)
        unsendable: list[Delivery] = []
        mapped: list[tuple[Contact, Shaped]] = []
        claims, kind = list(self._waiting.values()), lanes.object_type
        contacts = self._queue.look_up([each.contact for each in claims], lanes.mapping.lookups)
        for claim, contact in zip(claims, contacts, strict=True):
            try:
                fault = _fault_of(claim, lanes.mapping)
                shaped = {} if fault else to_properties(contact, lanes.mapping, context, kind)
            except Exception as ours:  # noqa: BLE001 - it must not bar the others
                fault = Failed(self._own_fault(ours, contact))
            if fault:
                unsendable.append((self._waiting.pop(contact.id), fault))
            else:
                mapped.append((contact, shaped))
        self._settle(unsendable)
        # However many cannot be sent, they keep no place from one that can.
        self._run.budget.give_back(sum(isinstance(fault, Rejected) for _, fault in unsendable))
        return self._without_rejected(group_by_email(mapped), lanes.mapping)

    def _without_rejected(self, groups: Sequence[Group], mapping: PropertyMapping) -> list[Group]:
        """Conclude the groups that have a value which cannot be sent, and return the others."""
        self._run.circuit_breaker.had_values(usable_fields(groups, mapping))
        rejections = [(group, rejection_of(group, mapping)) for group in groups]
        rejected: Ends = [(group, end) for group, end in rejections if end]
        if rejected:
            self._conclude(rejected)
            self._run.budget.give_back(sum(len(group.members) for group, _ in rejected))
        return [group for group, end in rejections if end is None]

    def _stumble(self, fault: Exception, group: Group | None) -> Outcome:
        return Failed(self._own_fault(fault, group.contact if group else None))

    def _own_fault(self, fault: Exception, contact: Contact | None = None) -> Message:
        log.info(
            "hubspot-sync stumbled over contact %s (%s)",
            contact.id if contact else "(one of a batch)",
            type(fault).__name__,
            extra={"contact_id": str(contact.id)} if contact else None,
        )
        log.debug("how it happened", exc_info=fault)
        return Message(ErrorCode.OUR_FAULT, fault=type(fault).__name__)

    def _conclude(self, ends: Ends) -> None:
        """Settle contacts, except where a refusal may yet turn out to be everyone's."""
        certain: list[Delivery] = []
        circuit = self._run.circuit_breaker.state
        for group, outcome in sorted(ends, key=lambda end: not isinstance(end[1], Delivered)):
            deliveries = self._deliveries(group, outcome)
            signature = signature_of(outcome)
            if isinstance(outcome, UNDELIVERED) and outcome.signature:
                self._note_refusal(group, outcome)
            if isinstance(outcome, Delivered) and not outcome.unchanged:
                # What HubSpot was not sent says nothing about what it takes.
                self._run.circuit_breaker.accepted()
                circuit = self._run.circuit_breaker.state
                certain += self._withheld
                self._withheld = []
            if signature is None:
                certain += deliveries
            else:
                circuit = self._run.circuit_breaker.refused(signature)
                self._withheld += deliveries
        if circuit is CircuitState.CLOSED:
            certain += self._withheld
            self._withheld = []
        self._settle(certain)
        if circuit is CircuitState.OPEN and self._withheld:
            told = said_of_everyone(self._withheld[-1][1], self._mapping)
            raise EveryoneRefused(told.code, **told.data)

    def _note_refusal(self, group: Group, outcome: Failed | Rejected | Stopped) -> None:
        _log_refusal(group, outcome)
        if outcome.signature == RATE_LIMITED:
            self._run.reasons.held_up(outcome.message)
        elif isinstance(outcome, Stopped):
            self._run.reasons.remark(outcome.message)

    def _deliveries(self, group: Group, outcome: Outcome) -> list[Delivery]:
        """Share a group's outcome among its contacts, which no longer wait."""
        if len(group.members) > 1:
            self._shared |= {each.id: group.shared_with(each.id) for each in group.members}
        return [
            (self._waiting.pop(member.id), outcome)
            for member in group.members
            if member.id in self._waiting
        ]

    def _stop_groups(self, groups: Iterable[Group], reason: Message) -> None:
        """Mark as stopped what may have been written, or was in the request that was refused."""
        for group in groups:
            self._withheld += self._deliveries(group, Stopped(reason))

    def _settle(self, deliveries: Iterable[Delivery]) -> None:
        """Write outcomes; what cannot be written yet is kept for the next settling."""
        self._unsettled += deliveries
        if self._unsettled:
            self._write(self._unsettled)

    def _settle_rest(self) -> None:
        """Settle what could not be written so far, for as long as the lease lasts.

        Raises:
            DatabaseUnavailable: it did not come back in time.
        """
        lost: DatabaseUnavailable | None = None
        failed_tries = 0
        while self._unsettled and self._pulse.monotonic() < self._lease_ends:
            try:
                self._write(self._unsettled)
                for delivery in self._unsettled:
                    # A row that the app holds is waited for alone.
                    self._write([delivery])
                lost = None
            except DatabaseUnavailable as error:
                lost = error
            failed_tries += 1
            if self._unsettled:
                if self._pulse.is_ending and failed_tries > 1:
                    break
                self._pulse.sleep(min(2.0**failed_tries, LONGEST_SETTLE_PAUSE_SECONDS))
        left, self._unsettled = self._unsettled, []
        # Past the lease nothing of ours is written: the next run takes these over.
        self._run.note(
            [Settlement(claim, OutcomeName.SUPERSEDED) for claim, _ in left], self._shared
        )
        if lost is not None:
            raise lost

    def _write(self, deliveries: Sequence[Delivery]) -> None:
        try:
            settlements = self._queue.settle(deliveries)
        except WrongUsage as gone:
            # The table was there when these were claimed: it is the database that went away.
            raise DatabaseUnavailable(gone.code, **gone.message.data) from gone
        settled = {settlement.claim.contact.id for settlement in settlements}
        self._unsettled = [entry for entry in self._unsettled if entry[0].contact.id not in settled]
        for settlement in settlements:
            if settlement.name is OutcomeName.REQUEUED:
                self._run.passed_over.note_requeued(settlement.claim.contact.id)
        self._run.note(settlements, self._shared)


def _log_refusal(group: Group, outcome: Failed | Rejected | Stopped) -> None:
    # Without HubSpot's words, which may repeat the address.
    who = "the mapping" if is_by_mapping(outcome.signature) else "HubSpot"
    for member in group.members:
        log.info(
            "contact %s: %s refused it, %s; correlation id %s",
            member.id,
            who,
            outcome.signature,
            outcome.correlation_id or "none",
            extra={
                "contact_id": str(member.id),
                "correlation_id": outcome.correlation_id,
                "error_code": outcome.message.code,
            },
        )


def _fault_of(claim: Claim, mapping: PropertyMapping) -> Failed | Rejected | None:
    """Return how a contact ends for which nothing need be sent; None where it can be sent."""
    if claim.is_out_of_attempts:
        return Failed(claim.death_notice)
    fault = email_fault(claim.contact.email, mapping.reject_emails)
    return Rejected(fault) if fault else None
