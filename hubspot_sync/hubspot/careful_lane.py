"""The careful lane: one contact, step by step, each step on what HubSpot answered to the last."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import (
    Conflict,
    ContactRejected,
    HubSpotDown,
    Interrupted,
    NotFound,
    RunStopped,
    Signature,
    Unavailable,
)
from hubspot_sync.hubspot.client import HubSpotClient
from hubspot_sync.hubspot.ends import Cut, Exposure
from hubspot_sync.rules.circuit_breaker import outcome_of
from hubspot_sync.rules.clearing import AskClearings, clear_nothing
from hubspot_sync.rules.grouping import Group
from hubspot_sync.rules.identity import AskRenames, HubSpotRecord, holds_what_was_sent
from hubspot_sync.rules.mapping import ObjectType, PropertyMapping
from hubspot_sync.rules.plan import (
    Absence,
    Entry,
    Need,
    PlannedWrite,
    Seen,
    Target,
    WriteKind,
    clearings,
    plan,
    target_of,
)
from hubspot_sync.rules.reaction import (
    RATE_LIMITED,
    UNAVAILABLE,
    account_full,
    is_unexplained,
    not_confirmed,
    rate_limit_used_up,
)
from hubspot_sync.rules.retry import REQUEST_TRIES
from hubspot_sync.rules.settlement import Delivered, Failed, Outcome, Released, Stopped
from hubspot_sync.sentences import Message

MOST_STEPS = 6
"""Creates and updates that chase each other (409, 404, 409, …) end here."""


@dataclass(frozen=True, slots=True)
class Lanes:
    """What both lanes of a worker go by.

    Attributes:
        client: speaks to HubSpot.
        mapping: fitted to the portal.
        object_type: the kind of record that contacts become.
        may_be_renamed: asked last before an update that sends a new address.
        may_be_cleared: asked last before an update that clears a value.
    """

    client: HubSpotClient
    mapping: PropertyMapping
    object_type: ObjectType
    may_be_renamed: AskRenames
    may_be_cleared: AskClearings = clear_nothing

    def plan(self, group: Group, seen: Seen) -> PlannedWrite | Need:
        """Return what a write of one group does, or what has to be found out first."""
        return plan(group, seen, self.mapping, self.object_type)

    def freed(self, entries: Sequence[Entry]) -> dict[str, frozenset[str]]:
        """Ask the table what may be cleared, where that is at hand; return it by address."""
        asked = {each.record_id: each for each in clearings(entries, self.mapping)}
        free = self.may_be_cleared(list(asked.values())) if asked else {}
        return {
            group.email: free.get(target.record.id, frozenset())
            for group, target in entries
            if target.record is not None and target.record.id in asked
        }

    def holds(self, record: HubSpotRecord, write: PlannedWrite) -> bool:
        """Tell whether a record shows what a write without an answer has sent."""
        return holds_what_was_sent(record, write.properties, self.mapping)

    @property
    def read_properties(self) -> Sequence[str]:
        """What is asked of a record, so that a write can be planned for it."""
        return self.mapping.property_names


class CarefulLane:
    """Upserts one group at a time.

    Args:
        lanes: what it goes by.
    """

    def __init__(self, lanes: Lanes) -> None:
        self.lanes = lanes

    def deliver(self, group: Group) -> Outcome:
        """Upsert a group and return what became of it.

        Raises:
            Cut: nothing can be delivered to anyone now.
        """
        upsert = _Upsert(self.lanes, group)
        try:
            return self._outcome(upsert)
        except RunStopped as stop:
            unconfirmed = (group,) if upsert.wrote else ()
            raise Cut(stop, Exposure(unconfirmed, refused=(group,))) from stop
        except Interrupted as end:
            # A write whose answer is lost may have been carried out: the contact was sent.
            return Stopped(not_confirmed(end)) if upsert.wrote else Released()

    def _outcome(self, upsert: "_Upsert") -> Outcome:
        try:
            return upsert.run()
        except ContactRejected as refusal:
            return outcome_of(refusal)
        except (NotFound, Conflict) as odd:
            # Where no step expects it, a 404 or a 409 is a refusal like any other.
            code = "NOT_FOUND" if isinstance(odd, NotFound) else "CONFLICT"
            return Failed(
                Message(
                    ErrorCode.HUBSPOT_REFUSED, words=odd.message.data["words"], hubspot_code=code
                ),
                Signature(code),
                correlation_id=odd.correlation_id,
            )
        except Unavailable as trouble:
            self.require_hubspot(trouble)
            if trouble.rate_limited:
                return Stopped(
                    rate_limit_used_up(trouble),
                    RATE_LIMITED,
                    correlation_id=trouble.correlation_id,
                )
            return Failed(
                Message(
                    ErrorCode.CONTACT_STUMBLED,
                    trouble=trouble.message,
                    words=trouble.message.data.get("hubspots_words", ""),
                ),
                UNAVAILABLE,
                correlation_id=trouble.correlation_id,
            )

    def require_hubspot(self, trouble: Unavailable) -> None:
        """Find out by one small read whether it is HubSpot that is down, or what was sent.

        Raises:
            HubSpotDown: the small read got no usable answer either.
        """
        try:
            self.lanes.client.probe()
        except Unavailable as still:
            if still.rate_limited:
                raise HubSpotDown(ErrorCode.RATE_LIMIT, trouble=still.message) from trouble
            raise HubSpotDown(
                ErrorCode.HUBSPOT_DOWN, trouble=trouble.message, still=still.message
            ) from trouble
        except (ContactRejected, NotFound, Conflict) as refusal:
            raise HubSpotDown(
                ErrorCode.HUBSPOT_UNUSABLE, trouble=trouble.message, refusal=refusal.message
            ) from trouble


class _Upsert:
    """One group's way: looked up, planned, written, and looked up again where that went astray.

    Attributes:
        wrote: a write was sent whose answer did not come.
    """

    def __init__(self, lanes: Lanes, group: Group) -> None:
        self._lanes = lanes
        self._client = lanes.client
        self._group = group
        self._creates_without_answer = 0
        self._refused: Conflict | NotFound | None = None
        self.wrote = False

    def run(self) -> Outcome:
        seen = self._look_up()
        for _ in range(MOST_STEPS):
            step = self._write(*self._plan(seen))
            if isinstance(step, Delivered):
                return step
            seen = step
        raise self._contradiction()

    def _plan(self, seen: Seen) -> tuple[PlannedWrite, Seen]:
        """Find out what a plan needs, and return it with all that is known then."""
        while True:
            step = self._lanes.plan(self._group, seen)
            match step:
                case PlannedWrite():
                    return step, seen
                case Need.STORED_RECORD:
                    stored_id = self._group.contact.hubspot_contact_id or ""
                    seen = replace(seen, by_id=self._read(stored_id) or Absence.GONE)
                case Need.RENAME if isinstance(seen.by_id, HubSpotRecord):
                    rename = self._group.rename_of(seen.by_id)
                    seen = replace(seen, may_rename=bool(self._lanes.may_be_renamed([rename])))
                case Need.CLEARING:
                    seen = replace(seen, may_clear=self._free_to_clear(seen))
                case _:
                    raise AssertionError(f"a look-up by email always tells, and yet: {step}")

    def _free_to_clear(self, seen: Seen) -> frozenset[str]:
        target = target_of(self._group, seen, self._lanes.mapping)
        freed = self._lanes.freed([(self._group, target)]) if isinstance(target, Target) else {}
        return freed.get(self._group.email, frozenset())

    def _write(self, write: PlannedWrite, seen: Seen) -> Delivered | Seen:
        if write.record_id is None:
            return self._create(write, seen)
        if write.kind is WriteKind.NOTHING:
            return Delivered(write.record_id, created=False, unchanged=True)
        return self._update(write.record_id, write)

    def _create(self, write: PlannedWrite, seen: Seen) -> Delivered | Seen:
        try:
            created = self._client.create(write.properties)
        except Conflict as conflict:
            return self._owner(conflict)
        except ContactRejected as refusal:
            if is_unexplained(refusal) and self._client.account_is_full():
                raise account_full(refusal) from refusal
            raise
        except Unavailable as trouble:
            return self._look_for_created(write, trouble, seen)
        return Delivered(created, created=True)

    def _look_for_created(
        self, write: PlannedWrite, trouble: Unavailable, seen: Seen
    ) -> Delivered | Seen:
        """After a create whose answer was lost: ask the record store, never create blindly."""
        self.wrote = self.wrote or trouble.outcome_unknown
        self._creates_without_answer += 1
        if not trouble.outcome_unknown:
            raise trouble
        found = self._read_by_email()
        if found is None:
            if self._creates_without_answer >= REQUEST_TRIES:
                raise trouble
            self._client.transport.wait(trouble.wait_seconds, self._creates_without_answer)
            return seen
        if self._lanes.holds(found, write):
            return Delivered(found.id, created=True)
        return Seen(by_email=found)

    def _update(self, record_id: str, write: PlannedWrite) -> Delivered | Seen:
        try:
            updated = self._client.update(record_id, write.properties)
        except NotFound as gone:
            self._refused = gone
            return self._look_up_again()
        except Conflict as conflict:
            return self._owner(conflict)
        except Unavailable as trouble:
            return self._look_for_updated(record_id, write, trouble)
        except Interrupted as end:
            self.wrote = self.wrote or end.outcome_unknown
            raise
        if updated == record_id:
            return Delivered(updated, created=False)
        return self._look_for_merged(record_id, write, updated)

    def _look_for_updated(
        self, record_id: str, write: PlannedWrite, trouble: Unavailable
    ) -> Delivered:
        """After an update without a usable answer: delivered only if HubSpot shows the values."""
        self.wrote = self.wrote or trouble.outcome_unknown
        if trouble.outcome_unknown:
            found = self._read(record_id)
            if found is not None and self._lanes.holds(found, write):
                return Delivered(found.id, created=False)
        raise trouble

    def _look_for_merged(
        self, record_id: str, write: PlannedWrite, updated: str
    ) -> Delivered | Seen:
        """After an update that was answered under another id: a merge, or another's answer?

        A merge it is where a read by the old id is answered so too; what was sent is there then,
        however HubSpot writes it.
        """
        self.wrote = True
        found = self._read(record_id)
        if found is None:
            return self._look_up_again()
        if found.id == updated or self._lanes.holds(found, write):
            return Delivered(found.id, created=False)
        return Seen(by_email=found)

    def _owner(self, conflict: Conflict) -> Seen:
        """Read the record that owns the address: as HubSpot named it, else by looking it up."""
        self._refused = conflict
        named = self._read(conflict.existing_id) if conflict.existing_id else None
        found = named or self._read_by_email()
        if found is None:
            # HubSpot says that it holds the address, and shows nobody who has it.
            raise conflict
        return Seen(by_email=found)

    def _contradiction(self) -> Unavailable:
        """Return the error of answers that do not fit together, with HubSpot's last refusal."""
        last = self._refused
        words = last.message.data["words"] if last else "no reason given"
        odd = Unavailable(ErrorCode.CONTRADICTION, words=words)
        return odd.but(correlation_id=last.correlation_id if last else None)

    def _look_up(self) -> Seen:
        return Seen(by_email=self._read_by_email() or Absence.GONE)

    def _look_up_again(self) -> Seen:
        """Go on with the record that has the address now; without one it is created."""
        return Seen(by_email=self._read_by_email() or Absence.GONE, by_id=Absence.GONE)

    def _read_by_email(self) -> HubSpotRecord | None:
        return self._client.read_by_email(self._group.email, self._lanes.read_properties)

    def _read(self, record_id: str) -> HubSpotRecord | None:
        return self._client.read_by_id(record_id, self._lanes.read_properties)
