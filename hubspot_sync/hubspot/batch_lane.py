"""The batch lane: a hundred contacts in two requests, and every one of them accounted for.

Look up, create the unknown, update what differs; what an answer leaves open goes through the
careful lane, one by one. Outcomes are handed out as soon as they are certain.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from hubspot_sync.codes import ErrorCode
from hubspot_sync.errors import (
    Conflict,
    ContactRejected,
    EveryoneRefused,
    HubSpotSyncError,
    Interrupted,
    NotFound,
    PropertyMissing,
    RunStopped,
    Unavailable,
)
from hubspot_sync.hubspot.careful_lane import CarefulLane, Lanes
from hubspot_sync.hubspot.ends import Conclude, Cut, Ends, Exposure, Stumble
from hubspot_sync.rules.accounting import Account, Input, account
from hubspot_sync.rules.circuit_breaker import THRESHOLD, outcome_of
from hubspot_sync.rules.grouping import Group, halves
from hubspot_sync.rules.identity import HubSpotRecord
from hubspot_sync.rules.plan import (
    Absence,
    Need,
    RecordPlan,
    Seen,
    Target,
    WriteKind,
    plan_records,
    target_of,
)
from hubspot_sync.rules.reaction import account_full, is_unexplained, not_confirmed
from hubspot_sync.rules.retry import REQUEST_TRIES
from hubspot_sync.rules.settlement import Delivered, Outcome, Released, Stopped

Item = TypeVar("Item", Group, RecordPlan)
Told = TypeVar("Told")


class BatchLane:
    """Upserts up to a hundred groups at a time, for one worker.

    Args:
        lanes: what it goes by.
        careful: takes what a batch cannot place.
    """

    def __init__(self, lanes: Lanes, careful: CarefulLane) -> None:
        self.lanes = lanes
        self._careful = careful
        self._refusals = _RefusalsInARow(careful)

    def deliver(
        self,
        groups: Sequence[Group],
        conclude: Conclude,
        stumble: Stumble,
        *,
        carefully: bool = False,
    ) -> None:
        """Upsert groups.

        Args:
            groups: of one claim.
            conclude: told of each outcome.
            stumble: told of faults of our own.
            carefully: one by one, each step on what HubSpot answered to the last.

        Raises:
            Cut: nothing can be delivered to anyone now, or no further request may start.
        """
        batch = _Batch(self.lanes, self._careful, self._refusals, groups, conclude, stumble)
        try:
            batch.run(carefully=carefully)
        except (RunStopped, Interrupted) as why:
            raise Cut(why, batch.exposure) from why


class _RefusalsInARow:
    """Tells a request that HubSpot cannot take from a HubSpot that takes none."""

    def __init__(self, careful: CarefulLane) -> None:
        self._careful = careful
        self._count = 0

    def end(self) -> None:
        """HubSpot took a request, or said why it does not take it."""
        self._count = 0

    def add(self, trouble: Unavailable) -> None:
        """Count a request that got no usable answer.

        Raises:
            HubSpotDown: a small read gets none either.
            EveryoneRefused: there were too many in a row.
        """
        self._careful.require_hubspot(trouble)
        self._count += 1
        if self._count < THRESHOLD:
            return
        if trouble.rate_limited:
            raise EveryoneRefused(ErrorCode.RATE_LIMIT, trouble=trouble.message) from trouble
        raise EveryoneRefused(
            ErrorCode.HUBSPOT_TAKES_NO_WRITES, what="request", refusal=trouble.message
        ) from trouble


class _Batch:
    """The groups of one claim, from the look-up to their outcomes; it lives as long as they do."""

    def __init__(
        self,
        lanes: Lanes,
        careful: CarefulLane,
        refusals: _RefusalsInARow,
        groups: Sequence[Group],
        conclude: Conclude,
        stumble: Stumble,
    ) -> None:
        self._lanes = lanes
        self._client = lanes.client
        self._careful = careful
        self._refusals = refusals
        self._conclude_ends = conclude
        self._stumble = stumble
        self._open = {group.email: group for group in groups}
        self._seen = {group.email: Seen() for group in groups}
        self._left: set[str] = set()
        # Of those that an answer passed over: whether a create was sent for them.
        self._sent: dict[str, bool] = {}
        self._in_request: tuple[Group, ...] = ()
        self._unconfirmed: list[Group] = []

    @property
    def exposure(self) -> Exposure:
        """What may have been written of the groups that have no outcome."""
        return Exposure(tuple(self._unconfirmed), self._in_request)

    def run(self, *, carefully: bool) -> None:
        """Bring each group to its outcome."""
        if not carefully:
            try:
                self._deliver_together()
            except HubSpotSyncError:
                raise
            except Exception as fault:  # noqa: BLE001 - it must not bar the others
                # One by one then, so that what we cannot handle does not bar the others.
                self._stumble(fault, None)
                self._in_request = ()
        for group in list(self._open.values()):
            self._conclude([(group, self._deliver_alone(group))])

    def _deliver_together(self) -> None:
        self._look_up()
        self._look_up_stored_ids()
        self._create()
        self._ask_renames()
        self._update()
        # Who may not take a record along gets one of its own.
        self._create()
        self._update()

    def _deliver_alone(self, group: Group) -> Outcome:
        self._in_request = (group,)
        try:
            outcome = self._careful.deliver(group)
        except Cut as cut:
            self._unconfirmed += cut.exposure.unconfirmed
            raise cut.why from cut
        except Exception as fault:  # noqa: BLE001 - it must not bar the others
            outcome = self._stumble(fault, group)
        self._in_request = ()
        if isinstance(outcome, Delivered) and outcome.unchanged and group.email in self._sent:
            # HubSpot holds all of it because this batch has sent it.
            return Delivered(outcome.hubspot_contact_id, created=self._sent[group.email])
        if isinstance(outcome, Released) and group in self._unconfirmed:
            return Stopped(not_confirmed(Interrupted(ErrorCode.RUN_ENDING)))
        return outcome

    # Looking

    def _look_up(self) -> None:
        """Find out which groups HubSpot has, by their addresses."""
        for part, told in self._in_parts(list(self._open.values()), self._read_by_email):
            for group in part:
                self._see(group, by_email=told[group.email] if told else Absence.UNKNOWN)

    def _read_by_email(
        self, part: Sequence[Group], tries: int
    ) -> dict[str, HubSpotRecord | Absence]:
        emails = [group.email for group in part]
        records, missing = self._client.read_batch(
            emails, self._lanes.read_properties, by_email=True, tries=tries
        )
        by_email = {email: record for record in records for email in record.emails}
        return {
            email: by_email.get(email) or (Absence.GONE if email in missing else Absence.UNKNOWN)
            for email in emails
        }

    def _look_up_stored_ids(self) -> None:
        """Find contacts whose address is new, under the ids that earlier syncs stored."""
        wanted = self._in_need_of(Need.STORED_RECORD)
        for part, told in self._in_parts(wanted, self._read_by_stored_id):
            for group in part:
                self._see(group, by_id=told[group.email] if told else Absence.UNKNOWN)

    def _read_by_stored_id(
        self, part: Sequence[Group], tries: int
    ) -> dict[str, HubSpotRecord | Absence]:
        ids = {group.email: group.contact.hubspot_contact_id or "" for group in part}
        records, gone = self._client.read_batch(
            sorted(set(ids.values())), self._lanes.read_properties, by_email=False, tries=tries
        )
        by_id = {record.id: record for record in records}
        # An id that the answer passes over is not known to be gone.
        return {
            email: by_id.get(key) or (Absence.GONE if key in gone else Absence.UNKNOWN)
            for email, key in ids.items()
        }

    def _look_up_owners(self, owners: dict[str, str]) -> None:
        """Read the records that HubSpot named as the owners of addresses, before they change."""
        groups = [self._open[email] for email in owners]

        def read(part: Sequence[Group], tries: int) -> dict[str, HubSpotRecord]:
            ids = sorted({owners[group.email] for group in part})
            records, _ = self._client.read_batch(
                ids, self._lanes.read_properties, by_email=False, tries=tries
            )
            return {record.id: record for record in records}

        for part, told in self._in_parts(groups, read):
            for group in part:
                record = told.get(owners[group.email]) if told else None
                self._see(group, by_email=record or Absence.UNKNOWN)

    def _ask_renames(self) -> None:
        """Ask, last before the updates, which records may get a contact's new address."""
        renames = {
            group.email: group.rename_of(record)
            for group in self._in_need_of(Need.RENAME)
            if isinstance(record := self._seen[group.email].by_id, HubSpotRecord)
        }
        if renames:
            free = self._lanes.may_be_renamed(list(renames.values()))
            for email, rename in renames.items():
                self._see(self._open[email], may_rename=rename.record_id in free)

    def _ask_clearings(self) -> None:
        """Ask, last before the updates, which values may be cleared."""
        for email, free in self._lanes.freed(self._targets(new=False)).items():
            self._see(self._open[email], may_clear=free)

    # Writing

    def _create(self) -> None:
        owners: dict[str, str] = {}
        for part, told in self._in_parts(self._plans(new=True), self._send_creates, writes=True):
            owners |= self._read_account(part, told, created=True)
        self._look_up_owners(owners)

    def _update(self) -> None:
        self._ask_clearings()
        plans = self._plans(new=False)
        kept = [each for each in plans if each.write.kind is WriteKind.NOTHING]
        self._conclude(
            (group, Delivered(each.write.record_id or "", created=False, unchanged=True))
            for each in kept
            for group in each.groups
        )
        changed = [each for each in plans if each.write.kind is WriteKind.UPDATE]
        for part, told in self._in_parts(changed, self._send_updates, writes=True):
            self._read_account(part, told, created=False)

    def _plans(self, *, new: bool) -> list[RecordPlan]:
        """Plan a write for each record that is to be created, or to be updated."""
        return plan_records(self._targets(new=new), self._lanes.mapping, self._lanes.object_type)

    def _targets(self, *, new: bool) -> list[tuple[Group, Target]]:
        """Return the groups that get a new record, or those whose record is known."""
        targets: list[tuple[Group, Target]] = []
        for group in self._undecided():
            target = target_of(group, self._seen[group.email], self._lanes.mapping)
            if isinstance(target, Target) and (target.record is None) is new:
                targets.append((group, target))
        return targets

    def _send_creates(self, part: Sequence[RecordPlan], tries: int) -> Account:
        """Send creates; where the answer is lost, look before they are sent again."""
        inputs = [Input(each.trace_id, email=each.groups[0].email) for each in part]
        for failed_tries in range(1, tries + 1):
            try:
                sent = [(each.trace_id, each.write.properties) for each in part]
                return account(inputs, self._client.create_batch(sent, tries=tries))
            except Unavailable as trouble:
                if not trouble.outcome_unknown:
                    raise
                # Whatever keeps us from looking, they may be written.
                self._unconfirmed += _groups(part)
                seen = self._what_was_created(part)
                if seen.confirmed or seen.refused:
                    return seen
                if failed_tries == tries:
                    raise
                self._client.transport.wait(trouble.wait_seconds, failed_tries)
        raise AssertionError("the last try returns or raises")

    def _what_was_created(self, part: Sequence[RecordPlan]) -> Account:
        """Ask the record store what a create whose answer was lost has done."""
        plans = {each.groups[0].email: each for each in part}
        told = self._read_by_email([each.groups[0] for each in part], REQUEST_TRIES)
        seen = Account()
        for email, record in told.items():
            trace_id = plans[email].trace_id
            if not isinstance(record, HubSpotRecord):
                seen.unnamed.append(trace_id)
            elif self._lanes.holds(record, plans[email].write):
                seen.confirmed[trace_id] = record
            else:
                there = Conflict(
                    ErrorCode.HOLDS_IT_ALREADY, words="the email", existing_id=record.id
                )
                seen.refused[trace_id] = there
        return seen

    def _send_updates(self, part: Sequence[RecordPlan], tries: int) -> Account:
        inputs = [Input(each.trace_id, record_id=each.write.record_id) for each in part]
        sent = [(each.trace_id, each.write.record_id or "", each.write.properties) for each in part]
        return account(inputs, self._client.update_batch(sent, tries=tries))

    def _read_account(
        self, part: Sequence[RecordPlan], told: Account | None, *, created: bool
    ) -> dict[str, str]:
        """Conclude what an account is certain of, and leave the rest to the careful lane.

        Returns:
            By address, the record that owns it, where HubSpot named one.

        Raises:
            PropertyMissing: once the good ones of the answer have been concluded.
        """
        by_trace = {each.trace_id: each for each in part}
        told = told or Account(unnamed=list(by_trace))
        ends: Ends = [
            (group, Delivered(record.id, created=created))
            for trace_id, record in told.confirmed.items()
            for group in by_trace[trace_id].groups
        ]
        for trace_id in told.unnamed:
            self._sent |= {group.email: created for group in by_trace[trace_id].groups}
            self._leave(by_trace[trace_id].groups)
        owners: dict[str, str] = {}
        missing: PropertyMissing | None = None
        is_full = created and self._account_is_full(told)
        for trace_id, error in told.refused.items():
            groups = by_trace[trace_id].groups
            if isinstance(error, PropertyMissing):
                missing = error
                self._in_request = (*self._in_request, *groups)
            elif isinstance(error, ContactRejected):
                refusal = account_full(error) if is_full and is_unexplained(error) else error
                ends += [(group, outcome_of(refusal)) for group in groups]
            elif created and isinstance(error, Conflict) and error.existing_id:
                owners |= {group.email: error.existing_id for group in groups}
            else:
                self._leave(groups)
        self._conclude(ends)
        if missing is not None:
            raise missing
        return owners

    def _account_is_full(self, told: Account) -> bool:
        """Look, once an answer, whether creates are refused because there are too many contacts."""
        return any(map(is_unexplained, told.refused.values())) and self._client.account_is_full()

    # Requests

    def _in_parts(
        self,
        items: Sequence[Item],
        send: Callable[[Sequence[Item], int], Told],
        *,
        writes: bool = False,
        tries: int = REQUEST_TRIES,
    ) -> Iterator[tuple[Sequence[Item], Told | None]]:
        """Send items in one request; where it is refused as a whole, in halves.

        Yields:
            Each part with what was told of it; None for a single item that is refused, which the
            careful lane then explains.
        """
        if not items:
            return
        self._in_request = _groups(items)
        try:
            told = send(items, tries)
        except Interrupted as end:
            self._note_write(may_be_done=writes and end.outcome_unknown)
            raise
        except Unavailable as trouble:
            self._note_write(may_be_done=writes and trouble.outcome_unknown)
            self._refusals.add(trouble)
            tries = 1
        except (ContactRejected, Conflict, NotFound):
            # HubSpot does not say which one it is; halving finds out.
            self._refusals.end()
        else:
            self._refusals.end()
            self._in_request = ()
            yield items, told
            return
        self._in_request = ()
        if len(items) == 1:
            yield items, None
            return
        for half in halves(items):
            yield from self._in_parts(items[half], send, writes=writes, tries=tries)

    def _note_write(self, *, may_be_done: bool) -> None:
        # A write without an answer may have been carried out.
        if may_be_done:
            self._unconfirmed += self._in_request

    # Groups

    def _undecided(self) -> list[Group]:
        """The groups that have no outcome, and are not left to the careful lane."""
        return [group for email, group in self._open.items() if email not in self._left]

    def _in_need_of(self, need: Need) -> list[Group]:
        return [
            group
            for group in self._undecided()
            if target_of(group, self._seen[group.email], self._lanes.mapping) is need
        ]

    def _see(
        self,
        group: Group,
        *,
        by_email: HubSpotRecord | Absence | None = None,
        by_id: HubSpotRecord | Absence | None = None,
        may_rename: bool | None = None,
        may_clear: frozenset[str] | None = None,
    ) -> None:
        seen = self._seen[group.email]
        self._seen[group.email] = replace(
            seen,
            by_email=by_email or seen.by_email,
            by_id=by_id or seen.by_id,
            may_rename=seen.may_rename if may_rename is None else may_rename,
            may_clear=seen.may_clear if may_clear is None else may_clear,
        )

    def _leave(self, groups: Iterable[Group]) -> None:
        self._left |= {group.email for group in groups}

    def _conclude(self, ends: Iterable[tuple[Group, Outcome]]) -> None:
        certain = list(ends)
        for group, _ in certain:
            del self._open[group.email]
        if certain:
            self._conclude_ends(certain)


def _groups(items: Sequence[Group] | Sequence[RecordPlan]) -> tuple[Group, ...]:
    return tuple(
        group
        for each in items
        for group in (each.groups if isinstance(each, RecordPlan) else (each,))
    )
